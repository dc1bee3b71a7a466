//! Networks that were quantized elsewhere: QuantizeLinear and DequantizeLinear become quantization *types*.
//!
//! ```text
//! x ─ Q ─ DQ ─ Conv ─ Relu ─ Q ─ DQ ─ ..        x: u8 ─ Conv+Relu ─ y: i8 ─ ..
//!     w ─ DQ ──┘                           ▶     w: i8 ──┘
//! ```
//!
//! A Q asks what it reads for integers ([`Typing::quantized`]), and gets them
//!
//! - from a DQ with the same scale and zero point, as they are; with others, through a table;
//! - from an operator that chooses among its operand's elements (Reshape, MaxPool, Concat ..) or clamps, which
//!   is asked in turn: rounding is monotone, so it may as well come first;
//! - from any other operator, as its own result: its operands are what DQs read, or reals that
//!   calibration is left to quantize.
//!
//! Integers that are read with another scale than they were written with keep their bits. Of Q and DQ whose scale
//! depends on the input's values, `dynamic` tells what becomes; what remains is refused by `integer::check`.

mod constants;
mod dynamic;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rewrite::{free_node_name, subject};
use crate::ir::{Array, Clamp, Elem, Model, Node, QuantParams, TensorId, Type};
use crate::ops::{Function, Op, PadMode, Reshape, Unary};
use crate::{Result, bail};

/// Turns Q and DQ into types. Returns the number of tensors that have one.
pub(super) fn run(model: &mut Model) -> Result<usize> {
    let has_any = |n: &Node| matches!(n.op, Op::Quantize(_) | Op::Dequantize(_));
    if !model.nodes.iter().any(has_any) {
        return Ok(0);
    }
    let mut typing = Typing::new(model);
    for position in 0..typing.old.len() {
        let label = typing.old[position].label();
        typing.node(position).map_err(|e| e.at(&label))?;
    }
    typing.finish();
    let names = std::mem::take(&mut typing.names);
    model.remove_dead();
    restore_names(model, &names);
    let typed = |n: &&Node| matches!(model[n.output].ty.elem, Elem::Quantized(_));
    Ok(model.nodes.iter().filter(typed).count())
}

/// Gives nodes the name of the one that they replace, unless that is still there.
fn restore_names(model: &mut Model, names: &HashMap<TensorId, String>) {
    let mut taken: HashSet<String> = model.nodes.iter().map(|n| n.name.clone()).collect();
    for node in &mut model.nodes {
        if let Some(name) = names.get(&node.output)
            && taken.insert(name.clone())
        {
            node.name = name.clone();
        }
    }
}

struct Typing<'a> {
    model: &'a mut Model,
    /// The nodes as they were.
    old: Vec<Node>,
    /// The node that computes a tensor, among the old ones.
    producer: HashMap<TensorId, usize>,
    /// For a tensor of reals, the integers that it is the DQ of.
    integers: BTreeMap<TensorId, TensorId>,
    /// For a tensor of plain integers, the one of quantized integers in its place.
    typed: HashMap<TensorId, TensorId>,
    /// Reals that were quantized before, with the result.
    quantized: HashMap<TensorId, Vec<TensorId>>,
    /// What the node that computes a tensor is to be called.
    names: HashMap<TensorId, String>,
    /// For a zero point that is computed, its real.
    zero_points: HashMap<TensorId, TensorId>,
    /// For integers under a scale and a zero point that are computed, the integers less their zero point.
    centred: HashMap<TensorId, TensorId>,
    /// The smallest (`true`) and the largest element of tensors, and zero.
    extremes: HashMap<(TensorId, bool), TensorId>,
}

