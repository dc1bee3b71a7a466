//! Concat (<https://onnx.ai/onnx/operators/onnx__Concat.html>).

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// Joins tensors along an axis. Operands: one or more.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// Which axis.
    pub axis: usize,
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
