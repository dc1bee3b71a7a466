//! Cases of operations in fixed point.

use qcc_compiler::kernel::{Constant, Expr, Scalar, at, int, op, var};
use qcc_compiler::target::Target;

use crate::cases::{Case, do_, show, z};
use crate::numbers::Random;
use crate::rounds;

/// Extreme and random factors and shifts, ties among their products.
pub(crate) fn cases(t: &Target) -> Vec<Case> {
    let random = &mut Random::new();
    let count = rounds(t) * t.lanes;
    let twice: Vec<[i32; 3]> = (0..count).map(|_| twice(random)).collect();
    let once: Vec<[i32; 3]> = (0..count).map(|_| once(random)).collect();
    let load = |name: &str| op("load_i32", [at(name, var("i") * t.lanes as i64)]);
    let vector = |name: &'static str| {
        let args = ["x", "m", "s"].map(|part| load(&format!("{name}_{part}")));
        Case::new(name, vec![show(t, op(name, args))])
    };
    let read = |name: &str| op("read_i32", [at(name, var("i") * t.lanes as i64)]);
    let times: Expr = op("times", [read("scale_once_m"), read("scale_once_x")]);
    let even = |name: &'static str, places: i32, random: &mut Random| {
        let rows: Vec<[i32; 3]> = (0..count).map(|_| near_tie(random, places)).collect();
        let mut args = ["x", "m"]
            .map(|part| load(&format!("{name}_{part}")))
            .to_vec();
        args.push(int(places.into()));
        let case = Case::new(name, vec![show(t, op("scale_even", args))]);
        with(case, name, &rows)
    };
    let mut cases = vec![
        with(vector("scale_twice"), "scale_twice", &twice),
        with(vector("scale_once"), "scale_once", &once),
        Case::new("times", vec![do_(op("write_i32", [z(t), times]))]),
        // A reciprocal's slope, the one negative factor.
        Case::new(
            "times_negative",
            vec![do_(op(
                "write_i32",
                [
                    z(t),
                    op("times", [read("scale_once_x"), int(-1_010_580_540)]),
                ],
            ))],
        ),
    ];
    if t.has("scale_even") {
        cases.extend([
            even("scale_even", 2, random),
            even("scale_even_9", 9, random),
            even("scale_even_less", -5, random),
            even("scale_even_24", 24, random),
        ]);
    }
    cases
}

fn with(case: Case, name: &str, rows: &[[i32; 3]]) -> Case {
    let columns = ["x", "m", "s"].iter().enumerate();
    columns.fold(case, |case, (i, part)| {
        case.with(Constant {
            name: format!("{name}_{part}"),
            elem: Scalar::I32,
            bytes: rows.iter().flat_map(|row| row[i].to_le_bytes()).collect(),
        })
    })
}

/// A multiplier of TFLite's: 31 bits, the first of which is set, or 0.
fn multiplier(random: &mut Random) -> i32 {
    match random.below(8) {
        0 => 0,
        1 => 1 << 30,
        2 => i32::MAX,
        _ => (1 << 30) + random.below(1 << 30) as i32,
    }
}

fn number(random: &mut Random) -> i32 {
    match random.below(8) {
        0 => i32::MIN,
        1 => i32::MAX,
        2 => 1 << random.below(31),
        3 => -(1 << random.below(31)),
        _ => (random.next() as i32) >> random.below(31),
    }
}

/// A number, a multiplier and a shift of which the number, shifted to the left, fits 32 bits.
fn twice(random: &mut Random) -> [i32; 3] {
    let shift = random.below(62) as i32 - 30;
    let x = match shift {
        0.. => number(random),
        _ => number(random) >> -shift,
    };
    [x, multiplier(random), shift]
}

/// The same where the result fits 32 bits.
fn once(random: &mut Random) -> [i32; 3] {
    let shift = 1 + random.below(62) as i32;
    let (x, m) = (number(random), multiplier(random));
    let fits = (f64::from(x) * f64::from(m) / f64::powi(2.0, shift)).abs() < 2147483000.0;
    [if fits { x } else { x >> 31 }, m, shift]
}

/// A number and a multiplier, whose product is mostly next to a tie, and below 2^15 without so many places.
fn near_tie(random: &mut Random, places: i32) -> [i32; 3] {
    let x = number(random).max(-i32::MAX) >> (2 - places).max(0);
    let size = i64::from(x).abs();
    let most = (size << 8 >> (places + 9)).min(1 << 15);
    if most == 0 || random.below(4) == 0 {
        return [x >> 20, multiplier(random) >> random.below(31), 0];
    }
    let tie = 2 * random.below(most as u64) as i64 + 1;
    let beside = random.below(5) as i64 - 2;
    let m = (i128::from(tie) << (31 + places)) / i128::from(size);
    [x, (m as i64 + beside).clamp(0, i32::MAX.into()) as i32, 0]
}
