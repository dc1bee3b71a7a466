//! Conv, ConvTranspose and MatMul on reals.

use super::constant_params;
use crate::integer::Call;
use crate::integer::conv::extents;
use crate::ir::{Array, Clamp, strides};
use crate::ops::{Conv, ConvTranspose, MatMul, broadcast};

/// The weights of a product: `integer − zero point` converted to reals, or reals; and their scales.
/// Of weights with a scale for each block the reals are `(integer − zero point) · scale`.
struct Weights {
    reals: Vec<f32>,
    /// One for each output channel, of integer weights without blocks.
    scales: Option<Vec<f32>>,
}

impl Weights {
    /// The second operand, whose flat index tells the output channel.
    fn of(call: &Call, channels: usize, channel: impl Fn(usize) -> usize) -> Weights {
        let array = call.array(1);
        let Some(params) = constant_params(call, 1) else {
            return Weights {
                reals: array.reals().to_vec(),
                scales: None,
            };
        };
        if params.has_blocks() {
            return Weights {
                reals: params.reals(array).reals().to_vec(),
                scales: None,
            };
        }
        let zero_points = params.zero_points(channels);
        let integers = array.quantized().iter().enumerate();
        Weights {
            reals: integers
                .map(|(i, w)| (w - zero_points[channel(i)]) as f32)
                .collect(),
            scales: Some(params.scales(channels)),
        }
    }
}

/// What becomes of the sum of an output channel.
fn finish(
    call: &Call,
    weights: &Weights,
    channel: usize,
    sum: f32,
    residual: Option<f32>,
    clamp: Clamp,
) -> f32 {
    let mut y = sum;
    if let Some(scales) = &weights.scales {
        y *= scales[channel];
    }
    if let Some(bias) = call.optional(2) {
        y += bias.reals()[channel];
    }
    if let Some(residual) = residual {
        y += residual;
    }
    clamp.apply(y)
}

pub(super) fn conv(op: &Conv, call: &Call) -> Array {
    let (x, w) = (call.array(0), call.array(1));
    let [_, channels, height, width] = extents(&x.shape);
    let [filters, depth, kh, kw] = extents(&w.shape);
    let [images, _, rows, columns] = extents(call.shape());
    let taps = depth * kh * kw;
    let weights = Weights::of(call, filters, |i| i / taps);
    let per_group = filters / op.groups;
    let mut result = vec![0.0; images * filters * rows * columns];
    let mut sums = vec![0.0f32; per_group];
    // `[group][tap row][tap column][input channel][output channel]`: the loop over channels vectorises.
    let mut packed = vec![0.0; filters * taps];
    for (i, w) in weights.reals.iter().enumerate() {
        let (m, c, tap) = (i / taps, i / (kh * kw) % depth, i % (kh * kw));
        let group = m / per_group * per_group * taps;
        packed[group + (tap * depth + c) * per_group + m % per_group] = *w;
    }
    for n in 0..images {
        for group in 0..op.groups {
            let own = &packed[group * per_group * taps..][..per_group * taps];
            for row in 0..rows {
                for column in 0..columns {
                    sums.fill(0.0);
                    for tap in 0..kh * kw {
                        let y = (row * op.strides[0] + tap / kw * op.dilations[0])
                            .wrapping_sub(op.pads.top);
                        let at = (column * op.strides[1] + tap % kw * op.dilations[1])
                            .wrapping_sub(op.pads.left);
                        if y >= height || at >= width {
                            continue;
                        }
                        for c in 0..depth {
                            let plane = n * channels + group * depth + c;
                            let x = x.reals()[(plane * height + y) * width + at];
                            let w = &own[(tap * depth + c) * per_group..][..per_group];
                            sums.iter_mut().zip(w).for_each(|(sum, w)| *sum += x * w);
                        }
                    }
                    for (m, sum) in sums.iter().enumerate() {
                        let m = group * per_group + m;
                        let at = ((n * filters + m) * rows + row) * columns + column;
                        let residual = call.optional(3).map(|r| r.reals()[at]);
                        result[at] = finish(call, &weights, m, *sum, residual, op.activation);
                    }
                }
            }
        }
    }
    Array::f32(call.shape(), result)
}

pub(super) fn conv_transpose(op: &ConvTranspose, call: &Call) -> Array {
    let (x, w) = (call.array(0), call.array(1));
    let [images, channels, height, width] = extents(&x.shape);
    let [_, per_group, kh, kw] = extents(&w.shape);
    let [_, filters, rows, columns] = extents(call.shape());
    let depth = channels / op.groups;
    let weights = Weights::of(call, filters, |i| {
        i / (kh * kw * per_group) / depth * per_group + i / (kh * kw) % per_group
    });
    // The tap that joins a result with an input pixel along an axis, if one does.
    let tap = |axis: usize, at: usize, input: usize, extent: usize| {
        let pad = [op.pads.top, op.pads.left][axis];
        let distance = (at + pad).checked_sub(input * op.strides[axis])?;
        let tap = distance / op.dilations[axis];
        (distance.is_multiple_of(op.dilations[axis]) && tap < extent).then_some(tap)
    };
    let mut result = Vec::with_capacity(images * filters * rows * columns);
    for n in 0..images {
        for m in 0..filters {
            for row in 0..rows {
                for column in 0..columns {
                    let mut sum = 0.0f32;
                    for y in 0..height {
                        let Some(ky) = tap(0, row, y, kh) else {
                            continue;
                        };
                        for at in 0..width {
                            let Some(kx) = tap(1, column, at, kw) else {
                                continue;
                            };
                            for c in m / per_group * depth..(m / per_group + 1) * depth {
                                let w = ((c * per_group + m % per_group) * kh + ky) * kw + kx;
                                let x = ((n * channels + c) * height + y) * width + at;
                                sum += call.array(0).reals()[x] * weights.reals[w];
                            }
                        }
                    }
                    result.push(finish(call, &weights, m, sum, None, op.activation));
                }
            }
        }
    }
    Array::f32(call.shape(), result)
}

pub(super) fn matmul(op: &MatMul, call: &Call) -> Array {
    let (a, b) = (call.array(0), call.array(1));
    let shape = call.shape();
    let ([a_lead @ .., m, k], [b_lead @ .., _, n]) = (&a.shape[..], &b.shape[..]) else {
        unreachable!("`infer` demands matrices")
    };
    let lead = &shape[..shape.len() - 2];
    let weights = Weights::of(call, *n, |i| i % n);
    let place = |own: &[usize], index: usize| -> usize {
        let axes = broadcast::repeated_strides(own, lead).into_iter();
        let axes = axes.zip(strides(lead)).zip(lead);
        axes.map(|((own, dense), extent)| index / dense % extent * own)
            .sum()
    };
    let mut result = Vec::with_capacity(shape.iter().product());
    let mut sums = vec![0.0f32; *n];
    for batch in 0..lead.iter().product() {
        let left = &a.reals()[place(a_lead, batch) * m * k..][..m * k];
        let right = &weights.reals[place(b_lead, batch) * k * n..][..k * n];
        for row in left.chunks_exact((*k).max(1)).take(*m) {
            sums.fill(0.0);
            for (x, w) in row.iter().zip(right.chunks_exact((*n).max(1))) {
                sums.iter_mut().zip(w).for_each(|(sum, w)| *sum += x * w);
            }
            let finished = sums.iter().enumerate();
            result.extend(
                finished.map(|(c, sum)| finish(call, &weights, c, *sum, None, op.activation)),
            );
        }
    }
    Array::f32(shape, result)
}
