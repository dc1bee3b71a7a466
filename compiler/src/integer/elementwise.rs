//! Unary functions, binary arithmetic, PRelu.

use super::arithmetic::{Table, requantize, scale_round};
use super::movement::broadcast;
use super::tflite::{self, Sum};
use super::{Call, params};
use crate::ir::{Array, Clamp, Model, Node, Numerics, QuantParams};
use crate::ops::{Binary, Function, Operator, Unary};

pub(super) fn unary(op: &Unary, call: &Call) -> Array {
    let images = function(call.model, call.node, op);
    let first = call.params(0).int.min() as i32;
    let table = Table::new(call.params(0), |q| images[(q - first) as usize]);
    call.result(table.map(call.array(0).quantized()))
}

/// What a unary node makes of each integer of its operand's type, from the smallest on:
/// `out.quantize(f(in.dequantize(x)))`; in TFLite's numerics `clamp(scale(x − z_x) + z_y)`.
pub fn function(model: &Model, node: &Node, op: &Unary) -> Vec<i32> {
    let x = params(model, node.inputs[0].expect("a unary node has an operand"));
    let y = params(model, node.output);
    let all = x.int.min() as i32..=x.int.max() as i32;
    if let (Numerics::Tflite, Function::Clamp(clamp)) = (model.numerics, &op.function) {
        return all.map(|q| rescaled(x, y, *clamp, q)).collect();
    }
    let reals: Vec<f32> = all.map(|q| x.dequantize(q)).collect();
    let images = op.eval(&[Some(&Array::f32([reals.len()], reals))]);
    images
        .reals()
        .iter()
        .map(|real| y.quantize(*real))
        .collect()
}

fn rescaled(x: &QuantParams, y: &QuantParams, clamp: Clamp, q: i32) -> i32 {
    let ((_, z_x), (_, z_y)) = (x.uniform(), y.uniform());
    let (low, high) = Numerics::Tflite.limits(clamp, y);
    let scaled = tflite::ratio(x, y).scale(q - z_x);
    scaled.saturating_add(z_y).clamp(low, high)
}

/// `out.quantize(clamp(f(a.dequantize(x), b.dequantize(y))))`, each step one f32 operation: QuantizeLinear of
/// the operator on what DequantizeLinear gives.
/// TFLite's sums are [`Sum`].
pub(super) fn binary(op: &Binary, call: &Call) -> Array {
    if call.is_tflite() {
        return sum(op.activation, call);
    }
    let reals = |operand: usize| {
        let (array, params) = (call.array(operand), call.params(operand));
        let reals = array.quantized().iter().map(|q| params.dequantize(*q));
        Array::f32(array.shape.clone(), reals.collect())
    };
    let result = op.eval(&[Some(&reals(0)), Some(&reals(1))]);
    let quantized = result.reals().iter().map(|y| call.out().quantize(*y));
    call.result(quantized.collect())
}

fn sum(activation: Clamp, call: &Call) -> Array {
    let [(s_a, z_a), (s_b, z_b)] = [0, 1].map(|i| call.params(i).uniform());
    let (s_y, z_y) = call.out().uniform();
    let factors = Sum::new([s_a, s_b], s_y);
    let (low, high) = call.model.numerics.limits(activation, call.out());
    let [a, b] = [0, 1].map(|i| {
        let array = call.array(i);
        let at = broadcast(&array.shape, call.shape());
        at.into_iter().map(|at| array.quantized()[at])
    });
    let sums = a.zip(b).map(|(a, b)| factors.apply(a - z_a, b - z_b));
    call.result(sums.map(|y| (y + z_y).clamp(low, high)).collect())
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
