//! An Add whose operand is a convolution that nothing else reads becomes the convolution's residual operand,
//! so that its sum is rounded once.

use super::rewrite::{self, absorb, own_producer};
use crate::Result;
use crate::ir::{Clamp, Model, Node, Numerics, TensorId};
use crate::ops::{BinaryFunction, Op};

/// Fuses residual sums into convolutions.
pub(super) fn fuse(model: &mut Model) -> Result<usize> {
    rewrite::each(model, fuse_node)
}

fn fuse_node(model: &mut Model, position: usize) -> Result<bool> {
    // TFLite rounds both.
    if model.numerics == Numerics::Tflite {
        return Ok(false);
    }
    let node = &model.nodes[position];
    let Op::Binary(add) = &node.op else {
        return Ok(false);
    };
    let (BinaryFunction::Add, [Some(a), Some(b)]) = (add.function, &node.inputs[..]) else {
        return Ok(false);
    };
    let sum = [(*a, *b), (*b, *a)].into_iter().filter_map(|(sum, other)| {
        let producer = own_producer(model, sum)?;
        takes_residual(model, producer, node, other).then_some((producer, other))
    });
    // The later convolution: its operands are needed until then anyway.
    let Some((producer, residual)) = sum.max_by_key(|(producer, _)| *producer) else {
        return Ok(false);
    };
    let activation = add.activation;
    let conv = &mut model.nodes[producer];
    conv.inputs.resize(3, None);
    conv.inputs.push(Some(residual));
    if let Op::Conv(op) = &mut conv.op {
        op.activation = activation;
    }
    absorb(model, producer, position);
    Ok(true)
}

fn takes_residual(model: &Model, producer: usize, add: &Node, other: TensorId) -> bool {
    let conv = &model.nodes[producer];
    let Op::Conv(op) = &conv.op else {
        return false;
    };
    let shape = &model[add.output].ty.shape;
    op.activation == Clamp::NONE
        && conv.inputs.get(3).copied().flatten().is_none()
        && model[other].value.is_none()
        && model[other].ty.shape == *shape
        && model[conv.output].ty.shape == *shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{Sketch, conv, rewritten};

    #[test]
    fn the_later_convolution_takes_the_sum() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 3, 3]);
        let left = sketch.conv("left", x, 2, 1, conv());
        let right = sketch.conv("right", x, 2, 1, conv());
        let y = sketch.add("y", right, left);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fuse), ["Conv", "Conv"]);
        assert_eq!(model.nodes[1].name, "right");
        assert_eq!(model.nodes[1].inputs[3], Some(left));
    }

    #[test]
    fn an_early_convolution_moves_behind_the_other_operand() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 3, 3]);
        let sum = sketch.conv("conv", x, 2, 1, conv());
        let other = sketch.relu("other", x);
        let y = sketch.add("y", sum, other);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fuse), ["Relu", "Conv"]);
    }

    #[test]
    fn an_activation_between_stays_between() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 3, 3]);
        let mut op = conv();
        op.activation = Clamp::RELU;
        let sum = sketch.conv("conv", x, 2, 1, op);
        let y = sketch.add("y", sum, x);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fuse), ["Conv", "Add"]);
    }
}
