//! Convolutions on reals, one image and group at a time.
//!
//! A convolution is a matrix product of the weights `[M, K]` with the image's windows `[K, pixels]`.
//! The windows are written out for a few rows at a time; a 1×1 convolution reads the image in place.
//! Depthwise ones go tap by tap over rows instead.

use super::{Conv, ConvTranspose, Pads};
use crate::ir::{Array, Clamp, Type};
use crate::ops::product::{Matrix, accumulate};
use crate::ops::{Operator, window};

/// Reals of written-out windows at a time: 512 KiB, so that they stay in a second-level cache.
const TILE: usize = 1 << 17;

/// Up to this many output channels for each input channel, going tap by tap beats a matrix product.
const FEW: usize = 4;

/// One group of one image: where the taps of a window lie.
struct Geometry {
    image: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: Pads,
}

pub(super) fn conv(op: &Conv, operands: &[Option<&Array>]) -> Array {
    let (x, w) = (present(operands, 0), present(operands, 1));
    let shape = shape_of(op, operands);
    let [m, per_group] = [w.shape[0], w.shape[1]];
    let geometry = Geometry {
        image: [x.shape[2], x.shape[3]],
        output: [shape[2], shape[3]],
        kernel: [w.shape[2], w.shape[3]],
        strides: op.strides,
        dilations: op.dilations,
        pads: op.pads,
    };
    let mut out = biased(&shape, operands.get(2).copied().flatten());
    let outputs = m / op.groups;
    let x_group = per_group * geometry.image.iter().product::<usize>();
    let w_group = outputs * per_group * geometry.kernel.iter().product::<usize>();
    let out_group = outputs * geometry.output.iter().product::<usize>();
    let mut windows = vec![];
    for (index, out) in out.chunks_exact_mut(out_group.max(1)).enumerate() {
        let x = &x.reals()[index * x_group..][..x_group];
        let w = &w.reals()[index % op.groups * w_group..][..w_group];
        if per_group == 1 && outputs <= FEW {
            depthwise(&geometry, x, w, out);
        } else {
            matrix(&geometry, x, w, out, outputs, &mut windows);
        }
    }
    if let Some(residual) = operands.get(3).copied().flatten() {
        out.iter_mut()
            .zip(residual.reals())
            .for_each(|(y, r)| *y += r);
    }
    finish(shape, out, op.activation)
}

pub(super) fn conv_transpose(op: &ConvTranspose, operands: &[Option<&Array>]) -> Array {
    let (x, w) = (present(operands, 0), present(operands, 1));
    let shape = shape_of(op, operands);
    // A tap takes an output pixel to the input pixels that a convolution with the same attributes would
    // write from it: image and output change places.
    let geometry = Geometry {
        image: [shape[2], shape[3]],
        output: [x.shape[2], x.shape[3]],
        kernel: [w.shape[2], w.shape[3]],
        strides: op.strides,
        dilations: op.dilations,
        pads: op.pads,
    };
    let mut out = biased(&shape, operands.get(2).copied().flatten());
    if x.is_empty() {
        return finish(shape, out, op.activation);
    }
    let inputs = x.shape[1] / op.groups;
    let pixels: usize = geometry.output.iter().product();
    let taps = w.shape[1] * geometry.kernel.iter().product::<usize>();
    let out_group = w.shape[1] * geometry.image.iter().product::<usize>();
    for (index, out) in out.chunks_exact_mut(out_group.max(1)).enumerate() {
        let x = &x.reals()[index * inputs * pixels..][..inputs * pixels];
        let w = &w.reals()[index % op.groups * inputs * taps..][..inputs * taps];
        adjoint(&geometry, x, w, out, inputs);
    }
    finish(shape, out, op.activation)
}

fn present<'a>(operands: &[Option<&'a Array>], index: usize) -> &'a Array {
    operands[index].expect("infer demands the operand")
}

fn shape_of(op: &dyn Operator, operands: &[Option<&Array>]) -> Vec<usize> {
    let types: Vec<Option<Type>> = operands
        .iter()
        .map(|o| o.map(|array| Type::float(array.shape.clone())))
        .collect();
    let types: Vec<Option<&Type>> = types.iter().map(Option::as_ref).collect();
    op.infer(&types).expect("eval follows infer").shape
}

