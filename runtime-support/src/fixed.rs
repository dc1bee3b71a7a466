//! Factors in fixed point, as TFLite's integer kernels and gemmlowp multiply with them: rounded twice, once to 31 bits
//! after the point of the product and once when these are shifted out.
//!
//! The functions are also the text that emitted Rust carries, so they call nothing but each other.

/// A real that is not negative: `multiplier · 2^(exponent − 31)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// 31 bits, of which the highest is set; fewer in the factor of a mean, 0 for what is below 2⁻³².
    pub multiplier: i32,
    /// From −31 to 30.
    pub exponent: i32,
}

impl Fixed {
    /// The nearest to a real: TFLite's `QuantizeMultiplier`. Reals from 2³⁰ on are one.
    pub fn new(real: f64) -> Fixed {
        let bits = real.to_bits();
        // `real = significand · 2^(exponent − 53)`
        let exponent = (bits >> 52) as i32 - 1022;
        let significand = bits & ((1 << 52) - 1) | 1 << 52;
        let rounded = (significand + (1 << 21)) >> 22;
        let (multiplier, exponent) = match rounded {
            0x8000_0000 => (0x4000_0000, exponent + 1),
            _ => (rounded as i32, exponent),
        };
        let (multiplier, exponent) = match exponent {
            31.. => (i32::MAX, 30),
            -31..=30 => (multiplier, exponent),
            _ => (0, 0),
        };
        Fixed {
            multiplier,
            exponent,
        }
    }

    /// The real over a count, rounded down.
    pub fn over(self, count: u32) -> Fixed {
        let bits = count.ilog2().min((31 + self.exponent) as u32);
        Fixed {
            multiplier: ((i64::from(self.multiplier) << bits) / i64::from(count)) as i32,
            exponent: self.exponent - bits as i32,
        }
    }

    /// `x` times the real, rounded twice.
    pub fn scale(self, x: i32) -> i32 {
        scale_twice(x, self.multiplier, -self.exponent)
    }

    /// The real.
    pub fn real(self) -> f64 {
        let scale = 1u64 << (31 - self.exponent);
        f64::from(self.multiplier) / scale as f64
    }
}

/// `x · m / 2^(31 + shift)`: to the nearest of 2³¹ths, of two the greater one, and those shifted out to the nearest
/// integer, halves away from zero. Where the shift is negative, `x` is multiplied by `2^-shift` first.
///
/// Defined for shifts from −30 to 31 where that product fits 32 bits and not both numbers are −2³¹.
pub fn scale_twice(x: i32, m: i32, shift: i32) -> i32 {
    let high = times(x.wrapping_shl(shift.min(0).unsigned_abs()), m);
    let mask = ((1i64 << shift.max(0)) - 1) as i32;
    let middle = (mask >> 1) + i32::from(high < 0);
    (high >> shift.max(0)) + i32::from(high & mask > middle)
}

/// `a · b / 2³¹` to the nearest integer, of two the greater one; not both are −2³¹.
pub fn times(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b) + (1 << 30)) >> 31) as i32
}

/// `x · m / 2^shift` to the nearest integer, of two the greater one: `(x·m + 2^(shift−1)) >> shift` in 64 bits.
///
/// Defined for shifts from 1 to 62 where the result fits 32 bits.
pub fn scale_once(x: i32, m: i32, shift: i32) -> i32 {
    ((i64::from(x) * i64::from(m) + (1 << (shift - 1))) >> shift) as i32
}

/// `(((x << left) · m >> 32) + added) >> right`.
///
/// Defined where `x << left` and the sum fit 32 bits.
pub fn scale_shared(x: i32, m: i32, left: i32, added: i32, right: i32) -> i32 {
    let high = (i64::from(x << left) * i64::from(m)) >> 32;
    (high as i32 + added) >> right
}

/// A real that is not negative: `multiplier / 2^(32 + places)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Not negative.
    pub multiplier: i32,
    /// From -8 to 24.
    pub places: i32,
}

impl Places {
    /// The real.
    pub fn real(self) -> f64 {
        f64::from(self.multiplier) / (1u64 << (32 + self.places)) as f64
    }
}

