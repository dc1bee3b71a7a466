//! ConvTranspose, as plain convolutions: each sums the taps that meet a result in the order of the input.

use crate::Result;
use crate::ir::Node;
use crate::kernels::Window;
use crate::lower::Lowering;
use crate::lower::product::{self, Windows, four};
use crate::lower::real::product::{Ending, emit};
use crate::lower::real::weights::Weights;
use crate::lower::transposed::{axes, every, offset, pads};
use crate::ops::ConvTranspose;

/// Lowers a transposed convolution.
pub(super) fn lower(cx: &mut Lowering, node: &Node, op: &ConvTranspose) -> Result<()> {
    let weights = Weights::of(cx, node, cx.shape(node.output)[1])?;
    let [channels, per_group, kh, kw] = four(&weights.array.shape);
    let depth = channels / op.groups;
    let ending = Ending::of(cx, node, &weights, op.activation);
    let axes = axes(cx.model, node, op);
    let pads = pads(cx.model, node, &axes);
    let x = node.inputs[0].expect("`infer` demands an input");
    let (from, input) = product::image(cx, x, pads);
    let (to, output) = product::result(cx, node.output);
    let pixels = cx.model[x].ty.len() / cx.shape(x)[1];
    let mut macs = (pixels * weights.array.len()) as u64;
    for down in &axes[0] {
        for right in &axes[1] {
            let phase = [down, right];
            let empty = phase.iter().any(|p| p.taps.is_empty());
            let corner = [(down.start, pads.top), (right.start, pads.left)];
            let corner = corner.map(|(start, pad)| match empty {
                true => 0,
                false => (start + pad as isize) as usize,
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
            let flat = |m: usize, tap: usize, c: usize| {
                let (ky, kx) = (
                    down.taps[tap / right.taps.len()],
                    right.taps[tap % right.taps.len()],
                );
                let c = m / per_group * depth + c;
                ((c * per_group + m % per_group) * kh + ky) * kw + kx
            };
            // The operator counts its products as a whole.
            let macs = std::mem::take(&mut macs);
            emit(cx, node, &windows, &weights, &ending, &flat, macs);
        }
    }
    product::deliver(cx, node.output, to);
    Ok(())
}
