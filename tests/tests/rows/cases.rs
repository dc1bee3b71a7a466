//! A small kernel for each operation.

use qcc_compiler::kernel::{Buffer, Constant, Expr, Scalar, Stmt, at, int, op, var};
use qcc_compiler::target::Target;

use crate::{blocks, fixed, halves, rounds};

/// A kernel body that runs for each `i` below `rounds`; it writes every element of its region.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) constants: Vec<Constant>,
    body: Vec<Stmt>,
}

/// `x` bytes and `w` words are read, `y` bytes and `z` words are written.
pub(crate) fn buffers() -> Vec<Buffer> {
    let buffer = |name: &str, elem, mutable| Buffer {
        name: name.into(),
        elem,
        mutable,
    };
    vec![
        buffer("x", Scalar::U8, false),
        buffer("w", Scalar::I32, false),
        buffer("y", Scalar::U8, true),
        buffer("z", Scalar::I32, true),
    ]
}

impl Case {
    pub(crate) fn new(name: &str, body: Vec<Stmt>) -> Case {
        Case {
            name: name.into(),
            constants: vec![],
            body,
        }
    }

    pub(crate) fn with(mut self, constant: Constant) -> Case {
        self.constants.push(constant);
        self
    }

    /// Whether the case runs an operation.
    pub(crate) fn covers(&self, op: &str) -> bool {
        self.body.iter().any(|stmt| match stmt {
            Stmt::Do(e) => mentions(e, op),
            Stmt::Let { value, .. } => mentions(value, op),
            _ => false,
        })
    }

    /// All rounds; regions are zeroed first, so that partial stores show what they leave alone.
    pub(crate) fn kernel_body(&self, target: &Target) -> Vec<Stmt> {
        let zero = vec![
            do_(op(
                "store_bytes",
                [y(target, 0), op("splat_byte", [int(0)])],
            )),
            do_(op("store_i32", [z(target), op("splat_i32", [int(0)])])),
        ];
        let repeated = |body| Stmt::For {
            var: "i".into(),
            start: int(0),
            end: int(rounds(target) as i64),
            step: 1,
            body,
        };
        vec![repeated(zero), repeated(self.body.clone())]
    }
}

/// Whether a statement uses a buffer or constant.
pub(crate) fn uses(stmt: &Stmt, buffer: &str) -> bool {
    match stmt {
        Stmt::Do(value) | Stmt::Let { value, .. } | Stmt::Set { value, .. } => {
            addresses(value, buffer)
        }
        Stmt::For { body, .. } => body.iter().any(|s| uses(s, buffer)),
        Stmt::Note(_) => false,
    }
}

fn addresses(expr: &Expr, buffer: &str) -> bool {
    match expr {
        Expr::Op(_, args) => args.iter().any(|a| addresses(a, buffer)),
        Expr::At(name, index) => name == buffer || addresses(index, buffer),
        Expr::Add(a, b) => addresses(a, buffer) || addresses(b, buffer),
        Expr::Mul(a, _) => addresses(a, buffer),
        Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => false,
    }
}

fn mentions(expr: &Expr, name: &str) -> bool {
    match expr {
        Expr::Op(op, args) => *op == name || args.iter().any(|a| mentions(a, name)),
        Expr::At(_, index) => mentions(index, name),
        Expr::Add(a, b) => mentions(a, name) || mentions(b, name),
        Expr::Mul(a, _) => mentions(a, name),
        _ => false,
    }
}

/// Every case that a target has rows for.
pub(crate) fn all(target: &Target) -> Vec<Case> {
    let mut cases = [
        vectors(target),
        scaling(target),
        bytes(target),
        numbers(target),
    ]
    .concat_all();
    cases.extend(super::reals::cases(target));
    cases.extend(products(target));
    if target.dot.magnitudes {
        cases.extend(magnitudes(target));
    }
    if target.dot.chains.is_some() {
        cases.extend(chains(target));
    }
    cases.extend(fields(target));
    cases.extend(sixteens(target));
    cases.extend(fixed::cases(target));
    cases.extend(halves::cases(target));
    cases.extend(blocks::cases(target));
    cases.extend(super::copied::cases(target));
    cases
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Case>;
}

