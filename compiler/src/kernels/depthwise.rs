//! Depthwise convolution: one filter a channel, vectors over channels.
//!
//! A machine multiplies `taps` taps of each lane at once ([`crate::target::Depthwise`]). Taps are grouped down the
//! columns, the rows that remain along the row, so that neighbouring results of a tile read the same groups:
//!
//! ```text
//!  3×3, two taps at once:   A B C     (A D) (B E) (C F)   shared by the results one and two to the left
//!                           D E F
//!                           G H I     (G H) (I ·)         `·` has weight 0
//! ```

mod blocks;

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, op, var};
use crate::kernels::elements::elements;
use crate::kernels::fields::tag;
use crate::kernels::pack::{Packed, Product, each};
use crate::kernels::pixels::{Pixels, counted, size};
use crate::kernels::requantize::{Sums, define};
use crate::kernels::scale::loads;
use crate::kernels::tile::cut;
use crate::kernels::unit::offset;
use crate::kernels::{Form, Names, Requantize, View, Window};
use crate::target::Target;

pub use blocks::Blocks;

/// Windows of more taps are loops, not straight lines.
const UNROLLED_TAPS: usize = 49;

/// A depthwise convolution whose sizes, zero points and clamp are compile-time facts.
///
/// Buffers: `x`, then `r` if there is a residual, then `y`. `x` starts at the first window's corner.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// The kernel's name.
    pub name: String,
    /// Lines above the function.
    pub comment: Vec<String>,
    /// The taps.
    pub window: Window,
    /// How the weights are stored.
    pub form: Form,
    /// The padded input; it has the channels of the output.
    pub input: View,
    /// Elements of the input.
    pub elem: Scalar,
    /// Whether the input may be read a few bytes past its end.
    pub slack: bool,
    /// The result.
    pub output: View,
    /// From sums to results.
    pub requantize: Requantize,
    /// What is computed in blocks.
    pub blocks: Option<Blocks>,
    /// Names of the constants of the channels that are not, and of those left of a row of blocks.
    pub constants: Names,
}

/// Taps multiplied at once: index of each in the window, `None` for a weight of 0.
type Group = Vec<Option<usize>>;

impl Depthwise {
    /// The convolution as a kernel.
    pub fn kernel(&self, target: &Target) -> Kernel {
        let pixels = self.pixels();
        let build = Build {
            conv: self,
            target,
            pixels: &pixels,
            groups: groups(&self.window, target.depthwise.taps, self.form.steps()),
            parts: self.form.parts(),
        };
        let buffer = |name: &str, elem, mutable| Buffer {
            name: name.to_string(),
            elem,
            mutable,
        };
        let mut buffers = vec![buffer("x", self.elem, false)];
        let residual = self.requantize.residual.as_ref();
        buffers.extend(residual.map(|r| buffer("r", r.elem, false)));
        buffers.push(buffer("y", self.requantize.elem, true));
        Kernel {
            name: self.name.clone(),
            comment: self.comment.clone(),
            buffers,
            constants: match &self.blocks {
                Some(blocks) => [blocks.constants.all(), self.constants.all()].concat(),
                None => self.constants.all(),
            },
            body: build.body(),
        }
    }

    /// The constants of what is not in blocks, if there is any: weights in tiles `[vector][part][byte][lane][tap]`, where a byte has one group or
    /// the fields of several; padding is zero.
    pub fn pack(&self, target: &Target, product: &Product) -> Option<Packed> {
        let (lanes, taps) = (target.lanes, target.depthwise.taps);
        let channels = product.bias.len();
        let start = self.first();
        if start == channels || self.columns() == self.pixels().row().extent {
            return None;
        }
        let groups = groups(&self.window, taps, self.form.steps());
        let channel = |lane: usize| (lane < channels).then_some(lane);
        let padded = start + (channels - start).next_multiple_of(lanes);
        let mut weights = vec![];
        for first in (start..padded).step_by(lanes) {
            for part in 0..self.form.parts() {
                for byte in groups.chunks(self.form.steps()) {
                    for lane in first..first + lanes {
                        weights.extend((0..taps).map(|tap| {
                            let at = byte.iter().map(|group| group[tap]);
                            product.byte(channel(lane), at, part)
                        }));
                    }
                }
            }
        }
        let channels = || (start..padded).map(channel);
        // Activations of 8 bits fit the 16 that are multiplied as they are.
        let offset = match self.elem.bytes() {
            1 => 0,
            _ => offset(target, self.elem),
        };
        let (scales, shifts) = product.scale_words(channels());
        Some(Packed {
            weights,
            lows: product.lows(channels(), lanes, taps),
            bias: each(channels(), |c| product.start(c, offset) as i32),
            high: vec![],
            scales,
            shifts,
            places: product.places(),
        })
    }

