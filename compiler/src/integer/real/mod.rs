//! Nodes in floating point: single IEEE f32 operations in a fixed order, without fused multiply-add.
//!
//! A sum of products is `acc = 0; acc = acc + x·w` over tap rows, tap columns and input channels, in that order;
//! taps in the padding count as zeros. Then follow, where they are there, `· s_w` of integer weights, `+ bias`,
//! `+ residual`, and the clamp. Integer weights are converted exactly. Reductions begin with 0, 1, −∞ or ∞ and
//! combine elements in row-major order. `runtime-support` says what functions of one real are.

mod check;
mod plain;
mod products;
mod reduce;
#[cfg(test)]
mod tests;

use super::Call;
use crate::integer::conv::extents;
use crate::ir::{Array, Elem, Model, Node, QuantParams};
use crate::ops::{
    Binary, Op, Pool, PoolKind, Resize, ResizeMode, Unary, broadcast as broadcasting,
};
use qcc_runtime_support::functions;

pub(super) use check::check;
use plain::Plain;

/// Whether a node is computed in floating point: it reads reals, or writes them.
pub(crate) fn is_real(model: &Model, node: &Node) -> bool {
    let real = |elem: &Elem| *elem == Elem::Float;
    let first = model.operand_type(node, 0);
    real(&model[node.output].ty.elem) || first.is_some_and(|ty| real(&ty.elem))
}

/// Evaluates a node that [`is_real`].
pub(super) fn eval(call: &Call) -> Array {
    match &call.node.op {
        Op::Conv(op) => products::conv(op, call),
        Op::ConvTranspose(op) => products::conv_transpose(op, call),
        Op::MatMul(op) => products::matmul(op, call),
        Op::Unary(op) => unary(op, call),
        Op::Binary(op) => binary(op, call),
        Op::PRelu(_) => prelu(call),
        Op::Quantize(_) => quantize(call),
        Op::Dequantize(_) => dequantize(call),
        Op::Pool(op) => pool(op, call),
        Op::Reduce(op) => reduce::reduce(op, call),
        Op::ArgMax(op) => reduce::arg_max(op, call),
        Op::Softmax(op) => reduce::softmax(op, call),
        Op::Resize(op) if op.mode == ResizeMode::Linear => resize(op, call),
        // Moves elements: there is nothing to compute.
        op => op.eval(&call.values),
    }
}

fn unary(op: &Unary, call: &Call) -> Array {
    let x = call.array(0).reals().iter();
    let y = x.map(|x| op.function.steps(&mut Plain, x));
    Array::f32(call.shape(), y.collect())
}

fn binary(op: &Binary, call: &Call) -> Array {
    let b = call.array(1);
    let function = op.function.steps(Some(b.reals()));
    let function = function.expect("`check` demands steps");
    let apply = |a: f32, b: f32| {
        let y = function.apply(&mut Plain, &a, &b);
        functions::clamp(&mut Plain, &y, op.activation.min, op.activation.max)
    };
    broadcast(call, apply)
}

fn prelu(call: &Call) -> Array {
    let leak = |x: f32, slope: f32| if x < 0.0 { slope * x } else { x };
    broadcast(call, leak)
}

fn broadcast(call: &Call, f: impl Fn(f32, f32) -> f32) -> Array {
    let [a, b] = [0, 1].map(|operand| call.array(operand));
    let parts = [a, b].map(|array| (&array.shape[..], array.reals()));
    Array::f32(
        call.shape(),
        broadcasting::zip(call.shape(), parts[0], parts[1], f),
    )
}

fn quantize(call: &Call) -> Array {
    let to = call.out();
    let (_, zero_point) = to.uniform();
    let quantize = |x: &f32| match x.is_nan() {
        true => zero_point,
        false => to.quantize(*x),
    };
    call.result(call.array(0).reals().iter().map(quantize).collect())
}

fn dequantize(call: &Call) -> Array {
    let from = call.params(0);
    let integers = call.array(0).quantized().iter();
    let reals = integers.map(|q| from.dequantize(*q));
    Array::f32(call.shape(), reals.collect())
}

/// The elements of a window, row by row; in a mean, those of the padding are zeros.
fn pool(op: &Pool, call: &Call) -> Array {
    let x = call.array(0);
    let [_, _, height, width] = extents(&x.shape);
    let [images, channels, rows, columns] = extents(call.shape());
    let mut result = Vec::with_capacity(images * channels * rows * columns);
    for plane in x.reals().chunks_exact(height * width) {
        for row in 0..rows {
            for column in 0..columns {
                let place = [row, column];
                let seen = window(op, plane, [height, width], place);
                result.push(match op.kind {
                    PoolKind::Max => reduce::largest(seen.into_iter()),
                    PoolKind::Average { .. } => {
                        let sum = seen.iter().fold(0.0, |sum, x| sum + x);
                        sum / op.counted([height, width], place) as f32
                    }
                });
            }
        }
    }
    Array::f32(call.shape(), result)
}

/// The elements of the image that a window sees.
fn window(op: &Pool, plane: &[f32], image: [usize; 2], place: [usize; 2]) -> Vec<f32> {
    let pads = [op.pads.top, op.pads.left];
    let pixel = |axis: usize, tap: usize| {
        let at = place[axis] * op.strides[axis] + tap * op.dilations[axis];
        at.checked_sub(pads[axis]).filter(|at| *at < image[axis])
    };
    let rows = (0..op.kernel[0]).filter_map(|tap| pixel(0, tap));
    let seen = rows.flat_map(|y| {
        let columns = (0..op.kernel[1]).filter_map(move |tap| pixel(1, tap));
        columns.map(move |x| plane[y * image[1] + x])
    });
    seen.collect()
}

/// The two pixels that pixel `index` of the result mixes along one axis (0 rows, 1 columns), and their shares.
pub(crate) fn real_taps(
    op: &Resize,
    axis: usize,
    index: usize,
    extent: usize,
) -> [(usize, f32); 2] {
    let at = op.point(axis, index, extent);
    let share = (at - at.floor()) as f32;
    let pixel = |at: f64| at.clamp(0.0, (extent - 1) as f64) as usize;
    [
        (pixel(at.floor()), 1.0 - share),
        (pixel(at.floor() + 1.0), share),
    ]
}

/// `(a·l + b·r)·t + (c·l + d·r)·u`, the two pixels above and the two below.
fn resize(op: &Resize, call: &Call) -> Array {
    let x = call.array(0);
    let [_, _, height, width] = extents(&x.shape);
    let columns = (0..op.output[1]).map(|x| real_taps(op, 1, x, width));
    let columns: Vec<_> = columns.collect();
    let mut result = Vec::with_capacity(call.shape().iter().product());
    for plane in x.reals().chunks_exact(height * width) {
        for y in 0..op.output[0] {
            let [(above, t), (below, u)] = real_taps(op, 0, y, height);
            for [(left, l), (right, r)] in &columns {
                let mix =
                    |row: usize| plane[row * width + left] * l + plane[row * width + right] * r;
                result.push(mix(above) * t + mix(below) * u);
            }
        }
    }
    Array::f32(call.shape(), result)
}

/// How the integers of a constant operand stand for reals.
fn constant_params<'a>(call: &Call<'a>, operand: usize) -> Option<&'a QuantParams> {
    let id = call.node.inputs[operand]?;
    match &call.model[id].ty.elem {
        Elem::Quantized(params) => Some(params),
        _ => None,
    }
}
