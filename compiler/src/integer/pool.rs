//! Pool. Max: the largest integer of the image under the window. Average: `acc = Σ (x − z_x)`, then
//! `clamp(scale_round(acc, (s_x/s_y)/count) + z_y)`, where padding adds 0 and counts only where it should.
//! TFLite averages the integers themselves where scales and zero points are equal, and scales by a fixed-point
//! factor where they are not.

use std::ops::Range;

use super::Call;
use super::arithmetic::scale_round_wide;
use super::conv::extents;
use super::tflite;
use crate::ir::Array;
use crate::ops::{Pool, PoolKind};

pub(super) fn pool(op: &Pool, call: &Call) -> Array {
    let x = call.array(0);
    let [_, _, height, width] = extents(&x.shape);
    let [_, _, out_height, out_width] = extents(call.shape());
    let (s_x, z_x) = call.params(0).uniform();
    let (s_y, z_y) = call.out().uniform();
    let (low, high) = (call.out().low, call.out().high);
    let window = |axis: usize, index: usize| Window::new(op, axis, index, [height, width][axis]);
    let mut result = Vec::with_capacity(call.shape().iter().product());
    for plane in x.quantized().chunks_exact(height * width) {
        for y in 0..out_height {
            let rows = window(0, y);
            for x in 0..out_width {
                let columns = window(1, x);
                let elements = rows.inside.iter().flat_map(|row| {
                    let columns = columns.inside.iter();
                    columns.map(move |column| plane[row * width + column])
                });
                result.push(match op.kind {
                    PoolKind::Max => elements.max().unwrap_or(low),
                    PoolKind::Average { count_include_pad } => {
                        let count = if count_include_pad {
                            rows.counted * columns.counted
                        } else {
                            rows.inside.len() * columns.inside.len()
                        };
                        let acc: i64 = elements.map(|q| i64::from(q - z_x)).sum();
                        if call.is_tflite() {
                            let mean = tflite::Mean::of_window(call.params(0), call.out(), count);
                            mean.apply(acc).clamp(low, high)
                        } else {
                            let m = (s_x / s_y) / count as f32;
                            (scale_round_wide(acc, m) + z_y).clamp(low, high)
                        }
                    }
                });
            }
        }
    }
    call.result(result)
}

/// What a window covers along one axis.
struct Window {
    /// Indices within the image.
    inside: Vec<usize>,
    /// How many taps lie in the padded image.
    counted: usize,
}

impl Window {
    fn new(op: &Pool, axis: usize, index: usize, extent: usize) -> Window {
        let (before, after) = [(op.pads.top, op.pads.bottom), (op.pads.left, op.pads.right)][axis];
        let image: Range<usize> = before..before + extent;
        let taps = (0..op.kernel[axis])
            .map(|k| index * op.strides[axis] + k * op.dilations[axis])
            .filter(|at| *at < before + extent + after);
        let taps: Vec<usize> = taps.collect();
        Window {
            counted: taps.len(),
            inside: taps
                .iter()
                .filter(|at| image.contains(at))
                .map(|at| at - before)
                .collect(),
        }
    }
}