impl<'a> Typing<'a> {
    fn new(model: &'a mut Model) -> Typing<'a> {
        let old = std::mem::take(&mut model.nodes);
        let outputs = old.iter().enumerate();
        Typing {
            producer: outputs.map(|(i, node)| (node.output, i)).collect(),
            model,
            old,
            integers: BTreeMap::new(),
            typed: HashMap::new(),
            quantized: HashMap::new(),
            names: HashMap::new(),
            zero_points: HashMap::new(),
            centred: HashMap::new(),
            extremes: HashMap::new(),
        }
    }

    fn node(&mut self, position: usize) -> Result<()> {
        let mut node = self.old[position].clone();
        for id in node.inputs.iter_mut().flatten() {
            *id = self.typed.get(id).copied().unwrap_or(*id);
        }
        match &node.op {
            Op::Quantize(_) => self.quantize(node),
            Op::Dequantize(_) => self.dequantize(node),
            Op::Dynamic(op) => {
                let op = *op;
                self.dynamic(node, op)
            }
            op if op.moves() && self.holds_integers(subject(&node)) => self.move_integers(node),
            Op::Concat(_) if self.holds_integers(subject(&node)) => self.move_integers(node),
            Op::Unary(_) if self.holds_integers(subject(&node)) => self.move_integers(node),
            op => {
                if op.moves() || matches!(op, Op::Concat(_)) {
                    self.sink(&node)?;
                }
                self.model.nodes.push(node);
                Ok(())
            }
        }
    }

    /// Whether a tensor that the file declares to hold plain integers was given a scale.
    fn holds_integers(&self, id: TensorId) -> bool {
        matches!(self.model[id].ty.elem, Elem::Quantized(_)) && !self.integers.contains_key(&id)
    }

    fn params(&self, id: TensorId) -> Option<&QuantParams> {
        match &self.model[id].ty.elem {
            Elem::Quantized(params) => Some(params),
            _ => None,
        }
    }

    fn quantize(&mut self, node: Node) -> Result<()> {
        let result = match constants::of_quantize(self.model, &node)? {
            Some(params) => self.quantized(subject(&node), &params)?,
            None => None,
        };
        match result {
            Some(integers) => {
                self.typed.insert(node.output, integers);
            }
            None => self.model.nodes.push(node),
        }
        Ok(())
    }

    fn dequantize(&mut self, node: Node) -> Result<()> {
        if let Some(integers) = self.centred(&node)? {
            self.integers.insert(node.output, integers);
            return Ok(());
        }
        let x = subject(&node);
        let Some(params) = constants::of_dequantize(self.model, &node)? else {
            self.model.nodes.push(node);
            return Ok(());
        };
        let same = self.params(x) == Some(&params);
        let integers = if self.model[x].value.is_some() {
            self.constant(x, params)?
        } else if same {
            x
        } else if self.model.inputs.contains(&x) && matches!(self.model[x].ty.elem, Elem::Int(_)) {
            self.model[x].ty.elem = Elem::Quantized(params);
            x
        } else if self.params(x).is_some() {
            self.same_bits(x, params)
        } else {
            self.model.nodes.push(node);
            return Ok(());
        };
        self.integers.insert(node.output, integers);
        Ok(())
    }

    /// A constant of the file as quantized integers.
    fn constant(&mut self, x: TensorId, params: QuantParams) -> Result<TensorId> {
        let array = self.model[x].value.as_ref().expect("the caller saw it");
        let (integers, params) = constants::positive(array, params);
        let (low, high) = (params.low, params.high);
        if integers.iter().any(|q| !(low..=high).contains(q)) {
            bail!(
                "`{}` holds integers outside {low}..={high}",
                self.model[x].name
            );
        }
        let value = Array::i32(array.shape.clone(), integers);
        Ok(self.tensor(x, params, Some(value)))
    }

    /// The bits of a tensor with another meaning.
    fn same_bits(&mut self, x: TensorId, params: QuantParams) -> TensorId {
        let shape = self.model[x].ty.shape.clone();
        let y = self.tensor(x, params, None);
        self.push("bits", Reshape { shape }, &[Some(x)], y);
        y
    }

    /// A new tensor of the shape of `like`, and named after it.
    fn tensor(&mut self, like: TensorId, params: QuantParams, value: Option<Array>) -> TensorId {
        let ty = Type {
            shape: self.model[like].ty.shape.clone(),
            elem: Elem::Quantized(params),
        };
        let name = self.model[like].name.clone();
        self.model.add_tensor(&name, ty, value)
    }

    fn push(&mut self, name: &str, op: impl Into<Op>, x: &[Option<TensorId>], y: TensorId) {
        self.names.insert(y, name.to_string());
        let node = Node {
            name: free_node_name(self.model, name),
            op: op.into(),
            inputs: x.to_vec(),
            output: y,
        };
        self.model.nodes.push(node);
    }

    /// A node on integers of the file, behind the Q that wrote them: their bits move.
    fn move_integers(&mut self, mut node: Node) -> Result<()> {
        let params = self
            .params(subject(&node))
            .cloned()
            .expect("the caller saw them");
        for slot in 1..node.inputs.len() {
            let Some(id) = node.inputs[slot] else {
                continue;
            };
            match self.params(id) {
                Some(own) if *own == params => {}
                Some(_) => node.inputs[slot] = Some(self.same_bits(id, params.clone())),
                None => bail!("operand {slot} holds integers without a scale"),
            }
        }
        let real = |q: f32| params.dequantize(q as i32);
        match &mut node.op {
            Op::Pad(pad) => {
                if let PadMode::Constant(value) = &mut pad.mode {
                    *value = real(*value);
                }
            }
            Op::Unary(Unary {
                function: Function::Clamp(clamp),
            }) => {
                let limit = |x: f32| if x.is_finite() { real(x) } else { x };
                *clamp = Clamp {
                    min: limit(clamp.min),
                    max: limit(clamp.max),
                };
            }
            Op::Unary(op) => bail!(
                "{} of quantized integers has no meaning",
                op.function.name()
            ),
            _ => {}
        }
        let y = self.tensor(node.output, params, None);
        self.typed.insert(node.output, y);
        self.push(&node.name, node.op, &node.inputs, y);
        Ok(())
    }

    /// `move(DQ(x)) = DQ(move(x))`: notes the integers behind a movement of reals.
    fn sink(&mut self, node: &Node) -> Result<()> {
        let found = node
            .inputs
            .iter()
            .map(|id| self.integers.get(&(*id)?).copied());
        let Some(inputs) = found.collect::<Option<Vec<_>>>() else {
            return Ok(());
        };
        let params = self
            .params(inputs[0])
            .cloned()
            .expect("integers have a scale");
        if inputs.iter().any(|id| self.params(*id) != Some(&params)) {
            return Ok(());
        }
        let (from, to) = (
            &self.model[inputs[0]].ty.shape,
            &self.model[node.output].ty.shape,
        );
        let Some(params) = constants::moved(&params, &node.op, from, to) else {
            return Ok(());
        };
        let values = inputs.iter().map(|id| self.model[*id].value.as_ref());
        let y = match values.map(|v| v.map(Some)).collect::<Option<Vec<_>>>() {
            Some(values) => {
                let value = node.op.eval(&values);
                self.tensor(node.output, params, Some(value))
            }
            None => {
                let y = self.tensor(node.output, params, None);
                let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
                self.push(&node.name, node.op.clone(), &inputs, y);
                y
            }
        };
        self.integers.insert(node.output, y);
        Ok(())
    }

    /// The integers of reals under a scale and zero point, where they are exactly what Q makes of them.
    fn quantized(&mut self, x: TensorId, params: &QuantParams) -> Result<Option<TensorId>> {
        let known = self.quantized.get(&x).into_iter().flatten();
        let mut known = known.chain(self.integers.get(&x));
        if let Some(same) = known.find(|id| self.params(**id) == Some(params)) {
            return Ok(Some(*same));
        }
        let found = self.make_quantized(x, params)?;
        if let Some(found) = found {
            self.quantized.entry(x).or_default().push(found);
        }
        Ok(found)
    }

    fn make_quantized(&mut self, x: TensorId, params: &QuantParams) -> Result<Option<TensorId>> {
        if let Some(integers) = self.integers.get(&x).copied() {
            return Ok(Some(self.requantized(x, integers, params)));
        }
        if let Some(array) = &self.model[x].value {
            let integers = array.reals().iter().map(|x| params.quantize(*x)).collect();
            let value = Array::i32(array.shape.clone(), integers);
            return Ok(Some(self.tensor(x, params.clone(), Some(value))));
        }
        if self.model.inputs.contains(&x) {
            self.model[x].ty.elem = Elem::Quantized(params.clone());
            self.integers.insert(x, x);
            return Ok(Some(x));
        }
        let Some(position) = self.producer.get(&x).copied() else {
            return Ok(None);
        };
        let node = self.old[position].clone();
        let clamps = matches!(&node.op, Op::Unary(op) if matches!(op.function, Function::Clamp(_)));
        let reads_integers = self.integers.contains_key(&subject(&node));
        let chooses = node.op.moves() || matches!(node.op, Op::Concat(_));
        match &node.op {
            Op::Quantize(_) | Op::Dequantize(_) | Op::Host(_) | Op::ArgMax(_) => Ok(None),
            _ if chooses || (clamps && !reads_integers) => {
                let mut inputs = vec![];
                for id in node.inputs.iter().flatten() {
                    match self.quantized(*id, params)? {
                        Some(id) => inputs.push(Some(id)),
                        None => return Ok(None),
                    }
                }
                let y = self.tensor(x, params.clone(), None);
                self.push(&node.name, node.op, &inputs, y);
                Ok(Some(y))
            }
            _ => self.computed(&node, params).map(Some),
        }
    }

    /// Integers under another scale: a table.
    fn requantized(&mut self, x: TensorId, integers: TensorId, params: &QuantParams) -> TensorId {
        if let (Some(array), Some(from)) = (&self.model[integers].value, self.params(integers)) {
            let reals = from.reals(array);
            let value = reals.reals().iter();
            let value = value.map(|x| params.quantize(*x)).collect();
            let value = Array::i32(array.shape.clone(), value);
            return self.tensor(x, params.clone(), Some(value));
        }
        let y = self.tensor(x, params.clone(), None);
        let function = Function::Clamp(Clamp::NONE);
        self.push("requantize", Unary { function }, &[Some(integers)], y);
        y
    }

    /// The result of an operator, rounded once.
    fn computed(&mut self, node: &Node, params: &QuantParams) -> Result<TensorId> {
        let node = sums::with_bias(self.model, &self.old, &self.producer, &self.integers, node);
        let y = self.tensor(node.output, params.clone(), None);
        self.push(&node.name, node.op, &node.inputs, y);
        Ok(y)
    }

    /// Operators on reals read integers where there are some; what nothing quantizes stays real.
    fn finish(&mut self) {
        let replaced = |id: &TensorId| self.integers.get(id).or(self.typed.get(id)).copied();
        for node in &mut self.model.nodes {
            if matches!(node.op, Op::Quantize(_) | Op::Dequantize(_)) {
                continue;
            }
            for id in node.inputs.iter_mut().flatten() {
                *id = replaced(id).unwrap_or(*id);
            }
        }
        let outputs = self.model.outputs.clone();
        for (slot, id) in outputs.into_iter().enumerate() {
            let Some(integers) = replaced(&id) else {
                continue;
            };
            if let (Some(params), Some(array)) =
                (self.params(integers), &self.model[integers].value)
                && !params.is_uniform()
            {
                // Callers know one scale of a tensor.
                self.model[id].value = Some(params.reals(array));
                continue;
            }
            let computed = self.model.nodes.iter().any(|n| n.output == integers);
            self.model.outputs[slot] = integers;
            if computed && !self.model.outputs[..slot].contains(&integers) {
                let [old, new] = [id, integers].map(|id| self.model[id].name.clone());
                self.model[id].name = new;
                self.model[integers].name = old;
            }
        }
    }
}
