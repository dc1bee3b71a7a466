//! Affine maps merged into Conv, ConvTranspose and MatMul with constant weights.

use super::Affine;
use crate::Result;
use crate::ir::{Array, Clamp, Model, Node};
use crate::ops::{Function, Op, Unary};
use crate::passes::activation::activation;
use crate::passes::rewrite::{
    self, absorb, bypass, own_consumer, own_producer, reals, set_constant,
};

/// Folds affine maps into the sum before them, or else after them.
pub(in crate::passes) fn fold(model: &mut Model) -> Result<usize> {
    let before = rewrite::each(model, fold_into_producer)?;
    Ok(before + rewrite::each(model, fold_into_consumer)?)
}

/// `a·(Σ w·x + b) + c = Σ (a·w)·x + (a·b + c)`.
pub(super) fn fold_into_producer(model: &mut Model, position: usize) -> Result<bool> {
    let Some(affine) = Affine::of(model, &model.nodes[position]) else {
        return Ok(false);
    };
    let Some(producer) = own_producer(model, affine.x) else {
        return Ok(false);
    };
    let node = &model.nodes[producer];
    if let Op::Unary(Unary {
        function: Function::Affine { scale, offset },
    }) = node.op
    {
        return Ok(fold_into_unary(
            model, producer, position, &affine, scale, offset,
        ));
    }
    let Some(sum) = Sum::of(model, node) else {
        return Ok(false);
    };
    let rank = model[affine.x].ty.shape.len();
    let has_residual = matches!(node.inputs.get(3), Some(Some(_)));
    let own_axis = affine
        .axis
        .is_none_or(|axis| axis == sum.channel_axis(rank));
    if activation(&node.op) != Some(Clamp::NONE) || has_residual || !own_axis {
        return Ok(false);
    }
    let weights = sum.scaled(|_, output| affine.at(output).0);
    let bias = sum.bias.iter().enumerate();
    let bias = bias.map(|(output, b)| {
        let (scale, shift) = affine.at(output);
        scale * b + shift
    });
    let bias = bias.collect();
    set_sum(model, producer, weights, bias);
    absorb(model, producer, position);
    Ok(true)
}

fn fold_into_unary(
    model: &mut Model,
    producer: usize,
    position: usize,
    affine: &Affine,
    scale: f32,
    offset: f32,
) -> bool {
    if affine.axis.is_some() {
        return false;
    }
    let (outer_scale, outer_shift) = affine.at(0);
    let function = Function::Affine {
        scale: (outer_scale * f64::from(scale)) as f32,
        offset: (outer_scale * f64::from(offset) + outer_shift) as f32,
    };
    model.nodes[producer].op = Unary { function }.into();
    absorb(model, producer, position);
    true
}

/// `Σ w·(a·x + c) + b = Σ (w·a)·x + (b + Σ w·c)`; not where the padding's zeros would be shifted too.
fn fold_into_consumer(model: &mut Model, position: usize) -> Result<bool> {
    let Some(affine) = Affine::of(model, &model.nodes[position]) else {
        return Ok(false);
    };
    let output = model.nodes[position].output;
    let Some(consumer) = own_consumer(model, output) else {
        return Ok(false);
    };
    let node = &model.nodes[consumer];
    let Some(sum) = Sum::of(model, node).filter(|_| node.inputs[0] == Some(output)) else {
        return Ok(false);
    };
    let rank = model[output].ty.shape.len();
    let own_axis = affine
        .axis
        .is_none_or(|axis| axis == sum.channel_axis(rank));
    if !own_axis || !(affine.keeps_zero() || sum.sees_every_input) {
        return Ok(false);
    }
    let weights = sum.scaled(|input, _| affine.at(input).0);
    let mut bias = sum.bias.clone();
    for (i, w) in sum.weights.reals().iter().enumerate() {
        let (input, output) = (sum.ends)(i);
        bias[output] += f64::from(*w) * affine.at(input).1;
    }
    if bypass(model, position) {
        set_sum(model, consumer - 1, weights, bias);
        return Ok(true);
    }
    Ok(false)
}