impl<const N: usize> ConcatAll for [Vec<Case>; N] {
    fn concat_all(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

pub(crate) fn do_(value: Expr) -> Stmt {
    Stmt::Do(value)
}

/// Address of bytes that differ from round to round.
pub(crate) fn x(target: &Target, offset: usize) -> Expr {
    at(
        "x",
        var("i") * target.bytes as i64 + int((offset * target.bytes) as i64),
    )
}

/// Address of words of any size.
pub(crate) fn w(target: &Target, vector: usize) -> Expr {
    at(
        "w",
        var("i") * target.lanes as i64 + int((vector * target.lanes) as i64),
    )
}

pub(crate) fn y(target: &Target, offset: usize) -> Expr {
    at("y", var("i") * target.bytes as i64 + int(offset as i64))
}

pub(crate) fn z(target: &Target) -> Expr {
    at("z", var("i") * target.lanes as i64)
}

/// A vector of any numbers.
pub(crate) fn wide(target: &Target, vector: usize) -> Expr {
    op("load_i32", [w(target, vector)])
}

/// A vector of numbers below 2¹⁵: products and sums fit.
pub(crate) fn narrow(target: &Target, vector: usize) -> Expr {
    op(
        "load_i32",
        [at(
            "narrow",
            var("i") * target.lanes as i64 + int((vector * target.lanes) as i64),
        )],
    )
}

pub(crate) fn show(target: &Target, value: Expr) -> Stmt {
    do_(op("store_i32", [z(target), value]))
}

fn vectors(t: &Target) -> Vec<Case> {
    let binary = |name: &'static str, value: fn(&Target, usize) -> Expr| {
        Case::new(name, vec![show(t, op(name, [value(t, 0), value(t, 1)]))])
    };
    let mut cases = vec![
        Case::new("load_i32", vec![show(t, wide(t, 0))]),
        Case::new("splat_i32", vec![show(t, op("splat_i32", [int(-7)]))]),
        Case::new(
            "splat_value",
            vec![show(t, op("splat_i32", [op("read_i32", [w(t, 0)])]))],
        ),
        binary("add_i32", narrow),
        binary("sub_i32", narrow),
        binary("mul_i32", narrow),
        binary("max_i32", wide),
        binary("min_i32", wide),
        Case::new("load_u8", vec![show(t, op("load_u8", [x(t, 0)]))]),
        Case::new("load_i8", vec![show(t, op("load_i8", [x(t, 0)]))]),
    ];
    for name in ["store_u8", "store_i8"] {
        for (values, value) in [
            ("wide", wide as fn(&Target, usize) -> Expr),
            ("narrow", narrow),
        ] {
            let body = vec![do_(op(name, [y(t, 0), value(t, 0)]))];
            cases.push(Case::new(&format!("{name}_{values}"), body));
        }
    }
    for n in 1..t.lanes {
        for name in ["load_u8_part", "load_i8_part"] {
            let value = op(name, [x(t, 0), int(n as i64)]);
            cases.push(Case::new(&format!("{name}_{n}"), vec![show(t, value)]));
        }
        for name in ["store_u8_part", "store_i8_part"] {
            let body = vec![do_(op(name, [y(t, 0), narrow(t, 0), int(n as i64)]))];
            cases.push(Case::new(&format!("{name}_{n}"), body));
        }
    }
    for name in ["pack_u8", "pack_i8"] {
        for (values, value) in [
            ("wide", wide as fn(&Target, usize) -> Expr),
            ("narrow", narrow),
        ] {
            let parts: Vec<Expr> = (0..t.bytes / t.lanes).map(|i| value(t, i)).collect();
            let body = vec![do_(op("store_bytes", [y(t, 0), op(name, parts.clone())]))];
            cases.push(Case::new(&format!("{name}_{values}"), body));
            let name = if name == "pack_u8" {
                "pack_add_u8"
            } else {
                "pack_add_i8"
            };
            for n in [-128, 7, 255].into_iter().filter(|_| t.has(name)) {
                let sum = op(name, [parts.clone(), vec![int(n)]].concat());
                let body = vec![do_(op("store_bytes", [y(t, 0), sum]))];
                cases.push(Case::new(&format!("{name}_{values}_{}", n & 0x1ff), body));
            }
        }
    }
    cases
}

pub(crate) fn multipliers(t: &Target, vector: usize) -> Expr {
    op(
        "load_f32",
        [at(
            "small",
            var("i") * t.lanes as i64 + int((vector * t.lanes) as i64),
        )],
    )
}

fn scaling(t: &Target) -> Vec<Case> {
    let half = op("splat_f32", [int(0.5f32.to_bits().into())]);
    let minus = op("splat_f32", [int((-0.013f32).to_bits().into())]);
    let near = |name: &'static str| op("load_f32", [at(name, var("i") * t.lanes as i64)]);
    let tie = |name: &'static str| op("load_i32", [at(name, var("i") * t.lanes as i64)]);
    let select = op("select_f32", [wide(t, 0), minus.clone(), multipliers(t, 0)]);
    vec![
        Case::new(
            "scale_round",
            vec![show(t, op("scale_round", [wide(t, 0), multipliers(t, 0)]))],
        ),
        Case::new(
            "scale_narrow",
            vec![show(
                t,
                op("scale_round", [narrow(t, 0), multipliers(t, 1)]),
            )],
        ),
        Case::new(
            "scale_half",
            vec![show(t, op("scale_round", [narrow(t, 0), half.clone()]))],
        ),
        Case::new(
            "scale_tie",
            vec![show(t, op("scale_round", [tie("tie_a"), near("tie_m")]))],
        ),
        Case::new(
            "select_f32",
            vec![show(t, op("scale_round", [wide(t, 0), select]))],
        ),
        Case::new(
            "scale_add_round",
            vec![show(
                t,
                op(
                    "scale_add_round",
                    [narrow(t, 0), multipliers(t, 0), narrow(t, 1), minus],
                ),
            )],
        ),
        // A product of 0 adds nothing to one that is small beside its factor.
        Case::new(
            "scale_add_nothing",
            vec![show(
                t,
                op(
                    "scale_add_round",
                    [
                        op("splat_i32", [int(0)]),
                        op("splat_f32", [int(1900.0f32.to_bits().into())]),
                        narrow(t, 0),
                        half.clone(),
                    ],
                ),
            )],
        ),
        // Sums next to a tie tell a fused multiply-add from two roundings.
        Case::new(
            "scale_add_tie",
            vec![show(
                t,
                op(
                    "scale_add_round",
                    [tie("sum_a"), near("sum_ma"), tie("sum_b"), near("sum_mb")],
                ),
            )],
        ),
    ]
}

fn bytes(t: &Target) -> Vec<Case> {
    let load = |offset| op("load_bytes", [x(t, offset)]);
    let store = |value| do_(op("store_bytes", [y(t, 0), value]));
    let binary = |name: &'static str| Case::new(name, vec![store(op(name, [load(0), load(1)]))]);
    let mut cases = vec![
        Case::new("load_bytes", vec![store(load(0))]),
        Case::new("splat_byte", vec![store(op("splat_byte", [int(-3)]))]),
        Case::new("splat_high", vec![store(op("splat_byte", [int(200)]))]),
        binary("max_u8"),
        binary("min_u8"),
        binary("max_i8"),
        binary("min_i8"),
        Case::new(
            "lookup",
            vec![store(op("lookup", [at("table", int(0)), load(0)]))],
        ),
    ];
    for n in (1..t.bytes).step_by(5) {
        let loaded = op("load_bytes_part", [x(t, 0), int(n as i64)]);
        cases.push(Case::new(
            &format!("load_bytes_part_{n}"),
            vec![store(loaded)],
        ));
        let body = vec![do_(op(
            "store_bytes_part",
            [y(t, 0), load(0), int(n as i64)],
        ))];
        cases.push(Case::new(&format!("store_bytes_part_{n}"), body));
    }
    cases
}

fn numbers(t: &Target) -> Vec<Case> {
    let read = |k: usize| {
        op(
            "read_i32",
            [at(
                "narrow",
                var("i") * t.lanes as i64 + int((k * t.lanes) as i64),
            )],
        )
    };
    let byte = |k: usize| op("read_u8", [x(t, k)]);
    let write = |value| do_(op("write_i32", [z(t), value]));
    let binary = |name: &'static str| Case::new(name, vec![write(op(name, [read(0), read(1)]))]);
    let quotient = op(
        "div",
        [
            op("mul", [byte(0), int(1000)]),
            op("max", [byte(1), int(1)]),
        ],
    );
    let gathered = op("read_u8", [at("table", op("index", [byte(0)]))]);
    vec![
        Case::new("read_u8", vec![write(byte(0))]),
        Case::new("read_i8", vec![write(op("read_i8", [x(t, 0)]))]),
        Case::new(
            "write_byte",
            vec![do_(op("write_byte", [y(t, 0), op("read_i8", [x(t, 0)])]))],
        ),
        binary("add"),
        binary("sub"),
        binary("mul"),
        binary("max"),
        binary("min"),
        Case::new("div", vec![write(quotient)]),
        Case::new("index", vec![write(gathered)]),
        Case::new(
            "select_less",
            vec![write(op(
                "select_less",
                [read(0), read(1), byte(0), int(-1)],
            ))],
        ),
    ]
}

fn magnitudes(t: &Target) -> Vec<Case> {
    let load = op("load_bytes", [x(t, 0)]);
    let store = |value| do_(op("store_bytes", [y(t, 0), value]));
    let magnitude = store(op("magnitude_i8", [load]));
    let weights = Constant {
        name: "weights_magnitude".into(),
        elem: Scalar::I8,
        bytes: (0..t.dot.lanes * t.dot.k)
            .map(|i| [127, -127i8, 5][i % 3] as u8)
            .collect(),
    };
    let arguments = [
        narrow(t, 0),
        op("load_a_i8", [x(t, 0)]),
        op("load_a_i8", [y(t, 0)]),
        op("load_b", [at("weights_magnitude", int(0))]),
    ];
    let sum = show(t, op("dot_magnitude", arguments));
    vec![
        Case::new("magnitude_i8", vec![magnitude.clone()]),
        Case::new("dot_magnitude", vec![magnitude, sum]).with(weights),
    ]
}

fn products(t: &Target) -> Vec<Case> {
    let mut cases = vec![];
    let weights = |name: &str, len: usize, keep: &dyn Fn(usize) -> bool| {
        // Signs and sizes vary, the extremes ±127 prevail.
        let value =
            |i: usize| [127, -127, 127, -127, 64, -3, 127, -128 + 1][(i * 7 % 8) ^ (i % 3)] as i8;
        Constant {
            name: name.into(),
            elem: Scalar::I8,
            bytes: (0..len)
                .map(|i| if keep(i) { value(i) as u8 } else { 0 })
                .collect(),
        }
    };
    let sum = |name: &'static str, a: Expr, w: &str| {
        let load = match name {
            "dot" | "dot_u8" => "load_b",
            _ => "tap_weights",
        };
        show(t, op(name, [narrow(t, 0), a, op(load, [at(w, int(0))])]))
    };
    let (k, lanes, taps) = (t.dot.k, t.dot.lanes, t.depthwise.taps);
    let raised = op("load_a_u8", [x(t, 0)]);
    let raised = show(t, op("add_raised", [narrow(t, 0), raised]));
    if t.has("add_raised") {
        cases.push(Case::new("add_raised", vec![raised]));
    }
    for sign in ["u8", "i8"] {
        let load: &'static str = if sign == "u8" {
            "load_a_u8"
        } else {
            "load_a_i8"
        };
        let dot = match sign {
            "u8" if t.has("dot_u8") => "dot_u8",
            _ => "dot",
        };
        let name = format!("weights_{sign}");
        let body = vec![sum(
            dot,
            op(load, [at("x", var("i") * t.bytes as i64)]),
            &name,
        )];
        cases.push(Case::new(load, body).with(weights(&name, lanes * k, &|_| true)));
        let aligned = match sign {
            "u8" => "load_a_aligned_u8",
            _ => "load_a_aligned_i8",
        };
        let body = vec![sum(
            dot,
            op(aligned, [at("x", var("i") * t.bytes as i64)]),
            &name,
        )];
        if t.has(aligned) {
            cases.push(Case::new(aligned, body));
        }
        for n in 1..k {
            let part: &'static str = if sign == "u8" {
                "load_a_u8_part"
            } else {
                "load_a_i8_part"
            };
            let name = format!("weights_{sign}_{n}");
            let body = vec![sum(dot, op(part, [x(t, 0), int(n as i64)]), &name)];
            let keep = move |i: usize| i % k < n;
            cases.push(Case::new(&format!("{part}_{n}"), body).with(weights(
                &name,
                lanes * k,
                &keep,
            )));
        }
        let load: &'static str = if sign == "u8" { "taps_u8" } else { "taps_i8" };
        let name = format!("tap_weights_{sign}");
        let constant = || weights(&name, t.lanes * taps, &|_| true);
        let addresses: Vec<Expr> = (0..taps).map(|tap| x(t, tap)).collect();
        let body = vec![sum("dot_taps", op(load, addresses.clone()), &name)];
        cases.push(Case::new(load, body).with(constant()));
        for n in 1..t.lanes {
            let part: &'static str = if sign == "u8" {
                "taps_u8_part"
            } else {
                "taps_i8_part"
            };
            let args = [addresses.clone(), vec![int(n as i64)]].concat();
            cases.push(Case::new(
                &format!("{part}_{n}"),
                vec![sum("dot_taps", op(part, args), &name)],
            ));
        }
    }
    cases
}

