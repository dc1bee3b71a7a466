//! Operations on blocks of 16 bytes.

use qcc_compiler::kernel::{Constant, Expr, Scalar, Stmt, at, int, op};
use qcc_compiler::target::Target;

use crate::cases::{Case, do_, narrow, show, wide, x, y};

/// Those that the machine has.
pub(crate) fn cases(t: &Target) -> Vec<Case> {
    let mut cases = [
        bytes(t),
        joined(t),
        quads(t),
        pairs(t),
        words(t),
        joint(t),
        gathered(t),
        halves(t),
    ]
    .concat();
    cases.retain(|case| t.has(case.op));
    cases.into_iter().map(|case| case.case).collect()
}

/// A case of one operation.
#[derive(Clone)]
struct Of {
    op: &'static str,
    case: Case,
}

fn of(op: &'static str, name: &str, body: Vec<Stmt>) -> Of {
    let case = Case::new(name, body);
    Of { op, case }
}

fn load(t: &Target, offset: usize) -> Expr {
    op("load_bytes", [x(t, offset)])
}

fn bytes(t: &Target) -> Vec<Of> {
    let store = |value| vec![do_(op("store_bytes", [y(t, 0), value]))];
    let zips = ["zip_low", "zip_high", "zip_pairs_low", "zip_pairs_high"];
    let zips = zips.map(|name| of(name, name, store(op(name, [load(t, 0), load(t, 1)]))));
    let shifts = ["shift_i8", "shift_u8"];
    let shifts = shifts.map(|name| of(name, name, store(op(name, [load(t, 0)]))));
    zips.into_iter().chain(shifts).collect()
}

fn joined(t: &Target) -> Vec<Of> {
    let case = |name: &'static str, kind: &str, value: fn(&Target, usize) -> Expr| {
        let joined = op(name, [0, 1, 2, 3].map(|i| value(t, i)));
        let body = vec![do_(op("store_bytes", [y(t, 0), joined]))];
        of(name, &format!("{name}_{kind}"), body)
    };
    let names = ["join_u8", "join_i8"];
    let cases = names.map(|name| [case(name, "wide", wide), case(name, "narrow", narrow)]);
    cases.concat()
}

/// Bytes of weights, the extremes among them.
fn weights(t: &Target, name: &str, value: fn(usize) -> i8) -> Constant {
    Constant {
        name: name.into(),
        elem: Scalar::I8,
        bytes: (0..t.bytes).map(|i| value(i) as u8).collect(),
    }
}

fn quads(t: &Target) -> Vec<Of> {
    let name = "weights_quads";
    let w = op("load_bytes", [at(name, int(0))]);
    let sum = op("dot_quads", [narrow(t, 0), load(t, 0), w]);
    let mut case = of("dot_quads", "dot_quads", vec![show(t, sum)]);
    let value = |i: usize| [127, 127, 127, 127, -128, -128, -128, -128, 5, -77][i * 3 / 4 % 10];
    case.case = case.case.with(weights(t, name, value));
    vec![case]
}

/// Sums up to the limits of 16 bits.
fn pairs(t: &Target) -> Vec<Of> {
    let value = |i: usize| [64, 64, -64, -64, 127, 1, -127, -1, -100, 127][i % 10];
    let sums = |name: &str, offset: usize| {
        let w = op("load_bytes", [at(name, int(0))]);
        op("pair_products", [load(t, offset), w])
    };
    let case = |name: &'static str, sum: &'static str| {
        let constant = format!("weights_{name}");
        let args = [narrow(t, 0), sums(&constant, 0), sums(&constant, 1)];
        let mut case = of(sum, name, vec![show(t, op(sum, args))]);
        case.case = case.case.with(weights(t, &constant, value));
        case
    };
    vec![case("add_low", "add_low"), case("add_high", "add_high")]
}

/// Seen through a product by weights.
fn words(t: &Target) -> Vec<Of> {
    let case = |name: &'static str| {
        let constant = format!("weights_{name}");
        let w = op("tap_weights", [at(&constant, int(0))]);
        let sum = op("dot_taps", [narrow(t, 0), op(name, [load(t, 0)]), w]);
        let mut case = of(name, name, vec![show(t, sum)]);
        let value = |i: usize| [127, -127, 3, 90, -77][i % 5];
        case.case = case.case.with(weights(t, &constant, value));
        case
    };
    vec![case("widen_low"), case("widen_high")]
}

/// Products of byte vectors of activations by weights up to their limits.
fn joint(t: &Target) -> Vec<Of> {
    let case = |name: &'static str, of_case: &str, part: Option<usize>| {
        let constant = format!("weights_{of_case}");
        let w = op("load_b", [at(&constant, int(0))]);
        let mut args = vec![narrow(t, 0), load(t, 0), w];
        args.extend(part.map(|n| int(n as i64)));
        let mut case = of(name, of_case, vec![show(t, op(name, args))]);
        let value = |i: usize| [127, 127, -127, 127, -127, -127, 64, -3, 0, 90, -127][i * 5 % 11];
        case.case = case.case.with(weights(t, &constant, value));
        case
    };
    let parts = (0..t.bytes / t.dot.k).flat_map(|n| ["dot_part", "dot_part_u8"].map(|op| (op, n)));
    let parts = parts.map(|(name, n)| case(name, &format!("{name}_{n}"), Some(n)));
    let blocks = ["dot_block", "dot_block_u8"].map(|name| case(name, name, None));
    parts.chain(blocks).collect()
}

/// Sums brought together, and what is multiplied in blocks.
fn gathered(t: &Target) -> Vec<Of> {
    let store = |value| vec![do_(op("store_bytes", [y(t, 0), value]))];
    let bytes = |name| of(name, name, store(op(name, [load(t, 0), load(t, 1)])));
    let words = |name, value: fn(&Target, usize) -> Expr, count| {
        let args: Vec<_> = (0..count).map(|i| value(t, i)).collect();
        of(name, name, vec![show(t, op(name, args))])
    };
    vec![
        bytes("pair_low"),
        bytes("pair_high"),
        words("pair_low_i32", wide, 2),
        words("pair_high_i32", wide, 2),
        words("add_lanes", narrow, t.lanes),
    ]
}

/// Sums of two products of i8 at the limits of 16 bits.
fn halves(t: &Target) -> Vec<Of> {
    let names = [
        ["mul_low", "mul_add_low", "widen_add_low"],
        ["mul_high", "mul_add_high", "widen_add_low"],
        ["mul_low", "mul_add_low", "widen_add_high"],
        ["mul_high", "mul_add_high", "widen_add_high"],
    ];
    let cases = names.map(|[mul, mul_add, widen]| {
        let name = format!("{mul_add}_{widen}");
        let constant = format!("weights_{name}");
        let w = op("load_bytes", [at(&constant, int(0))]);
        let sums = op(mul, [load(t, 0), w.clone()]);
        let sums = op(mul_add, [sums, load(t, 1), w]);
        let mut case = of(mul, &name, vec![show(t, op(widen, [narrow(t, 0), sums]))]);
        let value = |i: usize| [127, -127, 127, -3, 0, 64, -127][i % 7];
        case.case = case.case.with(weights(t, &constant, value));
        case
    });
    cases.to_vec()
}