/// Gives a sum new weights and a new bias.
pub(in crate::passes) fn set_sum(
    model: &mut Model,
    position: usize,
    weights: Array,
    bias: Vec<f64>,
) {
    set_constant(model, position, 1, weights);
    let bias: Vec<f32> = bias.iter().map(|b| *b as f32).collect();
    let had_bias = matches!(model.nodes[position].inputs.get(2), Some(Some(_)));
    if had_bias || bias.iter().any(|b| *b != 0.0) {
        set_constant(model, position, 2, Array::f32([bias.len()], bias));
    }
}

/// Tells input and output channel of a weight by its flat index.
type Ends = Box<dyn Fn(usize) -> (usize, usize)>;

/// A node that sums products with constant weights.
pub(in crate::passes) struct Sum {
    pub(in crate::passes) weights: Array,
    /// One for each output channel.
    pub(in crate::passes) bias: Vec<f64>,
    /// Input and output channel of a weight, by its flat index.
    ends: Ends,
    /// Whether each output element sums over all its taps, none of them in a padding.
    pub(in crate::passes) sees_every_input: bool,
    /// Whether channels are the last axis, not the second.
    channels_last: bool,
}

impl Sum {
    /// The sum that a node computes, if its weights are known.
    pub(in crate::passes) fn of(model: &Model, node: &Node) -> Option<Sum> {
        let weights = reals(model, node, 1)?.clone();
        let shape = weights.shape.clone();
        let (outputs, ends): (usize, Ends) = match &node.op {
            Op::Conv(op) => {
                let run = shape[2] * shape[3];
                let (depth, per_group) = (shape[1], shape[0] / op.groups);
                let ends = move |i: usize| {
                    let output = i / (run * depth);
                    (output / per_group * depth + i / run % depth, output)
                };
                (shape[0], Box::new(ends))
            }
            Op::ConvTranspose(op) => {
                let run = shape[2] * shape[3];
                let (inputs, per_group) = (shape[0] / op.groups, shape[1]);
                let ends = move |i: usize| {
                    let input = i / (run * per_group);
                    (input, input / inputs * per_group + i / run % per_group)
                };
                (shape[1] * op.groups, Box::new(ends))
            }
            Op::MatMul(_) if shape.len() == 2 => {
                let columns = shape[1];
                (columns, Box::new(move |i| (i / columns, i % columns)))
            }
            _ => return None,
        };
        let bias = match reals(model, node, 2) {
            Some(bias) => bias.reals().iter().map(|b| f64::from(*b)).collect(),
            // A bias that is there must be known.
            None if matches!(node.inputs.get(2), Some(Some(_))) => return None,
            None => vec![0.0; outputs],
        };
        let sees_every_input = match &node.op {
            Op::Conv(op) => op.pads == Default::default(),
            Op::ConvTranspose(_) => false,
            _ => true,
        };
        let channels_last = matches!(node.op, Op::MatMul(_));
        Some(Sum {
            weights,
            bias,
            ends,
            sees_every_input,
            channels_last,
        })
    }

    /// The axis of the channels of operand and result.
    pub(in crate::passes) fn channel_axis(&self, rank: usize) -> usize {
        if self.channels_last { rank - 1 } else { 1 }
    }

    /// Input and output channel of a weight, by its flat index.
    pub(in crate::passes) fn ends(&self, weight: usize) -> (usize, usize) {
        (self.ends)(weight)
    }

    /// Weights as shares of the largest of the same output channel, with their input channels; none where
    /// each output channel has one input channel.
    pub(in crate::passes) fn shares(&self) -> Vec<(usize, f32)> {
        let mut largest = vec![0.0f32; self.bias.len()];
        let mut inputs = vec![None; self.bias.len()];
        let mut mixes = false;
        for (i, w) in self.weights.reals().iter().enumerate() {
            let (input, output) = (self.ends)(i);
            largest[output] = largest[output].max(w.abs());
            mixes |= *inputs[output].get_or_insert(input) != input;
        }
        let weights = self.weights.reals().iter().enumerate();
        let shares = weights.filter(|(_, w)| mixes && **w != 0.0).map(|(i, w)| {
            let (input, output) = (self.ends)(i);
            (input, w.abs() / largest[output])
        });
        shares.collect()
    }

