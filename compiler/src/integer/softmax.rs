//! Softmax in integers: `E[d] = round(exp(−s_x·d)·2¹⁶)` for the distance `d` to the largest element, then
//! `y = min(high, low + (256·E + total/2)/total)`. The result's scale is 1/256, its zero point `low`.

use super::Call;
use crate::ir::Array;
use crate::ops::Softmax;

/// `E[d]` for `d` in `0..=255`.
pub fn exponentials(scale: f32) -> Vec<u32> {
    let entry = |d: u32| ((-f64::from(scale) * f64::from(d)).exp() * 65536.0).round_ties_even();
    (0..=255).map(|d| entry(d) as u32).collect()
}

pub(super) fn softmax(op: &Softmax, call: &Call) -> Array {
    let x = call.array(0);
    let table = exponentials(call.params(0).uniform().0);
    let (low, high) = (call.out().low, call.out().high);
    let stride = x.strides()[op.axis];
    let extent = x.shape[op.axis];
    let integers = x.quantized();
    let mut result = vec![0; integers.len()];
    for first in (0..integers.len()).filter(|i| (i / stride).is_multiple_of(extent)) {
        let line: Vec<usize> = (0..extent).map(|i| first + i * stride).collect();
        let largest = line.iter().map(|i| integers[*i]).max();
        let largest = largest.expect("a line has elements");
        let exponential = |i: &usize| table[(largest - integers[*i]) as usize];
        let total: u32 = line.iter().map(exponential).sum();
        for i in &line {
            let share = (exponential(i) * 256 + total / 2) / total;
            result[*i] = high.min(low + share as i32);
        }
    }
    call.result(result)
}
