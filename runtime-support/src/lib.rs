//! The meaning of quantized arithmetic.
//!
//! Every activation is an integer that stands for a real; every layer ends by scaling a sum of products
//! to the integers of its output.
//! This crate says what that scaling is, once in f32 and once in integers only, with the same result:
//! [`scale_round`] and [`scale_add_round`] are the definition, [`integer`] is what a machine without
//! floating point runs.

#![no_std]

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

/// The integer nearest to a real below 2³¹ in magnitude; of two, the even one.
fn round_ties_even(x: f32) -> i32 {
    // From 2²³ on every f32 is an integer; below, adding 2²³ leaves no bit for a fraction.
    const INTEGERS: f32 = 8_388_608.0;
    if x.abs() >= INTEGERS {
        x as i32
    } else {
        let shift = INTEGERS.copysign(x);
        ((x + shift) - shift) as i32
    }
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
    fn each_step_rounds_to_f32() {
        // Exactly, both are above 2.5 by 2⁻²⁵; the rounding of the sum to 24 bits makes them ties.
        let m = 1.0 / (1u32 << 25) as f32;
        assert_eq!(scale_add_round((1 << 26) + 1, m, 1, 0.5), 2);
        assert_eq!(scale_round((1 << 26) + (1 << 24) + 1, m), 2);
    }
}
