//! Pools on reals, and the largest of plain integers.

use super::{Pool, PoolKind};
use crate::ir::{Array, Data};
use crate::ops::window;

pub(super) fn pool(op: &Pool, x: &Array) -> Array {
    let shape = vec![x.shape[0], x.shape[1], op.output[0], op.output[1]];
    let image = [x.shape[2], x.shape[3]];
    if let Data::I64(v) = &x.data {
        return Array::i64(shape, slide(op, image, v, i64::MIN, i64::max));
    }
    let x = x.reals();
    match op.kind {
        PoolKind::Max => {
            let larger = |a: f32, b: f32| if b > a || b.is_nan() { b } else { a };
            Array::f32(shape, slide(op, image, x, f32::NEG_INFINITY, larger))
        }
        PoolKind::Average { .. } => {
            let mut sums = slide(op, image, x, 0.0, |a, b| a + b);
            let [rows, columns] = op.output;
            let places = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
            let counts: Vec<f32> = places
                .map(|place| op.counted(image, place) as f32)
                .collect();
            for plane in sums.chunks_exact_mut(counts.len().max(1)) {
                plane
                    .iter_mut()
                    .zip(&counts)
                    .for_each(|(sum, count)| *sum /= count);
            }
            Array::f32(shape, sums)
        }
    }
}

/// `combine` over the elements of the image that each window sees, beginning with `first`.
fn slide<T: Copy>(
    op: &Pool,
    [height, width]: [usize; 2],
    x: &[T],
    first: T,
    combine: impl Fn(T, T) -> T,
) -> Vec<T> {
    let [rows, columns] = op.output;
    let planes = x.len() / (height * width).max(1);
    let mut out = vec![first; planes * rows * columns];
    let lines = out.chunks_exact_mut(columns).enumerate();
    for (index, line) in lines {
        let (plane, row) = (index / rows, index % rows);
        let above = (row * op.strides[0]) as isize - op.pads.top as isize;
        for ky in window::inside(op.kernel[0], height, op.dilations[0], above) {
            let y = (above + (ky * op.dilations[0]) as isize) as usize;
            let source = &x[(plane * height + y) * width..][..width];
            combine_row(op, source, line, &combine);
        }
    }
    out
}

/// Combines one row of the image into one row of the result.
fn combine_row<T: Copy>(op: &Pool, source: &[T], line: &mut [T], combine: impl Fn(T, T) -> T) {
    // A window as wide as the image is one run of pixels.
    if line.len() == 1 && op.kernel[1] == source.len() && op.dilations[1] == 1 && op.pads.left == 0
    {
        line[0] = source.iter().fold(line[0], |acc, x| combine(acc, *x));
        return;
    }
    for kx in 0..op.kernel[1] {
        let before = (kx * op.dilations[1]) as isize - op.pads.left as isize;
        let span = window::inside(line.len(), source.len(), op.strides[1], before);
        if span.is_empty() {
            continue;
        }
        let first = (span.start * op.strides[1]) as isize + before;
        let pixels = source[first as usize..].iter().step_by(op.strides[1]);
        line[span]
            .iter_mut()
            .zip(pixels)
            .for_each(|(acc, x)| *acc = combine(*acc, *x));
    }
}
