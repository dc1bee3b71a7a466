//! Offsets of channels that the biases after them take: where the numbers of a channel lie about some other number
//! than 0, the range of its tensor need not hold what they have in common (bias absorption, arXiv 1906.04721
//! §4.1.3, there of channels behind ReLU that are practically never 0).
//!
//! Without an activation a channel moves to the middle of what samples showed, which is exact. Behind ReLU or
//! ReLU6 it moves towards 0 by less than its smallest number, and the activation cuts it there from then on: exact
//! for what stays above, and for what stays below the upper limit, which no channel moves away from that reached it.
//! A reader that pads with zeros would see an offset where there is none, so all readers of a tensor must
//! see numbers of it only; a residual operand is such a number.

use std::sync::Arc;

use super::activation::activation;
use super::affine::{Sum, set_sum};
use super::rewrite::subject;
use crate::ir::{Channel, Clamp, Elem, Model, Node, Range, TensorId};

/// How much of its smallest number a channel behind ReLU is moved by: other inputs may have smaller ones.
const SHARE: f64 = 0.75;

/// What is left of a range is widened by this: when all channels lie in the middle, none has room on either side for
/// what samples have not shown.
const MARGIN: f32 = 1.1;

/// Moves the channels of tensors between sums, where that makes the tensor's range narrower.
pub(super) fn absorb(model: &mut Model) {
    for position in 0..model.nodes.len() {
        let Some(offsets) = offsets(model, position) else {
            continue;
        };
        let id = model.nodes[position].output;
        let channels = model[id].channels.iter().zip(&offsets);
        let channels: Vec<Channel> = channels.map(|(c, by)| c.less(*by)).collect();
        let range = range(model, position, &channels);
        let width = |range: Range| range.max - range.min;
        let zero = Range { min: 0.0, max: 0.0 };
        if width(range) < width(model[id].range.unwrap_or(zero).union(zero)) {
            shift(model, position, &offsets);
            model[id].range = Some(range);
            model[id].channels = channels;
        }
    }
}

/// What the channels of a node's result could be less by; `None` where a reader does not take it.
fn offsets(model: &Model, position: usize) -> Option<Vec<f64>> {
    let node = &model.nodes[position];
    let y = &model[node.output];
    let clamp = activation(&node.op)?;
    let sum = Sum::of(model, node)?;
    // A scale that came with the model stays.
    if model.outputs.contains(&node.output) || y.ty.elem != Elem::Float || y.channels.is_empty() {
        return None;
    }
    let axis = sum.channel_axis(y.ty.shape.len());
    let mut readers = model.consumers(node.output).into_iter();
    if !readers.all(|reader| takes_offset(model, &model.nodes[reader], node.output, axis)) {
        return None;
    }
    let middle = |c: &Channel| 0.5 * (f64::from(c.range.min) + f64::from(c.range.max));
    let below = |c: &Channel| match c.range.max < clamp.max {
        true => SHARE * f64::from(c.range.min.max(0.0)),
        false => 0.0,
    };
    match clamp {
        Clamp::NONE => Some(y.channels.iter().map(middle).collect()),
        Clamp { min: 0.0, .. } => Some(y.channels.iter().map(below).collect()),
        _ => None,
    }
}

/// Whether every result of a node has the same share of a channel, whatever its place.
fn takes_offset(model: &Model, reader: &Node, x: TensorId, axis: usize) -> bool {
    let rank = model[x].ty.shape.len();
    let Some(sum) = Sum::of(model, reader).filter(|sum| sum.channel_axis(rank) == axis) else {
        return false;
    };
    let once = reader.operands().filter(|id| *id == x).count() == 1;
    let factor = subject(reader) == x && sum.sees_every_input;
    once && (factor || is_residual(reader, x))
}

fn is_residual(node: &Node, x: TensorId) -> bool {
    node.inputs.get(3) == Some(&Some(x))
}

/// The range of a result whose channels have moved, within the node's activation.
fn range(model: &Model, position: usize, channels: &[Channel]) -> Range {
    let zero = Range { min: 0.0, max: 0.0 };
    let Range { min, max } = channels.iter().map(|c| c.range).fold(zero, Range::union);
    let clamp = activation(&model.nodes[position].op).unwrap_or(Clamp::NONE);
    let (min, max) = match clamp == Clamp::NONE {
        true => (MARGIN * min, MARGIN * max),
        false => (min, max),
    };
    Range { min, max }
}

