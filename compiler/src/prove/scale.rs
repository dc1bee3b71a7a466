//! Factors of cheaper operations that give the same integers as the ones that a model means.

use crate::kernels::{Behind, Scale, Shared};
use crate::prove::Bounds;
use qcc_runtime_support::fixed::{Fixed, Places, scale_even, scale_once};
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

/// Factors of `scale_even`, with the same places, that round every sum within each one's range to the integer that
/// `scale_round` rounds it to with the real, once both are saturated to `low..=high`.
pub fn even(factors: &[(f32, [i32; 2])], (low, high): (i32, i32)) -> Option<Vec<Scale>> {
    let largest = factors.iter().map(|(real, _)| *real).fold(0.0, f32::max);
    let farthest = factors.iter().flat_map(|(_, range)| range);
    let farthest = farthest.map(|sum| i64::from(*sum).abs()).max()?;
    let below = |places: &i32| f64::from(largest) < f64::powi(0.5, *places + 1);
    let places = (-8..=24).rev().find(below)?;
    if farthest << (2 - places).max(0) > i32::MAX.into() {
        return None;
    }
    let factor = |(real, range): &(f32, [i32; 2])| {
        let multiplier = f64::from(*real) * (1u64 << (32 + places)) as f64;
        let factor = Places {
            multiplier: multiplier.round() as i32,
            places,
        };
        let known = *real >= 0.0 && multiplier.round() <= i32::MAX.into();
        let scaled = |sum: i32| {
            let even = scale_even(sum, factor.multiplier, places);
            [scale_round(sum, *real), even].map(|y| y.clamp(low, high))
        };
        (known && are_equal(*real, *range, scaled)).then_some(Scale::Even(factor))
    };
    factors.iter().map(factor).collect()
}

/// Whether two ways to multiply the numbers of a range with a real give the same integers. Both grow with the number, so
/// that they do if they reach each integer with the same one. It is among the four about the tie, or they are not taken
/// for equal.
fn are_equal(real: f32, [from, to]: [i32; 2], scaled: impl Fn(i32) -> [i32; 2]) -> bool {
    let equal = |sum: i32| {
        let [meant, other] = scaled(sum);
        (meant == other).then_some(meant)
    };
    let (Some(first), Some(last)) = (equal(from), equal(to)) else {
        return false;
    };
    (first + 1..=last).all(|y| {
        let tie = (f64::from(y) - 0.5) / f64::from(real);
        let before = (tie.floor() as i32).saturating_sub(1).clamp(from, to);
        let behind = before.saturating_add(3).min(to);
        (before..=behind).all(|sum| equal(sum).is_some())
            && equal(before).is_some_and(|at| at < y)
            && equal(behind).is_some_and(|at| at >= y)
    })
}

