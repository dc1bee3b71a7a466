//! Which tensors share scale and zero point: those between which integers only move.

use std::collections::HashMap;

use crate::ir::{Model, Node, TensorId};
use crate::ops::{Op, PoolKind, Reduction, ResizeMode};

/// Disjoint sets of tensors.
pub(super) struct Groups {
    parents: Vec<usize>,
    /// Whether the set holds the result of a softmax, whose parameters are fixed.
    probability: Vec<bool>,
}

impl Groups {
    /// The sets of a model.
    pub(super) fn new(model: &Model) -> Groups {
        let count = model.tensors.len();
        let mut groups = Groups {
            parents: (0..count).collect(),
            probability: vec![false; count],
        };
        for node in &model.nodes {
            groups.probability[node.output.0 as usize] = matches!(node.op, Op::Softmax(_));
        }
        for node in model.nodes.iter().filter(|node| moves(&node.op)) {
            if let Some(x) = node.operands().next() {
                groups.join(x, node.output);
            }
        }
        let uses = uses(model);
        for node in &model.nodes {
            if let Op::Concat(_) = node.op {
                groups.concatenate(model, node, &uses);
            }
        }
        groups
    }

    /// The set of a tensor.
    pub(super) fn of(&mut self, id: TensorId) -> usize {
        let mut i = id.0 as usize;
        while self.parents[i] != i {
            self.parents[i] = self.parents[self.parents[i]];
            i = self.parents[i];
        }
        i
    }

    /// Whether the set's parameters are a softmax's.
    pub(super) fn is_probability(&self, group: usize) -> bool {
        self.probability[group]
    }

    fn join(&mut self, a: TensorId, b: TensorId) {
        let (a, b) = (self.of(a), self.of(b));
        let (root, other) = (a.min(b), a.max(b));
        self.parents[other] = root;
        self.probability[root] |= self.probability[other];
    }

    /// Operands that nothing else reads take the result's parameters, so that they are written in place.
    /// An operand with other readers keeps the finer scale that these may need.
    fn concatenate(&mut self, model: &Model, node: &Node, uses: &HashMap<TensorId, usize>) {
        let operands: Vec<TensorId> = node.operands().collect();
        let all = operands.iter().all(|id| {
            let group = self.of(*id);
            self.probability[group]
        });
        for id in operands {
            let group = self.of(id);
            let alone = uses.get(&id) == Some(&1) || model[id].value.is_some();
            if all || (alone && !self.probability[group]) {
                self.join(id, node.output);
            }
        }
    }
}

/// How often each tensor is read, by nodes or as an output.
fn uses(model: &Model) -> HashMap<TensorId, usize> {
    let mut uses = HashMap::new();
    let read = model.nodes.iter().flat_map(|node| node.operands());
    for id in read.chain(model.outputs.iter().copied()) {
        *uses.entry(id).or_insert(0) += 1;
    }
    uses
}

/// Whether an operator hands integers on as they are.
fn moves(op: &Op) -> bool {
    match op {
        Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Gather(_) | Op::Pad(_) => true,
        Op::Pool(op) => op.kind == PoolKind::Max,
        Op::Resize(op) => op.mode != ResizeMode::Linear,
        Op::Reduce(op) => matches!(op.reduction, Reduction::Max | Reduction::Min),
        _ => false,
    }
}
