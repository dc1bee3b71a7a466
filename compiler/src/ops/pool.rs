//! MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool
//! (<https://onnx.ai/onnx/operators/onnx__AveragePool.html>).
//!
//! 1-D pools are imported as 2-D ones of height 1. The indices output of MaxPool is refused.

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator, Pads};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// A window that slides over each channel. Operand: `x [N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What is taken of a window.
    pub kind: PoolKind,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub strides: [usize; 2],
    /// Around `x`.
    pub pads: Pads,
    /// Distance of neighbouring elements of a window.
    pub dilations: [usize; 2],
    /// Rows and columns of the result (`ceil_mode` ends here). Windows may reach past the padded image;
    /// what lies outside it is never counted.
    pub output: [usize; 2],
}

/// What is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest element of the image; padding never wins.
    Max,
    /// The mean over the elements of the image, or of the padded image where padding counts.
    Average {
        /// Whether padding counts, as zeros.
        count_include_pad: bool,
    },
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        "Pool"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
