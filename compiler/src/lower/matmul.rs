//! MatMul.

use crate::ir::{Model, Node, TensorId};
use crate::lower::{Lowering, Needs};
use crate::ops::MatMul;
use crate::target::Target;
use crate::{Result, bail};

/// What a matrix product asks of the memory of an operand.
pub(super) fn needs(_model: &Model, _target: &Target, _operand: TensorId) -> Needs {
    Needs {
        slack: true,
        ..Needs::default()
    }
}

/// Lowers a matrix product.
pub(super) fn lower(_cx: &mut Lowering, _node: &Node, _op: &MatMul) -> Result<()> {
    bail!("matrix products cannot be lowered")
}
