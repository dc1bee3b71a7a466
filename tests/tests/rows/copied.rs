//! Products of windows that are copied, and the factors of their sums.

use qcc_compiler::kernel::{Constant, Scalar, at, int, op, var};
use qcc_compiler::target::Target;

use crate::cases::{Case, do_, narrow, show, w, x};
use crate::numbers::Random;
use crate::rounds;

/// Those that the machine has.
pub(crate) fn cases(t: &Target) -> Vec<Case> {
    let mut cases = vec![];
    if t.dot.copied.is_some() {
        cases.extend(products(t));
    }
    for right in [9, 17, 22] {
        for zero_point in [-128, 0, 77] {
            let by = (right, zero_point);
            let shared = t
                .has("scale_shared")
                .then(|| scaled(t, "scale_shared", by, shared));
            let real = t
                .has("scale_real")
                .then(|| scaled(t, "scale_real", by, real));
            cases.extend(shared.into_iter().chain(real));
        }
    }
    cases
}

fn products(t: &Target) -> Vec<Case> {
    let weights = || op("load_b", [x(t, 5)]);
    let copy = || at("z", int(0));
    let stored = op("store_spread", [copy(), op("load_a_i8", [x(t, 0)])]);
    let spread = |p| {
        show(
            t,
            op("dot", [narrow(t, 0), op("load_spread", [p]), weights()]),
        )
    };
    let two = |name: &'static str| {
        let sums = op("two_sums", [narrow(t, 0), narrow(t, 1)]);
        let args = [sums, op("load_a_u8", [x(t, 0)]), op("load_two", [x(t, 1)])];
        Case::new(name, vec![show(t, op(name, [op("dot_two", args)]))])
    };
    vec![
        Case::new("store_spread", vec![do_(stored), spread(copy())]),
        Case::new("load_spread", vec![spread(w(t, 0))]),
        two("first_sum"),
        two("second_sum"),
    ]
}

/// A number, its factor, and what it is shifted by before.
type Row = [i32; 3];

fn scaled(
    t: &Target,
    name: &'static str,
    (right, zero_point): (i32, i32),
    row: fn(&mut Random, i32) -> Row,
) -> Case {
    let random = &mut Random::new();
    let rows: Vec<Row> = (0..rounds(t) * t.lanes)
        .map(|_| row(random, right))
        .collect();
    let case = format!("{name}_{right}_{}", zero_point & 0xff);
    let parts = ["x", "m", "l"].map(|part| format!("{case}_{part}"));
    let load = |part: &String| op("load_i32", [at(part, var("i") * t.lanes as i64)]);
    let mut args: Vec<_> = parts.iter().map(load).collect();
    let added = (zero_point << right) + (1 << (right - 1));
    args.extend([int(added.into()), int(right.into())]);
    let case = Case::new(&case, vec![show(t, op(name, args))]);
    let columns = parts.into_iter().enumerate();
    columns.fold(case, |case, (i, name)| {
        case.with(Constant {
            name,
            elem: Scalar::I32,
            bytes: rows.iter().flat_map(|row| row[i].to_le_bytes()).collect(),
        })
    })
}

/// Numbers and factors of all sizes of which the sum fits.
fn shared(random: &mut Random, _: i32) -> Row {
    let left = random.below(31) as i32;
    let x = (random.next() as i32) >> (left + 1 + random.below(31 - left as u64) as i32).min(31);
    let m = (random.next() as i32 & i32::MAX) >> random.below(24);
    let fits = |m: i32| ((i64::from(x) << left) * i64::from(m)) >> 32;
    match fits(m).abs() < 1 << 29 {
        true => [x, m, left],
        false => [x, m >> 2, left],
    }
}

/// Numbers of 24 bits and factors in f32, half of them such that the product lies beside the middle of two integers.
fn real(random: &mut Random, right: i32) -> Row {
    loop {
        let most = 1i64 << random.below(24);
        let x = 1 + (random.next() as i64).rem_euclid(most);
        let tie = random.below(1 << (29 - right).min(9)) as f64 + 0.5;
        let factor = match random.below(2) {
            0 => (tie / x as f64) as f32,
            _ => (random.below(1 << 24) as f64 * tie / (x as f64 * f64::from(1 << 24))) as f32,
        };
        let bits = (factor.to_bits() as i32 + random.below(3) as i32 - 1) as u32;
        let left = (bits >> 23) as i32 - 125 + right;
        if (0..31).contains(&left) && x << left < 1 << 30 {
            let m = ((bits & 0x7f_ffff | 0x80_0000) << 7) as i32;
            let x = if random.below(2) == 0 { x } else { -x };
            return [x as i32, m, left];
        }
    }
}
