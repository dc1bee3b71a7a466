//! Which tensors are made to share memory.
//!
//! Links that lead forward (operands of a concatenation, a reshape into an output) are found first, from the
//! last node to the first; then those that lead back (slices, reshapes, results over an operand that dies).

use crate::ir::{Node, TensorId};
use crate::lower::layout::{self, same_strides};
use crate::lower::links::{Group, Link, Links};
use crate::lower::plan::scalar;
use crate::ops::{Concat, Op, Pads, Slice};

impl Links<'_> {
    /// Links operands of a node to its result.
    pub(crate) fn forward(&mut self, node: &Node) {
        match &node.op {
            Op::Concat(op) => self.concatenate(node, op),
            Op::Reshape(_) | Op::Transpose(_) => {
                let (x, y) = (node.operands().next(), node.output);
                let Some(x) = x else { return };
                let decided = self.is_output(y) || !self.is_owner(y);
                let free = self.is_owner(x) && self.is_computed(x) && !self.is_output(x);
                if decided && free {
                    self.alias(x, y, node);
                }
            }
            _ => {}
        }
    }

    fn concatenate(&mut self, node: &Node, op: &Concat) {
        let mut starts = vec![0; self.shape(node.output).len()];
        for id in node.operands() {
            if self.fits_into(id, node.output, op.axis) {
                let steps = vec![1; starts.len()];
                self.link(
                    id,
                    Link::Part {
                        of: node.output,
                        starts: starts.clone(),
                        steps,
                    },
                );
            }
            starts[op.axis] += self.shape(id)[op.axis];
        }
    }

    /// Whether an operand of a concatenation along `axis` can be computed in its place in the result.
    fn fits_into(&self, id: TensorId, whole: TensorId, axis: usize) -> bool {
        let Group { pads, dense, .. } = self.groups[id.0 as usize];
        let last = self.channels_last[id.0 as usize];
        // Pixels beside the part belong to its neighbours, so only channels leave room for a halo.
        let beside = last && axis >= 2;
        let has_halo = pads == Pads::default() || (!beside && !self.refuses(whole, pads));
        self.is_computed(id)
            && self.is_owner(id)
            && !self.is_output(id)
            && !dense
            && has_halo
            && self.model[id].ty.elem == self.model[whole].ty.elem
            && self.shape(id).len() <= 4
            && last == self.channels_last[whole.0 as usize]
    }

    /// Makes `id` the bytes of `of`, the other side of a reshape or transpose, if they coincide.
    fn alias(&mut self, id: TensorId, of: TensorId, node: &Node) {
        let none = Pads::default();
        let dense = self.groups[id.0 as usize].pads == none && self.pads(of) == none;
        if dense && self.is_contiguous(of) && self.bytes_coincide(node) {
            self.link(id, Link::Bytes(of));
            let owner = self.owner(of);
            self.groups[owner.0 as usize].dense = true;
        }
    }

    /// Whether a tensor lies as it would in a region of its own without halo.
    fn is_contiguous(&self, id: TensorId) -> bool {
        let shape = self.shape(id);
        let own = layout::dense(shape, self.channels_last[id.0 as usize], Pads::default());
        let (_, strides) = self.place(id, Pads::default());
        same_strides(shape, &strides, &own.strides)
    }

    /// Whether a reshape or transpose of dense memory moves nothing.
    fn bytes_coincide(&self, node: &Node) -> bool {
        let (x, y) = (node.operands().next().expect("has an operand"), node.output);
        let strides = |id: TensorId| {
            let last = self.channels_last[id.0 as usize];
            layout::dense(self.shape(id), last, Pads::default()).strides
        };
        match &node.op {
            Op::Transpose(op) => {
                let from = strides(x);
                let moved: Vec<_> = op.perm.iter().map(|axis| from[*axis]).collect();
                same_strides(self.shape(y), &moved, &strides(y))
            }
            _ => {
                is_row_major(self.shape(x), &strides(x)) && is_row_major(self.shape(y), &strides(y))
            }
        }
    }

    /// Links a node's result to an operand.
    pub(crate) fn backward(&mut self, position: usize, node: &Node) {
        let y = node.output;
        let x = match node.operands().find(|id| self.model[*id].value.is_none()) {
            Some(x) if self.is_owner(y) && !self.is_output(y) => x,
            _ => return,
        };
        match &node.op {
            Op::Reshape(_) | Op::Transpose(_) => self.alias(y, x, node),
            Op::Slice(op) => self.take_part(y, x, op),
            Op::Unary(_) | Op::Binary(_) | Op::PRelu(_) => {
                let operands: Vec<_> = node.operands().collect();
                let dying = |x: &&TensorId| self.may_replace(**x, &operands, y, position);
                if let Some(x) = operands.iter().find(dying) {
                    self.link(y, Link::Same(*x));
                }
            }
            _ => {}
        }
    }

    /// Makes a slice a part of its operand, unless it needs what the operand's memory cannot have: a halo
    /// around less than the whole image.
    fn take_part(&mut self, y: TensorId, x: TensorId, op: &Slice) {
        let Group { pads, dense, .. } = self.groups[y.0 as usize];
        let steps = op.steps.iter().map(|s| usize::try_from(*s).ok());
        let steps: Option<Vec<usize>> = steps.collect();
        let same_layout = self.channels_last[x.0 as usize] == self.channels_last[y.0 as usize];
        let has_halo = pads == Pads::default()
            || (self.shape(x)[2..] == self.shape(y)[2..] && !self.refuses(x, pads));
        if let (Some(steps), false) = (steps, dense)
            && self.shape(x).len() <= 4
            && same_layout
            && has_halo
        {
            let starts = op.starts.clone();
            self.link(
                y,
                Link::Part {
                    of: x,
                    starts,
                    steps,
                },
            );
        }
    }

    /// Whether the result of an element-wise node may overwrite its operand `x`.
    fn may_replace(&self, x: TensorId, all: &[TensorId], y: TensorId, position: usize) -> bool {
        let owner = self.owner(x);
        let alone = all
            .iter()
            .all(|other| *other == x || self.owner(*other) != owner);
        let pads = self.groups[y.0 as usize].pads;
        self.model[owner].value.is_none()
            && !self.model.inputs.contains(&owner)
            && alone
            && self.facts(x).last_use <= position
            && self.shape(x) == self.shape(y)
            && self.channels_last[x.0 as usize] == self.channels_last[y.0 as usize]
            && !self.refuses(x, pads)
            && (pads == Pads::default() || matches!(self.links[x.0 as usize], Link::Owner))
            && scalar(&self.model[x].ty.elem).bytes() == scalar(&self.model[y].ty.elem).bytes()
    }

    /// Whether a node writes the tensor, so that its place can be chosen.
    fn is_computed(&self, id: TensorId) -> bool {
        self.model[id].value.is_none() && !self.model.inputs.contains(&id)
    }

    fn is_output(&self, id: TensorId) -> bool {
        self.model.outputs.contains(&id)
    }
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let own = layout::dense(shape, false, Pads::default());
    same_strides(shape, &own.strides, strides)
}
