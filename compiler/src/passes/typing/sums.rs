//! `MatMul(x, w) + b` is one sum, if the bias has 32 bits or nothing else reads the product.

use std::collections::{BTreeMap, HashMap};

use crate::ir::{Clamp, Elem, Model, Node, TensorId, Type};
use crate::ops::{BinaryFunction, Op};

/// The node itself, or the sum of products whose bias it adds, with its activation.
pub(super) fn with_bias(
    model: &mut Model,
    nodes: &[Node],
    producer: &HashMap<TensorId, usize>,
    integers: &BTreeMap<TensorId, TensorId>,
    node: &Node,
) -> Node {
    let (Op::Binary(add), [Some(a), Some(b)]) = (&node.op, &node.inputs[..]) else {
        return node.clone();
    };
    if add.function != BinaryFunction::Add {
        return node.clone();
    }
    for (sum, bias) in [(*a, *b), (*b, *a)] {
        let (Some(position), Some(bias)) = (producer.get(&sum), integers.get(&bias)) else {
            continue;
        };
        let readers = nodes
            .iter()
            .flat_map(Node::operands)
            .filter(|id| *id == sum);
        let alone = readers.count() == 1 && !model.outputs.contains(&sum);
        let wide = matches!(&model[*bias].ty.elem, Elem::Quantized(p) if p.int.bits == 32);
        if !(alone || wide) {
            continue;
        }
        if let Some(fused) = fuse(model, &nodes[*position], *bias, add.activation) {
            return Node {
                output: node.output,
                ..fused
            };
        }
    }
    node.clone()
}

fn fuse(model: &mut Model, sum: &Node, bias: TensorId, activation: Clamp) -> Option<Node> {
    let mut sum = sum.clone();
    let slot = match &mut sum.op {
        Op::Conv(op) => &mut op.activation,
        Op::ConvTranspose(op) => &mut op.activation,
        Op::MatMul(op) => &mut op.activation,
        _ => return None,
    };
    let free = *slot == Clamp::NONE && sum.inputs.iter().skip(2).flatten().next().is_none();
    if !free {
        return None;
    }
    *slot = activation;
    let result = &model[sum.output].ty.shape;
    let axis = if matches!(sum.op, Op::MatMul(_)) {
        result.len() - 1
    } else {
        1
    };
    let (channels, rank) = (result[axis], result.len());
    let shape = &model[bias].ty.shape;
    let from_end = rank - axis;
    let fits = shape.iter().product::<usize>() == channels
        && (channels == 1 || shape.len() >= from_end && shape[shape.len() - from_end] == channels);
    if !fits {
        return None;
    }
    let value = model[bias].value.clone()?.reshaped([channels]);
    let mut elem = model[bias].ty.elem.clone();
    if let Elem::Quantized(params) = &mut elem
        && let crate::ir::Granularity::PerChannel { axis, .. } = &mut params.map
    {
        *axis = 0;
    }
    let ty = Type {
        shape: vec![channels],
        elem,
    };
    let name = model[bias].name.clone();
    let flat = model.add_tensor(&name, ty, Some(value));
    sum.inputs.resize(2, None);
    sum.inputs.push(Some(flat));
    Some(sum)
}
