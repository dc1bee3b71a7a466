//! Which activations share a scale: operators that move or choose integers have one on both sides.

use crate::ir::{Elem, Model, Node, Range, TensorId};
use crate::ops::{Op, PadMode};

/// A partition of the tensors; each part has one range.
pub(super) struct Groups {
    parent: Vec<usize>,
    range: Vec<Range>,
    least: Vec<f32>,
    fixed: Vec<bool>,
    bits: Vec<u8>,
    steps: Vec<i32>,
}

impl Groups {
    /// Each tensor alone.
    pub(super) fn new(model: &Model) -> Groups {
        let count = model.tensors.len();
        Groups {
            parent: (0..count).collect(),
            range: vec![Range { min: 0.0, max: 0.0 }; count],
            least: vec![0.0; count],
            fixed: vec![false; count],
            bits: vec![0; count],
            steps: vec![i32::MAX; count],
        }
    }

    /// The tensor's group holds at least this range.
    pub(super) fn widen(&mut self, id: TensorId, range: Range) {
        let root = self.root(id);
        self.range[root] = self.range[root].union(range);
    }

    /// The range of the tensor's group is at least this wide.
    pub(super) fn at_least(&mut self, id: TensorId, width: f32) {
        let root = self.root(id);
        self.least[root] = self.least[root].max(width);
    }

    /// The integers of the tensor's group have at least so many bits.
    pub(super) fn at_least_bits(&mut self, id: TensorId, bits: u8) {
        let root = self.root(id);
        self.bits[root] = self.bits[root].max(bits);
    }

    /// The range of the tensor's group has at most so many steps.
    pub(super) fn at_most_steps(&mut self, id: TensorId, steps: i32) {
        let root = self.root(id);
        self.steps[root] = self.steps[root].min(steps);
    }

    /// Bits of the integers of the tensor's group, 8 where nothing asks for a number.
    pub(super) fn bits(&self, id: TensorId) -> u8 {
        match self.bits[self.root(id)] {
            0 => 8,
            bits => bits,
        }
    }

    /// The largest number of steps that the range of the tensor's group may have.
    pub(super) fn steps(&self, id: TensorId) -> i32 {
        self.steps[self.root(id)]
    }

    /// Whether the tensor holds the shares of a softmax.
    pub(super) fn is_fixed(&self, id: TensorId) -> bool {
        self.fixed[self.root(id)]
    }

    /// The range of the tensor's group.
    pub(super) fn range(&self, id: TensorId) -> Range {
        let root = self.root(id);
        let Range { min, max } = self.range[root];
        let narrow = max - min < self.least[root];
        let max = if narrow { min + self.least[root] } else { max };
        Range { min, max }
    }

    /// Applies what a node demands of its operands and result.
    pub(super) fn constrain(&mut self, model: &Model, node: &Node) {
        if matches!(node.op, Op::Softmax(_)) {
            let root = self.root(node.output);
            self.fixed[root] = true;
        }
        if node.op.moves() && model[node.output].ty.elem == Elem::Float {
            self.union(super::super::rewrite::subject(node), node.output);
        }
        if let Op::Pad(op) = &node.op
            && let PadMode::Constant(value) = op.mode
            && value.is_finite()
        {
            let range = Range {
                min: value,
                max: value,
            };
            self.widen(node.output, range);
        }
    }

    /// Operands of a Concat share its scale, so that they can be written in place, except where that would
    /// cost another reader of the operand precision, or the scale is fixed.
    pub(super) fn unify_concat(&mut self, model: &Model, node: &Node) {
        if !matches!(node.op, Op::Concat(_)) || self.is_fixed(node.output) {
            return;
        }
        for id in node.operands() {
            if model[id].value.is_some() || self.is_fixed(id) || model.inputs.contains(&id) {
                continue;
            }
            let width = |range: Range| range.max.max(0.0) - range.min.min(0.0);
            let wide = 2.0 * width(self.range(id)) >= width(self.range(node.output));
            if wide || super::super::rewrite::read_once(model, id) {
                self.union(id, node.output);
            }
        }
    }

    fn root(&self, id: TensorId) -> usize {
        let mut at = id.0 as usize;
        while self.parent[at] != at {
            at = self.parent[at];
        }
        at
    }

    fn union(&mut self, a: TensorId, b: TensorId) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parent[b] = a;
            self.range[a] = self.range[a].union(self.range[b]);
            self.least[a] = self.least[a].max(self.least[b]);
            self.fixed[a] |= self.fixed[b];
            self.bits[a] = self.bits[a].max(self.bits[b]);
            self.steps[a] = self.steps[a].min(self.steps[b]);
        }
    }
}