/// Takes offsets from the channels of a node's result, and gives them to the biases after it.
fn shift(model: &mut Model, position: usize, offsets: &[f64]) {
    let id = model.nodes[position].output;
    if let Some(sum) = Sum::of(model, &model.nodes[position]) {
        let bias = sum.bias.iter().zip(offsets).map(|(b, by)| b - by);
        let bias = bias.collect();
        set_sum(model, position, sum.weights, bias);
    }
    for reader in model.consumers(id) {
        let node = &model.nodes[reader];
        let Some(sum) = Sum::of(model, node) else {
            continue;
        };
        let mut bias = sum.bias.clone();
        if is_residual(node, id) {
            bias.iter_mut().zip(offsets).for_each(|(b, by)| *b += by);
        } else {
            for (i, w) in sum.weights.reals().iter().enumerate() {
                let (input, output) = sum.ends(i);
                bias[output] += f64::from(*w) * offsets[input];
            }
            let y = node.output;
            let moments = model[y].moments.take();
            model[y].moments = moments.map(|own| Arc::new(own.less(|channel| offsets[channel])));
        }
        set_sum(model, reader, sum.weights, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv;
    use crate::passes::calibrate::{Calibration, Method};
    use crate::passes::testing::{Sketch, conv, inputs, pads, rewritten};

    fn calibrated(mut model: Model) -> Model {
        let mut calibration = Calibration::new(&model, Method::MinMax).learning(&model, |_| true);
        calibration.observe(&model, &inputs(&model, 3)).unwrap();
        calibration.finish(&mut model).unwrap();
        model
    }

    /// A convolution whose two channels lie about 10 and -5, and what reads it.
    fn model(activation: Clamp, reader: Conv) -> Model {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 1, 4, 4]);
        let w = sketch.constant("w", &[2, 1, 1, 1], &[1.0, -0.5]);
        let bias = sketch.constant("b", &[2], &[10.0, -5.0]);
        let op = Conv {
            activation,
            ..conv()
        };
        let apart = sketch.node("apart", op, &[x, w, bias]);
        let kernel = 1 + 2 * reader.pads.top;
        let y = sketch.conv("y", apart, 3, kernel, reader);
        calibrated(sketch.model(&[y]))
    }

    fn absorbed(model: &mut Model) -> Range {
        rewritten(model, |model| {
            absorb(model);
            Ok(1)
        });
        model[model.nodes[0].output].range.unwrap()
    }

    #[test]
    fn channels_without_an_activation_meet_in_the_middle() {
        let mut model = model(Clamp::NONE, conv());
        let half = |c: &Channel| 0.5 * (c.range.max - c.range.min);
        let y = model.nodes[0].output;
        let half = model[y].channels.iter().map(half).fold(0.0, f32::max);
        let range = absorbed(&mut model);
        assert!((range.max - MARGIN * half).abs() < 1e-4, "{range:?} {half}");
        assert!((range.min + MARGIN * half).abs() < 1e-4, "{range:?} {half}");
    }

    #[test]
    fn behind_relu_what_is_never_0_moves_towards_it() {
        let mut model = model(Clamp::RELU, conv());
        let channel = model[model.nodes[0].output].channels[0];
        let range = absorbed(&mut model);
        let max = channel.range.max - SHARE as f32 * channel.range.min;
        assert_eq!((range.min, range.max), (0.0, max));
    }

    #[test]
    fn a_limit_that_is_met_and_a_padding_keep_a_channel_where_it_is() {
        let limited = Clamp {
            min: 0.0,
            max: 10.0,
        };
        let padded = Conv {
            pads: pads(1),
            ..conv()
        };
        for (activation, reader) in [(limited, conv()), (Clamp::NONE, padded)] {
            let mut model = model(activation, reader);
            let before = model[model.nodes[0].output].range;
            assert_eq!(Some(absorbed(&mut model)), before);
        }
    }

    #[test]
    fn moments_are_those_of_the_moved_channels() {
        let mut model = model(Clamp::NONE, conv());
        absorb(&mut model);
        let seen = calibrated(model.clone());
        let y = model.nodes[1].output;
        let [known, seen] = [&model, &seen].map(|m| m[y].moments.clone().unwrap());
        for (a, b) in known.products.iter().zip(&seen.products) {
            assert!((a - b).abs() < 1e-2, "{a} {b}");
        }
        assert_eq!(known.windows, seen.windows);
    }

    #[test]
    fn a_residual_takes_the_offset_as_it_is() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 4, 4]);
        let w = sketch.noise("w", &[2, 2, 1, 1]);
        let bias = sketch.constant("b", &[2], &[10.0, -5.0]);
        let a = sketch.node("a", conv(), &[x, w, bias]);
        let b = sketch.conv("b2", a, 2, 1, conv());
        let v = sketch.noise("v", &[2, 2, 1, 1]);
        let zero = sketch.constant("zero", &[2], &[0.0, 0.0]);
        let y = sketch.node("y", conv(), &[b, v, zero, a]);
        let mut model = calibrated(sketch.model(&[y]));
        let before = model[a].range.unwrap();
        let after = absorbed(&mut model);
        assert!(after.max - after.min < 0.7 * (before.max - before.min));
    }
}
