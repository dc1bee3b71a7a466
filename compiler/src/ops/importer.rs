//! The model under construction: what the imports of operators add nodes and constants to.

use std::collections::HashMap;

use crate::ir::{Array, Data, Elem, IntType, Model, Node, Tensor, TensorId, Type};
use crate::ops::{Function, Op, check};
use crate::{Result, bail};

/// All values computed while importing one model have no more elements together, so that a small file
/// cannot ask for unbounded memory.
const MAX_FOLDED: usize = 1 << 26;

/// The model under construction.
pub struct Importer {
    /// Everything imported so far.
    pub model: Model,
    /// Name of the ONNX node being imported, for names of what it becomes.
    pub current: String,
    /// Whether the next node of the IR may have the ONNX node's own name.
    own_name_free: bool,
    tensor_names: Names,
    node_names: Names,
    folded: usize,
}

/// Names in use, each with the last number that was appended to it.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    /// The name itself, or with a number appended where it is taken; taken from then on.
    fn take(&mut self, name: &str) -> String {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_string(), 0);
            return name.to_string();
        }
        loop {
            let number = self.0.get_mut(name).expect("the name is taken");
            *number += 1;
            let candidate = format!("{name}_{number}");
            if !self.0.contains_key(&candidate) {
                self.0.insert(candidate.clone(), 0);
                return candidate;
            }
        }
    }
}

impl Importer {
    /// An importer of an empty model.
    pub fn new(name: impl Into<String>) -> Importer {
        Importer {
            model: Model::new(name),
            current: "node".to_string(),
            own_name_free: false,
            tensor_names: Names::default(),
            node_names: Names::default(),
            folded: 0,
        }
    }

    /// Keeps a tensor's name for [`Self::define`] and [`Self::rename`].
    pub(crate) fn reserve_tensor(&mut self, name: &str) {
        self.tensor_names.0.entry(name.to_string()).or_insert(0);
    }

    /// Makes a node's name unique and keeps it for [`Self::begin`].
    pub(crate) fn reserve_node(&mut self, name: &str) -> String {
        self.node_names.take(name)
    }

    /// Starts the import of the ONNX node with this reserved name.
    pub(crate) fn begin(&mut self, name: &str) {
        self.current = name.to_string();
        self.own_name_free = true;
    }

    /// Adds a tensor under exactly this reserved name.
    pub(crate) fn define(&mut self, name: &str, ty: Type, value: Option<Array>) -> TensorId {
        self.model.tensors.push(Tensor {
            name: name.to_string(),
            ty,
            value,
            range: None,
            channels: vec![],
            moments: None,
            gains: None,
        });
        TensorId((self.model.tensors.len() - 1) as u32)
    }

    /// Gives a tensor a reserved name.
    pub(crate) fn rename(&mut self, id: TensorId, name: &str) {
        self.model[id].name = name.to_string();
    }

    /// Shape of a tensor.
    pub fn shape(&self, id: TensorId) -> &[usize] {
        &self.model[id].ty.shape
    }

    /// Type of a tensor.
    pub fn ty(&self, id: TensorId) -> &Type {
        &self.model[id].ty
    }

    /// Value of a tensor, if it is known at compile time.
    pub fn value(&self, id: TensorId) -> Option<&Array> {
        self.model[id].value.as_ref()
    }

    /// Plain integers that must be known at compile time (shapes, axes, pads).
    pub fn known_ints(&self, id: TensorId, what: &str) -> Result<Vec<i64>> {
        match self.known(id, what)? {
            Data::I64(v) => Ok(v.clone()),
            _ => bail!("`{}` ({what}) is not of integers", self.model[id].name),
        }
    }

    /// Reals that must be known at compile time (slopes, limits, scales).
    pub fn known_reals(&self, id: TensorId, what: &str) -> Result<Vec<f32>> {
        match self.known(id, what)? {
            Data::F32(v) => Ok(v.clone()),
            _ => bail!("`{}` ({what}) is not of reals", self.model[id].name),
        }
    }

