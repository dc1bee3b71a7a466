//! Channels of one tensor brought to one magnitude: a channel of small numbers would get few of the 256 integers
//! that its tensor has. Between two sums of products a factor of a channel moves from the weights before it to
//! those after it (arXiv 1906.04721 §4.1, with the ranges that samples showed).
//!
//! Exact for numbers and ReLU. A limit like ReLU6's stays where it was in the result, so that a channel that
//! grew meets it earlier: not before it exceeds what the samples showed by [`HEADROOM`].

use super::activation::activation;
use super::affine::{Sum, set_sum};
use super::rewrite::subject;
use crate::ir::{Clamp, Model, Node, Range, TensorId};
use crate::ops::Op;

/// How far above its samples a channel is represented.
const HEADROOM: f32 = 1.25;

/// A channel grows by no more than this, so that the noise of nearly silent channels stays small.
const LARGEST_GROWTH: f32 = 64.0;

/// Tensors between sums, with the axis of their channels.
pub(super) fn candidates(model: &Model) -> Vec<(TensorId, usize)> {
    let candidate = |node: &Node| {
        // Dense layers are left alone: their channels differ by what they mean, not by a normalisation.
        if !matches!(node.op, Op::Conv(_)) {
            return None;
        }
        let rank = model[node.output].ty.shape.len();
        let sum = Sum::of(model, node)?;
        let grows = matches!(activation(&node.op), Some(clamp) if keeps_scale(clamp))
            && !matches!(node.inputs.get(3), Some(Some(_)))
            && !model.outputs.contains(&node.output);
        let axis = sum.channel_axis(rank);
        let readers = model.consumers(node.output);
        let take = |reader: &usize| takes_factor(model, &model.nodes[*reader], node.output, axis);
        (grows && readers.iter().all(take)).then_some((node.output, axis))
    };
    model.nodes.iter().filter_map(candidate).collect()
}

/// Whether `clamp(factor · x)` is `factor · clamp(x)`, below the upper limit.
fn keeps_scale(clamp: Clamp) -> bool {
    clamp == Clamp::NONE || (clamp.min == 0.0 && clamp.max > 0.0)
}

fn takes_factor(model: &Model, reader: &Node, x: TensorId, axis: usize) -> bool {
    let rank = model[x].ty.shape.len();
    let sum = Sum::of(model, reader);
    let once = reader.operands().filter(|id| *id == x).count() == 1;
    once && subject(reader) == x && sum.is_some_and(|sum| sum.channel_axis(rank) == axis)
}

/// Equalises the tensors whose channels' ranges are annotated.
pub(super) fn equalise(model: &mut Model) {
    for (id, _) in candidates(model) {
        let ranges = std::mem::take(&mut model[id].channel_ranges);
        if !ranges.is_empty() {
            equalise_tensor(model, id, &ranges);
        }
    }
}

fn equalise_tensor(model: &mut Model, id: TensorId, ranges: &[Range]) {
    let reach = |range: &Range| range.max.abs().max(range.min.abs());
    let largest = ranges.iter().map(reach).fold(0.0, f32::max);
    if largest == 0.0 {
        return;
    }
    let weights = weights_after(model, id, ranges.len());
    let growth = |(range, weight): (&Range, &Option<f32>)| {
        let share = reach(range) / largest;
        // Weights shrink as much as their channel grows: halfway both have lost the same. Where a channel
        // has weights of its own, with a scale of their own, they lose nothing.
        let fair = weight.map_or(f32::INFINITY, |weight| (weight / share).sqrt());
        let limit = (1.0 / (share * HEADROOM)).min(LARGEST_GROWTH);
        f64::from(fair.min(limit).max(1.0))
    };
    let growths: Vec<f64> = ranges.iter().zip(&weights).map(growth).collect();
    let Some(producer) = model.producer(id) else {
        return;
    };
    if let Some(sum) = Sum::of(model, &model.nodes[producer]) {
        let weights = sum.scaled(|_, output| growths[output]);
        let bias = sum.bias.iter().zip(&growths);
        let bias = bias.map(|(b, growth)| b * growth).collect();
        set_sum(model, producer, weights, bias);
    }
    for reader in model.consumers(id) {
        if let Some(sum) = Sum::of(model, &model.nodes[reader]) {
            let weights = sum.scaled(|input, _| 1.0 / growths[input]);
            set_sum(model, reader, weights, sum.bias);
        }
    }
    let grown = ranges.iter().zip(&growths).map(|(range, growth)| Range {
        min: range.min * *growth as f32,
        max: range.max * *growth as f32,
    });
    model[id].range = grown.reduce(Range::union).or(model[id].range);
}

/// For each channel, its largest weight in the sums after it, as a share of the largest of the same output;
/// `None` where the weights have no output in common with another channel's.
fn weights_after(model: &Model, id: TensorId, channels: usize) -> Vec<Option<f32>> {
    let mut shares = vec![None; channels];
    for reader in model.consumers(id) {
        let Some(sum) = Sum::of(model, &model.nodes[reader]) else {
            continue;
        };
        for (input, share) in sum.shares() {
            let known: &mut Option<f32> = &mut shares[input];
            *known = Some(known.map_or(share, |known| known.max(share)));
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv;
    use crate::passes::calibrate::{Calibration, Method};
    use crate::passes::testing::{Sketch, conv, inputs, pads, rewritten};

    /// A convolution with ReLU, whose second channel is a hundredth of the first, a depthwise one, and a
    /// pointwise one.
    fn model() -> Model {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 1, 4, 4]);
        let w = sketch.constant("w", &[2, 1, 1, 1], &[1.0, -0.01]);
        let op = Conv {
            activation: Clamp::RELU,
            ..conv()
        };
        let uneven = sketch.node("uneven", op, &[x, w]);
        let depthwise = Conv {
            groups: 2,
            pads: pads(1),
            ..conv()
        };
        let spread = sketch.conv("spread", uneven, 2, 3, depthwise);
        let y = sketch.conv("y", spread, 3, 1, conv());
        sketch.model(&[y])
    }

    fn calibrated() -> Model {
        let mut model = model();
        let mut calibration = Calibration::new(&model, Method::MinMax);
        calibration.observe(&model, &inputs(&model, 3)).unwrap();
        calibration.finish(&mut model).unwrap();
        model
    }

    #[test]
    fn the_model_computes_the_same() {
        let mut model = calibrated();
        let w = model.nodes[0].inputs[1].unwrap();
        rewritten(&mut model, |model| {
            equalise(model);
            Ok(1)
        });
        let scaled = model[w].value.as_ref().unwrap().reals();
        // Grown by the quotient of the ranges over the headroom, 64 at most.
        assert_eq!(scaled[0], 1.0);
        assert!((-0.64..-0.3).contains(&scaled[1]), "{scaled:?}");
    }

    #[test]
    fn a_residual_operand_keeps_its_scale() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 4, 4]);
        let a = sketch.conv("a", x, 2, 1, conv());
        let b = sketch.conv("b", a, 2, 1, conv());
        let y = sketch.add("y", a, b);
        let model = sketch.model(&[y]);
        assert_eq!(candidates(&model), []);
    }
}