    /// The weights, each times a factor of its input and output channel.
    pub(in crate::passes) fn scaled(&self, factor: impl Fn(usize, usize) -> f64) -> Array {
        let weights = self.weights.reals().iter().enumerate();
        let scaled = weights.map(|(i, w)| {
            let (input, output) = (self.ends)(i);
            (f64::from(*w) * factor(input, output)) as f32
        });
        Array::f32(self.weights.shape.clone(), scaled.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv, ConvTranspose, Pads};
    use crate::passes::testing::{Sketch, conv, pads, rewritten};

    #[test]
    fn batch_norm_folds_into_the_convolution_before_it() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 5, 5]);
        let op = Conv {
            pads: pads(1),
            groups: 2,
            ..conv()
        };
        let sum = sketch.conv("conv", x, 6, 3, op);
        let y = sketch.batch_norm("bn", sum);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fold), ["Conv"]);
    }

    #[test]
    fn transposed_convolution_takes_a_bias_and_a_batch_norm() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 3, 3]);
        let w = sketch.noise("w", &[4, 3, 2, 2]);
        let op = ConvTranspose {
            strides: [2, 2],
            pads: Pads::default(),
            dilations: [1, 1],
            groups: 2,
            output_padding: [0, 0],
            activation: Clamp::NONE,
        };
        let sum = sketch.node("up", op, &[x, w]);
        let bias = sketch.noise("bias", &[1, 6, 1, 1]);
        let biased = sketch.add("biased", sum, bias);
        let y = sketch.batch_norm("bn", biased);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fold), ["ConvTranspose"]);
    }

    #[test]
    fn every_shape_of_a_bias_folds() {
        let shapes: [&[usize]; 4] = [&[4, 1, 1], &[1, 4, 1, 1], &[1, 1, 1, 1], &[]];
        for shape in shapes {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[1, 2, 3, 3]);
            let sum = sketch.conv("conv", x, 4, 1, conv());
            let c = sketch.noise("c", shape);
            let scaled = sketch.mul("scaled", sum, c);
            let y = sketch.add("y", scaled, c);
            let mut model = sketch.model(&[y]);
            assert_eq!(rewritten(&mut model, fold), ["Conv"], "{shape:?}");
        }
    }

    #[test]
    fn dense_layers_take_mul_and_add() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2, 3]);
        let sum = sketch.dense("dense", x, 4);
        let (a, b) = (sketch.noise("a", &[4]), sketch.noise("b", &[1, 4]));
        let scaled = sketch.mul("scaled", sum, a);
        let y = sketch.add("y", scaled, b);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fold), ["MatMul"]);
    }

    #[test]
    fn batch_norm_folds_into_the_convolution_after_it_unless_it_pads() {
        for (padding, left) in [(0, &["Conv"][..]), (1, &["BatchNorm", "Conv"])] {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[1, 4, 5, 5]);
            let normal = sketch.batch_norm("bn", x);
            let op = Conv {
                pads: pads(padding),
                groups: 2,
                ..conv()
            };
            let y = sketch.conv("conv", normal, 6, 3, op);
            let mut model = sketch.model(&[y]);
            assert_eq!(rewritten(&mut model, fold), left);
        }
    }

    #[test]
    fn a_pure_scale_folds_even_where_the_convolution_pads() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 5, 5]);
        let c = sketch.noise("c", &[4, 1, 1]);
        let scaled = sketch.mul("scaled", x, c);
        let op = Conv {
            pads: pads(1),
            ..conv()
        };
        let y = sketch.conv("conv", scaled, 6, 3, op);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fold), ["Conv"]);
    }

    #[test]
    fn a_shared_weight_stays_for_its_other_reader() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2]);
        let w = sketch.noise("w", &[2, 2]);
        let op = crate::ops::MatMul {
            activation: Clamp::NONE,
        };
        let a = sketch.node("a", op.clone(), &[x, w]);
        let b = sketch.node("b", op, &[a, w]);
        let c = sketch.noise("c", &[2]);
        let y = sketch.mul("y", b, c);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, fold), ["MatMul", "MatMul"]);
    }
}
