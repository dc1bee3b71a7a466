//! Channels of one tensor brought to one magnitude: a channel of small numbers would get few of the 256 integers
//! that its tensor has. Between two sums of products a factor of a channel moves from the weights before it to
//! those after it (arXiv 1906.04721 §4.1, with the ranges that samples showed).
//!
//! What the tensor gains the weights after it may lose: of several growths, none among them, the one that
//! brings the least noise into the sums after the tensor is taken.
//!
//! Exact for numbers and ReLU. A limit like ReLU6's stays where it was in the result, so that a channel that
//! grew meets it earlier: not before it exceeds what the samples showed by [`HEADROOM`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::activation::activation;
use super::affine::{Sum, set_sum};
use super::quantize::{Activations, Options, Rounded, Weights};
use super::rewrite::subject;
use crate::ir::{Channel, Clamp, Elem, Model, Node, Range, Tensor, TensorId};
use crate::ops::Op;
use crate::{Error, Result, bail};

/// How channels of one tensor are brought together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Equalisation {
    /// They stay as they are.
    None,
    /// To one magnitude.
    #[default]
    Scales,
    /// To one magnitude, and then about one middle: see `absorb`.
    Shifts,
}

impl fmt::Display for Equalisation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Equalisation::None => "none",
            Equalisation::Scales => "scales",
            Equalisation::Shifts => "shifts",
        })
    }
}

impl FromStr for Equalisation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Equalisation> {
        match text {
            "none" => Ok(Equalisation::None),
            "scales" => Ok(Equalisation::Scales),
            "shifts" => Ok(Equalisation::Shifts),
            _ => bail!(
                "no equalisation is called `{text}`";
                hint: "there are none, scales and shifts"
            ),
        }
    }
}

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
            && !model.outputs.contains(&node.output)
            // A scale that came with the model stays.
            && model[node.output].ty.elem == Elem::Float;
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

/// Equalises the tensors whose channels samples have been seen of.
pub(super) fn equalise(model: &mut Model, options: &Options) {
    for (id, _) in candidates(model) {
        let mut least = f64::INFINITY;
        let mut best = None;
        for growths in growths(model, id) {
            let noise = noise(model, options, id, &growths);
            if noise < least {
                (least, best) = (noise, Some(growths));
            }
        }
        if let Some(growths) = best.filter(|growths| growths.iter().any(|g| *g != 1.0)) {
            grow(model, id, &growths);
        }
    }
}

/// Growths of each channel to choose from, the least first: none, fair ones, and those that fill the range.
fn growths(model: &Model, id: TensorId) -> Vec<Vec<f64>> {
    let channels = &model[id].channels;
    let reach = |c: &Channel| c.range.max.abs().max(c.range.min.abs());
    let largest = channels.iter().map(reach).fold(0.0, f32::max);
    if largest == 0.0 {
        return vec![];
    }
    let limit = |c: &Channel| (largest / (reach(c) * HEADROOM)).clamp(1.0, LARGEST_GROWTH);
    let full: Vec<f64> = channels.iter().map(|c| f64::from(limit(c))).collect();
    let weights = weights_after(model, id, channels.len());
    let fair = channels.iter().zip(&weights).map(|(c, weight)| {
        // Weights shrink as much as their channel grows: halfway both have lost the same. Where a channel
        // has weights of its own, with a scale of their own, they lose nothing.
        let fair = weight.map_or(f32::INFINITY, |weight| (weight * largest / reach(c)).sqrt());
        f64::from(fair.max(1.0).min(limit(c)))
    });
    let fair: Vec<f64> = fair.collect();
    let root = |growths: &[f64]| growths.iter().map(|g| g.sqrt()).collect();
    vec![vec![1.0; full.len()], root(&fair), root(&full), fair, full]
}