/// Weights of few bits, seen through a product: of 4 bits from their smallest on, and of 2 bits.
fn fields(t: &Target) -> Vec<Case> {
    let constant = |name: &str, len: usize, value: &dyn Fn(usize) -> u8| Constant {
        name: name.into(),
        elem: Scalar::I8,
        bytes: (0..len).map(value).collect(),
    };
    let any = |i: usize| (i * 73 + 29) as u8;
    let most = if t.dot.raised { 128u8 } else { 0 };
    let low = |i: usize| most.wrapping_sub((i % 16) as u8);
    let case = |name: &str, value: Expr, len: usize, product: &dyn Fn(Expr) -> Expr| {
        let packed = constant(&format!("fields_{name}"), len, &any);
        Case::new(name, vec![show(t, product(value))]).with(packed)
    };
    let lows = |name: &str, len: usize| constant(name, len, &low);
    let (block, vector) = (t.dot.lanes * t.dot.k, t.lanes * t.depthwise.taps);
    let dot = |w| op("dot", [narrow(t, 0), op("load_a_i8", [x(t, 0)]), w]);
    let addresses: Vec<Expr> = (0..t.depthwise.taps).map(|tap| x(t, tap)).collect();
    let dot_taps = |w| {
        op(
            "dot_taps",
            [narrow(t, 0), op("taps_u8", addresses.clone()), w],
        )
    };
    let packed = |name: &str| op("load_fields", [at(format!("fields_{name}"), int(0))]);
    let tap = |shift: i64, mask: i64| {
        let packed = op("widen_u8", [at("fields_tap_field", int(0))]);
        op("tap_field", [packed, int(shift), int(mask)])
    };
    let name = "add_weights";
    let low = op("load_b", [at("lows_add_weights", int(0))]);
    let sum = op(name, [op("field", [packed(name), int(4), int(15)]), low]);
    let taps = op(
        "add_i16",
        [
            tap(4, 15),
            op("tap_weights", [at("lows_tap_field", int(0))]),
        ],
    );
    vec![
        case(
            "first_field",
            op("first_field", [packed("first_field"), int(3)]),
            block,
            &dot,
        ),
        case(
            "field",
            op("field", [packed("field"), int(6), int(3)]),
            block,
            &dot,
        ),
        case(name, sum, block, &dot).with(lows("lows_add_weights", block)),
        case("tap_field", taps, vector, &dot_taps).with(lows("lows_tap_field", vector)),
    ]
}

