//! Functions of one number that exporters write as several nodes: h-swish, SiLU, limits.
//!
//! Each is a table of 256 entries once quantized, and exact where its parts would each be rounded.

use super::rewrite::{self, single, subject};
use crate::Result;
use crate::ir::{Clamp, Model, Node, TensorId};
use crate::ops::{BinaryFunction, Function, Op, Unary};

/// Recognises functions of one number.
pub(super) fn recognise(model: &mut Model) -> Result<usize> {
    rewrite::each(model, recognise_node)
}

fn recognise_node(model: &mut Model, position: usize) -> Result<bool> {
    let node = &model.nodes[position];
    let same_shape = |x: TensorId| model[x].ty.shape == model[node.output].ty.shape;
    let found = limit(model, node)
        .or_else(|| hard_sigmoid(model, node))
        .or_else(|| hard_swish(model, node))
        .or_else(|| gated(model, node));
    let Some((x, function)) = found.filter(|(x, _)| same_shape(*x)) else {
        return Ok(false);
    };
    let node = &mut model.nodes[position];
    node.op = Unary { function }.into();
    node.inputs = vec![Some(x)];
    Ok(true)
}

type Found = Option<(TensorId, Function)>;

/// `max(x, c)` and `min(x, c)`.
fn limit(model: &Model, node: &Node) -> Found {
    let c = single(model, node, 1)?;
    let clamp = match binary(node)? {
        BinaryFunction::Max => Clamp {
            min: c,
            ..Clamp::NONE
        },
        BinaryFunction::Min => Clamp {
            max: c,
            ..Clamp::NONE
        },
        _ => return None,
    };
    Some((subject(node), Function::Clamp(clamp)))
}

/// `clamp(x + 3, 0, 6) · 1/6`.
fn hard_sigmoid(model: &Model, node: &Node) -> Found {
    let (clipped, sixth) = with_constant(model, node, BinaryFunction::Mul)?;
    let x = shifted_clip(model, clipped)?;
    is_sixth(sixth).then_some((x, SIXTHS))
}

/// `x · clamp(x + 3, 0, 6) · 1/6`, and `x · hard_sigmoid(x)` with slope 1/6.
fn hard_swish(model: &Model, node: &Node) -> Found {
    if let Some((product, sixth)) = with_constant(model, node, BinaryFunction::Mul) {
        let product = &model.nodes[model.producer(product)?];
        let x = gate_of(product, |gate, x| shifted_clip(model, gate) == Some(x))?;
        return is_sixth(sixth).then_some((x, Function::HardSwish));
    }
    let x = gate_of(node, |gate, x| match function(model, gate) {
        Some((Function::HardSigmoid { alpha, beta }, of)) => {
            of == x && is_sixth(alpha) && beta == 0.5
        }
        _ => false,
    })?;
    Some((x, Function::HardSwish))
}

/// `x · sigmoid(x)`.
fn gated(model: &Model, node: &Node) -> Found {
    let x = gate_of(node, |gate, x| {
        function(model, gate) == Some((Function::Sigmoid, x))
    })?;
    Some((x, Function::Silu))
}

const SIXTHS: Function = Function::HardSigmoid {
    alpha: 1.0 / 6.0,
    beta: 0.5,
};

/// Exporters write 1/6 with few or many digits.
fn is_sixth(x: f32) -> bool {
    (x - 1.0 / 6.0).abs() < 1e-4
}

/// The `x` of `clamp(x + 3, 0, 6)`.
fn shifted_clip(model: &Model, id: TensorId) -> Option<TensorId> {
    let (Function::Clamp(clamp), shifted) = function(model, id)? else {
        return None;
    };
    let add = &model.nodes[model.producer(shifted)?];
    let (x, three) = with_constant(model, add, BinaryFunction::Add)?;
    let relu6 = Clamp { min: 0.0, max: 6.0 };
    (clamp == relu6 && three == 3.0).then_some(x)
}

/// The `x` of a product of `x` and a gate that is a function of it.
fn gate_of(node: &Node, is_gate: impl Fn(TensorId, TensorId) -> bool) -> Option<TensorId> {
    let (BinaryFunction::Mul, [Some(a), Some(b)]) = (binary(node)?, &node.inputs[..]) else {
        return None;
    };
    let pairs = [(*a, *b), (*b, *a)];
    let found = pairs.into_iter().find(|(gate, x)| is_gate(*gate, *x));
    found.map(|(_, x)| x)
}

/// Operand and constant of a function of a tensor and one number.
fn with_constant(model: &Model, node: &Node, function: BinaryFunction) -> Option<(TensorId, f32)> {
    let constant = single(model, node, 1)?;
    (binary(node)? == function).then(|| (subject(node), constant))
}

/// The function of two numbers that a node computes without an activation.
fn binary(node: &Node) -> Option<BinaryFunction> {
    match &node.op {
        Op::Binary(op) if op.activation == Clamp::NONE => Some(op.function),
        _ => None,
    }
}

/// The function and its operand that a tensor is computed by.
fn function(model: &Model, id: TensorId) -> Option<(Function, TensorId)> {
    let node = &model.nodes[model.producer(id)?];
    match &node.op {
        Op::Unary(op) => Some((op.function, subject(node))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{Sketch, rewritten};

    const RELU6: Function = Function::Clamp(Clamp { min: 0.0, max: 6.0 });

    #[test]
    fn hard_swish_in_both_orders() {
        for division_last in [false, true] {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[2, 8]);
            let three = sketch.constant("three", &[], &[3.0]);
            let sixth = sketch.constant("sixth", &[], &[1.0 / 6.0]);
            let shifted = sketch.add("shifted", x, three);
            let clipped = sketch.unary("clipped", RELU6, shifted);
            let y = if division_last {
                let product = sketch.mul("product", x, clipped);
                sketch.mul("y", product, sixth)
            } else {
                let gate = sketch.mul("gate", clipped, sixth);
                sketch.mul("y", gate, x)
            };
            let mut model = sketch.model(&[y]);
            assert_eq!(rewritten(&mut model, recognise), ["HardSwish"]);
        }
    }

    #[test]
    fn a_gate_by_its_own_sigmoid_is_silu() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2, 8]);
        let gate = sketch.unary("gate", Function::Sigmoid, x);
        let y = sketch.mul("y", x, gate);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, recognise), ["Silu"]);
    }

    #[test]
    fn a_gate_by_something_else_stays() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2, 8]);
        let z = sketch.input("z", &[2, 8]);
        let gate = sketch.unary("gate", SIXTHS, z);
        let y = sketch.mul("y", x, gate);
        let mut model = sketch.model(&[y]);
        let left = rewritten(&mut model, recognise);
        assert_eq!(left, ["HardSigmoid", "Mul"]);
    }

    #[test]
    fn a_limit_is_a_clamp() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2, 8]);
        let c = sketch.constant("c", &[1], &[-0.5]);
        let y = sketch.binary("y", BinaryFunction::Max, x, c);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, recognise), ["Clip"]);
    }
}
