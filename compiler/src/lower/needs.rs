//! What nodes ask of the memory that they read.

use crate::ir::{Elem, Model, Node, TensorId};
use crate::lower::{conv, matmul, pool, transposed};
use crate::ops::{Op, Pads};
use crate::target::Target;

/// What a node asks of the memory of one operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Halo around the image.
    pub pads: Pads,
    /// Whether the kernel reads a few bytes past the last element, which a caller's buffer forbids.
    pub slack: bool,
}

impl Needs {
    /// What satisfies both.
    pub fn and(self, other: Needs) -> Needs {
        Needs {
            pads: union(self.pads, other.pads),
            slack: self.slack || other.slack,
        }
    }
}

/// The smallest halo that holds both.
pub(crate) fn union(a: Pads, b: Pads) -> Pads {
    Pads {
        top: a.top.max(b.top),
        left: a.left.max(b.left),
        bottom: a.bottom.max(b.bottom),
        right: a.right.max(b.right),
    }
}

/// What all readers of each tensor ask for together.
pub(crate) fn of_tensors(model: &Model, target: &Target) -> Vec<Needs> {
    let mut needs = vec![Needs::default(); model.tensors.len()];
    for node in &model.nodes {
        for (operand, id) in node.inputs.iter().enumerate() {
            if let Some(id) = id {
                let all = &mut needs[id.0 as usize];
                let mut own = of_operand(model, target, node, operand, *id);
                // Kernels on reals read no element that does not exist.
                own.slack &= model[*id].ty.elem != Elem::Float;
                *all = all.and(own);
            }
        }
    }
    if target.has("load_a_aligned_u8") {
        for (tensor, needs) in model.tensors.iter().zip(&mut needs) {
            align_rows(&tensor.ty.shape, target.dot.k, &mut needs.pads);
        }
    }
    needs
}

/// Makes a halo wider until each row of the image begins at a multiple of `k`.
fn align_rows(shape: &[usize], k: usize, pads: &mut Pads) {
    if let [_, channels, _, width] = shape
        && *pads != Pads::default()
    {
        while !((pads.left + width + pads.right) * channels).is_multiple_of(k) {
            pads.right += 1;
        }
    }
}

fn of_operand(model: &Model, target: &Target, node: &Node, operand: usize, id: TensorId) -> Needs {
    match &node.op {
        Op::Conv(op) if operand == 0 => conv::needs(model, target, node, op),
        Op::ConvTranspose(op) if operand == 0 => transposed::needs(model, target, node, op),
        Op::Pool(op) => pool::needs(model, node, op),
        Op::MatMul(_) if operand < 2 => matmul::needs(model, target, id),
        _ => Needs::default(),
    }
}
