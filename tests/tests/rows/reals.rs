//! A small kernel for each operation on f32.

use qcc_compiler::kernel::{Constant, Expr, Scalar, Stmt, at, int, op, var};
use qcc_compiler::target::Target;

use crate::cases::{Case, do_, multipliers, narrow, show, wide, z};
use crate::rounds;

/// Shows the bits of a vector of f32.
fn bits(t: &Target, value: Expr) -> Stmt {
    show(t, op("as_i32", [value]))
}

/// Positive and negative numbers from 2⁻²⁰ to 2¹⁵.
fn mixed(t: &Target, vector: usize) -> Expr {
    let sign = op("to_f32", [narrow(t, vector)]);
    op("mul_f32", [sign, multipliers(t, vector)])
}

fn splat(x: f32) -> Expr {
    op("splat_f32", [int(x.to_bits().into())])
}

/// Where nothing is zero, so that no quotient is NaN.
fn divisor(t: &Target) -> Expr {
    op("add_f32", [splat(-0.3), multipliers(t, 1)])
}

pub(crate) fn cases(t: &Target) -> Vec<Case> {
    let binary =
        |name: &'static str| Case::new(name, vec![bits(t, op(name, [mixed(t, 0), mixed(t, 1)]))]);
    let one = |name: &'static str, value: Expr| Case::new(name, vec![bits(t, value)]);
    let constant = |name: &'static str| at(name, var("i") * t.lanes as i64);
    let address = at("small", var("i") * t.lanes as i64);
    let small = op("mul_f32", [mixed(t, 0), splat(f32::MIN_POSITIVE)]);
    let tie = op("add_f32", [op("to_f32", [narrow(t, 0)]), splat(0.5)]);
    let sides = [mixed(t, 0), splat(2.5), mixed(t, 1), multipliers(t, 0)];
    let mut cases = vec![
        binary("add_f32"),
        binary("sub_f32"),
        binary("mul_f32"),
        one("div_f32", op("div_f32", [mixed(t, 0), divisor(t)])),
        binary("max_f32"),
        binary("min_f32"),
        one("max_zeros", op("max_f32", [splat(0.0), splat(-0.0)])),
        one("min_zeros", op("min_f32", [splat(-0.0), splat(0.0)])),
        // The root of what the seed makes non-negative; subnormals, zero and infinity among them.
        one("sqrt_f32", op("sqrt_f32", [multipliers(t, 0)])),
        one(
            "sqrt_any",
            op(
                "sqrt_f32",
                [op("as_f32", [op("load_i32", [constant("squares")])])],
            ),
        )
        .with(squares(t)),
        one("to_f32", op("to_f32", [wide(t, 0)])),
        Case::new("round_i32", vec![show(t, op("round_i32", [mixed(t, 0)]))]),
        Case::new("round_ties", vec![show(t, op("round_i32", [tie]))]),
        Case::new(
            "round_large",
            vec![show(
                t,
                op("round_i32", [op("mul_f32", [mixed(t, 0), splat(65535.0)])]),
            )],
        ),
        one("as_f32", op("as_f32", [wide(t, 0)])),
        one("subnormal", op("mul_f32", [small, splat(0.3)])),
        one("select_less_f32", op("select_less_f32", sides)),
        one("repeat_f32", op("repeat_f32", [address.clone()])),
        one("load_f16", op("load_f16", [constant("halves")])).with(halves(t)),
        Case::new(
            "store_f32",
            vec![do_(op("store_f32", [z(t), multipliers(t, 0)]))],
        ),
        // A fused multiply-add rounds once and gives other bits.
        one(
            "product_and_sum",
            op(
                "add_f32",
                [op("mul_f32", [mixed(t, 0), mixed(t, 1)]), mixed(t, 2)],
            ),
        ),
        one(
            "difference_of_products",
            op(
                "sub_f32",
                [
                    op("mul_f32", [mixed(t, 0), multipliers(t, 1)]),
                    op("mul_f32", [mixed(t, 2), multipliers(t, 3)]),
                ],
            ),
        ),
    ];
    for n in 1..t.lanes {
        let count = int(n as i64);
        let loaded = op("load_f32_part", [address.clone(), count.clone()]);
        cases.push(Case::new(
            &format!("load_f32_part_{n}"),
            vec![bits(t, loaded)],
        ));
        let stored = op("store_f32_part", [z(t), multipliers(t, 0), count]);
        cases.push(Case::new(&format!("store_f32_part_{n}"), vec![do_(stored)]));
    }
    cases
}

/// Numbers whose roots are near ties of 24 bits, of every exponent, and the special ones.
fn squares(t: &Target) -> Constant {
    let root = |i: u32| {
        let root = f64::from(0x80_0000 + i * 40_503 % 0x80_0000) + f64::from(i % 5) * 0.25;
        (root * root * 2f64.powi((i % 250) as i32 - 170)) as f32
    };
    let special = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        1.0,
        2.0,
    ];
    let count = (rounds(t) + 8) * t.lanes;
    let value = |i: usize| special.get(i).copied().unwrap_or_else(|| root(i as u32));
    Constant {
        name: "squares".into(),
        elem: Scalar::I32,
        bytes: (0..count)
            .flat_map(|i| value(i).to_bits().to_le_bytes())
            .collect(),
    }
}

/// Finite halves of every exponent, subnormals and zeros among them.
fn halves(t: &Target) -> Constant {
    let count = (rounds(t) + 8) * t.lanes;
    let half = |i: usize| {
        let x = (i * 40_503 % 65_536) as u16;
        if x & 0x7c00 == 0x7c00 { x & 0x83ff } else { x }
    };
    Constant {
        name: "halves".into(),
        elem: Scalar::U16,
        bytes: (0..count).flat_map(|i| half(i).to_le_bytes()).collect(),
    }
}