/// `x · m / 2^(32 + places)` to the nearest integer, as it is rounded after a rounding to f32: what lies within half of
/// f32's last bit of a tie goes to the even one, as ties do.
///
/// Defined for places from −8 to 24, where `x · 2^(2 − places)` fits 32 bits. The number is known to units of 2⁻³², and
/// results beyond ±2¹⁵ may be the next to the nearest.
pub fn scale_even(x: i32, m: i32, places: i32) -> i32 {
    let left = (2 - places).max(0);
    let places = places + left;
    let product = i64::from(x.wrapping_shl(left as u32)) * i64::from(m);
    let high = (product >> 32) as i32;
    let nearest = high + (1 << (places - 1));
    // How far behind the tie below the nearest integer, in units of 2^-32.
    let behind = (product >> places) as i32 ^ i32::MIN;
    // From one power of two to the next f32 has 24 bits.
    let power = 31 - (high ^ (high >> 31)).leading_zeros() as i32 - places;
    let half = match power + 8 {
        exponent @ 0..=30 => 1 << exponent,
        31.. => i32::MAX,
        _ => 0,
    };
    match behind.saturating_abs() > half {
        true => nearest >> places,
        false => (nearest + (1 << (places - 2))) >> places & !1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTREMES: [i32; 16] = [
        i32::MIN,
        i32::MIN + 1,
        -(1 << 30),
        -0x5555_5555,
        -3,
        -2,
        -1,
        0,
        1,
        2,
        3,
        1 << 20,
        0x5555_5555,
        1 << 30,
        i32::MAX - 1,
        i32::MAX,
    ];

    /// `⌊x/unit + 1/2⌋`, in numbers that cannot overflow.
    fn up(x: i128, unit: i128) -> i128 {
        (2 * x + unit).div_euclid(2 * unit)
    }

    /// The same with halves away from zero.
    fn away(x: i128, unit: i128) -> i128 {
        x.signum() * up(x.abs(), unit)
    }

    fn pairs() -> impl Iterator<Item = (i32, i32)> {
        EXTREMES.iter().flat_map(|x| EXTREMES.map(|m| (*x, m)))
    }

    #[test]
    fn one_rounding_goes_to_the_nearest_integer_and_ties_up() {
        let mut checked = 0;
        for ((x, m), shift) in pairs().flat_map(|pair| (1..=62).map(move |shift| (pair, shift))) {
            let expected = up(i128::from(x) * i128::from(m), 1 << shift);
            if let Ok(expected) = i32::try_from(expected) {
                assert_eq!(scale_once(x, m, shift), expected, "{x} {m} {shift}");
                checked += 1;
            }
        }
        assert!(checked > 9000, "{checked}");
        // Ties: 1.5, −1.5, 0.5, −0.5.
        let halves = [3, -3, 1, -1].map(|x| scale_once(x, 1 << 30, 31));
        assert_eq!(halves, [2, -1, 1, 0]);
    }

    #[test]
    fn two_roundings_are_one_after_the_other() {
        let mut checked = 0;
        for ((x, m), shift) in pairs().flat_map(|pair| (-30..=31).map(move |shift| (pair, shift))) {
            let shifted = i128::from(x) << (-shift).max(0);
            let least = i128::from(i32::MIN);
            if i32::try_from(shifted).is_err() || (shifted, m.into()) == (least, least) {
                continue;
            }
            let high = up(shifted * i128::from(m), 1 << 31);
            let expected = away(high, 1 << shift.max(0));
            assert_eq!(
                i128::from(scale_twice(x, m, shift)),
                expected,
                "{x} {m} {shift}"
            );
            checked += 1;
        }
        assert!(checked > 9000, "{checked}");
        // 2.5 becomes 3 in 2³¹ths of 4, −2.5 becomes −2; halves of fours go away from zero.
        let twice = [5, -5].map(|x| scale_twice(x, 1 << 30, 0));
        assert_eq!(twice, [3, -2]);
        let shifted = [4, -4, 12, -12].map(|x| scale_twice(x, 1 << 30, 2));
        assert_eq!(shifted, [1, -1, 2, -2]);
    }

    #[test]
    fn a_real_has_31_bits_and_saturates() {
        let fixed = |multiplier, exponent| Fixed {
            multiplier,
            exponent,
        };
        let power = |e: i32| f64::from_bits(((1023 + e) as u64) << 52);
        assert_eq!(Fixed::new(1.0), fixed(1 << 30, 1));
        assert_eq!(Fixed::new(0.75), fixed(3 << 29, 0));
        // Half a step of the multiplier goes up, also into the next power of two.
        let step = power(-31);
        assert_eq!(Fixed::new(0.5 + 0.5 * step), fixed((1 << 30) + 1, 0));
        assert_eq!(Fixed::new(1.0 - 0.5 * step), fixed(1 << 30, 1));
        assert_eq!(Fixed::new(1.0 - 0.51 * step), fixed(i32::MAX, 0));
        assert_eq!(Fixed::new(1.0 - step), fixed(i32::MAX, 0));
        // The smallest that is not 0, what is below it, and what is too large.
        assert_eq!(Fixed::new(power(-32)), fixed(1 << 30, -31));
        assert_eq!(Fixed::new(power(-33)).multiplier, 0);
        assert_eq!(Fixed::new(0.0).multiplier, 0);
        assert_eq!(Fixed::new(power(40)), fixed(i32::MAX, 30));
        for real in [1e-3, 0.3, 0.999, 1.7, 900.0] {
            let error = Fixed::new(real).real() - real;
            assert!(
                error <= real * step && -error <= real * step,
                "{real}: {error}"
            );
        }
    }

    #[test]
    fn a_mean_divides_the_multiplier() {
        for (real, count) in [(1.0, 49), (1.2333, 49), (0.3, 64), (1e-9, 1000), (2.0, 1)] {
            let (whole, part) = (Fixed::new(real), Fixed::new(real).over(count));
            assert!((-31..=30).contains(&part.exponent));
            let (whole, part) = (whole.real() / f64::from(count), part.real());
            assert!(part <= whole && whole - part < whole / 1e8 + 1e-9);
        }
    }

    #[test]
    fn ties_go_to_the_even_integer_as_f32_rounds_them() {
        for (real, places) in [
            (0.1f32, 2),
            (0.007_812_51, 5),
            (0.4, -1),
            (0.001_3, 8),
            (6.1e-5, 13),
        ] {
            let m = Places {
                multiplier: (f64::from(real) * (1u64 << (32 + places)) as f64) as i32,
                places,
            };
            assert_eq!(m.real(), f64::from(real));
            let ties = (-300..300).map(|y| ((f64::from(y) + 0.5) / m.real()) as i32);
            for x in ties
                .flat_map(|x| x - 2..x + 3)
                .chain(EXTREMES.map(|x| x >> 9))
            {
                let expected = (x as f32 * real).round_ties_even() as i32;
                assert_eq!(
                    scale_even(x, m.multiplier, places),
                    expected,
                    "{x} · {real}"
                );
            }
        }
        let halves = [1, -1, 3, -3, 5].map(|x| scale_even(x << 20, 1 << 13, 2));
        assert_eq!(halves, [0, 0, 2, -2, 2]);
    }
}