/// The result before any product: each channel's bias, or zeros.
fn biased(shape: &[usize], bias: Option<&Array>) -> Vec<f32> {
    let pixels = shape[2] * shape[3];
    let Some(bias) = bias else {
        return vec![0.0; shape.iter().product()];
    };
    let channels = (0..shape[0]).flat_map(|_| bias.reals());
    channels
        .flat_map(|b| std::iter::repeat_n(*b, pixels))
        .collect()
}

fn finish(shape: Vec<usize>, mut out: Vec<f32>, activation: Clamp) -> Array {
    if activation != Clamp::NONE {
        out.iter_mut().for_each(|y| *y = activation.apply(*y));
    }
    Array::f32(shape, out)
}

impl Geometry {
    /// Distance from a window's place times the stride to the element under a tap, along one axis.
    fn offset(&self, axis: usize, tap: usize) -> isize {
        (tap * self.dilations[axis]) as isize - self.pads.begin()[axis] as isize
    }

    /// Whether the windows are the image itself.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.strides == [1, 1] && self.pads == Pads::default()
    }

    /// Row and column of each tap.
    fn taps(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let [rows, columns] = self.kernel;
        (0..rows).flat_map(move |ky| (0..columns).map(move |kx| [ky, kx]))
    }
}

fn matrix(
    geometry: &Geometry,
    x: &[f32],
    w: &[f32],
    out: &mut [f32],
    outputs: usize,
    windows: &mut Vec<f32>,
) {
    let [height, width] = geometry.output;
    let taps = w.len() / outputs.max(1);
    let weights = Matrix::rows(w, taps);
    if geometry.is_pointwise() {
        let pixels = height * width;
        let image = Matrix::rows(x, pixels);
        return accumulate([outputs, taps, pixels], weights, image, out, pixels);
    }
    let rows_at_once = (TILE / (taps * width).max(1)).max(1);
    for first in (0..height).step_by(rows_at_once) {
        let rows = first..(first + rows_at_once).min(height);
        let columns = rows.len() * width;
        windows.clear();
        windows.resize(taps * columns, 0.0);
        gather(geometry, rows, x, windows);
        let image = Matrix::rows(windows, columns);
        let out = &mut out[first * width..];
        accumulate(
            [outputs, taps, columns],
            weights,
            image,
            out,
            height * width,
        );
    }
}

/// Adds what a convolution's transpose makes of one group of one image, some of its rows at a time.
fn adjoint(geometry: &Geometry, x: &[f32], w: &[f32], out: &mut [f32], inputs: usize) {
    let [height, width] = geometry.output;
    let (taps, pixels) = (w.len() / inputs, height * width);
    let weights = Matrix {
        data: w,
        strides: [1, taps],
    };
    let rows_at_once = (TILE / (taps * width).max(1)).max(1);
    let mut windows = vec![];
    for first in (0..height).step_by(rows_at_once) {
        let rows = first..(first + rows_at_once).min(height);
        let columns = rows.len() * width;
        windows.clear();
        windows.resize(taps * columns, 0.0);
        let image = Matrix::rows(&x[first * width..], pixels);
        accumulate(
            [taps, inputs, columns],
            weights,
            image,
            &mut windows,
            columns,
        );
        scatter(geometry, rows, &windows, out);
    }
}

