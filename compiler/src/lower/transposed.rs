//! ConvTranspose, as plain convolutions: results at the same place between input pixels are one of them.
//!
//! Along an axis, result `o` and tap `k` meet at input `i = (o + pad − k·dilation) / stride` where that is an
//! integer. For the results `o = first + stride·q` the taps that divide evenly are the same, and `i` is `q`
//! plus a constant of the tap: a window of stride 1.

use crate::ir::{Model, Node};
use crate::kernels::{Product, View, Window};
use crate::lower::product::{self, Windows, four};
use crate::lower::{Lowering, Needs};
use crate::ops::{ConvTranspose, Pads};
use crate::target::Target;
use crate::{Result, bail};

/// Every `stride`-th result along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    /// The first result.
    pub(super) first: usize,
    /// How many results.
    count: usize,
    /// Taps that reach them, in the order of the input.
    pub(super) taps: Vec<usize>,
    /// Input pixel of the first tap for the first result; may lie before the image.
    pub(super) start: isize,
    /// Input pixels from a tap to the next.
    pub(super) step: usize,
}

impl Phase {
    /// Input pixel after the last one that is read.
    fn end(&self) -> isize {
        let window = self.taps.len().saturating_sub(1) * self.step;
        self.start + (self.count + window) as isize
    }
}

/// The phases of an axis that have results.
fn phases(stride: usize, dilation: usize, kernel: usize, pad: usize, extent: usize) -> Vec<Phase> {
    let phase = |first: usize| {
        let full = first + pad;
        let meets =
            |k: &usize| (full as isize - (k * dilation) as isize).rem_euclid(stride as isize) == 0;
        let taps: Vec<usize> = (0..kernel).rev().filter(meets).collect();
        let pixel =
            |k: usize| (full as isize - (k * dilation) as isize).div_euclid(stride as isize);
        let start = taps.first().map_or(0, |k| pixel(*k));
        Phase {
            first,
            count: (extent - first).div_ceil(stride),
            start,
            step: taps.get(1).map_or(1, |k| (pixel(*k) - start) as usize),
            taps,
        }
    };
    (0..stride.min(extent)).map(phase).collect()
}

pub(super) fn axes(model: &Model, node: &Node, op: &ConvTranspose) -> [Vec<Phase>; 2] {
    let kernel = four(
        &model
            .operand_type(node, 1)
            .expect("`infer` demands weights")
            .shape,
    );
    let output = four(&model[node.output].ty.shape);
    let pads = [op.pads.top, op.pads.left];
    [0, 1].map(|axis| {
        let (stride, dilation) = (op.strides[axis], op.dilations[axis]);
        phases(
            stride,
            dilation,
            kernel[axis + 2],
            pads[axis],
            output[axis + 2],
        )
    })
}

/// The halo that the windows of all phases reach.
pub(super) fn pads(model: &Model, node: &Node, axes: &[Vec<Phase>; 2]) -> Pads {
    let [_, _, h, w] = four(
        &model
            .operand_type(node, 0)
            .expect("`infer` demands an input")
            .shape,
    );
    let reading = |axis: usize| axes[axis].iter().filter(|phase| !phase.taps.is_empty());
    let before = |axis| reading(axis).map(|p| -p.start).max().unwrap_or(0).max(0) as usize;
    let after = |axis, extent: usize| {
        let end = reading(axis).map(|p| p.end()).max().unwrap_or(0);
        (end - extent as isize).max(0) as usize
    };
    Pads {
        top: before(0),
        left: before(1),
        bottom: after(0, h),
        right: after(1, w),
    }
}

/// What a transposed convolution asks of the memory of `x`.
pub(super) fn needs(model: &Model, _target: &Target, node: &Node, op: &ConvTranspose) -> Needs {
    Needs {
        pads: pads(model, node, &axes(model, node, op)),
        slack: true,
    }
}

