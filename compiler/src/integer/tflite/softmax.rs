//! Softmax in fixed point. With `e(d)` the exponential of the distance `d` to the largest element in units of 2⁻³¹,
//! `total = Σ round(e / 2¹²)` and `r` the reciprocal of `total`, all bits of a significand,
//! `y = clamp(low + round(r·e / 2⁽³¹⁺ˢ⁾))`, where `s` makes the unit of the result 2⁻⁸.

use crate::ir::QuantParams;
use qcc_runtime_support::fixed::{Fixed, times};

/// What a softmax reads for each distance.
#[derive(Clone, Debug, PartialEq)]
pub struct Exponentials {
    /// `e(d)` for `d` in `0..=255`.
    pub exponentials: Vec<i32>,
    /// `round(e / 2¹²)`.
    pub summands: Vec<i32>,
}

/// `48/17 − 32/17 · x`, in units of 2⁻²⁹: the reciprocal that Newton's iteration starts from.
pub const NEWTON: [i32; 2] = [1_515_870_810, -1_010_580_540];

/// Summands of a line stay below 2³¹ in total.
pub(super) const LONGEST: usize = 4095;

impl Exponentials {
    /// Of distances in units of the scale of `x`.
    pub fn new(x: &QuantParams) -> Exponentials {
        // Exponents are multiples of 2⁻²⁶ above −32.
        let unit = f64::from(x.uniform().0) * f64::from(1 << 26);
        let factor = Fixed::new(unit.min(f64::from(i32::MAX)));
        let farthest = 31.0 * f64::from(1 << 26) * f64::powi(2.0, -factor.exponent);
        let exponential = |d: i32| match f64::from(d) <= farthest.floor() {
            true => exponential(factor.scale(-d)),
            false => 0,
        };
        let exponentials: Vec<i32> = (0..=255).map(exponential).collect();
        let summands = exponentials.iter().map(|e| round_shift(*e, 12));
        Exponentials {
            summands: summands.collect(),
            exponentials,
        }
    }

    /// The shares of a line of distances in units of 2⁻⁸.
    pub(in super::super) fn shares(&self, distances: &[usize]) -> Vec<i32> {
        let total: i32 = distances.iter().map(|d| self.summands[*d]).sum();
        let zeros = total.leading_zeros();
        let reciprocal = reciprocal(total << (zeros - 1));
        let share = |d: &usize| {
            let product = times(reciprocal, self.exponentials[*d]);
            (i64::from(product) + (1 << (34 - zeros))) >> (35 - zeros)
        };
        distances.iter().map(|d| share(d) as i32).collect()
    }
}

/// `x / 2^shift` to the nearest integer, halves away from zero.
fn round_shift(x: i32, shift: u32) -> i32 {
    let x = i64::from(x);
    let rounded = (x.abs() + (1 << (shift - 1))) >> shift;
    (rounded * x.signum()) as i32
}

/// The exponential of `x·2⁻²⁶`, which is not positive, in units of 2⁻³¹: a polynomial for the part below a quarter,
/// and a factor for each bit above.
fn exponential(x: i32) -> i32 {
    const QUARTER: i32 = 1 << 24;
    const FACTORS: [i32; 7] = [
        1_672_461_947, // exp(-1/4)
        1_302_514_674,
        790_015_084,
        290_630_308,
        39_332_535,
        720_401,
        242, // exp(-16)
    ];
    if x == 0 {
        return i32::MAX;
    }
    let below = (x & (QUARTER - 1)) - QUARTER;
    let rest = below - x;
    let start = polynomial(below << 5);
    let bits = FACTORS.iter().enumerate();
    bits.filter(|(bit, _)| rest >> (24 + bit) & 1 == 1)
        .fold(start, |result, (_, factor)| times(result, *factor))
}

/// The exponential on `[-1/4, 0)`, operand and result in units of 2⁻³¹: Taylor's polynomial around −1/8.
fn polynomial(x: i32) -> i32 {
    const AT_EIGHTH: i32 = 1_895_147_668; // exp(-1/8)
    const THIRD: i32 = 715_827_883;
    let x = x + (1 << 28);
    let x2 = times(x, x);
    let x3 = times(x2, x);
    let x4 = times(x2, x2);
    let higher = times(round_shift(x4, 2) + x3, THIRD) + x2;
    AT_EIGHTH + times(AT_EIGHTH, x + round_shift(higher, 1))
}

/// `1/(2x)` for `x` from 1/2 to 1, both in units of 2⁻³¹; 1 is one unit less.
fn reciprocal(x: i32) -> i32 {
    let [start, slope] = NEWTON;
    let mut r = start + times(x, slope);
    for _ in 0..3 {
        let error = (1 << 29) - times(x, r);
        r += times(r, error) << 2;
    }
    // From units of 2⁻²⁹ to half of it in units of 2⁻³¹.
    r.min((1 << 30) - 1) * 2 + i32::from(r >= 1 << 30)
}