/// Writes the windows of some output rows as columns of a matrix that holds zeros: row `(channel, tap)`,
/// column `pixel`.
fn gather(geometry: &Geometry, rows: std::ops::Range<usize>, x: &[f32], windows: &mut [f32]) {
    let [height, width] = geometry.image;
    let columns = geometry.output[1];
    let mut lines = windows.chunks_exact_mut((rows.len() * columns).max(1));
    for channel in x.chunks_exact((height * width).max(1)) {
        for [ky, kx] in geometry.taps() {
            let line = lines.next().expect("one row a channel and tap");
            let [above, before] = [geometry.offset(0, ky), geometry.offset(1, kx)];
            let span = window::inside(columns, width, geometry.strides[1], before);
            for (row, line) in rows.clone().zip(line.chunks_exact_mut(columns)) {
                let y = (row * geometry.strides[0]) as isize + above;
                if !(0..height as isize).contains(&y) || span.is_empty() {
                    continue;
                }
                let source = &channel[y as usize * width..][..width];
                let first = (span.start * geometry.strides[1]) as isize + before;
                let source = &source[first as usize..];
                let line = &mut line[span.clone()];
                match geometry.strides[1] {
                    1 => line.copy_from_slice(&source[..line.len()]),
                    stride => {
                        let pixels = source.iter().step_by(stride);
                        line.iter_mut()
                            .zip(pixels)
                            .for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// Adds columns of windows back onto the image: the adjoint of [`gather`].
fn scatter(geometry: &Geometry, rows: std::ops::Range<usize>, windows: &[f32], image: &mut [f32]) {
    let [height, width] = geometry.image;
    let columns = geometry.output[1];
    let mut lines = windows.chunks_exact((rows.len() * columns).max(1));
    for channel in image.chunks_exact_mut((height * width).max(1)) {
        for [ky, kx] in geometry.taps() {
            let line = lines.next().expect("one row a channel and tap");
            let [above, before] = [geometry.offset(0, ky), geometry.offset(1, kx)];
            let span = window::inside(columns, width, geometry.strides[1], before);
            for (row, line) in rows.clone().zip(line.chunks_exact(columns)) {
                let y = (row * geometry.strides[0]) as isize + above;
                if !(0..height as isize).contains(&y) || span.is_empty() {
                    continue;
                }
                let first = (span.start * geometry.strides[1]) as isize + before;
                let target = &mut channel[y as usize * width..][first as usize..width];
                let pixels = target.iter_mut().step_by(geometry.strides[1]);
                pixels
                    .zip(&line[span.clone()])
                    .for_each(|(to, from)| *to += from);
            }
        }
    }
}

/// Adds one channel's windows, tap by tap, to each of its output channels.
fn depthwise(geometry: &Geometry, x: &[f32], w: &[f32], out: &mut [f32]) {
    let [height, width] = geometry.image;
    let [rows, columns] = geometry.output;
    let taps: usize = geometry.kernel.iter().product();
    let spans: Vec<_> = (0..geometry.kernel[1])
        .map(|kx| window::inside(columns, width, geometry.strides[1], geometry.offset(1, kx)))
        .collect();
    for (w, out) in w
        .chunks_exact(taps)
        .zip(out.chunks_exact_mut((rows * columns).max(1)))
    {
        for (row, line) in out.chunks_exact_mut(columns).enumerate() {
            for ([ky, kx], weight) in geometry.taps().zip(w) {
                let y = (row * geometry.strides[0]) as isize + geometry.offset(0, ky);
                let span = spans[kx].clone();
                if !(0..height as isize).contains(&y) || span.is_empty() {
                    continue;
                }
                let first = (span.start * geometry.strides[1]) as isize + geometry.offset(1, kx);
                let source = &x[y as usize * width..][first as usize..width];
                add_scaled(&mut line[span], source, geometry.strides[1], *weight);
            }
        }
    }
}

/// `line[i] += weight · source[i · stride]`.
fn add_scaled(line: &mut [f32], source: &[f32], stride: usize, weight: f32) {
    match stride {
        1 => line
            .iter_mut()
            .zip(source)
            .for_each(|(y, x)| *y += weight * x),
        // Pairs, so that the compiler sees a fixed step.
        2 => {
            let (pairs, rest) = source.as_chunks::<2>();
            let evens = pairs
                .iter()
                .map(|pair| pair[0])
                .chain(rest.first().copied());
            line.iter_mut()
                .zip(evens)
                .for_each(|(y, x)| *y += weight * x);
        }
        _ => {
            let pixels = source.iter().step_by(stride);
            line.iter_mut()
                .zip(pixels)
                .for_each(|(y, x)| *y += weight * x);
        }
    }
}
