//! Unary functions, binary arithmetic, PRelu.

use super::Call;
use super::arithmetic::{Table, requantize, scale_round};
use super::movement::broadcast;
use crate::ir::{Array, QuantParams};
use crate::ops::{Binary, Operator, Unary};

/// `out.quantize(f(in.dequantize(x)))`.
pub(super) fn unary(op: &Unary, call: &Call) -> Array {
    let reals = |params: &QuantParams| -> Array {
        let all = params.int.min() as i32..=params.int.max() as i32;
        let reals: Vec<f32> = all.map(|q| params.dequantize(q)).collect();
        Array::f32([reals.len()], reals)
    };
    let images = op.eval(&[Some(&reals(call.params(0)))]);
    let first = call.params(0).int.min() as i32;
    let table = Table::new(call.params(0), |q| {
        call.out().quantize(images.reals()[(q - first) as usize])
    });
    call.result(table.map(call.array(0).quantized()))
}

/// `out.quantize(clamp(f(a.dequantize(x), b.dequantize(y))))`, each step one f32 operation: QuantizeLinear of
/// the operator on what DequantizeLinear gives.
pub(super) fn binary(op: &Binary, call: &Call) -> Array {
    let reals = |operand: usize| {
        let (array, params) = (call.array(operand), call.params(operand));
        let reals = array.quantized().iter().map(|q| params.dequantize(*q));
        Array::f32(array.shape.clone(), reals.collect())
    };
    let result = op.eval(&[Some(&reals(0)), Some(&reals(1))]);
    let quantized = result.reals().iter().map(|y| call.out().quantize(*y));
    call.result(quantized.collect())
}

/// `d = x − z_x; clamp(scale_round(d, d < 0 ? (slope·s_x)/s_y : s_x/s_y) + z_y)`.
pub(super) fn prelu(call: &Call) -> Array {
    let (x, slope) = (call.array(0), call.array(1));
    let (s_x, z_x) = call.params(0).uniform();
    let (s_y, z_y) = call.out().uniform();
    let (low, high) = (call.out().low, call.out().high);
    let slopes = broadcast(&slope.shape, call.shape());
    let value = |(q, at): (&i32, &usize)| {
        let d = q - z_x;
        let negative = (slope.reals()[*at] * s_x) / s_y;
        let m = if d < 0 { negative } else { s_x / s_y };
        (scale_round(d, m) + z_y).clamp(low, high)
    };
    call.result(x.quantized().iter().zip(&slopes).map(value).collect())
}

/// An operand of Concat in the parameters of the result.
pub(super) fn in_params_of_result(call: &Call, operand: usize) -> Vec<i32> {
    let integers = call.array(operand).quantized();
    requantize(call.params(operand), call.out(), integers)
}
