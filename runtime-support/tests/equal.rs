//! The integer-only arithmetic gives the same bits as its definition in f32.

use proptest::prelude::*;
use qcc_runtime_support as meaning;
use qcc_runtime_support::integer;

/// Whether results and products are below 2³¹, as the definition demands.
fn defined(products: &[f64]) -> bool {
    let sum: f64 = products.iter().sum();
    products
        .iter()
        .chain([&sum])
        .all(|x| x.abs() < 2147483000.0)
}

fn check_one(acc: i32, m: f32) {
    if m.abs() < 2147483648.0 && defined(&[f64::from(acc) * f64::from(m)]) {
        let expected = meaning::scale_round(acc, m);
        let found = integer::scale_round(acc, m.to_bits());
        assert_eq!(found, expected, "{acc} · {m:e}");
    }
}

fn check_two(a: i32, ma: f32, b: i32, mb: f32) {
    let products = [f64::from(a) * f64::from(ma), f64::from(b) * f64::from(mb)];
    if ma.abs().max(mb.abs()) < 2147483648.0 && defined(&products) {
        let expected = meaning::scale_add_round(a, ma, b, mb);
        let found = integer::scale_add_round(a, ma.to_bits(), b, mb.to_bits());
        assert_eq!(found, expected, "{a} · {ma:e} + {b} · {mb:e}");
    }
}

fn check_wide(high: i32, low: i32, m: f32, b: i32, n: f32) {
    let acc = i64::from(high) * 65536 + i64::from(low);
    if defined(&[acc as f64 * f64::from(m)]) {
        let expected = meaning::scale_round_wide(acc, m);
        let found = integer::scale_round_wide(high, low, m.to_bits());
        assert_eq!(found, expected, "{acc} · {m:e}");
    }
    if defined(&[acc as f64 * f64::from(m), f64::from(b) * f64::from(n)]) {
        let expected = meaning::scale_add_round_wide(acc, m, b, n);
        let found = integer::scale_add_round_wide(high, low, m.to_bits(), b, n.to_bits());
        assert_eq!(found, expected, "{acc} · {m:e} + {b} · {n:e}");
    }
}

/// Sums of every magnitude.
fn sums() -> impl Strategy<Value = i32> {
    (any::<i32>(), 0..31u32).prop_map(|(x, shift)| x >> shift)
}

/// Multipliers as they occur, of few bits (so that ties occur), and of any bits.
fn multipliers() -> impl Strategy<Value = f32> {
    prop_oneof![
        1e-7f32..1.5,
        (1u32..64, 0..30i32).prop_map(|(m, e)| m as f32 * 2f32.powi(-e)),
        any::<u32>().prop_map(f32::from_bits),
    ]
}

/// The multipliers around the one that sends `acc` to `target + 1/2`.
fn tie(acc: i32, target: i32, steps: i32) -> f32 {
    let m = ((f64::from(target) + 0.5) / f64::from(acc)) as f32;
    f32::from_bits(m.to_bits().wrapping_add_signed(steps))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200_000))]

    #[test]
    fn any_sum_and_multiplier(acc in sums(), m in multipliers(), negative: bool) {
        check_one(acc, if negative { -m } else { m });
    }

    #[test]
    fn near_ties(acc in sums(), target in -300i32..300, steps in -3i32..4) {
        let acc = if acc == 0 { 1 } else { acc };
        check_one(acc, tie(acc, target, steps));
    }

    #[test]
    fn any_wide_sum(
        high in sums(), low in sums(), m in 1e-12f32..1e-3, b in sums(), n in multipliers(), negative: bool,
    ) {
        let (m, n) = if negative { (-m, -n) } else { (m, n) };
        if m.abs().max(n.abs()) < 2147483648.0 {
            check_wide(high, low, m, b, n);
        }
    }

    #[test]
    fn wide_sums_near_ties(high in sums(), low in sums(), target in -300i32..300, steps in -3i32..4) {
        let acc = (i64::from(high) * 65536 + i64::from(low)).max(1);
        let m = ((f64::from(target) + 0.5) / acc as f64) as f32;
        let (high, low) = ((acc >> 16) as i32, (acc & 0xffff) as i32);
        check_wide(high, low, f32::from_bits(m.to_bits().wrapping_add_signed(steps)), 0, 0.0);
    }

    #[test]
    fn any_two(a in sums(), ma in multipliers(), b in sums(), mb in multipliers()) {
        check_two(a, ma, b, mb);
        check_two(a, ma, b, -mb);
    }

    #[test]
    fn two_products_near_a_tie(
        a in sums(), ma in multipliers(), b in sums(), target in -300i32..300, steps in -3i32..4,
    ) {
        let b = if b == 0 { 1 } else { b };
        let rest = f64::from(target) + 0.5 - f64::from(a) * f64::from(ma);
        let mb = (rest / f64::from(b)) as f32;
        check_two(a, ma, b, f32::from_bits(mb.to_bits().wrapping_add_signed(steps)));
    }

    #[test]
    fn residual_adds(x in -255i32..256, y in -255i32..256, m in 0.001f32..4.0, n in 0.001f32..4.0) {
        check_two(x, m, y, n);
        check_two(x, m, y, -m);
    }
}

#[test]
fn extremes() {
    let sums = [
        i32::MIN,
        i32::MIN + 1,
        -1,
        0,
        1,
        1 << 24,
        (1 << 24) + 1,
        (1 << 25) + 2,
        i32::MAX,
    ];
    let bits = [
        0,
        1,
        0x7f_ffff,
        0x80_0000,
        0x3300_0000,
        0x3380_0000,
        0x3f00_0000,
        0x3f7f_ffff,
        0x3f80_0000,
    ];
    for a in sums {
        for m in bits {
            check_one(a, f32::from_bits(m));
            check_one(a, -f32::from_bits(m));
            for b in sums {
                for n in bits {
                    check_two(a, f32::from_bits(m), b, f32::from_bits(n));
                    check_two(a, f32::from_bits(m), b, -f32::from_bits(n));
                }
            }
        }
    }
}

#[test]
fn roots_in_integers_are_those_of_the_processor() {
    let squares = (0u32..=0x7f80_0000).step_by(4_093);
    let near_ties = (0x80_0000u64..0x100_0000).step_by(997).map(|root| {
        let square = (root as f64 + 0.5) * (root as f64 + 0.5);
        ((square * 2f64.powi(-40)) as f32).to_bits()
    });
    for bits in squares.chain(near_ties) {
        let expected = f32::from_bits(bits).sqrt().to_bits();
        assert_eq!(integer::sqrt_f32(bits), expected, "{bits:#x}");
    }
    assert!(f32::from_bits(integer::sqrt_f32((-1f32).to_bits())).is_nan());
}
