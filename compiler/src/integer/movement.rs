//! Operators that move integers: Concat, Transpose, Slice, Gather, Pad; and NumPy's broadcasting.

use super::Call;
use super::elementwise::in_params_of_result;
use crate::ir::{Array, strides};
use crate::ops::{Concat, Gather, Pad, PadMode, Slice, Transpose};

/// For each element of a result of shape `to`, the flat index of the element of `from` that meets it.
pub(super) fn broadcast(from: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len() - from.len();
    let strides = strides(from);
    let step = |axis: usize| match axis.checked_sub(missing) {
        Some(axis) if from[axis] > 1 => strides[axis] as isize,
        _ => 0,
    };
    walk(to, 0, (0..to.len()).map(step))
}

/// `start + Σ coordinate·step` for every element of a shape, in row-major order.
fn walk(shape: &[usize], start: isize, steps: impl Iterator<Item = isize>) -> Vec<usize> {
    let mut indices = vec![start];
    for (extent, step) in shape.iter().zip(steps) {
        let along = |i: &isize| {
            let i = *i;
            (0..*extent as isize).map(move |k| i + k * step)
        };
        indices = indices.iter().flat_map(along).collect();
    }
    indices.iter().map(|i| *i as usize).collect()
}

/// Joins the operands, each in the parameters of the result.
pub(super) fn concat(op: &Concat, call: &Call) -> Array {
    let outer: usize = call.shape()[..op.axis].iter().product();
    let parts: Vec<Vec<i32>> = (0..call.values.len())
        .map(|operand| in_params_of_result(call, operand))
        .collect();
    let mut result = Vec::with_capacity(call.shape().iter().product());
    for row in 0..outer {
        for part in &parts {
            let run = part.len() / outer;
            result.extend_from_slice(&part[row * run..(row + 1) * run]);
        }
    }
    call.result(result)
}

pub(super) fn transpose(op: &Transpose, call: &Call) -> Array {
    let strides = call.array(0).strides();
    let steps = op.perm.iter().map(|axis| strides[*axis] as isize);
    let indices = walk(call.shape(), 0, steps);
    call.array(0).pick(call.shape(), indices.into_iter())
}

pub(super) fn slice(op: &Slice, call: &Call) -> Array {
    let strides = call.array(0).strides();
    let starts = op.starts.iter().zip(&strides);
    let start = starts
        .map(|(start, stride)| (start * stride) as isize)
        .sum();
    let steps = op.steps.iter().zip(&strides);
    let steps = steps.map(|(step, stride)| step * *stride as isize);
    let indices = walk(call.shape(), start, steps);
    call.array(0).pick(call.shape(), indices.into_iter())
}

pub(super) fn gather(op: &Gather, call: &Call) -> Array {
    let x = call.array(0);
    let (extent, inner) = (x.shape[op.axis], x.strides()[op.axis]);
    let picked = op.indices.len();
    let indices = (0..call.shape().iter().product()).map(|i: usize| {
        let index = op.indices[i / inner % picked];
        (i / (inner * picked) * extent + index) * inner + i % inner
    });
    x.pick(call.shape(), indices)
}

pub(super) fn pad(op: &Pad, call: &Call) -> Array {
    let x = call.array(0);
    let fill = match op.mode {
        PadMode::Constant(value) => call.out().quantize(value),
        _ => 0,
    };
    let strides = x.strides();
    let mut sources = vec![Some(0)];
    for (axis, extent) in call.shape().iter().enumerate() {
        let source = |at| source(op.mode, at, op.before[axis], x.shape[axis]);
        let along: Vec<_> = (0..*extent).map(source).collect();
        let joined = |so_far: &Option<usize>| {
            let so_far = *so_far;
            let stride = strides[axis];
            along
                .iter()
                .map(move |index| Some(so_far? + (*index)? * stride))
        };
        sources = sources.iter().flat_map(joined).collect();
    }
    let element = |source: &Option<usize>| source.map_or(fill, |i| x.quantized()[i]);
    call.result(sources.iter().map(element).collect())
}

/// The index along an axis whose element stands at `at` of the padded axis; `None` where a number does.
fn source(mode: PadMode, at: usize, before: usize, extent: usize) -> Option<usize> {
    let (at, extent) = (at as isize - before as isize, extent as isize);
    let index = match mode {
        PadMode::Constant(_) => return (0..extent).contains(&at).then_some(at as usize),
        PadMode::Edge => at.clamp(0, extent - 1),
        PadMode::Wrap => at.rem_euclid(extent),
        PadMode::Reflect if extent == 1 => 0,
        PadMode::Reflect => {
            let period = 2 * (extent - 1);
            let at = at.rem_euclid(period);
            at.min(period - at)
        }
    };
    Some(index as usize)
}
