//! Weights, symmetric with one scale for each output channel, and biases in the scale of their sums.

use super::replace;
use crate::ir::{Array, Elem, Granularity, IntType, Model, QuantParams, TensorId};
use crate::ops::Op;
use crate::passes::rewrite::subject;
use crate::passes::typing;
use crate::{Result, bail};

/// Largest magnitude of a quantized bias: leaves as much room again for the sum of products.
const LARGEST_BIAS: f64 = (1u32 << 30) as f64;

/// Quantizes weights and bias of Conv, ConvTranspose, or MatMul with a constant second operand; weights that
/// came quantized stay as they are.
pub(super) fn quantize(model: &mut Model, position: usize) -> Result<()> {
    let node = &model.nodes[position];
    let label = node.label();
    let Some(w) = model.constant(node, 1).cloned() else {
        bail!("{label} has no constant weights");
    };
    let (axis, channels) = channels(&node.op, &w.shape);
    let bias = bias(model, position, channels.count);
    let s_x = scale(model, subject(node));
    let scales = match &model[node.inputs[1].expect("just read")].ty.elem {
        Elem::Quantized(params) => {
            let scales = own_scales(params, axis, channels.count);
            scales.map_err(|e| e.at(&label))?
        }
        _ => of_reals(model, position, (&w, axis, &channels), &bias)?,
    };
    let products: Vec<f32> = scales.iter().map(|s_w| s_x * s_w).collect();
    bias.set(model, position, products);
    Ok(())
}

/// The scales of weights that came quantized, one a channel.
fn own_scales(params: &QuantParams, axis: usize, channels: usize) -> Result<Vec<f32>> {
    match &params.map {
        Granularity::PerTensor { scale, .. } => Ok(vec![*scale; channels]),
        Granularity::PerChannel {
            axis: own, scales, ..
        } if *own == axis && channels.is_multiple_of(scales.len()) => {
            Ok((0..channels).map(|c| scales[c % scales.len()]).collect())
        }
        Granularity::PerChannel { axis: own, .. } => bail!(
            "the weights have several scales along axis {own}, outputs lie along axis {axis}";
            hint: "quantize weights per tensor or per output channel"
        ),
    }
}

/// Quantizes weights of reals, with room for the bias; returns their scales.
fn of_reals(
    model: &mut Model,
    position: usize,
    (w, axis, channels): (&Array, usize, &Channels),
    bias: &Bias,
) -> Result<Vec<f32>> {
    let node = &model.nodes[position];
    let label = node.label();
    let s_x = scale(model, subject(node));
    let bias = bias.reals();
    let mut numbers = w.reals().iter().chain(&bias);
    if !numbers.all(|x| x.is_finite()) {
        return Err(crate::Error::new("weights or bias are not finite")
            .hint("the file is damaged, or the network was not trained to the end")
            .at(&label));
    }
    let scales: Vec<f32> = largest(w, channels)
        .iter()
        .enumerate()
        .map(|(c, largest)| {
            let bias = bias.get(c).map_or(0.0, |b| f64::from(b.abs()));
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
    Ok(scales)
}

/// Quantizes the bias of a product of two activations.
pub(super) fn quantize_bias_of_product(model: &mut Model, position: usize) -> Result<()> {
    let node = &model.nodes[position];
    let columns = model[node.output].ty.shape.last().copied().unwrap_or(1);
    let bias = bias(model, position, columns);
    let second = node.inputs[1].expect("`verify` demands both operands");
    let product = scale(model, subject(node)) * scale(model, second);
    bias.set(model, position, vec![product; columns]);
    Ok(())
}

/// A bias, one number a channel.
enum Bias {
    None,
    Reals(Vec<f32>),
    /// Integers that came with the model, with their scales.
    Integers(Vec<i32>, Vec<f32>),
}

/// Scales of a bias and of the products that it is added to are one but for the rounding of their computation.
const SAME_SCALE: f32 = 1e-5;

fn bias(model: &Model, position: usize, channels: usize) -> Bias {
    let node = &model.nodes[position];
    let (Some(array), Some(ty)) = (model.constant(node, 2), model.operand_type(node, 2)) else {
        return Bias::None;
    };
    let Elem::Quantized(params) = &ty.elem else {
        // A single number stands for every channel.
        let numbers = array.reals();
        return Bias::Reals((0..channels).map(|c| numbers[c % numbers.len()]).collect());
    };
    let integers = array.quantized();
    match &params.map {
        Granularity::PerTensor {
            scale,
            zero_point: 0,
        } if params.int.bits == 32 => Bias::Integers(integers.to_vec(), vec![*scale; channels]),
        Granularity::PerChannel {
            scales,
            zero_points,
            ..
        } if params.int.bits == 32 && zero_points.iter().all(|z| *z == 0) => {
            Bias::Integers(integers.to_vec(), scales.clone())
        }
        _ => Bias::Reals(typing::reals(array, params)),
    }
}

impl Bias {
    fn reals(&self) -> Vec<f32> {
        match self {
            Bias::None => vec![],
            Bias::Reals(reals) => reals.clone(),
            Bias::Integers(integers, scales) => {
                let pairs = integers.iter().zip(scales);
                pairs.map(|(q, scale)| *q as f32 * scale).collect()
            }
        }
    }

    /// Makes the bias integers in the scale of the products: those that came with the model, if their scale is
    /// that of the products, else the nearest.
    fn set(&self, model: &mut Model, position: usize, products: Vec<f32>) {
        let nearest = |real: &f32, product: &f32| {
            let nearest = (f64::from(*real) / f64::from(*product)).round_ties_even();
            nearest.clamp(-LARGEST_BIAS, LARGEST_BIAS) as i32
        };
        let same = |(scale, product): (&f32, &f32)| (scale - product).abs() <= SAME_SCALE * product;
        let integers: Vec<i32> = match self {
            Bias::None => return,
            Bias::Integers(own, scales) if scales.iter().zip(&products).all(same) => own.clone(),
            _ => {
                let reals = self.reals();
                reals
                    .iter()
                    .zip(&products)
                    .map(|(b, p)| nearest(b, p))
                    .collect()
            }
        };
        let value = Array::i32([integers.len()], integers);
        let params = QuantParams::symmetric_per_channel(IntType::I32, 0, products);
        let params = QuantParams {
            low: IntType::I32.min() as i32,
            ..params
        };
        replace(model, position, 2, params, value);
    }
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
