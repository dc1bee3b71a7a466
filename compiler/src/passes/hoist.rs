//! Elementwise work moves ahead of movements: `f(reshape(x)) = reshape(f(x))`. It then stands next to the sum
//! that can take it, and the movements meet and merge (1-D layers are 2-D ones between two reshapes).

use super::activation::activation;
use super::rewrite::{self, insert, own_producer, reals, set_constant, subject};
use crate::Result;
use crate::ir::{Array, Model, Node};
use crate::ops::{Function, Op, PoolKind, Unary};

/// Moves elementwise nodes ahead of reshapes and transposes, and clamps ahead of maximum pools.
pub(super) fn hoist(model: &mut Model) -> Result<usize> {
    rewrite::each(model, |model, position| {
        Ok(hoist_one(model, position) || hoist_pair(model, position)?)
    })
}

fn hoist_one(model: &mut Model, position: usize) -> bool {
    let node = &model.nodes[position];
    let Some(x) = node.inputs.first().copied().flatten() else {
        return false;
    };
    let Some(producer) = own_producer(model, x) else {
        return false;
    };
    let movement = &model.nodes[producer];
    match (&node.op, &movement.op) {
        (Op::Unary(_), Op::Reshape(_) | Op::Transpose(_)) => {
            swap(model, producer, position);
            true
        }
        (
            Op::Unary(Unary {
                function: Function::Clamp(_),
            }),
            Op::Pool(pool),
        ) if pool.kind == PoolKind::Max && feeds_on_a_sum(model, movement) => {
            swap(model, producer, position);
            true
        }
        (Op::BatchNorm(_) | Op::Binary(_), Op::Reshape(_) | Op::Transpose(_)) => {
            let Some(constant) = constant_before(model, node, movement) else {
                return false;
            };
            if let Some(constant) = constant {
                set_constant(model, position, 1, constant);
            }
            swap(model, producer, position);
            true
        }
        _ => false,
    }
}

/// Whether a node's operand is a sum that can take an activation.
fn feeds_on_a_sum(model: &Model, node: &Node) -> bool {
    let producer = own_producer(model, subject(node));
    producer.is_some_and(|p| activation(&model.nodes[p].op).is_some())
}

/// The second operand that arithmetic with a constant needs ahead of a movement. `Some(None)`: batch
/// normalisation stays as it is. `None`: the movement mixes the channels.
fn constant_before(model: &Model, node: &Node, movement: &Node) -> Option<Option<Array>> {
    let before = &model[subject(movement)].ty.shape;
    let after = &model[movement.output].ty.shape;
    // The axis ahead of the movement that holds the channels of `axis` behind it.
    let axis_before = |axis: usize| match &movement.op {
        Op::Transpose(op) => Some(op.perm[axis]),
        _ if before.get(..=axis) == after.get(..=axis) => Some(axis),
        _ if axis + 1 == after.len() && before.last() == after.last() => Some(before.len() - 1),
        _ => None,
    };
    if let Op::BatchNorm(_) = node.op {
        return (axis_before(1) == Some(1)).then_some(None);
    }
    let constant = reals(model, node, 1)?;
    if model[node.output].ty.shape != *after {
        return None;
    }
    let missing = after.len() - constant.shape.len();
    let mut varying = (0..constant.shape.len()).filter(|axis| constant.shape[*axis] != 1);
    let mut shape = vec![1; before.len()];
    if let Some(axis) = varying.next() {
        shape[axis_before(axis + missing)?] = constant.shape[axis];
    }
    match varying.next() {
        None => Some(Some(constant.clone().reshaped(shape))),
        Some(_) => None,
    }
}

/// A node and the movement before it change places.
fn swap(model: &mut Model, movement: usize, position: usize) {
    let x = subject(&model.nodes[movement]);
    let (between, y) = (model.nodes[movement].output, model.nodes[position].output);
    let mut node = model.nodes[position].clone();
    let mut moved = model.nodes[movement].clone();
    node.inputs[0] = Some(x);
    node.output = between;
    moved.inputs[0] = Some(between);
    moved.output = y;
    model[between].ty = model[x].ty.clone();
    model[between].range = model[y].range;
    model.nodes[movement] = node;
    model.nodes[position] = moved;
}

