//! The network on reals, with what is needed to change one tensor of it and see what the outputs become.

use std::collections::HashMap;

use super::analyse::Noise;
use crate::ir::{Array, Clamp, Data, Elem, Model, Node, QuantParams, TensorId};

/// A model without integers that stand for reals.
pub(super) struct Real {
    pub(super) model: Model,
    /// How the tensors that came quantized stand for reals.
    came: HashMap<TensorId, QuantParams>,
}

impl Real {
    /// The same network, where integers stood for reals.
    pub(super) fn of(mut model: Model) -> Real {
        let mut came = HashMap::new();
        for (i, tensor) in model.tensors.iter_mut().enumerate() {
            if let Elem::Quantized(params) = &tensor.ty.elem {
                match &mut tensor.value {
                    Some(value) => *value = params.reals(value),
                    None => {
                        came.insert(TensorId(i as u32), params.clone());
                    }
                }
                tensor.ty.elem = Elem::Float;
            }
        }
        Real { model, came }
    }

    /// The value of every tensor, constants included, by its id.
    pub(super) fn values(&self, inputs: &[Array]) -> Vec<Array> {
        let nothing = || Array::f32([0], vec![]);
        let tensors = self.model.tensors.iter();
        let constants = tensors.map(|t| t.value.clone().unwrap_or_else(nothing));
        let mut values: Vec<Array> = constants.collect();
        for (id, array) in self.model.inputs.iter().zip(inputs) {
            values[id.0 as usize] = self.input(*id, array);
        }
        for node in &self.model.nodes {
            let operands = node.inputs.iter();
            let operands = operands.map(|id| id.map(|id| &values[id.0 as usize]));
            let result = self.result(node, &operands.collect::<Vec<_>>());
            values[node.output.0 as usize] = result;
        }
        values
    }

    /// The reals of an input.
    pub(super) fn input(&self, id: TensorId, array: &Array) -> Array {
        match (self.came.get(&id), &array.data) {
            (Some(params), Data::I64(integers)) => {
                let integers = integers.iter().map(|q| *q as i32).collect();
                params.reals(&Array::i32(array.shape.clone(), integers))
            }
            _ => self.limited(id, array.clone()),
        }
    }

    /// The result of a node.
    pub(super) fn result(&self, node: &Node, operands: &[Option<&Array>]) -> Array {
        self.limited(node.output, node.op.eval(operands))
    }

    /// What came quantized saturates, which may be all that is left of an activation.
    pub(super) fn limited(&self, id: TensorId, mut array: Array) -> Array {
        if let (Some(params), Data::F32(reals)) = (self.came.get(&id), &mut array.data) {
            let clamp = Clamp {
                min: params.dequantize(params.low),
                max: params.dequantize(params.high),
            };
            reals.iter_mut().for_each(|x| *x = clamp.apply(*x));
        }
        array
    }

    /// The result of a node with other operands.
    pub(super) fn node_with(
        &self,
        values: &[Array],
        position: usize,
        changed: &[(usize, Array)],
    ) -> Array {
        let node = &self.model.nodes[position];
        let operands = node.inputs.iter();
        let operands = operands.map(|id| id.map(|id| &values[id.0 as usize]));
        let mut operands: Vec<Option<&Array>> = operands.collect();
        for (operand, array) in changed {
            operands[*operand] = Some(array);
        }
        self.result(node, &operands)
    }

    /// The noise of the outputs when a tensor is another.
    pub(super) fn outputs_with(&self, values: &[Array], tensor: TensorId, other: Array) -> Noise {
        let mut changed = HashMap::from([(tensor, other)]);
        for node in &self.model.nodes {
            if node.output == tensor || !node.operands().any(|id| changed.contains_key(&id)) {
                continue;
            }
            let value = |id: TensorId| changed.get(&id).unwrap_or(&values[id.0 as usize]);
            let operands: Vec<_> = node.inputs.iter().map(|id| id.map(value)).collect();
            let result = self.result(node, &operands);
            changed.insert(node.output, result);
        }
        let mut noise = Noise::default();
        for id in &self.model.outputs {
            let exact = &values[id.0 as usize];
            let found = changed.get(id).unwrap_or(exact);
            if let (Data::F32(exact), Data::F32(found)) = (&exact.data, &found.data) {
                noise.add(Noise::of(exact, found));
            }
        }
        noise
    }
}
