//! What a bias must gain for the mean of what its activation leaves to be another.

use crate::ir::Clamp;

/// Steps of Newton's method; the mean is made of pieces of lines.
const STEPS: usize = 8;

/// Where a smaller share of the sums is within the limits, their mean teaches nothing.
const SMALLEST_SHARE: f64 = 0.02;

/// What sums must gain for the mean of what their limits leave of them to be that of the exact ones.
pub(super) fn gain((exact, clamp): (&[f32], Clamp), (sums, limits): (&[f32], Clamp)) -> f64 {
    let count = exact.len().max(1) as f64;
    let wanted: f64 = exact.iter().map(|x| f64::from(clamp.apply(*x))).sum();
    let (mut gain, mut best) = (0.0f64, (f64::INFINITY, 0.0));
    for _ in 0..STEPS {
        let (mut found, mut inside) = (0.0, 0.0);
        for x in sums {
            let x = x + gain as f32;
            let limited = limits.apply(x);
            found += f64::from(limited);
            inside += f64::from(u8::from(limited == x));
        }
        let lost = wanted - found;
        if lost.abs() < best.0 {
            best = (lost.abs(), gain);
        }
        if inside < SMALLEST_SHARE * count {
            break;
        }
        gain += lost / inside;
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_after_an_activation_become_equal() {
        // max(0, g) + max(0, g − 2) + max(0, g + 1) = 1 + 0 + 3 at g = 1.5.
        let gained = |exact: &[f32], sums: &[f32], clamp| gain((exact, clamp), (sums, clamp));
        assert_eq!(
            gained(&[1.0, -1.0, 3.0], &[0.0, -2.0, 1.0], Clamp::RELU),
            1.5
        );
        let relu6 = Clamp { min: 0.0, max: 6.0 };
        assert_eq!(gained(&[5.0, 1.0], &[7.0, 0.0], relu6), 0.0);
        assert_eq!(gained(&[1.0, -1.0], &[0.0, -3.0], Clamp::NONE), 1.5);
        // Where everything is saturated nothing is learned.
        assert_eq!(gained(&[1.0], &[-5.0], Clamp::RELU), 0.0);
        // Integers that reach to 2 only: 2 + 2 of 1 + 3.
        assert_eq!(
            gain(
                (&[1.0, 3.0], Clamp::RELU),
                (&[1.0, 3.0], Clamp { min: 0.0, max: 2.0 })
            ),
            1.0
        );
    }
}
