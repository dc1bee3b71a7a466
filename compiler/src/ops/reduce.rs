//! Reductions over axes and ArgMax. ReduceMean over the two image axes is imported as a global average Pool.

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// Reduces some axes. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// How.
    pub reduction: Reduction,
    /// Which axes, ascending.
    pub axes: Vec<usize>,
    /// Whether reduced axes stay, with extent 1.
    pub keep_axes: bool,
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
    Prod,
}

/// Index of the largest element along an axis. Operand: `x`; the result is i64.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgMax {
    /// Which axis.
    pub axis: usize,
    /// Whether the axis stays, with extent 1.
    pub keep_axis: bool,
    /// Which of equal elements wins: the last one, or the first.
    pub last: bool,
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        "Reduce"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Operator for ArgMax {
    fn name(&self) -> &'static str {
        "ArgMax"
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}
