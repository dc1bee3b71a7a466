//! BatchNormalization (<https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>), inference only.

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// `scale · (x − mean) / √(variance + epsilon) + shift`, per channel (axis 1).
///
/// Operands: `x [N, C, ..]`, `scale [C]`, `shift [C]`, `mean [C]`, `variance [C]`; all but `x` constant.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for BatchNorm {
    fn name(&self) -> &'static str {
        "BatchNorm"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
