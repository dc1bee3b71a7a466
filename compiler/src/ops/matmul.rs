//! MatMul and Gemm (<https://onnx.ai/onnx/operators/onnx__MatMul.html>).
//!
//! Gemm is imported as MatMul: transposed constants are transposed at import, `alpha` and `beta` are folded
//! into constants or become Mul nodes.

use crate::Result;
use crate::ir::{Array, Clamp, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// Matrix product with NumPy's broadcasting of leading axes.
///
/// Operands: `a [.., M, K]`, `b [.., K, N]`, optional `bias [N]`; 1-D operands as in `numpy.matmul`
/// are reshaped at import, so both have at least two axes here.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul {
    /// What the result saturates to.
    pub activation: Clamp,
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
