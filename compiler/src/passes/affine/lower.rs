//! Affine maps that no sum took: a function of one number, or a depthwise 1×1 convolution.

use super::Affine;
use super::fold::fold_into_producer;
use crate::Result;
use crate::ir::{Array, Clamp, Model, Type};
use crate::ops::{Conv, Function, Op, Pads, Reshape, Unary};
use crate::passes::rewrite::{self, insert};

/// Gives every affine map that is left an operator of its own.
pub(in crate::passes) fn lower(model: &mut Model) -> Result<usize> {
    rewrite::each(model, lower_node)
}

fn lower_node(model: &mut Model, position: usize) -> Result<bool> {
    // Of several maps in a row, the first one's operator takes the others.
    if fold_into_producer(model, position)? {
        return Ok(true);
    }
    let node = &model.nodes[position];
    let Some(affine) = Affine::of(model, node).filter(|_| !matches!(node.op, Op::Unary(_))) else {
        return Ok(false);
    };
    match affine.axis {
        None => {
            let (scale, shift) = affine.at(0);
            let function = Function::Affine {
                scale: scale as f32,
                offset: shift as f32,
            };
            let node = &mut model.nodes[position];
            node.op = Unary { function }.into();
            node.inputs = vec![Some(affine.x)];
            Ok(true)
        }
        Some(1) => depthwise(model, position, &affine).map(|()| true),
        Some(_) => Ok(false),
    }
}

/// A depthwise convolution; a tensor without four axes becomes an image `[N, C, rest, 1]` around it.
fn depthwise(model: &mut Model, position: usize, affine: &Affine) -> Result<()> {
    let name = model.nodes[position].name.clone();
    let shape = model[affine.x].ty.shape.clone();
    let channels = affine.scale.len();
    let constant = |model: &mut Model, suffix: &str, shape: &[usize], numbers: &[f64]| {
        let value = Array::f32(shape, numbers.iter().map(|x| *x as f32).collect());
        let name = format!("{name}_{suffix}");
        model.add_tensor(&name, Type::float(shape), Some(value))
    };
    let weights = constant(model, "scale", &[channels, 1, 1, 1], &affine.scale);
    let bias = (!affine.keeps_zero()).then(|| constant(model, "shift", &[channels], &affine.shift));
    let op = Conv {
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        groups: channels,
        activation: Clamp::NONE,
    };
    let node = &mut model.nodes[position];
    if shape.len() == 4 {
        node.op = op.into();
        node.inputs = vec![Some(affine.x), Some(weights), bias];
        return Ok(());
    }
    node.op = Reshape {
        shape: shape.clone(),
    }
    .into();
    let image = vec![shape[0], channels, shape[2..].iter().product(), 1];
    let reshape = Reshape { shape: image };
    let image = insert(
        model,
        position,
        &format!("{name}_image"),
        reshape,
        &[Some(affine.x)],
    )?;
    let operands = [Some(image), Some(weights), bias];
    let mapped = insert(
        model,
        position + 1,
        &format!("{name}_affine"),
        op,
        &operands,
    )?;
    model.nodes[position + 2].inputs = vec![Some(mapped)];
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{Sketch, rewritten};

    #[test]
    fn standalone_batch_norm_becomes_a_depthwise_convolution() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2, 3, 2, 2]);
        let y = sketch.batch_norm("bn", x);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, lower), ["Conv"]);
    }

    #[test]
    fn other_ranks_become_images() {
        for shape in [&[2, 3][..], &[1, 3, 5]] {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", shape);
            let y = sketch.batch_norm("bn", x);
            let mut model = sketch.model(&[y]);
            let left = rewritten(&mut model, lower);
            assert_eq!(left, ["Reshape", "Conv", "Reshape"]);
        }
    }

    #[test]
    fn one_number_becomes_one_function() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 2]);
        let (a, b) = (sketch.noise("a", &[1]), sketch.noise("b", &[]));
        let scaled = sketch.mul("scaled", x, a);
        let y = sketch.add("y", scaled, b);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, lower), ["Affine"]);
    }
}
