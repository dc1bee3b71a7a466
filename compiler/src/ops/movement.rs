//! Operators that only move elements: Reshape (with Flatten, Squeeze, Unsqueeze), Transpose, Slice (with
//! Split, one node an output), Gather with known indices, Pad, Expand.

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// The same elements in row-major order under another shape. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// The new shape, of the same size.
    pub shape: Vec<usize>,
}

/// Axis `i` of the result is axis `perm[i]` of the operand `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transpose {
    /// A permutation of the axes.
    pub perm: Vec<usize>,
}

/// A regular part of `x`. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// First index along each axis.
    pub starts: Vec<usize>,
    /// Distance of indices along each axis; may be negative, never 0.
    pub steps: Vec<isize>,
    /// Shape of the result.
    pub shape: Vec<usize>,
}

/// The parts of `x` at known indices along an axis. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    /// Which axis.
    pub axis: usize,
    /// Row-major, each below the axis's extent.
    pub indices: Vec<usize>,
    /// Their shape, which replaces the axis; empty for a scalar.
    pub index_shape: Vec<usize>,
}

/// Adds elements around `x`. Operand: `x`. Negative pads are imported as a Slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Elements before, for each axis.
    pub before: Vec<usize>,
    /// Elements after, for each axis.
    pub after: Vec<usize>,
    /// What is added.
    pub mode: PadMode,
}

/// What Pad adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// One number.
    Constant(f32),
    /// The mirror image, the edge not repeated.
    Reflect,
    /// The edge.
    Edge,
    /// The other end.
    Wrap,
}

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