    fn known(&self, id: TensorId, what: &str) -> Result<&Data> {
        match self.value(id) {
            Some(array) => Ok(&array.data),
            None => bail!(
                "`{}` ({what}) depends on the input's values", self.model[id].name;
                hint: "only what is known at compile time can be compiled; fix sizes with --batch and --dim, \
                       or simplify the model before exporting it"
            ),
        }
    }

    /// Adds a constant, named after the current node.
    pub fn constant(&mut self, suffix: &str, array: Array, elem: Elem) -> TensorId {
        let name = format!("{}_{suffix}", self.current);
        let ty = Type {
            shape: array.shape.clone(),
            elem,
        };
        self.add_tensor(&name, ty, Some(array))
    }

    fn add_tensor(&mut self, name: &str, ty: Type, value: Option<Array>) -> TensorId {
        let name = self.tensor_names.take(name);
        self.define(&name, ty, value)
    }

    /// Adds a node and returns its output. A node whose operands are all known is evaluated instead.
    /// An absent trailing operand may be left out.
    pub fn push(&mut self, op: impl Into<Op>, operands: &[Option<TensorId>]) -> Result<TensorId> {
        let op = op.into();
        let types: Vec<_> = operands
            .iter()
            .map(|o| o.map(|id| &self.model[id].ty))
            .collect();
        let ty = op.infer(&types)?;
        check::size(&ty.shape)?;
        let current = self.current.clone();
        if let Some(value) = self.fold(&op, &ty, operands)? {
            return Ok(self.add_tensor(&current, ty, Some(value)));
        }
        if let Op::Host(host) = &op {
            return Err(host.refusal());
        }
        let output = self.add_tensor(&current, ty, None);
        let name = if std::mem::take(&mut self.own_name_free) {
            current
        } else {
            self.node_names.take(&current)
        };
        self.model.nodes.push(Node {
            name,
            op,
            inputs: operands.to_vec(),
            output,
        });
        Ok(output)
    }

    /// The value of a node whose operands are all known.
    fn fold(&mut self, op: &Op, ty: &Type, operands: &[Option<TensorId>]) -> Result<Option<Array>> {
        let value = |id: TensorId| self.model[id].value.as_ref();
        let all_known = operands.iter().flatten().all(|id| value(*id).is_some());
        // What integers stand for is told by the node that says so, also where they are known.
        // A rounding of weights may be a quantization, which `passes::fake_quant` recognises.
        let tells = match op {
            Op::Dequantize(_) => true,
            Op::Unary(op) => op.function == Function::Round && ty.len() > 1,
            _ => false,
        };
        if operands.is_empty() || !all_known || tells {
            return Ok(None);
        }
        self.charge(ty.len())?;
        let value = |id: TensorId| self.model[id].value.as_ref();
        let values: Vec<_> = operands.iter().map(|o| o.and_then(value)).collect();
        Ok(Some(wrapped(op.eval(&values), &ty.elem)))
    }

    /// Counts elements that are about to be computed; refuses more than a network needs.
    pub(crate) fn charge(&mut self, elements: usize) -> Result<()> {
        self.folded = self.folded.saturating_add(elements);
        if self.folded > MAX_FOLDED {
            bail!(
                "values computed while importing have more than {MAX_FOLDED} elements together";
                hint: "export the model with its constants folded"
            );
        }
        Ok(())
    }

    /// [`Self::push`] for operators whose operands are all required.
    pub fn apply(&mut self, op: impl Into<Op>, operands: &[TensorId]) -> Result<TensorId> {
        let operands: Vec<_> = operands.iter().map(|id| Some(*id)).collect();
        self.push(op, &operands)
    }
}

/// Integer arithmetic is evaluated in 64 bits; its results wrap to the width of their type.
fn wrapped(mut array: Array, elem: &Elem) -> Array {
    if let (Elem::Int(int), Data::I64(values)) = (elem, &mut array.data) {
        for value in values {
            *value = wrap(*value, *int);
        }
    }
    array
}

/// The integer of a type that is congruent modulo 2^bits.
pub(crate) fn wrap(value: i64, int: IntType) -> i64 {
    let unused = 64 - u32::from(int.bits);
    if int.signed || unused == 0 {
        value << unused >> unused
    } else {
        value & int.max()
    }
}