    /// The first channel that is in no block: 0 where blocks are of several pixels.
    fn first(&self) -> usize {
        let whole = self.blocks.iter().filter(|blocks| blocks.pixels == 1);
        whole.map(|blocks| blocks.channels).sum()
    }

    /// Pixels of a row in blocks of several.
    fn columns(&self) -> usize {
        let several = self.blocks.iter().filter(|blocks| blocks.pixels > 1);
        let extent = self.pixels().row().extent;
        several
            .map(|blocks| extent / blocks.pixels * blocks.pixels)
            .sum()
    }

    /// Channels that blocks of a machine cover, and pixels of a block.
    fn covered(&self, target: &Target) -> Option<(usize, usize)> {
        let (channels, bytes) = (self.output.extent[3], target.bytes);
        let pixels = self.pixels();
        let row = pixels.row();
        let dense = row.strides.iter().all(|stride| *stride == channels);
        match bytes / channels {
            0 | 1 if channels >= bytes => Some((channels / bytes * bytes, 1)),
            several if bytes % channels == 0 && dense && row.extent >= several => {
                Some((channels, several))
            }
            _ => None,
        }
    }

    /// Element offsets, from the tile's first corner, of a group's taps for result `i` of `rows`, which are `stride`
    /// elements apart.
    fn offsets(&self, group: &Group, [i, rows]: [usize; 2], stride: usize) -> Vec<usize> {
        let (window, view) = (&self.window, &self.input);
        let [down, right] = [0, 1].map(|axis| window.steps[axis] * view.strides[axis + 1]);
        let cols = window.extent[1];
        let place = |tap: usize| tap / cols * down + tap % cols * right + i * stride;
        let first = place(group[0].expect("a group begins with a tap"));
        // A weight of 0 may meet any readable activation: the next column, if the tile reads it anyway,
        // so that the next result's group is the same.
        let end = window.taps().saturating_sub(1);
        let reach = end / cols * down + end % cols * right + (rows - 1) * stride;
        let filler = if first + right <= reach {
            first + right
        } else {
            first
        };
        group.iter().map(|tap| tap.map_or(filler, place)).collect()
    }

    fn pixels(&self) -> Pixels {
        let mut views = vec![(self.input, self.window.strides), (self.output, [1, 1])];
        views.extend(self.requantize.residual.iter().map(|r| (r.view, [1, 1])));
        Pixels::new(self.output.extent, &views)
    }
}

/// The window's taps in groups of `taps`, in the order of their weights, of which a byte has `steps`.
fn groups(window: &Window, taps: usize, steps: usize) -> Vec<Group> {
    let [rows, cols] = window.extent;
    if window.taps() > UNROLLED_TAPS {
        // Loops run along rows; each row ends with a byte that is filled up with zeros.
        let row = |i: usize| {
            let mut groups = chunks(&(i * cols..(i + 1) * cols).collect::<Vec<_>>(), taps);
            groups.resize(groups.len().next_multiple_of(steps), vec![None; taps]);
            groups
        };
        return (0..rows).flat_map(row).collect();
    }
    let high = rows / taps * taps;
    let down = (0..high)
        .step_by(taps)
        .flat_map(|i| (0..cols).map(move |j| (i..i + taps).map(|i| Some(i * cols + j)).collect()));
    // The columns of the rows that remain, as many as a group has room for.
    let rest = rows - high;
    let beside = taps.checked_div(rest).unwrap_or(cols);
    let right = (0..if rest > 0 { cols } else { 0 })
        .step_by(beside)
        .flat_map(|first| {
            let columns = first..(first + beside).min(cols);
            let column = |j: usize| (high..rows).map(move |i| i * cols + j);
            chunks(&columns.flat_map(column).collect::<Vec<_>>(), taps)
        });
    down.chain(right).collect()
}

fn chunks(taps: &[usize], size: usize) -> Vec<Group> {
    let fill = |chunk: &[usize]| (0..size).map(|i| chunk.get(i).copied()).collect();
    taps.chunks(size).map(fill).collect()
}

struct Build<'a> {
    conv: &'a Depthwise,
    target: &'a Target,
    pixels: &'a Pixels,
    groups: Vec<Group>,
    parts: usize,
}

