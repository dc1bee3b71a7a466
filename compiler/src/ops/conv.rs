//! Conv and ConvTranspose (<https://onnx.ai/onnx/operators/onnx__Conv.html>).
//!
//! 1-D convolutions are imported as 2-D ones of height 1 between two reshapes. 3-D ones are refused.

use crate::Result;
use crate::ir::{Array, Clamp, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// Rows and columns added around an image, or cut from a transposed convolution's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pads {
    /// Rows above.
    pub top: usize,
    /// Columns before.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns after.
    pub right: usize,
}

/// 2-D convolution.
///
/// Operands: `x [N, C, H, W]`, `w [M, C/groups, kh, kw]`, optional `bias [M]`,
/// optional `residual [N, M, H', W']`, added before the activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Rows and columns from one window to the next.
    pub strides: [usize; 2],
    /// Zeros around `x`.
    pub pads: Pads,
    /// Distance of neighbouring taps.
    pub dilations: [usize; 2],
    /// Channel groups.
    pub groups: usize,
    /// What the result saturates to.
    pub activation: Clamp,
}

/// 2-D transposed convolution.
///
/// Operands: `x [N, C, H, W]`, `w [C, M/groups, kh, kw]`, optional `bias [M]`.
/// Output extent: `stride·(in − 1) + dilation·(k − 1) + 1 + output_padding − pads`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// Distance in the result of neighbouring input pixels.
    pub strides: [usize; 2],
    /// Cut from the result.
    pub pads: Pads,
    /// Distance of neighbouring taps.
    pub dilations: [usize; 2],
    /// Channel groups.
    pub groups: usize,
    /// Rows below and columns after that no tap may reach.
    pub output_padding: [usize; 2],
    /// What the result saturates to.
    pub activation: Clamp,
}

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for ConvTranspose {
    fn name(&self) -> &'static str {
        "ConvTranspose"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
