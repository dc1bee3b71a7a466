//! Weights, symmetric with one scale for each output channel, and biases in the scale of their sums.

use super::replace;
use crate::ir::{Array, Elem, Granularity, IntType, Model, QuantParams, TensorId};
use crate::ops::Op;
use crate::passes::rewrite::subject;
use crate::{Result, bail};

/// Largest magnitude of a quantized bias: leaves as much room again for the sum of products.
const LARGEST_BIAS: f64 = (1u32 << 30) as f64;

/// Quantizes weights and bias of Conv, ConvTranspose, or MatMul with a constant second operand.
pub(super) fn quantize(model: &mut Model, position: usize) -> Result<()> {
    let node = &model.nodes[position];
    let label = node.label();
    let (Some(w), bias) = (model.constant(node, 1).cloned(), model.constant(node, 2)) else {
        bail!("{label} has no constant weights");
    };
    let (axis, channels) = channels(&node.op, &w.shape);
    let bias = bias.map(|b| repeated(b, channels.count));
    if !w
        .reals()
        .iter()
        .chain(bias.iter().flatten())
        .all(|x| x.is_finite())
    {
        return Err(crate::Error::new("weights or bias are not finite")
            .hint("the file is damaged, or the network was not trained to the end")
            .at(&label));
    }
    let s_x = scale(model, subject(node));
    let scales: Vec<f32> = largest(&w, &channels)
        .iter()
        .enumerate()
        .map(|(c, largest)| {
            let bias = bias.as_ref().map_or(0.0, |b| f64::from(b[c].abs()));
            channel_scale(f64::from(*largest), bias, f64::from(s_x))
        })
        .collect();
    let quantized = w.reals().iter().enumerate().map(|(i, w)| {
        let nearest = (w / scales[channels.of(i)]).round_ties_even();
        nearest.clamp(-127.0, 127.0) as i32
    });
    let value = Array::i32(w.shape.clone(), quantized.collect());
    let params = QuantParams::symmetric_per_channel(IntType::I8, axis, scales.clone());
    replace(model, position, 1, params, value);
    if let Some(bias) = bias {
        let products: Vec<f32> = scales.iter().map(|s_w| s_x * s_w).collect();
        set_bias(model, position, &bias, products);
    }
    Ok(())
}

/// Quantizes the bias of a product of two activations.
pub(super) fn quantize_bias_of_product(model: &mut Model, position: usize) -> Result<()> {
    let node = &model.nodes[position];
    let Some(bias) = model.constant(node, 2) else {
        return Ok(());
    };
    let columns = model[node.output].ty.shape.last();
    let bias = repeated(bias, columns.copied().unwrap_or(1));
    let second = node.inputs[1].expect("`verify` demands both operands");
    let product = scale(model, subject(node)) * scale(model, second);
    let products = vec![product; bias.len()];
    set_bias(model, position, &bias, products);
    Ok(())
}

/// A number for each channel, of a bias that may be a single one.
fn repeated(bias: &Array, channels: usize) -> Vec<f32> {
    let numbers = bias.reals();
    (0..channels).map(|c| numbers[c % numbers.len()]).collect()
}

fn set_bias(model: &mut Model, position: usize, bias: &[f32], scales: Vec<f32>) {
    let limit = LARGEST_BIAS;
    let quantized = bias.iter().zip(&scales).map(|(b, scale)| {
        let nearest = (f64::from(*b) / f64::from(*scale)).round_ties_even();
        nearest.clamp(-limit, limit) as i32
    });
    let value = Array::i32([bias.len()], quantized.collect());
    let params = QuantParams::symmetric_per_channel(IntType::I32, 0, scales);
    replace(model, position, 2, params, value);
}

fn scale(model: &Model, id: TensorId) -> f32 {
    match &model[id].ty.elem {
        Elem::Quantized(QuantParams {
            map: Granularity::PerTensor { scale, .. },
            ..
        }) => *scale,
        _ => unreachable!("activations are quantized first"),
    }
}

/// The scale of a channel: the largest weight is 127, unless the bias would then leave its range. A channel
/// of zeros takes the scale that its bias needs, or 1.
fn channel_scale(largest: f64, bias: f64, s_x: f64) -> f32 {
    let of_weights = largest / 127.0;
    let of_bias = bias / (s_x * LARGEST_BIAS);
    let scale = of_weights.max(of_bias) as f32;
    if scale >= f32::MIN_POSITIVE * 1e6 {
        scale
    } else {
        1.0
    }
}

/// Which output channel a weight belongs to.
struct Channels {
    count: usize,
    run: usize,
    cycle: usize,
    group: usize,
}

impl Channels {
    fn of(&self, i: usize) -> usize {
        i / self.group * self.cycle + i / self.run % self.cycle
    }
}

/// The axis of the output channels, and how to find a weight's.
fn channels(op: &Op, shape: &[usize]) -> (usize, Channels) {
    let size: usize = shape.iter().product();
    let of_axis = |axis: usize, groups: usize| Channels {
        count: shape[axis] * groups,
        run: shape[axis + 1..].iter().product(),
        cycle: shape[axis],
        group: (size / groups).max(1),
    };
    match op {
        Op::ConvTranspose(op) => (1, of_axis(1, op.groups)),
        Op::MatMul(_) => (shape.len() - 1, of_axis(shape.len() - 1, 1)),
        _ => (0, of_axis(0, 1)),
    }
}

fn largest(w: &Array, channels: &Channels) -> Vec<f32> {
    let mut largest = vec![0.0f32; channels.count];
    for (i, w) in w.reals().iter().enumerate() {
        let slot = &mut largest[channels.of(i)];
        *slot = slot.max(w.abs());
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_weight_is_127_unless_the_bias_needs_room() {
        assert_eq!(channel_scale(254.0, 1.0, 1.0), 2.0);
        let scale = channel_scale(1e-9, 1024.0, 0.5);
        assert_eq!(1024.0 / (0.5 * f64::from(scale)), LARGEST_BIAS);
        assert_eq!(channel_scale(0.0, 0.0, 0.5), 1.0);
    }

    #[test]
    fn weights_of_grouped_transposed_convolutions_find_their_channel() {
        let op = crate::ops::ConvTranspose {
            strides: [1, 1],
            pads: Default::default(),
            dilations: [1, 1],
            groups: 2,
            output_padding: [0, 0],
            activation: crate::ir::Clamp::NONE,
        };
        // [C, M/groups, kh, kw] = [4, 3, 1, 2]: channels 0 1 2 for inputs 0 and 1, 3 4 5 for inputs 2 and 3.
        let (axis, channels) = channels(&op.into(), &[4, 3, 1, 2]);
        let found: Vec<usize> = (0..24).step_by(2).map(|i| channels.of(i)).collect();
        assert_eq!((axis, channels.count), (1, 6));
        assert_eq!(found, [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
    }
}
