//! Reduce, ArgMax and Softmax on reals, line by line.

use std::cmp::Ordering;

use super::plain::Plain;
use crate::integer::Call;
use crate::ir::Array;
use crate::ops::{ArgMax, Reduce, Reduction, Softmax};
use qcc_runtime_support::{functions, max, min};

/// The flat indices of each line along some axes, in row-major order; lines in row-major order.
fn lines(shape: &[usize], axes: &[usize]) -> Vec<Vec<usize>> {
    let kept = |axis: &usize| !axes.contains(axis);
    let extents = shape.iter().enumerate();
    let lines: usize = extents
        .clone()
        .filter(|(a, _)| kept(a))
        .map(|(_, e)| e)
        .product();
    let mut found = vec![vec![]; lines];
    for flat in 0..shape.iter().product() {
        let mut rest: usize = flat;
        let (mut line, mut step) = (0, 1);
        for axis in (0..shape.len()).rev() {
            if kept(&axis) {
                line += rest % shape[axis] * step;
                step *= shape[axis];
            }
            rest /= shape[axis];
        }
        found[line].push(flat);
    }
    found
}

/// The first element that none after it exceeds, from −∞ on.
pub(super) fn largest(elements: impl Iterator<Item = f32>) -> f32 {
    elements.fold(f32::NEG_INFINITY, |acc, x| max(x, acc))
}

pub(super) fn reduce(op: &Reduce, call: &Call) -> Array {
    let x = call.array(0);
    let one = |line: Vec<usize>| {
        let count = line.len() as f32;
        let elements = line.into_iter().map(|i| x.reals()[i]);
        match op.reduction {
            Reduction::Sum => elements.fold(0.0, |acc, x| acc + x),
            Reduction::Mean => elements.fold(0.0, |acc, x| acc + x) / count,
            Reduction::Prod => elements.fold(1.0, |acc, x| acc * x),
            Reduction::Max => largest(elements),
            Reduction::Min => elements.fold(f32::INFINITY, |acc, x| min(x, acc)),
        }
    };
    let lines = lines(&x.shape, &op.axes).into_iter();
    Array::f32(call.shape(), lines.map(one).collect())
}

pub(super) fn arg_max(op: &ArgMax, call: &Call) -> Array {
    let x = call.array(0);
    let one = |line: Vec<usize>| {
        let elements = || line.iter().map(|i| x.reals()[*i]);
        let largest = largest(elements());
        // What is no number is not less either.
        let among = |x: f32| x.partial_cmp(&largest) != Some(Ordering::Less);
        let found = match op.last {
            true => line.len() - 1 - elements().rev().position(among).unwrap_or(line.len() - 1),
            false => elements().position(among).unwrap_or(line.len() - 1),
        };
        found as i64
    };
    let lines = lines(&x.shape, &[op.axis]).into_iter();
    Array::i64(call.shape(), lines.map(one).collect())
}

pub(super) fn softmax(op: &Softmax, call: &Call) -> Array {
    let x = call.array(0);
    let mut y = vec![0.0; x.len()];
    for line in lines(&x.shape, &[op.axis]) {
        let largest = largest(line.iter().map(|i| x.reals()[*i]));
        for i in &line {
            y[*i] = functions::exp(&mut Plain, &(x.reals()[*i] - largest));
        }
        let sum = line.iter().fold(0.0, |sum, i| sum + y[*i]);
        line.iter().for_each(|i| y[*i] /= sum);
    }
    Array::f32(call.shape(), y)
}
