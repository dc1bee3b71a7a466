//! Softmax in integers. With `E[d] = round(exp(−s_x·d)·2ᵇ)` for the distance `d` to the largest element,
//! `N[d] = round(E[d] / s_y)` and `total = Σ E`, `y = clamp(z_y + (N + total/2)/total)`.
//! `b` is the largest for which all of this fits 31 bits.

use super::Call;
use crate::ir::{Array, QuantParams};
use crate::ops::Softmax;

/// The tables of a softmax.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// `E[d]` for every distance of two integers.
    pub exponentials: Vec<u32>,
    /// `N[d]`.
    pub numerators: Vec<u32>,
    /// `1/s_y` where that is an integer, so that `N[d]` is this many times `E[d]`.
    pub unit: Option<u32>,
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
    let exponential = |d: u32| (-scale * f64::from(d)).exp() * bits.exp2();
    let distances = 0..=(x.int.max() - x.int.min()) as u32;
    let exponentials: Vec<u32> = distances
        .clone()
        .map(|d| exponential(d).round_ties_even() as u32)
        .collect();
    // An f32 scale of 1/255 is not the number itself.
    let whole = (unit - unit.round()).abs() <= unit * f64::from(f32::EPSILON);
    let unit_of_scale = whole.then(|| unit.round() as u32);
    let numerator = |d: u32| match unit_of_scale {
        Some(unit) => exponentials[d as usize] * unit,
        None => (f64::from(exponentials[d as usize]) * unit).round_ties_even() as u32,
    };
    Some(Shares {
        numerators: distances.map(numerator).collect(),
        unit: unit_of_scale,
        exponentials,
    })
}

/// Fewer bits of the exponentials would show in 8 bits of the result.
const LEAST_BITS: f64 = 12.0;

pub(super) fn softmax(op: &Softmax, call: &Call) -> Array {
    let x = call.array(0);
    let (stride, extent) = (x.strides()[op.axis], x.shape[op.axis]);
    let tables = shares(call.params(0), call.out(), extent).expect("`check` made them");
    let (low, high, zero_point) = (call.out().low, call.out().high, call.out().uniform().1);
    let integers = x.quantized();
    let mut result = vec![0; integers.len()];
    for first in (0..integers.len()).filter(|i| (i / stride).is_multiple_of(extent)) {
        let line: Vec<usize> = (0..extent).map(|i| first + i * stride).collect();
        let largest = line.iter().map(|i| integers[*i]).max();
        let largest = largest.expect("a line has elements");
        let distance = |i: &usize| (largest - integers[*i]) as usize;
        let total: u32 = line.iter().map(|i| tables.exponentials[distance(i)]).sum();
        for i in &line {
            let share = (tables.numerators[distance(i)] + total / 2) / total;
            result[*i] = (zero_point + share as i32).clamp(low, high);
        }
    }
    call.result(result)
}
