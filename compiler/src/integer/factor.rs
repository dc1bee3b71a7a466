//! What sums of products are multiplied with to become integers of the result.

use crate::ir::{Granularity, Model, Node, Numerics, QuantParams};
use crate::ops::Op;
use qcc_runtime_support::fixed::Fixed;
use qcc_runtime_support::scale_round_wide;

/// The scale of a sum over the scale of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Factor {
    /// Multiplied in f32, rounded to the nearest integer, of two to the even one: ONNX.
    Real(f32),
    /// Multiplied in fixed point, rounded twice: TFLite's convolutions.
    Fixed(Fixed),
    /// Multiplied in f64, rounded to the nearest integer, halves away from zero: TFLite's dense layers.
    Double(f64),
}

impl Factor {
    /// The sum times the factor, as an integer.
    pub fn round(self, sum: i64) -> i32 {
        match self {
            Factor::Real(m) => scale_round_wide(sum, m),
            Factor::Fixed(m) => m.scale(i32::try_from(sum).expect("`check` bounds the sums")),
            Factor::Double(m) => (sum as f64 * m).round() as i32,
        }
    }

    /// The factor itself.
    pub fn real(self) -> f64 {
        match self {
            Factor::Real(m) => m.into(),
            Factor::Fixed(m) => m.real(),
            Factor::Double(m) => m,
        }
    }
}

impl From<f32> for Factor {
    fn from(m: f32) -> Factor {
        Factor::Real(m)
    }
}

/// The factor of each output channel of a product of activations, operand 0, and weights, operand 1.
pub fn factors(model: &Model, node: &Node, channels: usize) -> Vec<Factor> {
    let operand = |i: usize| super::params(model, node.inputs[i].expect("`infer` demands both"));
    let (x, w, y) = (operand(0), operand(1), super::params(model, node.output));
    let ((s_x, _), (s_y, _)) = (x.uniform(), y.uniform());
    let scales = w.scales(channels).into_iter();
    let factor = |s_w: f32| match (model.numerics, &node.op) {
        (Numerics::Onnx, _) => Factor::Real((s_x * s_w) / s_y),
        (Numerics::Tflite, Op::MatMul(_)) => {
            Factor::Double(f64::from(s_x) * f64::from(s_w) / f64::from(s_y))
        }
        (Numerics::Tflite, _) => Factor::Fixed(Fixed::new(product(x, w, s_w) / f64::from(s_y))),
    };
    scales.map(factor).collect()
}

/// The product of scales, which TFLite rounds to f32 where activations are unsigned and weights have one scale.
fn product(x: &QuantParams, w: &QuantParams, s_w: f32) -> f64 {
    let (s_x, _) = x.uniform();
    match (&w.map, x.int.signed) {
        (Granularity::PerTensor { .. }, false) => (s_x * s_w).into(),
        _ => f64::from(s_x) * f64::from(s_w),
    }
}
