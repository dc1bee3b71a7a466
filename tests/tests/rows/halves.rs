//! A small kernel for each operation on activations of 16 bits, and on sums that are wider than 32.

use qcc_compiler::kernel::{Constant, Expr, Scalar, Stmt, at, int, op, var};
use qcc_compiler::target::Target;

use crate::cases::{Case, do_, multipliers, narrow, show, w, wide, z};
use crate::rounds;

/// Loads, stores, products and scalings.
pub(crate) fn cases(t: &Target) -> Vec<Case> {
    let values = |name: &str| Constant {
        name: format!("halves_{name}"),
        elem: Scalar::U16,
        bytes: (0..rounds(t) * t.lanes + 2 * t.lanes)
            .flat_map(|i| match i % 5 {
                0 => [0, 0],
                1 => [0xff, 0xff],
                2 => [0, 0x80],
                _ => ((i * 7919 % 65536) as u16).to_le_bytes(),
            })
            .collect(),
    };
    let address = |name: &str, k: usize| {
        let index = var("i") * t.lanes as i64 + int(k as i64);
        at(format!("halves_{name}"), index)
    };
    let mut cases = vec![];
    let mut loaded = |name: &'static str, value: &dyn Fn(&str) -> Stmt| {
        cases.push(Case::new(name, vec![value(name)]).with(values(name)));
    };
    for name in ["load_u16", "load_i16"] {
        loaded(name, &|own| show(t, op(name, [address(own, 0)])));
    }
    for name in ["read_u16", "read_i16"] {
        let write = |own: &str| op("write_i32", [z(t), op(name, [address(own, 0)])]);
        loaded(name, &|own| do_(write(own)));
    }
    let tap_weights = |name: &str| Constant {
        name: format!("weights_{name}"),
        elem: Scalar::I8,
        bytes: (0..t.lanes * t.depthwise.taps)
            .map(|i| (i * 37 % 255) as u8)
            .collect(),
    };
    for name in ["taps_u16", "taps_i16", "splat_u16"] {
        let taps = if name == "splat_u16" {
            1
        } else {
            t.depthwise.taps
        };
        let addresses: Vec<Expr> = (0..taps)
            .map(|tap| address(name, 1 + tap * t.lanes))
            .collect();
        let weights = op("tap_weights", [at(format!("weights_{name}"), int(0))]);
        let sum = op("dot_taps", [narrow(t, 0), op(name, addresses), weights]);
        let case = Case::new(name, vec![show(t, sum)]);
        cases.push(case.with(values(name)).with(tap_weights(name)));
    }
    for n in 1..t.lanes {
        for name in ["load_u16_part", "load_i16_part"] {
            let own = format!("{name}_{n}");
            let value = op(name, [address(&own, 0), int(n as i64)]);
            cases.push(Case::new(&own, vec![show(t, value)]).with(values(&own)));
        }
        for name in ["store_u16_part", "store_i16_part"] {
            let body = vec![do_(op(name, [z(t), narrow(t, 0), int(n as i64)]))];
            cases.push(Case::new(&format!("{name}_{n}"), body));
        }
    }
    for name in ["store_u16", "store_i16"] {
        for (kind, value) in [("wide", wide(t, 0)), ("narrow", narrow(t, 0))] {
            let body = vec![do_(op(name, [z(t), value]))];
            cases.push(Case::new(&format!("{name}_{kind}"), body));
        }
    }
    let tiny = |m: Expr| {
        op(
            "mul_f32",
            [
                m,
                op("splat_f32", [int((1.0f32 / 65536.0).to_bits().into())]),
            ],
        )
    };
    let scale = || tiny(multipliers(t, 0));
    let parts = || [wide(t, 0), wide(t, 1)];
    let [high, low] = parts();
    let rounded = op("scale_round_wide", [high.clone(), low.clone(), scale()]);
    let added = [
        high,
        low,
        scale(),
        narrow(t, 1),
        op("splat_f32", [int((-0.013f32).to_bits().into())]),
    ];
    let half = op("write_half", [z(t), op("read_i32", [w(t, 0)])]);
    cases.extend([
        Case::new("scale_round_wide", vec![show(t, rounded)]),
        Case::new(
            "scale_add_round_wide",
            vec![show(t, op("scale_add_round_wide", added))],
        ),
        Case::new(
            "shift_i32",
            vec![show(t, op("shift_i32", [wide(t, 0), int(16)]))],
        ),
        Case::new(
            "and_i32",
            vec![show(t, op("and_i32", [wide(t, 0), int(0xffff)]))],
        ),
        Case::new("write_half", vec![do_(half)]),
    ]);
    cases
}
