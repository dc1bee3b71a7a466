//! The graph: nodes in topological order over a table of tensors.

use std::sync::Arc;

use crate::ir::{Array, Elem, Numerics, Range};
use crate::ops::Op;

/// A network.
#[derive(Clone, Debug)]
pub struct Model {
    /// The graph's name in the ONNX file, or the file's stem.
    pub name: String,
    /// Indexed by [`TensorId`]. Passes may leave tensors that nothing uses.
    pub tensors: Vec<Tensor>,
    /// In topological order: a node follows the producers of its inputs.
    pub nodes: Vec<Node>,
    /// Given by the caller, in the order of the ONNX graph; constants are not among them.
    pub inputs: Vec<TensorId>,
    /// Handed to the caller, in the order of the ONNX graph.
    pub outputs: Vec<TensorId>,
    /// What its operators compute where tensors are integers.
    pub numerics: Numerics,
}

/// Names a tensor of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

/// Shape and element type.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// Extent of each axis, all known.
    pub shape: Vec<usize>,
    /// What the elements are.
    pub elem: Elem,
}

/// A value that flows between nodes, or a constant.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The name in the ONNX file, or one derived from it; unique in the model.
    pub name: String,
    /// Shape and element type.
    pub ty: Type,
    /// The elements, if they are known at compile time.
    pub value: Option<Array>,
    /// Where the reals lie, once ranges are annotated.
    pub range: Option<Range>,
    /// What samples showed of each channel, of a tensor that is multiplied with constant weights; else empty.
    pub channels: Vec<Channel>,
    /// What samples showed of the windows whose sums these elements are, where a rounding is to learn from it.
    pub moments: Option<Arc<Moments>>,
    /// What samples showed that the mean of each output channel of a sum loses, where biases are to make it good.
    pub gains: Option<Vec<f32>>,
}

/// What samples showed of the windows that the weights of a sum are multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Elements of a window of one group, in the order of the weights.
    pub taps: usize,
    /// Elements of one channel in a window.
    pub plane: usize,
    /// How many windows were seen.
    pub windows: u64,
    /// `Σ x` of each group: `taps` numbers.
    pub sums: Vec<f32>,
    /// `Σ x·xᵀ` of each group: `taps × taps` numbers, row-major.
    pub products: Vec<f32>,
}

/// What samples showed of the elements with one index along the axis of a tensor's channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// Where they lie.
    pub range: Range,
    /// Their mean.
    pub mean: f32,
    /// The mean of their squares.
    pub power: f32,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name in the ONNX file, or the output's name; unique in the model.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// The operands, in the order that the operator documents; optional ones can be absent.
    pub inputs: Vec<Option<TensorId>>,
    /// The result.
    pub output: TensorId,
}

impl Node {
    /// `conv1 (Conv)`: how messages call this node.
    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.op.name())
    }

    /// The operands that are present.
    pub fn operands(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.inputs.iter().flatten().copied()
    }
}

impl std::ops::Index<TensorId> for Model {
    type Output = Tensor;
    fn index(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }
}

impl std::ops::IndexMut<TensorId> for Model {
    fn index_mut(&mut self, id: TensorId) -> &mut Tensor {
        &mut self.tensors[id.0 as usize]
    }
}

impl Channel {
    /// The channel with all its elements multiplied by a positive factor.
    pub fn scaled(self, factor: f32) -> Channel {
        Channel {
            range: Range {
                min: self.range.min * factor,
                max: self.range.max * factor,
            },
            mean: self.mean * factor,
            power: self.power * factor * factor,
        }
    }

    /// The channel with a number taken from all its elements.
    pub fn less(self, offset: f64) -> Channel {
        let less = |x: f32| (f64::from(x) - offset) as f32;
        // `E[(x − c)²] = E[x²] − 2·c·E[x] + c²`
        let power = f64::from(self.power) + offset * (offset - 2.0 * f64::from(self.mean));
        Channel {
            range: Range {
                min: less(self.range.min),
                max: less(self.range.max),
            },
            mean: less(self.mean),
            power: power.max(0.0) as f32,
        }
    }
}

impl Moments {
    /// The moments of windows whose channels are multiplied by factors.
    pub fn scaled(&self, factor: impl Fn(usize) -> f64) -> Moments {
        let of_tap = |tap: usize| factor(tap / self.plane);
        let sums = self.sums.iter().enumerate();
        let sums = sums.map(|(tap, sum)| (f64::from(*sum) * of_tap(tap)) as f32);
        let products = self.products.iter().enumerate().map(|(i, product)| {
            let (row, column) = self.ends(i);
            (f64::from(*product) * of_tap(row) * of_tap(column)) as f32
        });
        Moments {
            sums: sums.collect(),
            products: products.collect(),
            ..*self
        }
    }

