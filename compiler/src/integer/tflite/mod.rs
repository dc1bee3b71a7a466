//! Operators whose steps on integers differ in [`Numerics::Tflite`](crate::ir::Numerics::Tflite), and which have any.
//!
//! | operator | meaning; `scale` is [`Fixed::scale`] |
//! |---|---|
//! | Conv | `clamp(scale(acc) + z_y)` |
//! | MatMul by constants | `clamp(round(acc·m) + z_y)` in f64, halves away from zero |
//! | a requantization, a clamp | `clamp(scale(x − z_x) + z_y)` |
//! | Add | [`Sum`] |
//! | AveragePool with equal scales | `Σ x / count`, halves away from zero |
//! | AveragePool of a whole image otherwise, ReduceMean | `clamp(scale(Σ (x − z_x)) + z_y)`, the count divides the multiplier |
//! | Softmax | [`Exponentials`] |
//! | what chooses or moves integers | the same as ever |

mod check;
mod softmax;
#[cfg(test)]
mod tests;

pub(super) use check::check;
pub use softmax::{Exponentials, NEWTON};

use crate::ir::QuantParams;
use qcc_runtime_support::fixed::Fixed;

/// From the integers of one scale to those of another.
pub fn ratio(from: &QuantParams, to: &QuantParams) -> Fixed {
    Fixed::new(f64::from(from.uniform().0) / f64::from(to.uniform().0))
}

/// How a sum of differences from the zero point becomes a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mean {
    /// `(sum + zeros) / count` to the nearest integer, halves away from zero.
    Average {
        /// The zero point, as often as it was subtracted.
        zeros: i64,
        /// How many elements.
        count: i64,
    },
    /// `scale(sum) + zero_point`.
    Scaled {
        /// The factor.
        factor: Fixed,
        /// The result's.
        zero_point: i32,
    },
}

impl Mean {
    /// Of an AveragePool's window.
    pub fn of_window(from: &QuantParams, to: &QuantParams, count: usize) -> Mean {
        if from.map != to.map {
            return Mean::scaled(from, to, count);
        }
        let count = count as i64;
        let zeros = i64::from(from.uniform().1) * count;
        Mean::Average { zeros, count }
    }

    /// Of a ReduceMean's elements.
    pub fn scaled(from: &QuantParams, to: &QuantParams, count: usize) -> Mean {
        Mean::Scaled {
            factor: ratio(from, to).over(count as u32),
            zero_point: to.uniform().1,
        }
    }

    /// The mean, before it is clamped.
    pub fn apply(self, sum: i64) -> i32 {
        match self {
            Mean::Average { zeros, count } => average(sum + zeros, count),
            Mean::Scaled { factor, zero_point } => {
                let sum = i32::try_from(sum).expect("sums of so few bytes fit");
                factor.scale(sum) + zero_point
            }
        }
    }
}

/// A quotient to the nearest integer, halves away from zero.
fn average(sum: i64, count: i64) -> i32 {
    let half = if sum > 0 { count / 2 } else { -(count / 2) };
    ((sum + half) / count) as i32
}

/// The factors of a sum of two activations, which are brought to one scale with 20 bits more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sum {
    /// Of each operand.
    pub operands: [Fixed; 2],
    /// Of their sum.
    pub result: Fixed,
}

impl Sum {
    /// Operands are multiplied by this before they are scaled.
    pub const UNIT: i32 = 1 << 20;

    /// The factors for operands and a result of these scales.
    pub fn new([a, b]: [f32; 2], result: f32) -> Sum {
        let twice = 2.0 * f64::from(a.max(b));
        Sum {
            operands: [a, b].map(|scale| Fixed::new(f64::from(scale) / twice)),
            result: Fixed::new(twice / (f64::from(Sum::UNIT) * f64::from(result))),
        }
    }

    /// The sum of differences from the zero points.
    pub fn apply(self, a: i32, b: i32) -> i32 {
        let [a, b] = [(a, self.operands[0]), (b, self.operands[1])]
            .map(|(difference, factor)| factor.scale(difference * Sum::UNIT));
        self.result.scale(a + b)
    }
}
