//! Weights in the form that their layer asks for, and biases in the scale of their sums.

use super::BiasCorrection;
use super::correction::gains;
use super::rounding::{Rounded, outputs, outputs_of};
use super::steps::LARGEST_SUM;
use super::{IntegerWeights, Rounding, replace};
use crate::ir::{Array, Elem, Granularity, IntType, Model, Node, QuantParams, TensorId};
use crate::passes::rewrite::{set_constant, subject};
use crate::{Result, bail};

/// Largest magnitude of a quantized bias: leaves as much room again for the sum of products.
const LARGEST_BIAS: f64 = (1u32 << 30) as f64;

/// Quantizes weights and bias of Conv, ConvTranspose, or MatMul with a constant second operand; weights that
/// came quantized stay as they are.
pub(super) fn quantize(
    model: &mut Model,
    position: usize,
    form: IntegerWeights,
    correction: BiasCorrection,
) -> Result<()> {
    let node = &model.nodes[position];
    let label = node.label();
    let Some(w) = model.constant(node, 1).cloned() else {
        bail!("{label} has no constant weights");
    };
    let (axis, outputs) = outputs(&node.op, &w.shape);
    let bias = bias(model, position, outputs);
    let s_x = scale(model, subject(node));
    let (scales, bias) = match &model[node.inputs[1].expect("just read")].ty.elem {
        Elem::Quantized(params) => {
            let scales = own_scales(params, axis, outputs);
            (scales.map_err(|e| e.at(&label))?, bias)
        }
        _ => of_reals(model, position, &w, bias, (form, correction))?,
    };
    let products: Vec<f32> = scales.iter().map(|s_w| s_x * s_w).collect();
    bias.set(model, position, products);
    Ok(())
}

/// The scales of weights that came quantized, one a channel.
pub(super) fn own_scales(params: &QuantParams, axis: usize, channels: usize) -> Result<Vec<f32>> {
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
        Granularity::Blocks { size, .. } => {
            bail!("the weights have a scale for each block of {size}")
        }
    }
}

/// Quantizes weights of reals, with room for the bias; returns their scales, and the bias less what the
/// rounding of the weights adds to the results' mean.
fn of_reals(
    model: &mut Model,
    position: usize,
    w: &Array,
    bias: Bias,
    (form, correction): (IntegerWeights, BiasCorrection),
) -> Result<(Vec<f32>, Bias)> {
    let node = &model.nodes[position];
    let label = node.label();
    let s_x = f64::from(scale(model, subject(node)));
    let numbers = bias.reals();
    if !w.reals().iter().chain(&numbers).all(|x| x.is_finite()) {
        return Err(crate::Error::new("weights or bias are not finite")
            .hint("the file is damaged, or the network was not trained to the end")
            .at(&label));
    }
    let largest_bias = |c: usize| numbers.get(c).map_or(0.0, |b| f64::from(b.abs()));
    let room = room_for_sums(model, node, w, form);
    let least = |c: usize| (largest_bias(c) / (s_x * LARGEST_BIAS)).max(room[c]);
    let mut rounded = Rounded::of(&node.op, w, form, least);
    if let (Rounding::Gptq, Some(moments)) = (form.rounding, &model[node.output].moments) {
        rounded = rounded.learned(&node.op, w, form, moments);
    }
    let bias = match gains(model, node, correction, &rounded.reals) {
        None => bias,
        Some(gains) => {
            let number = |c: usize| f64::from(numbers.get(c).copied().unwrap_or(0.0));
            let corrected = gains.iter().enumerate();
            let corrected = corrected.map(|(c, gain)| (number(c) + gain) as f32);
            let corrected: Vec<f32> = corrected.collect();
            let array = Array::f32([corrected.len()], corrected.clone());
            set_constant(model, position, 2, array);
            Bias::Reals(corrected)
        }
    };
    let value = Array::i32(w.shape.clone(), rounded.integers);
    let scales = rounded.grids.iter().map(|grid| grid.scale).collect();
    replace(model, position, 1, rounded.params, value);
    Ok((scales, bias))
}

/// The smallest scale of each channel of weights with which its sums stay below [`LARGEST_SUM`]; 0 for weights of
/// 8 bits and fewer, for which the activations make room.
fn room_for_sums(model: &Model, node: &Node, w: &Array, form: IntegerWeights) -> Vec<f64> {
    let (outputs, count) = outputs_of(&node.op, &w.shape);
    let mut room = vec![0.0; count];
    if form.bits <= 8 {
        return room;
    }
    let reach = match &model[subject(node)].ty.elem {
        Elem::Quantized(params) => {
            let zero_point = params.uniform().1;
            (params.high - zero_point).max(zero_point - params.low)
        }
        _ => unreachable!("activations are quantized first"),
    };
    for (i, w) in w.reals().iter().enumerate() {
        room[outputs(i)] += f64::from(w.abs()) * f64::from(reach) / LARGEST_SUM;
    }
    room
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
        _ => Bias::Reals(params.reals(array).reals().to_vec()),
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