/// Arithmetic on two tensors that were moved alike: `reshape(a) + reshape(b) = reshape(a + b)`.
fn hoist_pair(model: &mut Model, position: usize) -> Result<bool> {
    let node = &model.nodes[position];
    let (Op::Binary(_), [Some(a), Some(b)]) = (&node.op, &node.inputs[..]) else {
        return Ok(false);
    };
    let (Some(first), Some(second)) = (own_producer(model, *a), own_producer(model, *b)) else {
        return Ok(false);
    };
    let (first, second) = (&model.nodes[first], &model.nodes[second]);
    let moves = matches!(first.op, Op::Reshape(_) | Op::Transpose(_));
    let shape = |node: &Node| model[subject(node)].ty.shape.clone();
    if !moves || first.op != second.op || shape(first) != shape(second) {
        return Ok(false);
    }
    let operands = [first.inputs[0], second.inputs[0]];
    let (movement, arithmetic) = (first.op.clone(), node.op.clone());
    let (name, range) = (node.name.clone(), model[node.output].range);
    let between = insert(model, position, &name, arithmetic, &operands)?;
    model[between].range = range;
    let node = &mut model.nodes[position + 1];
    node.op = movement;
    node.inputs = vec![Some(between)];
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Pool, Transpose};
    use crate::passes::testing::{Sketch, conv, rewritten};

    #[test]
    fn one_dimensional_layers_meet() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 1, 6]);
        let sum = sketch.conv("conv", x, 3, 1, conv());
        let line = sketch.reshape("line", &[1, 3, 6], sum);
        let normal = sketch.batch_norm("bn", line);
        let bias = sketch.noise("bias", &[3, 1]);
        let biased = sketch.add("biased", normal, bias);
        let y = sketch.relu("relu", biased);
        let mut model = sketch.model(&[y]);
        let left = rewritten(&mut model, hoist);
        assert_eq!(left, ["Conv", "BatchNorm", "Add", "Relu", "Reshape"]);
    }

    #[test]
    fn a_bias_follows_its_axis_through_a_transpose() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 3, 2, 2]);
        let sum = sketch.relu("sum", x);
        let perm = vec![0, 2, 3, 1];
        let moved = sketch.node("moved", Transpose { perm }, &[sum]);
        let bias = sketch.noise("bias", &[3]);
        let y = sketch.add("y", moved, bias);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, hoist), ["Relu", "Add", "Transpose"]);
    }

    #[test]
    fn channels_that_a_reshape_mixes_stay() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 3]);
        let moved = sketch.reshape("moved", &[1, 2, 6], x);
        let bias = sketch.noise("bias", &[2, 1]);
        let y = sketch.add("y", moved, bias);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, hoist), ["Reshape", "Add"]);
    }

    #[test]
    fn operands_that_move_alike_are_added_before() {
        let mut sketch = Sketch::new();
        let a = sketch.input("a", &[1, 4, 3]);
        let b = sketch.input("b", &[1, 4, 3]);
        let (a, b) = (
            sketch.reshape("ra", &[12], a),
            sketch.reshape("rb", &[12], b),
        );
        let y = sketch.add("y", a, b);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, hoist), ["Add", "Reshape"]);
    }

    #[test]
    fn a_clamp_moves_ahead_of_a_maximum() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 4, 4]);
        let sum = sketch.conv("conv", x, 3, 1, conv());
        let pool = Pool {
            kernel: [2, 2],
            strides: [2, 2],
            output: [2, 2],
            ..Pool::whole(PoolKind::Max, [4, 4])
        };
        let pooled = sketch.node("pool", pool, &[sum]);
        let y = sketch.relu("relu", pooled);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, hoist), ["Conv", "Relu", "MaxPool"]);
    }
}
