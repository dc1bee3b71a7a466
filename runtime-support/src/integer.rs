//! The same scaling without floating point: `m` is given by the bits of an f32.
//!
//! Each function tries the exact product first. Its distance from a tie says whether the roundings to f32
//! that the definition makes on the way could matter; where they could, they are made, in integers.
//! The functions are also the text that emitted Rust carries, so they call nothing but each other.

/// The sign, 24-bit significand and binary exponent of an f32: `±significand · 2^exponent`.
fn float_parts(x: u32) -> (bool, u32, i32) {
    let exponent = (x >> 23 & 0xff) as i32;
    let significand = x & 0x7f_ffff;
    match exponent {
        0 => (x >> 31 != 0, significand, -149),
        _ => (x >> 31 != 0, significand | 0x80_0000, exponent - 150),
    }
}

/// `x · 2^exponent` to the nearest f32, ties to even: a significand below 2²⁴ and its exponent.
fn float_round(x: u64, exponent: i32) -> (u64, i32) {
    let excess = 40 - x.leading_zeros() as i32;
    if excess <= 0 {
        return (x, exponent);
    }
    let rounded = round_shift(x, excess);
    // A carry into bit 24 leaves a power of two.
    if rounded == 0x100_0000 {
        (0x80_0000, exponent + excess + 1)
    } else {
        (rounded, exponent + excess)
    }
}

/// `x / 2^shift` to the nearest integer, ties to even; `x` is below 2⁶³.
fn round_shift(x: u64, shift: i32) -> u64 {
    if shift <= 0 {
        return x << -shift;
    }
    if shift > 63 {
        return 0;
    }
    let below_half = (1 << (shift - 1)) - 1;
    (x + below_half + (x >> shift & 1)) >> shift
}

/// `round_ties_even((acc as f32) · m)`, as the definition in f32 rounds it.
pub fn scale_round(acc: i32, m: u32) -> i32 {
    let (negative, significand, exponent) = float_parts(m);
    let x = u64::from(acc.unsigned_abs()) * u64::from(significand);
    let shift = -exponent;
    let rounded = if shift > 56 {
        0 // the product is below 2⁻¹
    } else if shift > 0 && far_from_tie(x, shift, (x >> 22) + 1) {
        (x + (1 << (shift - 1))) >> shift
    } else {
        let (a, scale) = float_round(u64::from(acc.unsigned_abs()), exponent);
        let (product, scale) = float_round(a * u64::from(significand), scale);
        round_shift(product, -scale)
    };
    if negative != (acc < 0) {
        (rounded as i32).wrapping_neg()
    } else {
        rounded as i32
    }
}

/// Whether no number within `error` of `x` is a tie when divided by `2^shift`.
fn far_from_tie(x: u64, shift: i32, error: u64) -> bool {
    let fraction = (x + (1 << (shift - 1))) & ((1 << shift) - 1);
    fraction >= error && fraction + error < 1 << shift
}

/// `round_ties_even((a as f32) · ma + (b as f32) · mb)`, as the definition in f32 rounds it.
pub fn scale_add_round(a: i32, ma: u32, b: i32, mb: u32) -> i32 {
    let x = fixed_product(a, ma);
    let y = fixed_product(b, mb);
    let error = ((x.unsigned_abs() + y.unsigned_abs()) >> 21) + 3;
    let sum = (x + y).unsigned_abs();
    if !far_from_tie(sum, 24, error) {
        return float_add_round(float_product(a.into(), ma), float_product(b.into(), mb));
    }
    let rounded = ((sum + (1 << 23)) >> 24) as i32;
    if x + y < 0 { -rounded } else { rounded }
}

/// `x · m` in units of 2⁻²⁴, rounded toward zero.
fn fixed_product(x: i32, m: u32) -> i64 {
    let (negative, significand, exponent) = float_parts(m);
    let exact = u64::from(x.unsigned_abs()) * u64::from(significand);
    let magnitude = match exponent + 24 {
        shift @ 0.. => exact << shift,
        shift @ -63.. => exact >> -shift,
        _ => 0,
    };
    let magnitude = magnitude as i64;
    if negative != (x < 0) {
        -magnitude
    } else {
        magnitude
    }
}

