//! Resize and Upsample, nearest and linear (<https://onnx.ai/onnx/operators/onnx__Resize.html>).
//!
//! Refused: cubic, antialiasing, tf_crop_and_resize, and resizing the batch or channel axis.

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// Resizes the two image axes. Operand: `x [N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How a pixel of the result is found.
    pub mode: ResizeMode,
    /// Which point of `x` a pixel of the result stands for.
    pub coordinates: Coordinates,
    /// Output extent over input extent, rows then columns, as the node states it.
    pub scales: [f32; 2],
    /// Rows and columns of the result.
    pub output: [usize; 2],
}

/// How a pixel of the result is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeMode {
    /// One pixel of `x`.
    Nearest(Nearest),
    /// Weighted mean of the four around the point; bilinear.
    Linear,
}

/// How a fractional coordinate becomes a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// Which point of the operand a pixel of the result stands for (`coordinate_transformation_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
