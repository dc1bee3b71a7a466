//! MatMul: `acc = bias + Σ (a − z_a)(b − z_b[n])`, then `clamp(scale_round(acc, m[n]) + z_y)` with
//! `m[n] = (s_a·s_b[n])/s_y`. A result of 32 bits is `acc`. TFLite's factors are reals of 64 bits.

use super::arithmetic::{Term, centred, exact};
use super::movement::broadcast;
use super::{Call, factors};
use crate::ir::Array;
use crate::ops::MatMul;

pub(super) fn matmul(op: &MatMul, call: &Call) -> Array {
    match call.is_wide() {
        false => products::<i16>(op, call),
        true => products::<i32>(op, call),
    }
}

fn products<T: Term>(op: &MatMul, call: &Call) -> Array {
    let (a, b) = (call.array(0), call.array(1));
    let rank = call.shape().len();
    let (batch_shape, matrix) = call.shape().split_at(rank - 2);
    let (rows, columns) = (matrix[0], matrix[1]);
    let depth = a.shape[a.shape.len() - 1];
    let a_of = broadcast(&a.shape[..a.shape.len() - 2], batch_shape);
    let b_of = broadcast(&b.shape[..b.shape.len() - 2], batch_shape);
    let lefts = centred::<T>(a.quantized(), call.params(0).uniform().1);
    let rights = transposed(
        &call.centred_weights::<T>(columns, |i| i % columns),
        depth,
        columns,
    );
    let bias = call.optional(2).map(Array::quantized);
    let (_, z_y) = call.out().uniform();
    let factors = factors(call.model, call.node, columns);
    let (low, high) = call.model.numerics.limits(op.activation, call.out());
    let mut result = Vec::with_capacity(call.shape().iter().product());
    for (left, right) in a_of.iter().zip(&b_of) {
        for row in 0..rows {
            let left = &lefts[(left * rows + row) * depth..][..depth];
            for column in 0..columns {
                let right = &rights[(right * columns + column) * depth..][..depth];
                let acc = T::add(T::start(bias.map_or(0, |b| b[column])), left, right);
                if call.keeps_sums() {
                    result.push(exact(acc.into()));
                    continue;
                }
                let y = factors[column].round(acc.into()) + z_y;
                result.push(y.clamp(low, high));
            }
        }
    }
    call.result(result)
}

/// Matrices `[.., K, N]` as `[.., N, K]`.
fn transposed<T: Copy>(matrices: &[T], depth: usize, columns: usize) -> Vec<T> {
    let mut result = Vec::with_capacity(matrices.len());
    for matrix in matrices.chunks_exact((depth * columns).max(1)) {
        for column in 0..columns {
            result.extend((0..depth).map(|k| matrix[k * columns + column]));
        }
    }
    result
}
