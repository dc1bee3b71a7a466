//! Softmax (<https://onnx.ai/onnx/operators/onnx__Softmax.html>).
//!
//! Before opset 13 the operand was flattened to two axes; import reshapes around the node then.

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// `exp(x − max) / Σ exp(x − max)` along an axis. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// Which axis.
    pub axis: usize,
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
