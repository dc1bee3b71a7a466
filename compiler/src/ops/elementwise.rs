//! Operators that work element by element: unary functions, binary arithmetic with NumPy's broadcasting,
//! PRelu.

use crate::Result;
use crate::ir::{Array, Clamp, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

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
    Floor,
    Ceil,
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

impl Operator for Unary {
    fn name(&self) -> &'static str {
        "Unary"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        "Binary"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for PRelu {
    fn name(&self) -> &'static str {
        "PRelu"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
