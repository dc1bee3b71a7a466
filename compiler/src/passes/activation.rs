//! A clamp becomes the activation of the sum before it; two clamps become one.

use super::rewrite::{self, absorb, own_producer, subject};
use crate::Result;
use crate::ir::{Clamp, Model};
use crate::ops::{Function, Op, Unary};

/// Fuses clamps into Conv, ConvTranspose, MatMul, Binary and other clamps.
pub(super) fn fuse(model: &mut Model) -> Result<usize> {
    rewrite::each(model, fuse_node)
}

fn fuse_node(model: &mut Model, position: usize) -> Result<bool> {
    let node = &model.nodes[position];
    let Op::Unary(Unary {
        function: Function::Clamp(clamp),
    }) = node.op
    else {
        return Ok(false);
    };
    let Some(producer) = own_producer(model, subject(node)) else {
        return Ok(false);
    };
    let Some(activation) = activation_mut(&mut model.nodes[producer].op) else {
        return Ok(false);
    };
    *activation = activation.then(clamp);
    absorb(model, producer, position);
    Ok(true)
}

/// Where an operator keeps what its result saturates to.
fn activation_mut(op: &mut Op) -> Option<&mut Clamp> {
    match op {
        Op::Conv(op) => Some(&mut op.activation),
        Op::ConvTranspose(op) => Some(&mut op.activation),
        Op::MatMul(op) => Some(&mut op.activation),
        Op::Binary(op) => Some(&mut op.activation),
        Op::Unary(Unary {
            function: Function::Clamp(clamp),
        }) => Some(clamp),
        _ => None,
    }
}

/// An operator that saturates nowhere, and what its result saturates to.
pub(super) fn without_activation(op: &Op) -> (Op, Clamp) {
    let mut op = op.clone();
    let clamp = activation_mut(&mut op).map(|clamp| std::mem::replace(clamp, Clamp::NONE));
    (op, clamp.unwrap_or(Clamp::NONE))
}

/// What an operator's result saturates to.
pub(super) fn activation(op: &Op) -> Option<Clamp> {
    activation_mut(&mut op.clone()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{Sketch, conv, rewritten};

    #[test]
    fn clamps_join_the_sum_before_them() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 3, 3]);
        let sum = sketch.conv("conv", x, 4, 1, conv());
        let clip = Clamp {
            min: -0.5,
            max: 0.25,
        };
        let clipped = sketch.unary("clip", Function::Clamp(clip), sum);
        let y = sketch.relu("relu", clipped);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fuse), ["Conv"]);
        let expected = Clamp {
            min: 0.0,
            max: 0.25,
        };
        assert_eq!(activation(&model.nodes[0].op), Some(expected));
        assert_eq!(model.nodes[0].output, y);
    }

    #[test]
    fn a_sum_with_another_reader_keeps_its_value() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 3, 3]);
        let sum = sketch.conv("conv", x, 4, 1, conv());
        let y = sketch.relu("relu", sum);
        let z = sketch.mul("z", y, sum);
        let mut model = sketch.model(&[z]);
        assert_eq!(rewritten(&mut model, fuse), ["Conv", "Relu", "Mul"]);
    }
}