    /// The moments of windows from whose channels numbers are taken.
    pub fn less(&self, offset: impl Fn(usize) -> f64) -> Moments {
        let windows = self.windows as f64;
        let of_tap = |tap: usize| offset(tap / self.plane);
        let sum = |tap: usize| f64::from(self.sums[tap]);
        let sums = (0..self.sums.len()).map(|tap| (sum(tap) - windows * of_tap(tap)) as f32);
        let products = self.products.iter().enumerate().map(|(i, product)| {
            let (row, column) = self.ends(i);
            let (a, b) = (of_tap(row), of_tap(column));
            // `Σ (x − a)·(y − b)`
            let crossed = a * sum(column) + b * sum(row) - windows * a * b;
            (f64::from(*product) - crossed) as f32
        });
        Moments {
            sums: sums.collect(),
            products: products.collect(),
            ..*self
        }
    }

    /// The two taps that a product is of, counted over all groups.
    fn ends(&self, product: usize) -> (usize, usize) {
        let group = product / (self.taps * self.taps) * self.taps;
        let (row, column) = (product / self.taps % self.taps, product % self.taps);
        (group + row, group + column)
    }
}

impl Type {
    /// A type of reals.
    pub fn float(shape: impl Into<Vec<usize>>) -> Type {
        Type {
            shape: shape.into(),
            elem: Elem::Float,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Model {
    /// A model without tensors or nodes.
    pub fn new(name: impl Into<String>) -> Model {
        Model {
            name: name.into(),
            tensors: vec![],
            nodes: vec![],
            inputs: vec![],
            outputs: vec![],
            numerics: Numerics::default(),
        }
    }

    /// Adds a tensor; a name in use gets a numbered suffix.
    pub fn add_tensor(&mut self, name: &str, ty: Type, value: Option<Array>) -> TensorId {
        let name = self.free_name(name);
        self.tensors.push(Tensor {
            name,
            ty,
            value,
            range: None,
            channels: vec![],
            moments: None,
            gains: None,
        });
        TensorId((self.tensors.len() - 1) as u32)
    }

    fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| self.tensors.iter().any(|t| t.name == name);
        if !taken(name) {
            return name.to_string();
        }
        (1..)
            .map(|i| format!("{name}_{i}"))
            .find(|n| !taken(n))
            .expect("some number is free")
    }

    /// Position of the node that computes a tensor; `None` for inputs and constants.
    pub fn producer(&self, id: TensorId) -> Option<usize> {
        self.nodes.iter().position(|n| n.output == id)
    }

    /// Positions of the nodes that read a tensor, in order.
    pub fn consumers(&self, id: TensorId) -> Vec<usize> {
        let reads = |n: &Node| n.operands().any(|t| t == id);
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| reads(n))
            .map(|(i, _)| i)
            .collect()
    }

    /// The value of a node's operand, if it is a constant.
    pub fn constant(&self, node: &Node, operand: usize) -> Option<&Array> {
        let id = (*node.inputs.get(operand)?)?;
        self[id].value.as_ref()
    }

    /// The type of a node's operand, if it is present.
    pub fn operand_type(&self, node: &Node, operand: usize) -> Option<&Type> {
        let id = (*node.inputs.get(operand)?)?;
        Some(&self[id].ty)
    }

    /// Replaces every use of one tensor, outputs of the model included, by another.
    pub fn replace_uses(&mut self, old: TensorId, new: TensorId) {
        let slots = self
            .nodes
            .iter_mut()
            .flat_map(|n| n.inputs.iter_mut().flatten());
        for slot in slots.chain(&mut self.outputs).filter(|t| **t == old) {
            *slot = new;
        }
    }

    /// Removes nodes whose result nothing needs.
    pub fn remove_dead(&mut self) {
        let mut needed = vec![false; self.tensors.len()];
        for id in &self.outputs {
            needed[id.0 as usize] = true;
        }
        for node in self.nodes.iter().rev() {
            if needed[node.output.0 as usize] {
                for id in node.operands() {
                    needed[id.0 as usize] = true;
                }
            }
        }
        self.nodes.retain(|n| needed[n.output.0 as usize]);
    }

    /// Removes the tensors that nothing uses; those that stay keep their order, and get new ids.
    pub fn remove_unused_tensors(&mut self) {
        let mut used = vec![false; self.tensors.len()];
        let nodes = self
            .nodes
            .iter()
            .flat_map(|n| n.operands().chain([n.output]));
        for id in nodes.chain(self.inputs.iter().chain(&self.outputs).copied()) {
            used[id.0 as usize] = true;
        }
        let mut next = 0;
        let renumbered = used.iter().map(|used| {
            next += u32::from(*used);
            TensorId(next.wrapping_sub(1))
        });
        let new: Vec<TensorId> = renumbered.collect();
        let mut tensor = used.iter();
        self.tensors
            .retain(|_| *tensor.next().expect("one flag a tensor"));
        let nodes = self.nodes.iter_mut();
        let slots = nodes.flat_map(|n| n.inputs.iter_mut().flatten().chain([&mut n.output]));
        for id in slots.chain(&mut self.inputs).chain(&mut self.outputs) {
            *id = new[id.0 as usize];
        }
    }
}