/// The power of the noise that rounding brings into the sums after a tensor whose channels grow: of their
/// weights, and of the tensor itself.
fn noise(model: &Model, options: &Options, id: TensorId, growths: &[f64]) -> f64 {
    let range = grown(model, id, growths);
    let width = f64::from(range.max.max(0.0) - range.min.min(0.0));
    let sums = model.consumers(id).into_iter().filter_map(|reader| {
        let node = &model.nodes[reader];
        let sum = Sum::of(model, node)?;
        let scheme = options.scheme(node);
        let step = match scheme.activations {
            Activations::Integers { bits } => width / f64::from((1u32 << bits) - 1),
            Activations::Float => 0.0,
        };
        let Weights::Integers(form) = scheme.weights else {
            return None;
        };
        // Whatever the rounding does, its errors grow as those of the nearest integers do.
        let weights = sum.scaled(|input, _| 1.0 / growths[input]);
        let rounded = Rounded::of(&node.op, &weights, form, |_| 0.0);
        let pairs = weights.reals().iter().zip(rounded.reals.reals());
        let terms = pairs.enumerate().map(|(i, (w, rounded))| {
            let (input, _) = sum.ends(i);
            let power = f64::from(model[id].channels[input].power) * growths[input].powi(2);
            let error = f64::from(*w) - f64::from(*rounded);
            error * error * power + f64::from(*w).powi(2) * step * step / 12.0
        });
        Some(terms.sum::<f64>())
    });
    sums.sum()
}

/// The range of a tensor whose channels grow: where none does it is as annotated, and may saturate.
fn grown(model: &Model, id: TensorId, growths: &[f64]) -> Range {
    let Tensor {
        channels, range, ..
    } = &model[id];
    if growths.iter().all(|growth| *growth == 1.0) && range.is_some() {
        return range.unwrap_or(channels[0].range);
    }
    let all = channels.iter().zip(growths);
    let ranges = all.map(|(channel, growth)| channel.scaled(*growth as f32).range);
    let nothing = Range { min: 0.0, max: 0.0 };
    ranges.reduce(Range::union).unwrap_or(nothing)
}

/// Multiplies channels by factors that the weights before them take in and the weights after them take out.
fn grow(model: &mut Model, id: TensorId, growths: &[f64]) {
    let Some(producer) = model.producer(id) else {
        return;
    };
    if let Some(sum) = Sum::of(model, &model.nodes[producer]) {
        let weights = sum.scaled(|_, output| growths[output]);
        let bias = sum.bias.iter().zip(growths);
        let bias = bias.map(|(b, growth)| b * growth).collect();
        set_sum(model, producer, weights, bias);
    }
    for reader in model.consumers(id) {
        if let Some(sum) = Sum::of(model, &model.nodes[reader]) {
            let weights = sum.scaled(|input, _| 1.0 / growths[input]);
            set_sum(model, reader, weights, sum.bias);
        }
        let y = model.nodes[reader].output;
        let moments = model[y].moments.take();
        model[y].moments = moments.map(|own| Arc::new(own.scaled(|channel| growths[channel])));
    }
    model[id].range = Some(grown(model, id, growths));
    let channels = model[id].channels.iter_mut().zip(growths);
    channels.for_each(|(channel, growth)| *channel = channel.scaled(*growth as f32));
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
            equalise(model, &Options::default());
            Ok(1)
        });
        let scaled = model[w].value.as_ref().unwrap().reals();
        // Grown by the quotient of the ranges over the headroom, 64 at most.
        assert_eq!(scaled[0], 1.0);
        assert!((-0.64..-0.3).contains(&scaled[1]), "{scaled:?}");
    }

    #[test]
    fn weights_on_a_grid_are_not_moved_off_it_for_less() {
        // Channels of nearly one reach: growth gains little, and costs weights that are exact.
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 1, 4, 4]);
        let reaches: Vec<f32> = (0..16).map(|i| [1.0, 0.7][i % 2]).collect();
        let w = sketch.constant("w", &[16, 1, 1, 1], &reaches);
        let even = sketch.node("even", conv(), &[x, w]);
        let weights = (0..16).map(|i| (127 - i * 37 % 255) as f32 / 127.0);
        let weights: Vec<f32> = weights.collect();
        let grid = sketch.constant("grid", &[1, 16, 1, 1], &weights);
        let y = sketch.node("y", conv(), &[even, grid]);
        let mut model = sketch.model(&[y]);
        let mut calibration = Calibration::new(&model, Method::MinMax);
        calibration.observe(&model, &inputs(&model, 3)).unwrap();
        calibration.finish(&mut model).unwrap();
        equalise(&mut model, &Options::default());
        assert_eq!(model[grid].value.as_ref().unwrap().reals(), weights);
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
