//! Factors of cheaper operations that give the same integers as the ones that a model means.

use crate::kernels::Scale;
use qcc_runtime_support::fixed::{Fixed, scale_once};
use qcc_runtime_support::scale_round;

/// The factor of `scale_once` that rounds every sum to the integer of `0 ± reach` that `meant`, which multiplies by
/// about `real`, rounds it to, once both are saturated to `low..=high`. Both grow with the sum, so that they are equal
/// if they reach each integer with the same one.
pub fn once(
    real: f64,
    meant: impl Fn(i32) -> i32,
    reach: i32,
    (low, high): (i32, i32),
) -> Option<Scale> {
    let near = Fixed::new(real);
    let reach = f64::from(reach).min(f64::from(1 << 30) / real) as i32;
    let firsts: Vec<(i32, Option<i32>)> = (low + 1..=high)
        .map(|y| (y, first(-reach, reach, |sum| meant(sum) >= y)))
        .collect();
    let equal = |fixed: &Fixed| {
        let scaled = |sum: i32| scale_once(sum, fixed.multiplier, 31 - fixed.exponent);
        firsts.iter().all(|(y, first)| match first {
            None => scaled(reach) < *y,
            Some(sum) => scaled(*sum) >= *y && (*sum == -reach || scaled(*sum - 1) < *y),
        })
    };
    let nearby = (0..=6).map(|i| if i % 2 == 0 { -i / 2 } else { (i + 1) / 2 });
    let candidates = nearby.map(|steps| Fixed {
        multiplier: near.multiplier.saturating_add(steps),
        ..near
    });
    candidates
        .filter(|fixed| fixed.multiplier >= 0)
        .find(equal)
        .map(Scale::Once)
}

/// The first number of `low..=high` for which a condition holds that holds for all after it.
fn first(mut low: i32, mut high: i32, holds: impl Fn(i32) -> bool) -> Option<i32> {
    if !holds(high) {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        match holds(middle) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    Some(high)
}

/// The factor of `scale_round` that divides each sum of `count` integers of `low..=high` by `count`, halves away from
/// zero.
pub fn average(count: usize, (low, high): (i32, i32)) -> Option<Scale> {
    let count = i32::try_from(count).ok().filter(|count| *count < 1 << 15)?;
    let meant = |sum: i32| {
        let half = if sum > 0 { count / 2 } else { -(count / 2) };
        (sum + half) / count
    };
    // A little more than 1/count takes halves away from zero.
    let factor = |bits: i32| (1.0 + f32::powi(2.0, -bits)) / count as f32;
    let equal =
        |m: &f32| (low * count..=high * count).all(|sum| scale_round(sum, *m) == meant(sum));
    (16..23).rev().map(factor).find(equal).map(Scale::Real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rounding_in_fixed_point_equals_f64() {
        for (i, real) in [1e-5, 0.000_731, 0.003_9, 0.25, 0.701_3, 1.0, 3.301_7]
            .into_iter()
            .enumerate()
        {
            let meant = |sum: i32| (f64::from(sum) * real).round() as i32;
            let limits = [(-128, 127), (0, 255), (-200, 55)][i % 3];
            let Some(Scale::Once(fixed)) = once(real, meant, 1 << 17, limits) else {
                panic!("{real} has no factor");
            };
            for sum in -(1 << 17)..=1 << 17 {
                let y = scale_once(sum, fixed.multiplier, 31 - fixed.exponent);
                let [y, expected] = [y, meant(sum)].map(|y| y.clamp(limits.0, limits.1));
                assert_eq!(y, expected, "{sum} · {real}");
            }
        }
    }

    #[test]
    fn no_factor_is_found_for_what_no_factor_does() {
        assert_eq!(
            once(
                0.5,
                |sum| sum / 2 + i32::from(sum > 7),
                1 << 10,
                (-128, 127)
            ),
            None
        );
    }

    #[test]
    fn averages_take_halves_away_from_zero() {
        for count in [1, 2, 3, 4, 9, 36, 49, 64, 125, 1000] {
            for limits in [(-128, 127), (0, 255)] {
                let Some(Scale::Real(m)) = average(count, limits) else {
                    panic!("{count} has no factor");
                };
                let half = count as i32 / 2;
                let ties = (0..100).map(|k| k * count as i32 + half);
                for sum in ties.filter(|sum| *sum <= 127 * count as i32) {
                    // In halves of the count nothing is left to rounding.
                    let away = (2 * sum + count as i32) / (2 * count as i32);
                    assert_eq!(scale_round(sum, m), away, "{sum} / {count}");
                    if limits.0 < 0 {
                        assert_eq!(scale_round(-sum, m), -away, "-{sum} / {count}");
                    }
                }
            }
        }
        assert_eq!(average(1 << 20, (-128, 127)), None);
    }
}
