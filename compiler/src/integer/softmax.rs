//! Softmax in integers. With `E[d] = round(exp(−s_x·d)·2ᵇ)` for the distance `d` to the largest element,
//! `N[d] = round(E[d] / s_y)` and `total = Σ E`, `y = clamp(z_y + (N + total/2)/total)`.
//! `b` is the largest for which all of this fits 31 bits. TFLite's has tables of its own.
//!
//! Distances of 16-bit integers are split, `E[d] = (C[d / 256]·F[d mod 256] + 2²⁹⁻ᵇ) / 2³⁰⁻ᵇ` rounded down, where
//! `C[i] = round(exp(−s_x·256·i)·2¹⁵)` and `F[j] = round(exp(−s_x·j)·2¹⁵)`; then `N[d] = round(1/s_y)·E[d]`.

use super::Call;
use super::tflite::Exponentials;
use crate::ir::{Array, QuantParams};
use crate::ops::Softmax;

/// The tables of a softmax.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// `E[d]` for `d` in `0..=255`; of 16-bit integers `C`.
    pub exponentials: Vec<u32>,
    /// `F`, and what products with it are divided by; for 16-bit integers.
    pub fine: Option<(Vec<u32>, u32)>,
    /// `N[d]`; empty if `unit` is known.
    pub numerators: Vec<u32>,
    /// `1/s_y` where that is an integer, or taken for one, so that `N[d]` is this many times `E[d]`.
    pub unit: Option<u32>,
}

impl Shares {
    /// `E[d]`.
    fn exponential(&self, d: usize) -> u32 {
        match &self.fine {
            None => self.exponentials[d],
            Some((fine, unit)) => (self.exponentials[d / 256] * fine[d % 256] + unit / 2) / unit,
        }
    }

    /// `N[d]`.
    fn numerator(&self, d: usize) -> u32 {
        match self.unit {
            Some(unit) => self.exponential(d) * unit,
            None => self.numerators[d],
        }
    }

    /// Those of a line of distances.
    fn shares(&self, distances: &[usize]) -> Vec<i32> {
        let total: u32 = distances.iter().map(|d| self.exponential(*d)).sum();
        let share = |d: &usize| (self.numerator(*d) + total / 2) / total;
        distances.iter().map(|d| share(d) as i32).collect()
    }
}

/// The tables for lines of `extent` elements, if they fit 31 bits.
pub fn shares(x: &QuantParams, y: &QuantParams, extent: usize) -> Option<Shares> {
    let (scale, unit) = (f64::from(x.uniform().0), 1.0 / f64::from(y.uniform().0));
    let bits = (f64::from(i32::MAX) / (unit.max(1.0) + extent as f64 + 1.0))
        .log2()
        .floor();
    if bits < LEAST_BITS {
        return None;
    }
    let table = |step: f64, bits: f64| -> Vec<u32> {
        let exponential = |d: u32| (-scale * step * f64::from(d)).exp() * bits.exp2();
        (0..=255)
            .map(|d| exponential(d).round_ties_even() as u32)
            .collect()
    };
    // An f32 scale of 1/255 is not the number itself.
    let whole = (unit - unit.round()).abs() <= unit * f64::from(f32::EPSILON);
    if x.int.bits > 8 {
        let unit_is_near = whole || unit >= LEAST_UNIT;
        return unit_is_near.then(|| Shares {
            exponentials: table(256.0, 15.0),
            fine: Some((table(1.0, 15.0), 1 << (30 - bits as u32))),
            numerators: vec![],
            unit: Some(unit.round() as u32),
        });
    }
    let exponentials = table(1.0, bits);
    let numerator = |e: &u32| (f64::from(*e) * unit).round_ties_even() as u32;
    Some(Shares {
        numerators: match whole {
            true => vec![],
            false => exponentials.iter().map(numerator).collect(),
        },
        fine: None,
        unit: whole.then(|| unit.round() as u32),
        exponentials,
    })
}

/// From here on the nearest integer is near enough: half a step of the result at most.
const LEAST_UNIT: f64 = 100.0;

/// Fewer bits of the exponentials would show in 8 bits of the result.
const LEAST_BITS: f64 = 12.0;

/// Whose tables there are.
enum Tables {
    Shares(Shares),
    Fixed(Exponentials),
}

impl Tables {
    fn shares(&self, distances: &[usize]) -> Vec<i32> {
        match self {
            Tables::Shares(tables) => tables.shares(distances),
            Tables::Fixed(tables) => tables.shares(distances),
        }
    }
}

pub(super) fn softmax(op: &Softmax, call: &Call) -> Array {
    let x = call.array(0);
    let (stride, extent) = (x.strides()[op.axis], x.shape[op.axis]);
    let tables = match call.is_tflite() {
        true => Tables::Fixed(Exponentials::new(call.params(0))),
        false => {
            Tables::Shares(shares(call.params(0), call.out(), extent).expect("`check` made them"))
        }
    };
    let (low, high, zero_point) = (call.out().low, call.out().high, call.out().uniform().1);
    let integers = x.quantized();
    let mut result = vec![0; integers.len()];
    for first in (0..integers.len()).filter(|i| (i / stride).is_multiple_of(extent)) {
        let line: Vec<usize> = (0..extent).map(|i| first + i * stride).collect();
        let largest = line.iter().map(|i| integers[*i]).max();
        let largest = largest.expect("a line has elements");
        let distances = line.iter().map(|i| (largest - integers[*i]) as usize);
        let shares = tables.shares(&distances.collect::<Vec<_>>());
        for (i, share) in line.iter().zip(shares) {
            result[*i] = (zero_point + share).clamp(low, high);
        }
    }
    call.result(result)
}
