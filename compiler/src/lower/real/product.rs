//! Conv: `acc = 0; acc = acc + x·w` for tap row, tap column, input channel; then the weights' scale, the bias,
//! the residual, the clamp. Padding counts as zeros, which change no finite sum.
//! Where blocks of input channels have scales of their own, a weight is `(integer − zero point) · scale` in registers.

use crate::Result;
use crate::ir::{Clamp, Node};
use crate::kernel::{Expr, Scalar};
use crate::kernels::fold::{self, Steps};
use crate::kernels::{View, Window};
use crate::lower::product::{self, Windows, four};
use crate::lower::real::weights::Weights;
use crate::lower::real::{Folding, REALS, axis, constant, memory};
use crate::lower::{Lowering, Place};
use crate::ops::{Conv, Pads};
use qcc_runtime_support::functions::{self, Arithmetic};

/// What becomes of sums: operands of one number a channel, and flags that say which are there.
pub(super) struct Ending {
    /// The weights' scale.
    pub(super) scales: Option<Vec<f32>>,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) residual: Option<(Place, View)>,
    pub(super) activation: Clamp,
}

impl Ending {
    pub(super) fn of(cx: &Lowering, node: &Node, weights: &Weights, activation: Clamp) -> Ending {
        Ending {
            scales: weights.scales.clone(),
            bias: cx.model.constant(node, 2).map(|bias| bias.reals().to_vec()),
            residual: None,
            activation,
        }
    }

    /// The steps after a sum: `others` are scale, bias and residual, those that are there.
    pub(super) fn finish(&self, steps: &mut Steps, sum: Option<Expr>, others: &[Expr]) -> Expr {
        let mut others = others.iter();
        let mut y = sum.unwrap_or_else(|| steps.number(0.0));
        if self.scales.is_some() {
            y = steps.mul(&y, others.next().expect("a scale is read"));
        }
        if self.bias.is_some() {
            y = steps.add(&y, others.next().expect("a bias is read"));
        }
        if self.residual.is_some() {
            y = steps.add(&y, others.next().expect("a residual is read"));
        }
        functions::clamp(steps, &y, self.activation.min, self.activation.max)
    }
}

/// Lowers a convolution.
pub(super) fn lower(cx: &mut Lowering, node: &Node, op: &Conv) -> Result<()> {
    let filters = cx.shape(node.output)[1];
    let weights = Weights::of(cx, node, filters)?;
    let [_, depth, kh, kw] = four(&weights.array.shape);
    let mut ending = Ending::of(cx, node, &weights, op.activation);
    if let Some(Some(id)) = node.inputs.get(3) {
        ending.residual = Some(product::image(cx, *id, Pads::default()));
    }
    let x = node.inputs[0].expect("`infer` demands an input");
    let windows = Windows {
        window: Window {
            extent: [kh, kw],
            steps: op.dilations,
            strides: op.strides,
        },
        groups: op.groups,
        input: product::image(cx, x, op.pads),
        output: product::result(cx, node.output),
    };
    let pixels: usize = windows.output.1.extent[..3].iter().product();
    let macs = (pixels * weights.array.len()) as u64;
    let flat = |m: usize, tap: usize, c: usize| (m * depth + c) * kh * kw + tap;
    emit(cx, node, &windows, &weights, &ending, &flat, macs);
    product::deliver(cx, node.output, windows.output.0);
    Ok(())
}

/// The flat index of the weight of output channel, tap and input channel of its group.
pub(super) type Order<'a> = &'a dyn Fn(usize, usize, usize) -> usize;

