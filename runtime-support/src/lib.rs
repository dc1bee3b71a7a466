//! The meaning of quantized arithmetic.
//!
//! Every activation is an integer that stands for a real; every layer ends by scaling a sum of products
//! to the integers of its output.
//! This crate says what that scaling is, once in f32 and once in integers only, with the same result:
//! [`scale_round`] and [`scale_add_round`] are the definition, [`integer`] is what a machine without
//! floating point runs.
//! What is computed in f32 follows the same rule, one IEEE operation after the other: [`functions`] says how.

#![no_std]

pub mod fixed;
pub mod functions;
pub mod integer;

/// `round_ties_even((acc as f32) · m)`, each step one IEEE f32 operation.
///
/// Defined where `m` and the result are below 2³¹ in magnitude.
pub fn scale_round(acc: i32, m: f32) -> i32 {
    round_ties_even(acc as f32 * m)
}

/// `round_ties_even((a as f32) · ma + (b as f32) · mb)`, each step one IEEE f32 operation: products are
/// rounded before they are added.
///
/// Defined where multipliers, products and the result are below 2³¹ in magnitude.
pub fn scale_add_round(a: i32, ma: f32, b: i32, mb: f32) -> i32 {
    let x = a as f32 * ma;
    let y = b as f32 * mb;
    round_ties_even(x + y)
}

/// [`scale_round`] of a sum that 32 bits need not hold; its magnitude is below 2⁵³.
pub fn scale_round_wide(acc: i64, m: f32) -> i32 {
    round_ties_even(acc as f32 * m)
}

/// [`scale_add_round`] of such a sum.
pub fn scale_add_round_wide(a: i64, ma: f32, b: i32, mb: f32) -> i32 {
    let x = a as f32 * ma;
    let y = b as f32 * mb;
    round_ties_even(x + y)
}

/// The integer nearest to a real below 2³¹ in magnitude; of two, the even one.
pub fn round_ties_even(x: f32) -> i32 {
    // From 2²³ on every f32 is an integer; below, adding 2²³ leaves no bit for a fraction.
    const INTEGERS: f32 = 8_388_608.0;
    if x.abs() >= INTEGERS {
        x as i32
    } else {
        let shift = INTEGERS.copysign(x);
        ((x + shift) - shift) as i32
    }
}

/// `a` where it is greater than `b`, else `b`: of zeros the second, of a NaN and a number the second.
pub fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `a` where it is less than `b`, else `b`.
pub fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The real that the 16 bits of a finite IEEE half stand for, exactly.
pub fn half(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // Exponents of halves begin 112 below those of f32; the product is exact for subnormals too.
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let real = f32::from_bits(magnitude) * SCALE;
    if bits & 0x8000 != 0 { -real } else { real }
}

/// The nearest IEEE half, ties to even; infinite from 65520 on.
pub fn to_half(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16 & 0x8000) as u16;
    let magnitude = f32::from_bits(x.to_bits() & 0x7fff_ffff);
    if magnitude.is_nan() {
        return sign | 0x7e00;
    }
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Adding a power of two that is 2¹⁴ of the half's units rounds at its last bit.
    let exponent = (magnitude.to_bits() >> 23).max(127 - 14);
    let rounder = f32::from_bits((exponent + 13) << 23);
    let rounded = (magnitude + rounder) - rounder;
    let scaled = rounded * f32::from_bits((127 - 112) << 23);
    sign | (scaled.to_bits() >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_even_integer() {
        let cases = [
            (0.5, 0),
            (1.5, 2),
            (2.5, 2),
            (-0.5, 0),
            (-1.5, -2),
            (-2.5, -2),
            (0.49999997, 0),
            (8388607.5, 8388608),
            (-8388606.5, -8388606),
            (2147483520.0, 2147483520),
            (-2147483648.0, -2147483648),
        ];
        for (x, expected) in cases {
            assert_eq!(round_ties_even(x), expected, "{x}");
        }
    }

    #[test]
    fn halves_are_themselves_and_what_lies_between_goes_to_the_nearest() {
        let finite = (0..0x7c00u16).flat_map(|h| [h, h | 0x8000]);
        for bits in finite {
            assert_eq!(to_half(half(bits)), bits);
        }
        for bits in 0..0x7bffu16 {
            let (low, high) = (half(bits), half(bits + 1));
            let middle = (low + high) / 2.0;
            let even = bits + bits % 2;
            assert_eq!(to_half(middle), even, "{middle}");
            let above = f32::from_bits(middle.to_bits() + 1);
            assert_eq!(to_half(above), bits + 1, "{above}");
            let below = f32::from_bits(middle.to_bits() - 1);
            assert_eq!(to_half(below), bits, "{below}");
        }
        assert_eq!([to_half(65519.9), to_half(65520.0)], [0x7bff, 0x7c00]);
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0x3555), 0.333_251_95);
    }

    #[test]
    fn each_step_rounds_to_f32() {
        // Exactly, both are above 2.5 by 2⁻²⁵; the rounding of the sum to 24 bits makes them ties.
        let m = 1.0 / (1u32 << 25) as f32;
        assert_eq!(scale_add_round((1 << 26) + 1, m, 1, 0.5), 2);
        assert_eq!(scale_round((1 << 26) + (1 << 24) + 1, m), 2);
    }
}