/// Sums of pairs in 16 bits, seen through sums of 32.
fn chains(t: &Target) -> Vec<Case> {
    let case = |name: &str, pairs: &'static str, args: Vec<Expr>, weights: fn(usize) -> i32| {
        let constant = Constant {
            name: format!("weights_{name}"),
            elem: Scalar::I8,
            bytes: (0..t.dot.lanes * t.dot.k)
                .map(|i| weights(i) as u8)
                .collect(),
        };
        let mut args = args;
        args.push(op("load_b", [at(&constant.name, int(0))]));
        let sum = op("add_pairs", [narrow(t, 0), op(pairs, args)]);
        Case::new(name, vec![show(t, sum)]).with(constant)
    };
    // With activations of 255 the most that fit 16 bits are 128 of one sign.
    let safe = |i: usize| match i % 4 {
        0 => 64,
        1 => -((i * 29 % 128) as i32),
        2 => -64,
        _ => (i * 37 % 65) as i32 - 64,
    };
    let any = |i: usize| {
        [
            127,
            127,
            -127,
            -127,
            3,
            -127,
            127,
            (i * 73 % 255) as i32 - 127,
        ][i % 8]
    };
    let load = |name: &'static str| op(name, [x(t, 0)]);
    let magnitude = op("magnitude_i8", [op("load_bytes", [x(t, 0)])]);
    let stored = do_(op("store_bytes", [y(t, 0), magnitude]));
    let magnitudes = vec![load("load_a_i8"), op("load_a_i8", [y(t, 0)])];
    let mut with_magnitudes = case("magnitude_pairs", "magnitude_pairs", magnitudes, any);
    with_magnitudes.body.insert(0, stored);
    let simple = |name: &str, pairs, activations, weights| {
        case(name, pairs, vec![load(activations)], weights)
    };
    vec![
        simple(
            "load_unsigned_u8",
            "unsigned_pairs",
            "load_unsigned_u8",
            safe,
        ),
        simple(
            "load_unsigned_i8",
            "unsigned_pairs",
            "load_unsigned_i8",
            safe,
        ),
        simple("signed_pairs", "signed_pairs", "load_a_u8", any),
        Case::new(
            "zero_pairs",
            vec![show(
                t,
                op("add_pairs", [narrow(t, 0), op("zero_pairs", [])]),
            )],
        ),
        simple("add_pairs", "signed_pairs", "load_a_i8", any),
        with_magnitudes,
    ]
}

