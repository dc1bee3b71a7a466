//! Resize. Nearest moves integers. Linear: the two neighbours along each axis have the integer coefficients
//! `c1 = round(frac·2048)` and `c0 = 2048 − c1`; `acc = Σ (x − z_x)·cy·cx`, then
//! `clamp(scale_round(acc, (s_x/s_y)·2⁻²²) + z_y)`.

use super::Call;
use super::arithmetic::scale_round_wide;
use super::conv::extents;
use crate::ir::Array;
use crate::ops::{Nearest, Resize, ResizeMode};

pub(super) fn resize(op: &Resize, call: &Call) -> Array {
    match op.mode {
        ResizeMode::Nearest(nearest) => nearest_pixels(op, nearest, call),
        ResizeMode::Linear => linear(op, call),
    }
}

/// The two pixels that pixel `index` of the result mixes along one axis (0 rows, 1 columns), and their
/// coefficients, whose sum is 2048.
pub fn linear_taps(op: &Resize, axis: usize, index: usize, extent: usize) -> [(usize, i32); 2] {
    let at = op.point(axis, index, extent);
    let c1 = ((at - at.floor()) * 2048.0).round_ties_even() as i32;
    let pixel = |at: f64| at.clamp(0.0, (extent - 1) as f64) as usize;
    [
        (pixel(at.floor()), 2048 - c1),
        (pixel(at.floor() + 1.0), c1),
    ]
}

fn nearest_pixels(op: &Resize, nearest: Nearest, call: &Call) -> Array {
    let x = call.array(0);
    let [planes, height, width] = planes(x);
    let [out_height, out_width] = op.output;
    let (rows, columns) = (op.pixels(nearest, 0, height), op.pixels(nearest, 1, width));
    let indices = (0..planes * out_height * out_width).map(|i| {
        let (plane, y, x) = (
            i / (out_height * out_width),
            i / out_width % out_height,
            i % out_width,
        );
        (plane * height + rows[y]) * width + columns[x]
    });
    x.pick(call.shape(), indices)
}

fn linear(op: &Resize, call: &Call) -> Array {
    let x = call.array(0);
    let [_, height, width] = planes(x);
    let (s_x, z_x) = call.params(0).uniform();
    let (s_y, z_y) = call.out().uniform();
    let (low, high) = (call.out().low, call.out().high);
    let m = (s_x / s_y) * (1.0 / 4_194_304.0);
    let columns: Vec<_> = (0..op.output[1])
        .map(|x| linear_taps(op, 1, x, width))
        .collect();
    let mut result = Vec::with_capacity(call.shape().iter().product());
    for plane in x.quantized().chunks_exact(height * width) {
        for y in 0..op.output[0] {
            let rows = linear_taps(op, 0, y, height);
            for columns in &columns {
                let mut acc = 0i64;
                for (row, cy) in rows {
                    for (column, cx) in columns {
                        acc += i64::from((plane[row * width + column] - z_x) * cx) * i64::from(cy);
                    }
                }
                result.push((scale_round_wide(acc, m) + z_y).clamp(low, high));
            }
        }
    }
    call.result(result)
}

fn planes(x: &Array) -> [usize; 3] {
    let [images, channels, height, width] = extents(&x.shape);
    [images * channels, height, width]
}
