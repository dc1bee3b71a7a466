//! Weights and biases: symmetric, one scale an output channel.

use crate::ir::{
    Array, Data, Elem, Granularity, IntType, Model, Node, QuantParams, TensorId, Type,
};
use crate::ops::Op;

/// A bias stays below this, so that it leaves room for products in 32 bits.
const LARGEST_BIAS: f64 = (1 << 30) as f64;

/// Quantizes the constant weights and the biases of every node that has them.
pub(super) fn quantize(model: &mut Model) {
    for position in 0..model.nodes.len() {
        if let Some(channels) = Channels::of(model, &model.nodes[position]) {
            quantize_node(model, position, &channels);
        }
    }
}

/// How a weight's flat index tells its output channel.
struct Channels {
    axis: usize,
    count: usize,
    /// Weights that follow each other with the same channel.
    run: usize,
    /// Channels that follow each other before they repeat.
    cycle: usize,
    /// Weights of a group that has channels of its own.
    group: usize,
}

impl Channels {
    /// `None` where the weights are computed, or the operator has none.
    fn of(model: &Model, node: &Node) -> Option<Channels> {
        let shape = match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) => {
                &model
                    .constant(node, 1)
                    .filter(|w| matches!(w.data, Data::F32(_)))?
                    .shape
            }
            _ => return None,
        };
        let size: usize = shape.iter().product();
        let last = shape.len() - 1;
        Some(match &node.op {
            Op::ConvTranspose(op) => Channels {
                axis: 1,
                count: shape[1] * op.groups,
                run: shape[2] * shape[3],
                cycle: shape[1],
                group: size / op.groups,
            },
            Op::MatMul(_) => {
                let count = shape[last];
                Channels {
                    axis: last,
                    count,
                    run: 1,
                    cycle: count,
                    group: size,
                }
            }
            _ => {
                let count = shape[0];
                Channels {
                    axis: 0,
                    count,
                    run: size / count,
                    cycle: count,
                    group: size,
                }
            }
        })
    }

    fn channel(&self, weight: usize) -> usize {
        weight / self.group * self.cycle + weight / self.run % self.cycle
    }
}

fn quantize_node(model: &mut Model, position: usize, channels: &Channels) {
    let node = &model.nodes[position];
    let Some(weights) = model.constant(node, 1).cloned() else {
        return;
    };
    let bias = model
        .constant(node, 2)
        .map(|b| broadcast(b, channels.count));
    let input_scale = match node.inputs[0].map(|id| &model[id].ty.elem) {
        Some(Elem::Quantized(params)) => params.uniform().0,
        // An operand that is not quantized is reported by the check that follows.
        _ => return,
    };
    let scales = scales(&weights, bias.as_deref(), input_scale, channels);
    let integers = weights.reals().iter().enumerate().map(|(i, w)| {
        let steps = f64::from(*w) / f64::from(scales[channels.channel(i)]);
        (steps.round_ties_even() as i32).clamp(-127, 127)
    });
    let integers = Array::i32(weights.shape.clone(), integers.collect());
    let params = QuantParams::symmetric_per_channel(IntType::I8, channels.axis, scales.clone());
    replace(model, position, 1, integers, params);
    if let Some(bias) = bias {
        let products: Vec<f32> = scales.iter().map(|s| input_scale * s).collect();
        let steps = |(b, c): (&f32, usize)| {
            let exact = f64::from(*b) / (f64::from(input_scale) * f64::from(scales[c]));
            exact.round_ties_even() as i32
        };
        let integers = bias.iter().zip(0..).map(steps).collect();
        let params = QuantParams {
            int: IntType::I32,
            low: -i32::MAX,
            high: i32::MAX,
            map: Granularity::PerChannel {
                axis: 0,
                zero_points: vec![0; products.len()],
                scales: products,
            },
        };
        replace(
            model,
            position,
            2,
            Array::i32([channels.count], integers),
            params,
        );
    }
}

/// The largest weight of a channel becomes 127. A channel whose bias would leave 32 bits gets a larger
/// scale; one of zeros gets scale 1.
fn scales(weights: &Array, bias: Option<&[f32]>, input: f32, channels: &Channels) -> Vec<f32> {
    let mut scales = vec![0f64; channels.count];
    for (i, w) in weights.reals().iter().enumerate() {
        let scale = &mut scales[channels.channel(i)];
        *scale = scale.max(f64::from(w.abs()) / 127.0);
    }
    if let Some(bias) = bias {
        for (scale, b) in scales.iter_mut().zip(bias) {
            *scale = scale.max(f64::from(b.abs()) / (f64::from(input) * LARGEST_BIAS));
        }
    }
    let usable = |scale: f64| {
        if scale > 0.0 {
            (scale as f32).max(f32::MIN_POSITIVE)
        } else {
            1.0
        }
    };
    scales.into_iter().map(usable).collect()
}

/// One number for each channel, of a bias that may be a single one.
fn broadcast(bias: &Array, count: usize) -> Vec<f32> {
    let reals = bias.reals();
    (0..count).map(|c| reals[c % reals.len()]).collect()
}

/// Gives a node a constant of its own: another node may read the same weights with another scale.
fn replace(model: &mut Model, position: usize, operand: usize, value: Array, params: QuantParams) {
    let old: TensorId = model.nodes[position].inputs[operand].expect("the operand was read");
    let name = format!("{}_quantized", model[old].name);
    let ty = Type {
        shape: value.shape.clone(),
        elem: Elem::Quantized(params),
    };
    let new = model.add_tensor(&name, ty, Some(value));
    model.nodes[position].inputs[operand] = Some(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: Channels = Channels {
        axis: 0,
        count: 3,
        run: 2,
        cycle: 3,
        group: 6,
    };

    #[test]
    fn each_channel_uses_its_whole_range() {
        let weights = Array::f32([3, 2], vec![0.5, -1.27, 12.7, 0.0, 0.0, 0.0]);
        let scales = scales(&weights, None, 1.0, &CHANNELS);
        assert_eq!(scales, [0.01, 0.1, 1.0]);
    }

    #[test]
    fn a_large_bias_widens_its_channel() {
        let weights = Array::f32([3, 2], vec![1e-9, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let scales = scales(&weights, Some(&[1.0, 2.0, 3.0]), 0.01, &CHANNELS);
        for (scale, bias) in scales.iter().zip([1.0, 2.0, 3.0]) {
            assert!(bias / (0.01 * f64::from(*scale)) <= LARGEST_BIAS * 1.000001);
        }
        assert_eq!(scales[2], (1.0 / 127.0) as f32);
    }
}