/// [`scale_round`] by `m · 2^(left − 32 − right)`, plus `added >> right`.
///
/// Defined where that factor is an f32 that is not negative, and normal or 0.
pub fn scale_real(x: i32, m: i32, left: i32, added: i32, right: i32) -> i32 {
    let zeros = m.leading_zeros();
    if m == 0 {
        return added >> right;
    }
    let exponent = (126 - zeros as i32 + left - right) as u32;
    scale_round(x, exponent << 23 | (m as u32) << zeros << 1 >> 9) + (added >> right)
}

/// [`scale_round`] of the sum `high · 2¹⁶ + low`, which 32 bits need not hold.
pub fn scale_round_wide(high: i32, low: i32, m: u32) -> i32 {
    let (negative, significand, exponent) = float_product(wide(high, low), m);
    let rounded = round_shift(significand, -exponent) as i32;
    if negative { -rounded } else { rounded }
}

/// [`scale_add_round`] of such a sum.
pub fn scale_add_round_wide(high: i32, low: i32, ma: u32, b: i32, mb: u32) -> i32 {
    float_add_round(
        float_product(wide(high, low), ma),
        float_product(b.into(), mb),
    )
}

/// A sum of two parts.
fn wide(high: i32, low: i32) -> i64 {
    i64::from(high) * 65536 + i64::from(low)
}

/// The f32 `(x as f32) · m`: its sign, its significand (0 or of 24 bits) and its exponent.
fn float_product(x: i64, m: u32) -> (bool, u64, i32) {
    let (negative, significand, exponent) = float_parts(m);
    let (x_rounded, exponent) = float_round(x.unsigned_abs(), exponent);
    let (y, exponent) = float_round(x_rounded * u64::from(significand), exponent);
    if y == 0 {
        return (false, 0, -149);
    }
    let lead = y.leading_zeros() as i32 - 40;
    (negative != (x < 0), y << lead, exponent - lead)
}

/// The sum of two products, rounded to f32 and then to the nearest integer.
fn float_add_round(x: (bool, u64, i32), y: (bool, u64, i32)) -> i32 {
    let ((large_negative, large, scale), (small_negative, small, small_scale)) =
        if x.1 == 0 || (y.1 != 0 && x.2 < y.2) {
            (y, x)
        } else {
            (x, y)
        };
    // 38 more bits hold the smaller product; what lies below them only breaks ties.
    let gap = scale - small_scale;
    let (large, small, scale) = if gap <= 38 {
        (large << gap.max(0), small, small_scale)
    } else {
        (large << 38, u64::from(small != 0), scale - 38)
    };
    let same_sign = large_negative == small_negative;
    let (sum, negative) = if same_sign {
        (large + small, large_negative)
    } else {
        (large.abs_diff(small), large_negative == (large > small))
    };
    let (sum, scale) = float_round(sum, scale);
    let rounded = round_shift(sum, -scale) as i32;
    if negative { -rounded } else { rounded }
}

/// The square root of the f32 of these bits, rounded to nearest, digit by digit.
pub fn sqrt_f32(x: u32) -> u32 {
    if x & 0x7fff_ffff == 0 || x == 0x7f80_0000 {
        return x;
    }
    if x > 0x7f80_0000 {
        return 0x7fc0_0000;
    }
    let (_, significand, exponent) = float_parts(x);
    let lead = significand.leading_zeros() as i32 - 8;
    let exponent = exponent + 23 - lead;
    let odd = exponent & 1;
    // An even power of two outside; 26 bits of root decide a nearest f32 of 24.
    let mut rest = u64::from(significand) << (lead + 27 + odd);
    let (mut root, mut bit) = (0, 1u64 << 50);
    while bit != 0 {
        let next = root + bit;
        root >>= 1;
        if rest >= next {
            rest -= next;
            root += bit;
        }
        bit >>= 2;
    }
    let root = root << 1 | u64::from(rest != 0);
    let root = (root + 3 + (root >> 3 & 1)) >> 3;
    (((exponent - odd) / 2 + 126) << 23) as u32 + root as u32
}
