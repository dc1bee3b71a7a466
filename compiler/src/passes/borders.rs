//! Where reals and integers meet: Quantize before a node on integers that reads what one in floating point
//! computed, Dequantize the other way round.
//!
//! ```text
//! x ─ conv (integers) ─ relu (reals) ─ y    ▶    x ─ Q ─ conv ─ DQ ─ relu ─ y
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::{Array, Elem, IntType, Model, Node, QuantParams, TensorId, Type};
use crate::ops::{Dequantize, Op, Quantize, Scales};

/// Which tensors of a model stay reals.
pub(super) type Reals = BTreeSet<TensorId>;

/// Puts borders around the nodes whose names are `real`. Returns the inputs and results that stay reals; all
/// others are to be quantized, or are.
pub(super) fn place(model: &mut Model, real: &BTreeSet<String>) -> Reals {
    let mut borders = Borders::new(model, real);
    for node in std::mem::take(&mut borders.model.nodes) {
        borders.node(node);
    }
    borders.reals
}

struct Borders<'a> {
    model: &'a mut Model,
    real: &'a BTreeSet<String>,
    reals: Reals,
    /// The reals of integers, and the integers of reals.
    others: BTreeMap<TensorId, TensorId>,
    /// Names of nodes.
    taken: BTreeSet<String>,
}

impl<'a> Borders<'a> {
    /// An input stays real where some node reads it as reals, or no node reads it.
    fn new(model: &'a mut Model, real: &'a BTreeSet<String>) -> Borders<'a> {
        let mut reals = Reals::new();
        for id in &model.inputs {
            let readers = model.consumers(*id);
            let of_reals = |reader: &usize| real.contains(&model.nodes[*reader].name);
            let unread = readers.is_empty() && !real.is_empty();
            if model[*id].ty.elem == Elem::Float && (unread || readers.iter().any(of_reals)) {
                reals.insert(*id);
            }
        }
        let taken = model.nodes.iter().map(|node| node.name.clone()).collect();
        Borders {
            model,
            real,
            reals,
            others: BTreeMap::new(),
            taken,
        }
    }

    fn node(&mut self, mut node: Node) {
        let real = self.real.contains(&node.name);
        for slot in 0..node.inputs.len() {
            let Some(id) = node.inputs[slot] else {
                continue;
            };
            let plain = !matches!(self.model[id].ty.elem, Elem::Float | Elem::Quantized(_));
            if plain || self.model[id].value.is_some() || self.reals.contains(&id) == real {
                continue;
            }
            node.inputs[slot] = Some(self.other(id));
        }
        if !real {
            self.model.nodes.push(node);
            return;
        }
        let y = node.output;
        if !matches!(self.model[y].ty.elem, Elem::Quantized(_)) {
            if self.model[y].ty.elem == Elem::Float {
                self.reals.insert(y);
            }
            self.model.nodes.push(node);
            return;
        }
        // The result came quantized: it is rounded as the file says.
        let own = self.tensor(y, "real", Elem::Float);
        self.reals.insert(own);
        node.output = own;
        let quantize = self.border(quantize(), own, y);
        self.model.nodes.extend([node, quantize]);
    }

    /// The integers of a tensor of reals, or its reals.
    fn other(&mut self, id: TensorId) -> TensorId {
        if let Some(other) = self.others.get(&id) {
            return *other;
        }
        let to_integers = self.reals.contains(&id);
        let what = if to_integers { "integers" } else { "reals" };
        let other = self.tensor(id, what, Elem::Float);
        let op = match to_integers {
            true => quantize(),
            false => dequantize(),
        };
        let node = self.border(op, id, other);
        self.model.nodes.push(node);
        if !to_integers {
            self.reals.insert(other);
        }
        self.others.insert(id, other);
        other
    }

    /// A tensor with the shape and the range of another.
    fn tensor(&mut self, like: TensorId, what: &str, elem: Elem) -> TensorId {
        let name = format!("{}_{what}", self.model[like].name);
        let shape = self.model[like].ty.shape.clone();
        let (range, channels) = (self.model[like].range, self.model[like].channels.clone());
        let id = self.model.add_tensor(&name, Type { shape, elem }, None);
        (self.model[id].range, self.model[id].channels) = (range, channels);
        id
    }

    fn border(&mut self, op: Op, x: TensorId, y: TensorId) -> Node {
        let what = match op {
            Op::Quantize(_) => "quantize",
            _ => "dequantize",
        };
        let wanted = format!("{}_{what}", self.model[x].name);
        let mut name = wanted.clone();
        for i in 1.. {
            if self.taken.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}_{i}");
        }
        Node {
            name,
            op,
            inputs: vec![Some(x)],
            output: y,
        }
    }
}

fn quantize() -> Op {
    let (int, scales) = (IntType::U8, Scales::One);
    Quantize { int, scales }.into()
}

fn dequantize() -> Op {
    let scales = Scales::One;
    Dequantize { scales }.into()
}

/// Gives borders their scale and zero point, once the tensors have theirs.
pub(super) fn finish(model: &mut Model) {
    for position in 0..model.nodes.len() {
        let node = &model.nodes[position];
        if node.inputs.len() != 1 {
            continue;
        }
        let integers = match &node.op {
            Op::Quantize(_) => node.output,
            Op::Dequantize(_) => super::rewrite::subject(node),
            _ => continue,
        };
        let Elem::Quantized(params) = model[integers].ty.elem.clone() else {
            continue;
        };
        let name = model[integers].name.clone();
        let operands = operands(model, &name, &params);
        let node = &mut model.nodes[position];
        node.inputs.extend(operands.map(Some));
        if let Op::Quantize(op) = &mut node.op {
            op.int = params.int;
        }
    }
}

fn operands(model: &mut Model, name: &str, params: &QuantParams) -> [TensorId; 2] {
    let (scale, zero_point) = params.uniform();
    let ty = Type {
        shape: vec![],
        elem: Elem::Int(params.int),
    };
    let zero_point = Array::i64([], vec![zero_point.into()]);
    let scale = Array::f32([], vec![scale]);
    [
        model.add_tensor(&format!("{name}_scale"), Type::float([]), Some(scale)),
        model.add_tensor(&format!("{name}_zero_point"), ty, Some(zero_point)),
    ]
}
