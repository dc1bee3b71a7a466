//! Conv and ConvTranspose.

use crate::ir::{Model, Node};
use crate::lower::{Lowering, Needs};
use crate::ops::{Conv, ConvTranspose};
use crate::target::Target;
use crate::{Result, bail};

/// What a convolution asks of the memory of `x`.
pub(super) fn needs(_model: &Model, _target: &Target, _node: &Node, op: &Conv) -> Needs {
    Needs {
        pads: op.pads,
        slack: true,
    }
}

/// What a transposed convolution asks of the memory of `x`.
pub(super) fn needs_transposed(
    _model: &Model,
    _target: &Target,
    _node: &Node,
    _op: &ConvTranspose,
) -> Needs {
    Needs::default()
}

/// Lowers a convolution.
pub(super) fn lower(_cx: &mut Lowering, _node: &Node, _op: &Conv) -> Result<()> {
    bail!("convolutions cannot be lowered")
}

/// Lowers a transposed convolution.
pub(super) fn lower_transposed(
    _cx: &mut Lowering,
    _node: &Node,
    _op: &ConvTranspose,
) -> Result<()> {
    bail!("transposed convolutions cannot be lowered")
}
