//! What rewrites are made of: where a value comes from and goes to, and how two nodes become one.

use crate::Result;
use crate::ir::{Array, Data, Model, Node, TensorId, Type};
use crate::ops::Op;

/// Tries a rule at every node, again and again until nothing changes; returns how often it did.
/// The rule says whether it changed the model; nodes that nothing needs are removed after each change.
pub(super) fn each(
    model: &mut Model,
    rule: fn(&mut Model, usize) -> Result<bool>,
) -> Result<usize> {
    let mut total = 0;
    loop {
        let mut changes = 0;
        let mut position = 0;
        while position < model.nodes.len() {
            if rule(model, position)? {
                changes += 1;
                model.remove_dead();
            }
            position += 1;
        }
        if changes == 0 {
            return Ok(total);
        }
        total += changes;
    }
}

/// Whether exactly one operand of one node reads a tensor, and the caller of the model does not.
pub(super) fn read_once(model: &Model, id: TensorId) -> bool {
    let operands = model.nodes.iter().flat_map(Node::operands);
    operands.filter(|operand| *operand == id).count() == 1 && !model.outputs.contains(&id)
}

/// The node that computes an operand, if nothing else reads it.
pub(super) fn own_producer(model: &Model, id: TensorId) -> Option<usize> {
    let producer = model.producer(id)?;
    read_once(model, id).then_some(producer)
}

/// The only reader of a node's result.
pub(super) fn own_consumer(model: &Model, id: TensorId) -> Option<usize> {
    read_once(model, id).then(|| model.consumers(id)[0])
}

/// The reals of an operand that is known.
pub(super) fn reals<'a>(model: &'a Model, node: &Node, operand: usize) -> Option<&'a Array> {
    let array = model.constant(node, operand)?;
    matches!(array.data, Data::F32(_)).then_some(array)
}

/// The only element of an operand that is known.
pub(super) fn single(model: &Model, node: &Node, operand: usize) -> Option<f32> {
    match reals(model, node, operand)?.reals() {
        [value] => Some(*value),
        _ => None,
    }
}

/// The first operand, which every operator but those of several equal operands computes on.
pub(super) fn subject(node: &Node) -> TensorId {
    node.inputs[0].expect("`verify` demands the first operand")
}

/// The node `producer` computes the result of `consumer`, its only reader, which disappears. The node
/// moves to the reader's place, so that it may take over operands of the reader.
pub(super) fn absorb(model: &mut Model, producer: usize, consumer: usize) {
    let output = model.nodes[consumer].output;
    let mut node = model.nodes.remove(producer);
    node.output = output;
    model.nodes[consumer - 1] = node;
}

/// Removes a node whose result is its first operand; `false` where both have names that the caller knows.
pub(super) fn bypass(model: &mut Model, position: usize) -> bool {
    let (x, y) = (
        subject(&model.nodes[position]),
        model.nodes[position].output,
    );
    bypass_to(model, position, x, y)
}

fn bypass_to(model: &mut Model, position: usize, x: TensorId, y: TensorId) -> bool {
    if model[x].range.is_none() {
        model[x].range = model[y].range;
    }
    if !model.outputs.contains(&y) {
        model.nodes.remove(position);
        model.replace_uses(y, x);
        return true;
    }
    // The caller knows the result by its name: the operand's producer takes it over.
    let Some(producer) = model.producer(x) else {
        return false;
    };
    if model.outputs.contains(&x) {
        return false;
    }
    model.nodes[producer].output = y;
    model.nodes.remove(position);
    model.replace_uses(x, y);
    true
}

/// A new value for a constant operand; other readers of the constant keep theirs.
pub(super) fn set_constant(model: &mut Model, position: usize, operand: usize, array: Array) {
    let node = &model.nodes[position];
    let old = node.inputs.get(operand).copied().flatten();
    let ty = Type::float(array.shape.clone());
    match old {
        Some(id) if read_once(model, id) => {
            model[id].ty = ty;
            model[id].value = Some(array);
        }
        _ => {
            let name = match old {
                Some(id) => model[id].name.clone(),
                None => format!("{}_{operand}", node.name),
            };
            let id = model.add_tensor(&name, ty, Some(array));
            let inputs = &mut model.nodes[position].inputs;
            inputs.resize(inputs.len().max(operand + 1), None);
            inputs[operand] = Some(id);
        }
    }
}

/// A node in front of position `at`, computing a new tensor of the type that its operator infers.
pub(super) fn insert(
    model: &mut Model,
    at: usize,
    name: &str,
    op: impl Into<Op>,
    inputs: &[Option<TensorId>],
) -> Result<TensorId> {
    let op = op.into();
    let types: Vec<_> = inputs.iter().map(|o| o.map(|id| &model[id].ty)).collect();
    let ty = op.infer(&types)?;
    let output = model.add_tensor(name, ty, None);
    let name = free_node_name(model, name);
    let inputs = inputs.to_vec();
    let node = Node {
        name,
        op,
        inputs,
        output,
    };
    model.nodes.insert(at, node);
    Ok(output)
}

pub(super) fn free_node_name(model: &Model, name: &str) -> String {
    let taken = |name: &str| model.nodes.iter().any(|n| n.name == name);
    let numbered = (1..).map(|i| format!("{name}_{i}"));
    std::iter::once(name.to_string())
        .chain(numbered)
        .find(|name| !taken(name))
        .expect("some number is free")
}
