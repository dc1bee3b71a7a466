//! Operators that work element by element: unary functions, binary arithmetic with NumPy's broadcasting,
//! PRelu (<https://onnx.ai/onnx/operators/onnx__Add.html> and its neighbours).
//!
//! Arithmetic on plain integers is there for shapes, which fold while importing: it wraps at 64 bits, and
//! a division by zero gives 0. Refused: arithmetic on truth values and on operands of different types.

mod binary;
mod export;
mod import;
mod steps;
mod unary;

use crate::Result;
use crate::ir::{Array, Clamp, Type};
use crate::ops::export::{Exporter, Operand, named};
use crate::ops::{Operator, broadcast, check};

pub(super) use import::IMPORTS;

/// A function of one real. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Which one.
    pub function: Function,
}

/// The functions of one real, with their parameters; NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Function {
    /// Relu, Relu6 and Clip.
    Clamp(Clamp),
    LeakyRelu {
        alpha: f32,
    },
    Elu {
        alpha: f32,
    },
    Sigmoid,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    Tanh,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Erf,
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
    /// Halves go to the even neighbour.
    Round,
    Softplus,
    Softsign,
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Gelu {
        tanh: bool,
    },
    Mish,
    /// `x · sigmoid(x)`; exporters write the product.
    Silu,
    /// `scale · x + offset`, from Mul and Add with one number.
    Affine {
        scale: f32,
        offset: f32,
    },
}

/// Arithmetic on two tensors with NumPy's broadcasting. Operands: `a`, `b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which one.
    pub function: BinaryFunction,
    /// What the result saturates to.
    pub activation: Clamp,
}

/// The functions of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum BinaryFunction {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
}

/// `x < 0 ? slope · x : x`. Operands: `x`, constant `slope` that broadcasts to `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct PRelu;

impl Operator for PRelu {
    fn name(&self) -> &'static str {
        "PRelu"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = check::real(operands, 0)?;
        let slope = check::real(operands, 1)?;
        if broadcast::shape(&x.shape, &slope.shape).ok().as_ref() != Some(&x.shape) {
            crate::bail!(
                "slopes of shape {:?} do not broadcast to {:?}", slope.shape, x.shape;
                hint: "one slope a channel has shape [{}, 1, 1]", x.shape.get(1).unwrap_or(&1)
            );
        }
        check::reals(x.shape.clone())
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let [Some(x), Some(slope)] = operands[..] else {
            unreachable!("infer demands both operands")
        };
        let leak = |x: f32, slope: f32| if x < 0.0 { slope * x } else { x };
        let (x_part, slope_part) = ((&x.shape[..], x.reals()), (&slope.shape[..], slope.reals()));
        let data = broadcast::zip(&x.shape, x_part, slope_part, leak);
        Array::f32(x.shape.clone(), data)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let inputs = [0, 1].map(|i| named(operands, i));
        to.node("PRelu", &inputs, vec![])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prelu_scales_negatives_of_each_channel() {
        let x = Array::f32([1, 2, 2], vec![-1.0, 2.0, -3.0, -4.0]);
        let slope = Array::f32([2, 1], vec![0.5, 0.25]);
        let y = PRelu.eval(&[Some(&x), Some(&slope)]);
        assert_eq!(y.reals(), [-0.5, 2.0, -0.75, -1.0]);
    }

    #[test]
    fn prelu_does_not_grow_its_operand() {
        let types = [Type::float([2]), Type::float([3, 2])];
        let error = PRelu.infer(&types.each_ref().map(Some)).unwrap_err();
        let message = "slopes of shape [3, 2] do not broadcast to [2]";
        assert_eq!(error.diagnostics[0].message, message);
    }
}