impl Build<'_> {
    fn body(&self) -> Vec<Stmt> {
        let half = (self.target.dot.rows * self.target.dot.cols / 2).max(1);
        let rows = self.target.depthwise.rows.unwrap_or(half);
        let rows = self.conv.blocks.as_ref().map_or(rows, |b| b.rows(rows));
        let columns = self.conv.columns();
        let mut row = self.several(columns, rows);
        row.extend(
            cut(self.pixels.row().extent - columns, rows)
                .into_iter()
                .map(|s| {
                    let start = columns + s.start;
                    let tiles = self.over_channels(s.size);
                    counted("w", start, start + s.size * s.count, s.size, tiles)
                }),
        );
        self.pixels.outer(row)
    }

    /// The first columns of a row, in blocks of several pixels.
    fn several(&self, columns: usize, rows: usize) -> Vec<Stmt> {
        let blocks = self.conv.blocks.iter().filter(|blocks| blocks.pixels > 1);
        let loops = blocks.flat_map(|blocks| {
            cut(columns / blocks.pixels, rows).into_iter().map(|s| {
                let [start, end, step] =
                    [s.start, s.start + s.size * s.count, s.size].map(|w| w * blocks.pixels);
                let tile = blocks.tile(self.conv, self.target, self.pixels, s.size, size(0));
                counted("w", start, end, step, tile)
            })
        });
        loops.collect()
    }

    fn over_channels(&self, rows: usize) -> Vec<Stmt> {
        let (lanes, first) = (self.target.lanes, self.conv.first());
        let channels = self.conv.output.extent[3] - first;
        let whole = channels / lanes * lanes;
        let mut loops = vec![];
        if let Some(blocks) = self.conv.blocks.as_ref().filter(|_| first > 0) {
            let tile = blocks.tile(self.conv, self.target, self.pixels, rows, var("c"));
            loops.push(counted("c", 0, first, self.target.bytes, tile));
        }
        if whole > 0 {
            loops.push(counted("c", 0, whole, lanes, self.tile(rows, lanes)));
        }
        if whole < channels {
            let tile = self.tile(rows, channels - whole);
            loops.push(counted("c", whole, channels, lanes, tile));
        }
        loops
    }

    fn tile(&self, rows: usize, channels: usize) -> Vec<Stmt> {
        let names = &self.conv.constants;
        let mut steps = vec![define(
            "b",
            "vi32",
            op("load_i32", [at(&names.bias, var("c"))]),
        )];
        for i in 0..rows {
            steps.push(Stmt::Let {
                name: sum(i),
                ty: "vi32",
                mutable: true,
                value: var("b"),
            });
        }
        if self.conv.window.taps() > UNROLLED_TAPS {
            steps.extend(self.loops(rows, channels));
        } else {
            steps.extend(self.unrolled(rows, channels));
        }
        let mut scales = vec![];
        if !self.conv.requantize.keeps_sums() {
            let (loaded, factors) = loads(names, "m", |constant| at(constant, var("c")));
            steps.extend(loaded);
            scales.push(factors);
        }
        let pixel = |i: usize| {
            let place = |view: usize| {
                let offset = self.conv.first() + i * self.pixels.row().strides[view];
                self.pixels.index(view) + var("c") + size(offset)
            };
            Sums {
                tag: format!("y{i}_"),
                sums: vec![sum(i)],
                high: vec![],
                scales: scales.clone(),
                count: channels,
                output: place(1),
                residual: match self.conv.requantize.residual {
                    Some(_) => place(2),
                    None => size(0),
                },
            }
        };
        let (pixels, strides) = ((0..rows).map(pixel).collect(), self.pixels.row());
        let stores = &self.conv.requantize;
        steps.extend(stores.store_row(self.target, pixels, &strides.strides[1..]));
        steps
    }

    /// Straight-line products: each group of activations is read once for all results of the tile.
    fn unrolled(&self, rows: usize, channels: usize) -> Vec<Stmt> {
        let mut steps = vec![];
        let per_byte = self.conv.form.steps();
        for byte in 0..self.bytes() {
            let first = byte * per_byte;
            let count = per_byte.min(self.parts * self.groups.len() - first);
            let offset = size(byte * self.vector());
            let tag = tag(byte);
            steps.extend(self.weights(&tag, offset, count, |step| format!("w{}", first + step)));
        }
        // (offsets of a group's activations, result, group), in the order of the first offset.
        let mut uses = vec![];
        let stride = self.pixels.row().strides[0];
        for i in 0..rows {
            for g in 0..self.parts * self.groups.len() {
                let group = &self.groups[g % self.groups.len()];
                uses.push((self.conv.offsets(group, [i, rows], stride), i, g));
            }
        }
        uses.sort_by(|a, b| a.0.cmp(&b.0));
        let mut last = None;
        let mut count = 0;
        for (offsets, i, g) in uses {
            if last.as_ref() != Some(&offsets) {
                let addresses = offsets.iter().map(|&o| size(o)).collect();
                steps.push(self.activations(&format!("a{count}"), addresses, channels));
                last = Some(offsets);
                count += 1;
            }
            let value = format!("a{}", count - 1);
            steps.push(accumulate(i, &value, &format!("w{g}")));
        }
        steps
    }

    /// Loops over the rows of a large window, and over the groups of a row.
    fn loops(&self, rows: usize, channels: usize) -> Vec<Stmt> {
        let (window, view) = (&self.conv.window, &self.conv.input);
        let taps = self.target.depthwise.taps;
        let [down, right] = [0, 1].map(|axis| window.steps[axis] * view.strides[axis + 1]);
        let (whole, rest) = (window.extent[1] / taps, window.extent[1] % taps);
        let per_byte = self.conv.form.steps();
        let per_row = (whole + usize::from(rest > 0)).div_ceil(per_byte);
        // The groups of a byte, of which each has so many taps.
        let byte = |u: Expr, present: &[usize]| {
            let mut weights = (var("t") * per_row as i64 + u.clone()) * self.vector() as i64;
            if self.parts > 1 {
                weights = weights + var("q") * (self.groups.len() * self.vector()) as i64;
            }
            let name = |step| format!("w{step}");
            let mut steps = self.weights("", weights, present.len(), name);
            for (step, present) in present.iter().enumerate() {
                for i in 0..rows {
                    let first =
                        var("t") * down as i64 + u.clone() * (per_byte * taps * right) as i64;
                    let first = first + size(step * taps * right);
                    let first = first + size(i * self.pixels.row().strides[0]);
                    let addresses = (0..taps)
                        .map(|tap| {
                            first.clone() + size(if tap < *present { tap * right } else { 0 })
                        })
                        .collect();
                    let value = format!("a{i}{}", tag(step));
                    steps.push(self.activations(&value, addresses, channels));
                    steps.push(accumulate(i, &value, &format!("w{step}")));
                }
            }
            steps
        };
        let full = whole / per_byte;
        let mut last = vec![taps; whole % per_byte];
        last.extend((rest > 0).then_some(rest));
        let mut row = vec![];
        if full > 0 {
            row.push(counted(
                "u",
                0,
                full,
                1,
                byte(var("u"), &vec![taps; per_byte]),
            ));
        }
        if !last.is_empty() {
            row.push(counted("u", full, full + 1, 1, byte(var("u"), &last)));
        }
        let rows = counted("t", 0, window.extent[0], 1, row);
        match self.parts {
            1 => vec![rows],
            parts => vec![counted("q", 0, parts, 1, vec![rows])],
        }
    }

    /// Bytes of weights of a channel, for each tap that one product takes.
    fn bytes(&self) -> usize {
        (self.parts * self.groups.len()).div_ceil(self.conv.form.steps())
    }

    /// The weights of the first `count` groups of a byte; `tag` tells it from others.
    fn weights(
        &self,
        tag: &str,
        offset: Expr,
        count: usize,
        name: impl Fn(usize) -> String,
    ) -> Vec<Stmt> {
        let taps = self.target.depthwise.taps;
        let Names { weights, lows, .. } = &self.conv.constants;
        let base = var("c") * (self.bytes() * taps) as i64;
        let address = at(weights, base + offset);
        let Form::Fields { each, .. } = self.conv.form else {
            return vec![define(&name(0), "vt", op("tap_weights", [address]))];
        };
        let packed = format!("p{tag}");
        let low = match each {
            true => var("c") * taps as i64,
            false => size(0),
        };
        let low = op("tap_weights", [at(lows, low)]);
        let mut steps = vec![define(&packed, "vt", op("widen_u8", [address]))];
        steps.extend(self.conv.form.unpack(&packed, "vt", count, low, name));
        steps
    }

    fn activations(&self, name: &str, offsets: Vec<Expr>, channels: usize) -> Stmt {
        let corner = self.pixels.index(0) + var("c") + size(self.conv.first());
        let mut args: Vec<_> = offsets
            .into_iter()
            .map(|o| at("x", corner.clone() + o))
            .collect();
        let [whole, part] = elements(self.conv.elem).taps;
        let name_of_op = if channels == self.target.lanes || self.conv.slack {
            whole
        } else {
            args.push(size(channels));
            part
        };
        define(name, "vt", op(name_of_op, args))
    }

    fn vector(&self) -> usize {
        self.target.lanes * self.target.depthwise.taps
    }
}

fn accumulate(result: usize, activations: &str, weights: &str) -> Stmt {
    Stmt::Set {
        name: sum(result),
        value: op(
            "dot_taps",
            [var(sum(result)), var(activations), var(weights)],
        ),
    }
}

fn sum(result: usize) -> String {
    format!("s{result}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_pair_down_columns_and_then_along_the_row() {
        let window = Window {
            extent: [3, 3],
            ..Window::POINT
        };
        let pairs = groups(&window, 2, 1);
        let text: Vec<_> = pairs
            .iter()
            .map(|g| {
                g.iter()
                    .map(|t| t.map_or("·".into(), |t| t.to_string()))
                    .collect::<String>()
            })
            .collect();
        assert_eq!(text, ["03", "14", "25", "67", "8·"]);
    }
}
