//! Conv and ConvTranspose: `acc = bias + Σ (w − z_w[c])·(x − z_x)`, then
//! `clamp(scale_round(acc, m[c]) + z_y)` with `m[c] = (s_x·s_w[c])/s_y`, or with a residual operand
//! `clamp(scale_add_round(acc, m[c], r − z_r, s_r/s_y) + z_y)`. A result of 32 bits is `acc`. TFLite's factors are in
//! fixed point.

use super::arithmetic::{Term, centred, exact, scale_add_round_wide};
use super::{Call, Factor, factors};
use crate::ir::{Array, Clamp};
use crate::ops::{Conv, ConvTranspose};

pub(super) fn conv(op: &Conv, call: &Call) -> Array {
    match call.is_wide() {
        false => requantize(call, conv_sums::<i16>(op, call), op.activation),
        true => requantize(call, conv_sums::<i32>(op, call), op.activation),
    }
}

pub(super) fn conv_transpose(op: &ConvTranspose, call: &Call) -> Array {
    match call.is_wide() {
        false => requantize(call, transposed_sums::<i16>(op, call), op.activation),
        true => requantize(call, transposed_sums::<i32>(op, call), op.activation),
    }
}

/// Sums `[N, M, H', W']` to the output's integers.
fn requantize<S: Copy + Into<i64>>(call: &Call, sums: Vec<S>, activation: Clamp) -> Array {
    if call.keeps_sums() {
        return call.result(sums.iter().map(|acc| exact((*acc).into())).collect());
    }
    let [_, channels, height, width] = extents(call.shape());
    let (s_y, z_y) = call.out().uniform();
    let (low, high) = call.model.numerics.limits(activation, call.out());
    let factors = factors(call.model, call.node, channels);
    let factor = |i: usize| factors[i / (height * width) % channels];
    let rounded: Vec<i32> = match call.optional(3) {
        None => sums
            .iter()
            .enumerate()
            .map(|(i, acc)| factor(i).round((*acc).into()))
            .collect(),
        Some(residual) => {
            let (s_r, z_r) = call.params(3).uniform();
            let both = sums.iter().zip(residual.quantized());
            both.enumerate()
                .map(|(i, (acc, r))| {
                    let Factor::Real(m) = factor(i) else {
                        unreachable!("`check` refuses residuals of fixed-point factors")
                    };
                    scale_add_round_wide((*acc).into(), m, r - z_r, s_r / s_y)
                })
                .collect()
        }
    };
    call.result(rounded.iter().map(|y| (y + z_y).clamp(low, high)).collect())
}

fn conv_sums<T: Term>(op: &Conv, call: &Call) -> Vec<T::Sum> {
    let (x, w) = (call.array(0), call.array(1));
    let [images, channels, height, width] = extents(&x.shape);
    let [filters, depth, kh, kw] = extents(&w.shape);
    let [_, _, out_height, out_width] = extents(call.shape());
    let centred_x = centred::<T>(x.quantized(), call.params(0).uniform().1);
    let bias = bias(call, filters);
    let taps = depth * kh * kw;
    let weights = call.centred_weights::<T>(filters, |i| i / taps);
    let per_group = filters / op.groups;
    let mut sums = vec![T::Sum::default(); images * filters * out_height * out_width];
    let mut windows = vec![T::default(); out_width * taps];
    for n in 0..images {
        for group in 0..op.groups {
            let first = (n * channels + group * depth) * height * width;
            let planes = &centred_x[first..first + depth * height * width];
            for y in 0..out_height {
                gather_windows(
                    op,
                    planes,
                    [depth, height, width],
                    [kh, kw],
                    y,
                    &mut windows,
                );
                for m in group * per_group..(group + 1) * per_group {
                    let filter = &weights[m * taps..(m + 1) * taps];
                    let row = ((n * filters + m) * out_height + y) * out_width;
                    let row = &mut sums[row..row + out_width];
                    for (sum, window) in row.iter_mut().zip(windows.chunks_exact(taps)) {
                        *sum = T::add(T::start(bias[m]), filter, window);
                    }
                }
            }
        }
    }
    sums
}

/// For each pixel of row `y` of the result, the elements under the window in the order of the weights;
/// 0 outside the image.
fn gather_windows<T: Term>(
    op: &Conv,
    planes: &[T],
    [depth, height, width]: [usize; 3],
    [kh, kw]: [usize; 2],
    y: usize,
    windows: &mut [T],
) {
    let taps = depth * kh * kw;
    for (x, window) in windows.chunks_exact_mut(taps).enumerate() {
        let mut slots = window.iter_mut();
        for plane in planes.chunks_exact(height * width) {
            for ky in 0..kh {
                let row = (y * op.strides[0] + ky * op.dilations[0]).wrapping_sub(op.pads.top);
                for kx in 0..kw {
                    let column =
                        (x * op.strides[1] + kx * op.dilations[1]).wrapping_sub(op.pads.left);
                    // Above and before the image the index wraps to a large one.
                    let inside = row < height && column < width;
                    let slot = slots.next().expect("a window has this many taps");
                    *slot = if inside {
                        plane[row * width + column]
                    } else {
                        T::default()
                    };
                }
            }
        }
    }
}

fn transposed_sums<T: Term>(op: &ConvTranspose, call: &Call) -> Vec<T::Sum> {
    let (x, w) = (call.array(0), call.array(1));
    let [images, channels, height, width] = extents(&x.shape);
    let [_, per_group, kh, kw] = extents(&w.shape);
    let [_, filters, out_height, out_width] = extents(call.shape());
    let centred_x = centred::<T>(x.quantized(), call.params(0).uniform().1);
    let weights = call.centred_weights::<T>(filters, |i| {
        let group = i / (kh * kw * per_group) / (channels / op.groups);
        group * per_group + i / (kh * kw) % per_group
    });
    let plane = out_height * out_width;
    let bias = bias(call, filters);
    let mut sums: Vec<T::Sum> = (0..images * filters * plane)
        .map(|i| T::start(bias[i / plane % filters]))
        .collect();
    for (i, value) in centred_x.iter().enumerate() {
        let (column, row) = (i % width, i / width % height);
        let (c, n) = (
            i / (width * height) % channels,
            i / (width * height * channels),
        );
        let group = c / (channels / op.groups);
        for m in 0..per_group {
            let first = (n * filters + group * per_group + m) * plane;
            for ky in 0..kh {
                let y = (row * op.strides[0] + ky * op.dilations[0]).wrapping_sub(op.pads.top);
                for kx in 0..kw {
                    let x =
                        (column * op.strides[1] + kx * op.dilations[1]).wrapping_sub(op.pads.left);
                    if y < out_height && x < out_width {
                        let weight = weights[((c * per_group + m) * kh + ky) * kw + kx];
                        let sum = &mut sums[first + y * out_width + x];
                        *sum = T::add(*sum, &[*value], &[weight]);
                    }
                }
            }
        }
    }
    sums
}

fn bias(call: &Call, filters: usize) -> Vec<i32> {
    match call.optional(2) {
        Some(bias) => bias.quantized().to_vec(),
        None => vec![0; filters],
    }
}

/// The four extents of an image or of a convolution's weights.
pub(super) fn extents(shape: &[usize]) -> [usize; 4] {
    shape.try_into().expect("`infer` demands four axes")
}
