//! Reduce and ArgMax. Mean and Sum: `acc = Σ (x − z_x)`, then `clamp(scale_round_wide(acc, (s_x/s_y)/count) + z_y)`
//! with count 1 for Sum. Max and Min choose among the integers. TFLite's factor of a mean is in fixed point.

use super::Call;
use super::arithmetic::scale_round_wide;
use super::tflite;
use crate::ir::Array;
use crate::ops::{ArgMax, Reduce, Reduction};

pub(super) fn reduce(op: &Reduce, call: &Call) -> Array {
    let x = call.array(0);
    let (s_x, z_x) = call.params(0).uniform();
    let (s_y, z_y) = call.out().uniform();
    let (low, high) = (call.out().low, call.out().high);
    let count: usize = op.axes.iter().map(|axis| x.shape[*axis]).product();
    let mean = |count: usize, group: &[i32]| {
        let acc: i64 = group.iter().map(|q| i64::from(q - z_x)).sum();
        if call.is_tflite() {
            let mean = tflite::Mean::scaled(call.params(0), call.out(), count);
            return mean.apply(acc).clamp(low, high);
        }
        (scale_round_wide(acc, (s_x / s_y) / count as f32) + z_y).clamp(low, high)
    };
    let groups = groups(x, &op.axes);
    let result = groups.iter().map(|group| match op.reduction {
        Reduction::Mean => mean(count, group),
        Reduction::Sum => mean(1, group),
        Reduction::Max => *group.iter().max().expect("`check` demands elements"),
        Reduction::Min => *group.iter().min().expect("`check` demands elements"),
        Reduction::Prod => unreachable!("`check` refuses products"),
    });
    call.result(result.collect())
}

pub(super) fn arg_max(op: &ArgMax, call: &Call) -> Array {
    let winner = |group: &Vec<i32>| {
        let largest = group.iter().max().expect("`check` demands elements");
        let is_largest = |q: &i32| q == largest;
        let index = if op.last {
            group.iter().rposition(is_largest)
        } else {
            group.iter().position(is_largest)
        };
        index.expect("the largest is there") as i64
    };
    let groups = groups(call.array(0), &[op.axis]);
    Array::i64(call.shape(), groups.iter().map(winner).collect())
}

/// The elements that each element of the result is made of, in row-major order.
fn groups(x: &Array, axes: &[usize]) -> Vec<Vec<i32>> {
    let kept: Vec<usize> = (0..x.shape.len()).filter(|a| !axes.contains(a)).collect();
    let count = kept.iter().map(|axis| x.shape[*axis]).product();
    let strides = x.strides();
    let mut groups = vec![vec![]; count];
    for (i, q) in x.quantized().iter().enumerate() {
        let coordinate = |axis: usize| i / strides[axis] % x.shape[axis];
        let group = kept
            .iter()
            .fold(0, |at, axis| at * x.shape[*axis] + coordinate(*axis));
        groups[group].push(*q);
    }
    groups
}