/// Adds the kernels of windows, and their calls.
pub(super) fn emit(
    cx: &mut Lowering,
    node: &Node,
    windows: &Windows,
    weights: &Weights,
    ending: &Ending,
    order: Order,
    macs: u64,
) {
    let channels = windows.output.1.extent[3] / windows.groups;
    let depth = windows.input.1.extent[3] / windows.groups;
    // One channel in and out of each group: vectors lie across the groups.
    if channels == 1 && depth == 1 {
        let part = Part {
            first: 0,
            width: windows.groups,
            count: 1,
            across: true,
        };
        return part.emit(cx, node, windows, weights, ending, order, macs);
    }
    let lanes = cx.target.lanes;
    let pixels = windows.output.1.extent[..3].iter().product();
    let (_, cols) = fold::tile(cx.target, pixels, channels.div_ceil(lanes));
    let width = cols * lanes;
    let count = channels / width;
    let whole = Part {
        first: 0,
        width,
        count,
        across: false,
    };
    let rest = channels - count * width;
    if count > 0 {
        whole.emit(cx, node, windows, weights, ending, order, macs);
    }
    if rest > 0 {
        let part = Part {
            first: count * width,
            width: rest,
            count: 1,
            across: false,
        };
        let macs = if count > 0 { 0 } else { macs };
        part.emit(cx, node, windows, weights, ending, order, macs);
    }
}

/// Channels of each group that tiles of one width cover; or all channels, `across` groups of one.
struct Part {
    first: usize,
    width: usize,
    count: usize,
    across: bool,
}

impl Part {
    #[allow(clippy::too_many_arguments, reason = "what a product is made of")]
    fn emit(
        &self,
        cx: &mut Lowering,
        node: &Node,
        windows: &Windows,
        weights: &Weights,
        ending: &Ending,
        order: Order,
        macs: u64,
    ) {
        let Window {
            extent: [kh, kw],
            steps,
            strides,
        } = windows.window;
        let ((from, input), (to, output)) = (windows.input, windows.output);
        let groups = if self.across { 1 } else { windows.groups };
        let depth = input.extent[3] / windows.groups;
        let per_group = output.extent[3] / windows.groups;
        let padded = self.width.next_multiple_of(cx.target.lanes);
        let taps = kh * kw;
        let tile = taps * depth * padded;
        let packed = |step: usize| {
            let order = |m: usize, tap: usize, c: usize| order(m, tap, c * step);
            self.packed(groups, per_group, taps, depth / step, padded, &order)
        };
        let block = weights.blocks.as_ref().map_or(depth, |blocks| blocks.size);
        let mut operands = vec![memory("x", Scalar::F32, true)];
        let mut strides_of: Vec<Buffer> = vec![Buffer::of(input, depth)];
        strides_of[0].pixel = [strides[0] * input.strides[1], strides[1] * input.strides[2]];
        strides_of[0].channel = usize::from(self.across);
        strides_of[0].tile = 0;
        if taps * depth > 0 {
            operands.push(weights.pack(cx, &packed(1)));
            strides_of.push(Buffer {
                group: self.count * tile,
                tile,
                channel: 1,
                ..Buffer::default()
            });
            if let Some(zero_points) = &weights.zero_points {
                operands.push(constant(
                    cx,
                    "zero_points",
                    &zero_points[self.first..],
                    true,
                ));
                strides_of.push(self.of_channels(per_group));
            }
            if let Some(blocks) = &weights.blocks {
                let tile = tile / block;
                for operand in blocks.pack(cx, &packed(block)) {
                    operands.push(operand);
                    strides_of.push(Buffer {
                        group: self.count * tile,
                        tile,
                        channel: 1,
                        ..Buffer::default()
                    });
                }
            }
        }
        let numbers = [("scales", &ending.scales), ("bias", &ending.bias)];
        for (what, numbers) in numbers {
            if let Some(numbers) = numbers {
                operands.push(constant(cx, what, &numbers[self.first..], false));
                strides_of.push(self.of_channels(per_group));
            }
        }
        let mut places = vec![from];
        if let Some((place, view)) = ending.residual {
            operands.push(memory("r", Scalar::F32, false));
            strides_of.push(Buffer {
                tile: self.width,
                ..Buffer::of(view, per_group)
            });
            places.push(place.plus(self.first));
        }
        strides_of.push(Buffer {
            tile: self.width,
            ..Buffer::of(output, per_group)
        });
        places.push(to.plus(self.first));
        let over =
            |extent: usize, step: fn(&Buffer) -> usize| axis(extent, strides_of.iter().map(step));
        let [n, h, w, _] = output.extent;
        let combined = if taps * depth == 0 {
            vec![]
        } else {
            let scales = operands.iter().filter(|o| o.inside).count() - 2;
            let others = operands.len() - 2;
            let along = |extent: usize, x: usize, w: usize, blocks: usize| {
                let per_block = if weights.blocks.is_some() { scales } else { 0 };
                let rest = std::iter::repeat_n(0, others - per_block);
                let blocks = std::iter::repeat_n(blocks, per_block);
                axis(extent, [x, w].into_iter().chain(blocks).chain(rest))
            };
            let (count, pixel) = (depth / block, depth * padded);
            vec![
                along(
                    kh,
                    steps[0] * input.strides[1],
                    kw * pixel,
                    kw * count * padded,
                ),
                along(kw, steps[1] * input.strides[2], pixel, count * padded),
                along(count, block, block * padded, padded),
                along(block, 1, padded, 0),
            ]
        };
        if combined.is_empty() {
            // Nothing is read of the input; its buffer stays an argument.
            operands[0].inside = true;
        }
        let zeros = weights.zero_points.is_some();
        let folding = Folding {
            what: "sums",
            comment: comment(cx, node, windows, weights),
            axes: vec![
                over(groups, |b| b.group),
                over(self.count, |b| b.tile),
                over(n, |b| b.image),
                over(h, |b| b.pixel[0]),
                over(w, |b| b.pixel[1]),
                over(self.width, |b| b.channel),
            ],
            combined,
            operands,
            output: REALS,
            start: 0.0,
            macs,
        };
        folding.call(
            cx,
            &places,
            &|steps, acc, v| {
                let w = match &weights.blocks {
                    Some(blocks) if blocks.has_zero_points() => {
                        let w = steps.sub(&v[1], &v[3]);
                        steps.mul(&w, &v[2])
                    }
                    Some(_) => steps.mul(&v[1], &v[2]),
                    None if zeros => steps.sub(&v[1], &v[2]),
                    None => v[1].clone(),
                };
                let product = crate::kernel::op("mul_f32", [v[0].clone(), w]);
                crate::kernel::op("add_f32", [acc, product])
            },
            &|steps, sum, others| ending.finish(steps, sum, others),
        );
    }