/// Numbers of 16 bits, seen through a product by weights.
fn sixteens(t: &Target) -> Vec<Case> {
    let taps = t.depthwise.taps;
    let weights = |name: &str| Constant {
        name: name.into(),
        elem: Scalar::I8,
        bytes: (0..t.lanes * taps).map(|i| (i * 37 % 255) as u8).collect(),
    };
    let values = Constant {
        name: "sixteens".into(),
        elem: Scalar::I16,
        bytes: (0..t.lanes * taps + taps)
            .flat_map(|i| ((i * 7919 % 65536) as u16).to_le_bytes())
            .collect(),
    };
    let case = |name: &str, value: Expr| {
        let w = format!("weights_{name}");
        let weight = op("tap_weights", [at(&w, int(0))]);
        let sum = op("dot_taps", [narrow(t, 0), value, weight]);
        Case::new(name, vec![show(t, sum)]).with(weights(&w))
    };
    let [a, b] = [0, 1].map(|vector| op("widen_u8", [x(t, vector)]));
    let second = at("sixteens", int(taps as i64));
    let stored = op(
        "store_taps",
        [y(t, 0), op("sub_i16", [a.clone(), b.clone()])],
    );
    vec![
        case("widen_u8", a.clone()),
        case("load_taps", op("load_taps", [second.clone()])).with(values),
        case("splat_i16", op("splat_i16", [second])),
        case("add_i16", op("add_i16", [a.clone(), b.clone()])),
        case("sub_i16", op("sub_i16", [a, b])),
        Case::new("store_taps", vec![do_(stored)]),
    ]
}