/// Lowers a transposed convolution.
pub(super) fn lower(cx: &mut Lowering, node: &Node, op: &ConvTranspose) -> Result<()> {
    let Some(weights) = cx.model.constant(node, 1) else {
        bail!("the weights are not constant"; hint: "fold them into an initializer before export");
    };
    let [channels, per_group, kh, kw] = four(&weights.shape);
    let shape = &weights.shape;
    let weights = product::weights(cx, node, per_group * op.groups, |i| {
        let group = i / (kh * kw * per_group) / (channels / op.groups);
        group * per_group + i / (kh * kw) % per_group
    });
    let requantize = product::requantize(cx, node, op.activation);
    let shared = product::numbers(cx, node, per_group * op.groups, &requantize)?;
    let axes = axes(cx.model, node, op);
    let pads = pads(cx.model, node, &axes);
    let x = node.inputs[0].expect("`infer` demands an input");
    let (from, input) = product::image(cx, x, pads);
    let (to, output) = product::result(cx, node.output);
    let pixels = cx.model[x].ty.len() / cx.shape(x)[1];
    let mut macs = (pixels * weights.len()) as u64;
    let pairs = axes[0]
        .iter()
        .flat_map(|y| axes[1].iter().map(move |x| [y, x]));
    for phase in pairs {
        let product = Product {
            weights: phase_weights(&weights, shape, op.groups, phase),
            ..shared.clone()
        };
        let empty = phase.iter().any(|p| p.taps.is_empty());
        let corner =
            [(phase[0].start, pads.top), (phase[1].start, pads.left)].map(|(start, pad)| {
                if empty {
                    0
                } else {
                    (start + pad as isize) as usize
                }
            });
        let windows = Windows {
            window: Window {
                extent: phase.map(|p| p.taps.len()),
                steps: phase.map(|p| p.step),
                strides: [1, 1],
            },
            groups: op.groups,
            input: (from.plus(offset(&input, corner)), input),
            output: (
                to.plus(offset(&output, phase.map(|p| p.first))),
                every(output, phase, op.strides),
            ),
        };
        // The operator counts its products as a whole.
        let macs = std::mem::take(&mut macs);
        product::emit(
            cx,
            node,
            &windows,
            &product,
            (None, requantize.clone()),
            macs,
        )?;
    }
    product::deliver(cx, node.output, to);
    Ok(())
}

/// Elements before a pixel.
pub(super) fn offset(view: &View, [y, x]: [usize; 2]) -> usize {
    y * view.strides[1] + x * view.strides[2]
}

/// The pixels of a result that belong to a phase.
pub(super) fn every(output: View, phase: [&Phase; 2], strides: [usize; 2]) -> View {
    let [n, _, _, c] = output.extent;
    let [image, row, pixel, channel] = output.strides;
    View {
        extent: [n, phase[0].count, phase[1].count, c],
        strides: [image, row * strides[0], pixel * strides[1], channel],
    }
}

/// From `[group · channel][filter][tap]` to `[group · filter][tap of the phase][channel]`.
fn phase_weights(
    w: &[i32],
    shape: &[usize],
    groups: usize,
    [down, right]: [&Phase; 2],
) -> Vec<i32> {
    let [channels, per_group, kh, kw] = four(shape);
    let depth = channels / groups;
    let mut weights = vec![];
    for m in 0..groups * per_group {
        for ky in &down.taps {
            for kx in &right.taps {
                let first = m / per_group * depth;
                weights.extend(
                    (first..first + depth)
                        .map(|c| w[((c * per_group + m % per_group) * kh + ky) * kw + kx]),
                );
            }
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs (result, input) that each tap joins, as the operator defines them.
    fn defined(
        stride: usize,
        dilation: usize,
        kernel: usize,
        pad: usize,
        input: usize,
        extent: usize,
    ) -> Vec<[usize; 3]> {
        let mut pairs = vec![];
        for i in 0..input {
            for k in 0..kernel {
                let o = (i * stride + k * dilation).wrapping_sub(pad);
                if o < extent {
                    pairs.push([o, i, k]);
                }
            }
        }
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn phases_join_what_the_operator_joins() {
        for (stride, dilation, kernel, pad) in [
            (2, 1, 4, 1),
            (2, 1, 3, 0),
            (3, 2, 3, 2),
            (2, 2, 3, 1),
            (4, 1, 2, 0),
        ] {
            let input = 5;
            let extent = stride * (input - 1) + dilation * (kernel - 1) + 1 - pad;
            let mut pairs = vec![];
            for phase in phases(stride, dilation, kernel, pad, extent) {
                for q in 0..phase.count {
                    for (j, k) in phase.taps.iter().enumerate() {
                        let i = phase.start + (q + j * phase.step) as isize;
                        if (0..input as isize).contains(&i) {
                            pairs.push([phase.first + q * stride, i as usize, *k]);
                        }
                    }
                }
            }
            pairs.sort_unstable();
            assert_eq!(pairs, defined(stride, dilation, kernel, pad, input, extent));
        }
    }
}