    /// `[group][tile][tap][input channel][output channel]`, padded to vectors.
    fn packed(
        &self,
        groups: usize,
        per_group: usize,
        taps: usize,
        depth: usize,
        padded: usize,
        order: Order,
    ) -> Vec<Option<usize>> {
        let mut packed = Vec::with_capacity(groups * self.count * taps * depth * padded);
        for group in 0..groups {
            for tile in 0..self.count {
                for tap in 0..taps {
                    for c in 0..depth {
                        packed.extend((0..padded).map(|i| {
                            let m = group * per_group + self.first + tile * self.width + i;
                            (i < self.width).then(|| order(m, tap, c))
                        }));
                    }
                }
            }
        }
        packed
    }

    /// Numbers of each channel.
    fn of_channels(&self, per_group: usize) -> Buffer {
        Buffer {
            group: per_group,
            tile: self.width,
            channel: 1,
            ..Buffer::default()
        }
    }
}

/// How a buffer follows the axes of a product's result.
#[derive(Clone, Copy, Debug, Default)]
struct Buffer {
    group: usize,
    tile: usize,
    image: usize,
    pixel: [usize; 2],
    channel: usize,
}

impl Buffer {
    /// An image with so many channels a group.
    fn of(view: View, per_group: usize) -> Buffer {
        Buffer {
            group: per_group,
            tile: 0,
            image: view.strides[0],
            pixel: [view.strides[1], view.strides[2]],
            channel: 1,
        }
    }
}

fn comment(cx: &Lowering, node: &Node, windows: &Windows, weights: &Weights) -> Vec<String> {
    let x = node.inputs[0].expect("`infer` demands an input");
    let Window {
        extent: [rows, cols],
        steps,
        strides,
    } = windows.window;
    let mut window = format!("Window {rows}×{cols}");
    for (what, pair) in [("steps", steps), ("strides", strides)] {
        if pair != [1, 1] {
            window += &format!(", {what} {}×{}", pair[0], pair[1]);
        }
    }
    if windows.groups > 1 {
        window += &format!(", {} groups", windows.groups);
    }
    vec![format!(
        "{} of reals: {:?} to {:?}. {window}, {} weights.",
        node.op.name(),
        cx.shape(x),
        cx.shape(node.output),
        weights.described()
    )]
}