/// The first number of `low..=high` for which a condition holds that holds for all after it.
fn first(mut low: i32, mut high: i32, holds: impl Fn(i32) -> bool) -> Option<i32> {
    if !holds(high) {
        return None;
    }
    while low < high {
        let middle = ((i64::from(low) + i64::from(high)) >> 1) as i32;
        match holds(middle) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    Some(high)
}

/// Factors of `scale_shared` for channels whose sums stay within `bounds`, which give the results of their scales: both
/// grow with the sum, so that they are equal if they reach each integer of `low..=high` with the same one.
///
/// The multipliers that reach an integer with the right sum are an interval; one that lies in all those of a channel is
/// taken. They have 31 bits where the shift before, which every sum must bear, is not below 0.
///
/// Where roundings to f32 take results of some channel off that line, the factors of `scale_real` that are those in f32.
pub fn shared(
    scales: &[Scale],
    bounds: Bounds,
    zero_point: i32,
    limits: [i32; 2],
) -> Option<Vec<Scale>> {
    let (by, lefts) = shifts(scales, bounds, zero_point)?;
    let reach = bounds.sum as i32;
    let channels = || scales.iter().zip(&lefts);
    let proven = |(scale, left): (&Scale, &i32)| {
        let (least, largest) = multipliers(*scale, by, *left, reach, zero_point, limits);
        let nearest = multiplier(*scale, by, *left).round() as i64;
        let behind = behind(nearest.max(least).min(largest), *left, by, reach)?;
        (least <= largest).then_some(Scale::Shared(behind, by))
    };
    let exact = |(scale, left): (&Scale, &i32)| {
        let multiplier = multiplier(*scale, by, *left);
        let whole = matches!(scale, Scale::Real(_)) && multiplier == multiplier.round();
        let behind = behind(multiplier as i64, *left, by, reach)?;
        let bits = whole && reach < 1 << 24 && by.right >= NEAR;
        bits.then_some(Scale::Near(behind, by))
    };
    let shared: Option<Vec<Scale>> = channels().map(proven).collect();
    shared.or_else(|| channels().map(exact).collect())
}

/// A multiplier with which no product leaves 32 bits.
fn behind(multiplier: i64, left: i32, by: Shared, reach: i32) -> Option<Behind> {
    let sum = (((i64::from(reach) << left) * multiplier) >> 32) + 1 + i64::from(by.added.abs());
    let behind = Behind {
        multiplier: i32::try_from(multiplier).ok()?,
        left: left as u32,
    };
    (sum + (1 << NEAR) < 1 << 31).then_some(behind)
}

/// What is near a tie differs from it in fewer than so many bits, which must be there: roundings to f32 move numbers of
/// 31 bits by at most 64.
const NEAR: u32 = 9;

/// What a sum behind a shift is multiplied with.
fn multiplier(scale: Scale, by: Shared, left: i32) -> f64 {
    scale.real() * f64::powi(2.0, 32 - left + by.right as i32)
}

/// What all channels share, and what the sums of each are shifted by.
fn shifts(scales: &[Scale], bounds: Bounds, zero_point: i32) -> Option<(Shared, Vec<i32>)> {
    let reach = i32::try_from(bounds.sum.max(1)).ok()?;
    let most = reach.leading_zeros() as i32 - 1;
    let largest = scales.iter().map(|scale| scale.real());
    let largest = largest.fold(f64::MIN_POSITIVE, f64::max);
    let results = bounds.scaled + f64::from(zero_point.abs()) + 2.0;
    let power = |bits: i32| f64::powi(2.0, bits);
    // Where the shift before is the largest, the largest multiplier must fit.
    let fits = |right: &i32| {
        results * power(*right) < power(31) && largest * power(32 - most + right) < power(31) - 1.0
    };
    let right = (1..31).rev().find(fits)?;
    let by = Shared {
        added: (zero_point << right) + (1 << (right - 1)),
        right: right as u32,
    };
    let left =
        |scale: &Scale| (0..=most).find(|left| multiplier(*scale, by, *left) < power(31) - 1.0);
    let lefts: Option<Vec<i32>> = scales.iter().map(left).collect();
    Some((by, lefts?))
}

/// The least and the largest multiplier that gives the results of a scale for every sum of `0 ± reach`.
fn multipliers(
    scale: Scale,
    by: Shared,
    left: i32,
    reach: i32,
    zero_point: i32,
    [low, high]: [i32; 2],
) -> (i64, i64) {
    let mut common = (0, i64::from(i32::MAX));
    let mut meet = |(least, most): (i64, i64)| common = (common.0.max(least), common.1.min(most));
    for y in low + 1..=high {
        let reached = |sum: i32| scale.of_sum(sum) + zero_point >= y;
        let needed = ((i128::from(y) << by.right) - i128::from(by.added)) << 32;
        let near = (f64::from(y - zero_point) - 0.5) / scale.real();
        let first = first_near(near, reach, reached);
        if let Some(sum) = first {
            meet(reaching(i128::from(sum) << left, needed));
        }
        let last = first.map_or(reach, |sum| sum - 1);
        if last >= -reach {
            meet(below(i128::from(last) << left, needed));
        }
    }
    common
}

/// The least and the largest `m` for which `x · m ≥ needed`.
fn reaching(x: i128, needed: i128) -> (i64, i64) {
    match x.signum() {
        1 => (within(-(-needed).div_euclid(x)), MOST),
        -1 => (0, within((-needed).div_euclid(-x))),
        _ if needed <= 0 => (0, MOST),
        _ => NONE,
    }
}

/// The least and the largest for which `x · m < needed`.
fn below(x: i128, needed: i128) -> (i64, i64) {
    let (least, most) = reaching(x, needed);
    match x.signum() {
        1 => (0, least - 1),
        -1 => (most + 1, MOST),
        _ if needed <= 0 => NONE,
        _ => (0, MOST),
    }
}

/// A bound of multipliers, of which those beyond 32 bits do not matter.
fn within(bound: i128) -> i64 {
    bound.clamp(-i128::from(MOST), i128::from(MOST)) as i64
}

/// More than any multiplier.
const MOST: i64 = 1 << 40;

/// No multiplier.
const NONE: (i64, i64) = (1, 0);

/// [`first()`] of `-reach..=reach`, which is probably near a number.
fn first_near(near: f64, reach: i32, holds: impl Fn(i32) -> bool) -> Option<i32> {
    let guess = near.ceil().clamp(f64::from(-reach), f64::from(reach)) as i32;
    let (low, high) = ((guess - 2).max(-reach), (guess + 2).min(reach));
    match holds(high) && (low == -reach || !holds(low)) {
        true => first(low, high, holds),
        false => first(-reach, reach, holds),
    }
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
    fn factors_of_shared_shifts_equal_those_in_f32() {
        let reals = [0.000_11_f32, 0.000_731, 0.002_2, 0.009_4, 0.013, 0.07];
        let scales = reals.map(Scale::Real);
        let reach = 1 << 17;
        let mut seen = vec![];
        for (zero_point, limits) in [(0, [0, 255]), (-128, [-128, 127]), (7, [-100, 90])] {
            let bounds = Bounds {
                sum: reach,
                scaled: reach as f64 * 0.07,
            };
            let shared = shared(&scales, bounds, zero_point, limits).expect("there are factors");
            seen.push(shared[0].op());
            for (real, factor) in reals.into_iter().zip(shared) {
                for sum in -(reach as i32)..=reach as i32 {
                    let meant = (sum as f32 * real).round_ties_even() as i32 + zero_point;
                    let found = factor.of_sum(sum);
                    let [found, meant] = [found, meant].map(|y| y.clamp(limits[0], limits[1]));
                    assert_eq!(found, meant, "{sum} · {real}");
                }
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

    #[test]
    fn one_rounding_as_f32_rounds_equals_two() {
        for (i, real) in [
            1e-5,
            0.000_731,
            0.003_906_25,
            0.007_812_51,
            0.031_25,
            0.110_3,
        ]
        .into_iter()
        .enumerate()
        {
            let limits = [(-128, 127), (0, 255), (-200, 55)][i % 3];
            let reals = [real, real / 3.0, real / 100.0, 0.0];
            let factors = reals.map(|real| (real, [-(1 << 18), 1 << 18]));
            let scales = even(&factors, limits).expect("there are factors");
            for (real, scale) in reals.iter().zip(scales) {
                let Scale::Even(m) = scale else {
                    panic!("{scale:?}");
                };
                for sum in -(1 << 18)..=1 << 18 {
                    let y = scale_even(sum, m.multiplier, m.places);
                    let [y, expected] =
                        [y, scale_round(sum, *real)].map(|y| y.clamp(limits.0, limits.1));
                    assert_eq!(y, expected, "{sum} · {real}");
                }
            }
        }
    }

    #[test]
    fn factors_that_round_otherwise_are_not_found() {
        let none = |factors: &[(f32, [i32; 2])]| {
            assert_eq!(even(factors, (-128, 127)), None, "{factors:?}");
        };
        let range = [-(1 << 18), 1 << 18];
        none(&[(1e-3, range), (-1e-3, range)]);
        // The small factor has too few bits left; sums of 30 bits cannot be shifted.
        none(&[(1e-3, range), (3e-7, [-(1 << 28), 1 << 28])]);
        none(&[(0.4, [-(1 << 30), 1 << 30])]);
        // Where sums reach nothing but 0, few bits do.
        assert!(even(&[(1e-3, range), (3e-9, range)], (-128, 127)).is_some());
    }
}
