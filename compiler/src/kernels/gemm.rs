//! Quantized products of windows and constant weights: every convolution but depthwise, and dense layers.
//!
//! A tile of `rows` pixels × `cols` vectors of channels keeps its sums in registers while `k` walks the
//! window's runs:
//!
//! ```text
//!                    w: cols vectors of (lanes × k)
//!  a: rows × k  ×    [channels c .. c + cols·lanes]   → sums[rows][cols]
//! ```
//!
//! The input is read in place: its halo holds the zero point, so borders need no test.
//! Zero points are folded into the bias, from which the sums start.

use std::ops::Range;

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, op, var};
use crate::kernels::fields::tag;
use crate::kernels::pixels::{Pixels, counted, size};
use crate::kernels::requantize::{Sums, define};
use crate::kernels::tile::{Channels, Segment, Tiling, split, tiling};
use crate::kernels::{Form, Level, Requantize, Runs, View, Window};
use crate::target::Target;

/// Weights larger than this many bytes do not stay in the nearest cache while pixels pass by.
const NEAR_CACHE: usize = 16 << 10;

/// An input larger than this many bytes is not read again for each block of channels.
const FAR_CACHE: usize = 256 << 10;

/// A product whose sizes, zero points and clamp are compile-time facts.
///
/// Buffers: `x`, the input's magnitudes `v` if it has them, `r` if there is a residual, `y`.
/// `x` and `v` start at the first window's corner.
#[derive(Clone, Debug)]
pub struct Gemm {
    /// The kernel's name.
    pub name: String,
    /// Lines above the function.
    pub comment: Vec<String>,
    /// The taps.
    pub window: Window,
    /// Groups of channels; input and output channels are multiples of it.
    pub groups: usize,
    /// How the weights are stored.
    pub form: Form,
    /// The padded input.
    pub input: View,
    /// Whether the input is i8, not u8.
    pub input_signed: bool,
    /// Whether the input may be read a few bytes past its end.
    pub slack: bool,
    /// Whether the input, which is i8 then, comes with its magnitudes.
    pub magnitudes: bool,
    /// The result.
    pub output: View,
    /// From sums to results.
    pub requantize: Requantize,
    /// Names of the constants.
    pub constants: Names,
}

/// Constants of a product, packed by [`crate::kernels::pack()`].
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Weights, i8 or fields.
    pub weights: String,
    /// What is added to fields, i8; empty without them.
    pub lows: String,
    /// Where the sums start, i32.
    pub bias: String,
    /// Multipliers of the sums, f32.
    pub scales: String,
}

impl Names {
    /// Those that exist, bias and scales last.
    pub(crate) fn all(&self) -> Vec<String> {
        let names = [&self.weights, &self.lows, &self.bias, &self.scales];
        let named = names.into_iter().filter(|name| !name.is_empty());
        named.cloned().collect()
    }
}

/// How a product is laid out for a machine: what the kernel and the packing of its constants share.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) runs: Runs,
    pub(crate) pixels: Pixels,
    pub(crate) rows: Vec<Segment>,
    pub(crate) channels: Vec<Channels>,
    /// Bytes of weights of a run, for each number that one product takes of a channel.
    pub(crate) bytes: usize,
    /// Bytes of a channel's weights, padded.
    pub(crate) depth: usize,
    /// Channels of a group, padded to whole vectors.
    pub(crate) padded: usize,
}

impl Layout {
    /// The channels of each tile of a group, in order.
    pub(crate) fn tiles(&self, lanes: usize) -> Vec<Range<usize>> {
        let tiles = self.channels.iter().flat_map(|channels| {
            let width = channels.vectors * lanes;
            (0..channels.count).map(move |i| {
                let start = channels.start + i * width;
                start..start + width
            })
        });
        tiles.collect()
    }
}

impl Gemm {
    pub(crate) fn layout(&self, target: &Target) -> Layout {
        let point = [1, 1];
        let mut views = vec![(self.input, self.window.strides), (self.output, point)];
        views.extend(self.requantize.residual.iter().map(|r| (r.view, point)));
        let pixels = Pixels::new(self.output.extent, &views);
        let mut runs = self
            .window
            .runs(&self.input, self.input.extent[3] / self.groups);
        if self.form.parts() > 1 {
            let (count, stride) = (self.form.parts(), 0);
            runs.levels.insert(0, Level { count, stride });
        }
        let lanes = target.dot.lanes;
        let channels = self.output.extent[3] / self.groups;
        let vectors = channels.div_ceil(lanes);
        let Tiling { rows, cols } = tiling(&target.dot, pixels.row().extent, vectors);
        let bytes = runs.steps(target.dot.k).div_ceil(self.form.steps());
        Layout {
            bytes,
            depth: runs.count() * bytes * target.dot.k,
            padded: vectors * lanes,
            channels: cols
                .iter()
                .flat_map(|s| split(s, lanes, channels))
                .collect(),
            runs,
            pixels,
            rows,
        }
    }

    /// The product as a kernel.
    pub fn kernel(&self, target: &Target) -> Kernel {
        let layout = self.layout(target);
        let body = Build {
            gemm: self,
            target,
            layout: &layout,
        }
        .body();
        let scalar = |signed| if signed { Scalar::I8 } else { Scalar::U8 };
        let buffer = |name: &str, signed, mutable| Buffer {
            name: name.to_string(),
            elem: scalar(signed),
            mutable,
        };
        let mut buffers = vec![buffer("x", self.input_signed, false)];
        if self.magnitudes {
            buffers.push(buffer("v", false, false));
        }
        let residual = self.requantize.residual.as_ref();
        buffers.extend(residual.map(|r| buffer("r", r.signed, false)));
        buffers.push(buffer("y", self.requantize.signed, true));
        let mut constants = self.constants.all();
        if layout.depth == 0 {
            constants = constants.split_off(constants.len() - 2);
        }
        Kernel {
            name: self.name.clone(),
            comment: self.comment.clone(),
            buffers,
            constants,
            body,
        }
    }
}

struct Build<'a> {
    gemm: &'a Gemm,
    target: &'a Target,
    layout: &'a Layout,
}

impl Build<'_> {
    /// Loops in the order that keeps the larger operand near: small weights stay while pixels pass;
    /// large ones stay a block of channels at a time while the image, or a row of it, passes.
    fn body(&self) -> Vec<Stmt> {
        let weights = self.layout.depth * self.layout.padded;
        let input: usize = self.gemm.input.extent.iter().product();
        let body = if weights <= NEAR_CACHE {
            let tiles = |row: Segment| self.over_channels(|c| self.tile(row.size, c));
            self.layout.pixels.outer(self.over_row(tiles))
        } else if input <= FAR_CACHE || self.layout.pixels.axes.len() == 1 {
            self.over_channels(|c| {
                let tiles = |row: Segment| self.tile(row.size, c);
                self.layout.pixels.outer(self.over_row(tiles))
            })
        } else {
            let row = |c| self.over_row(|row: Segment| self.tile(row.size, c));
            self.layout.pixels.outer(self.over_channels(row))
        };
        match self.gemm.groups {
            1 => body,
            groups => vec![counted("g", 0, groups, 1, body)],
        }
    }

    fn over_row(&self, body: impl Fn(Segment) -> Vec<Stmt>) -> Vec<Stmt> {
        let rows = self.layout.rows.iter();
        rows.map(|s| counted("w", s.start, s.start + s.size * s.count, s.size, body(*s)))
            .collect()
    }

    fn over_channels(&self, body: impl Fn(Channels) -> Vec<Stmt>) -> Vec<Stmt> {
        let channels = self.layout.channels.iter();
        let lanes = self.target.dot.lanes;
        channels
            .map(|c| {
                let width = c.vectors * lanes;
                counted("c", c.start, c.start + width * c.count, width, body(*c))
            })
            .collect()
    }

    fn tile(&self, rows: usize, channels: Channels) -> Vec<Stmt> {
        let cols = channels.vectors;
        let mut steps: Vec<_> = (0..cols)
            .map(|j| {
                let bias = self.constant(&self.gemm.constants.bias, j);
                define(&format!("b{j}"), "vi32", op("load_i32", [bias]))
            })
            .collect();
        for (i, j) in grid(rows, cols) {
            steps.push(Stmt::Let {
                name: sum(i, j),
                ty: "vi32",
                mutable: self.layout.depth > 0,
                value: var(format!("b{j}")),
            });
        }
        steps.extend(self.products(rows, cols));
        for j in 0..cols {
            let scale = self.constant(&self.gemm.constants.scales, j);
            steps.push(define(&format!("m{j}"), "vf32", op("load_f32", [scale])));
        }
        for i in 0..rows {
            let sums = Sums {
                tag: format!("y{i}_"),
                sums: (0..cols).map(|j| sum(i, j)).collect(),
                scales: (0..cols).map(|j| format!("m{j}")).collect(),
                count: channels.stored,
                output: self.result(1, i),
                residual: match self.gemm.requantize.residual {
                    Some(_) => self.result(2, i),
                    None => size(0),
                },
            };
            steps.extend(self.gemm.requantize.store(self.target, &sums));
        }
        steps
    }

    /// The loops over a window's runs, and over a run in steps of `k`.
    fn products(&self, rows: usize, cols: usize) -> Vec<Stmt> {
        if self.layout.depth == 0 {
            return vec![];
        }
        let dot = &self.target.dot;
        let Runs { levels, len } = &self.layout.runs;
        let block = cols * dot.lanes;
        let mut weights = var("c") * self.layout.depth as i64;
        if self.gemm.groups > 1 {
            weights = weights + var("g") * (self.layout.padded * self.layout.depth) as i64;
        }
        let mut input = size(0);
        let mut run = self.layout.bytes * dot.k * block;
        let names = ["t", "u", "q"];
        for (level, name) in levels.iter().zip(names).rev() {
            weights = weights + var(name) * run as i64;
            input = input + var(name) * level.stride as i64;
            run *= level.count;
        }
        let per_byte = self.gemm.form.steps();
        let byte = |k: Expr, steps: &[Option<usize>]| {
            let weights = weights.clone() + k.clone() * block as i64;
            let input = input.clone() + k * per_byte as i64;
            self.byte([rows, cols], weights, input, steps)
        };
        // What is left of a run behind its whole steps, unless more may be read.
        let rest = if self.gemm.slack { 0 } else { len % dot.k };
        let whole = (len - rest).div_ceil(dot.k);
        let (bytes, left) = (whole / per_byte, whole % per_byte);
        let mut last = vec![None; left];
        last.extend((rest > 0).then_some(Some(rest)));
        let full = vec![None; per_byte];
        let mut body = match bytes {
            0 => vec![],
            1 if last.is_empty() => byte(size(0), &full),
            _ => vec![counted("k", 0, bytes * dot.k, dot.k, byte(var("k"), &full))],
        };
        if !last.is_empty() {
            body.extend(byte(size(bytes * dot.k), &last));
        }
        for (level, name) in levels.iter().zip(names).rev() {
            body = vec![counted(name, 0, level.count, 1, body)];
        }
        body
    }

    /// The steps of `k` products for every sum whose weights share a byte; of each, the number of elements left of
    /// the run, or none if whole.
    fn byte(
        &self,
        [rows, cols]: [usize; 2],
        weights: Expr,
        input: Expr,
        parts: &[Option<usize>],
    ) -> Vec<Stmt> {
        let mut steps = self.weights(cols, &weights, parts.len());
        for (step, part) in parts.iter().enumerate() {
            let input = input.clone() + size(step * self.target.dot.k);
            steps.extend(self.step([rows, cols], step, input, *part));
        }
        steps
    }

    /// The weights of `count` steps.
    fn weights(&self, cols: usize, first: &Expr, count: usize) -> Vec<Stmt> {
        let vector = self.target.dot.lanes * self.target.dot.k;
        let Names { weights, lows, .. } = &self.gemm.constants;
        let address = |j: usize| at(weights, first.clone() + size(j * vector));
        let Form::Fields { each, .. } = self.gemm.form else {
            let load = |j| define(&weight(0, j), "vw", op("load_b", [address(j)]));
            return (0..cols).map(load).collect();
        };
        let mut steps = vec![];
        for j in 0..cols {
            let packed = format!("p{j}");
            steps.push(define(&packed, "vw", op("load_fields", [address(j)])));
            let low = match each {
                true => self.index(j) * self.target.dot.k as i64,
                false => size(0),
            };
            let low = op("load_b", [at(lows, low)]);
            let name = |step| weight(step, j);
            steps.extend(self.gemm.form.unpack(&packed, "vw", count, low, name));
        }
        steps
    }

    /// One step of `k` products for every sum; `part` is the number of elements left of a run.
    fn step(
        &self,
        [rows, cols]: [usize; 2],
        step: usize,
        input: Expr,
        part: Option<usize>,
    ) -> Vec<Stmt> {
        let mut steps = vec![];
        for i in 0..rows {
            let index = self.layout.pixels.index(0) + size(i * self.layout.pixels.row().strides[0]);
            let group = self.gemm.input.extent[3] / self.gemm.groups;
            let index = self.grouped(index, group) + input.clone();
            let value = self.activations("x", index.clone(), part);
            let [a, v] = ["a", "v"].map(|name| format!("{name}{i}{}", tag(step)));
            steps.push(define(&a, "va", value));
            if self.gemm.magnitudes {
                steps.push(define(&v, "va", self.activations("v", index, part)));
            }
            for j in 0..cols {
                let (sums, a, w) = (var(sum(i, j)), var(&a), var(weight(step, j)));
                let value = match self.gemm.magnitudes {
                    true => op("dot_magnitude", [sums, a, var(&v), w]),
                    false => op("dot", [sums, a, w]),
                };
                steps.push(Stmt::Set {
                    name: sum(i, j),
                    value,
                });
            }
        }
        steps
    }

    fn activations(&self, buffer: &str, index: Expr, part: Option<usize>) -> Expr {
        let (signed, address) = (usize::from(self.gemm.input_signed), at(buffer, index));
        match part {
            None => op(["load_a_u8", "load_a_i8"][signed], [address]),
            Some(n) => op(
                ["load_a_u8_part", "load_a_i8_part"][signed],
                [address, size(n)],
            ),
        }
    }

    /// Address of a vector of a constant that has one element a channel.
    fn constant(&self, name: &str, vector: usize) -> Expr {
        at(name, self.index(vector))
    }

    /// Index of the first channel of one of the tile's vectors, padding counted.
    fn index(&self, vector: usize) -> Expr {
        self.grouped(var("c"), self.layout.padded) + size(vector * self.target.dot.lanes)
    }

    /// Index of the tile's first channel, in row `i` of the tile, in a view that results have.
    fn result(&self, view: usize, i: usize) -> Expr {
        let group = self.gemm.output.extent[3] / self.gemm.groups;
        let pixel =
            self.layout.pixels.index(view) + size(i * self.layout.pixels.row().strides[view]);
        self.grouped(pixel + var("c"), group)
    }

    fn grouped(&self, index: Expr, stride: usize) -> Expr {
        match self.gemm.groups {
            1 => index,
            _ => index + var("g") * stride as i64,
        }
    }
}

fn grid(rows: usize, cols: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..cols).map(move |j| (i, j)))
}

fn sum(row: usize, col: usize) -> String {
    format!("s{row}_{col}")
}

fn weight(step: usize, col: usize) -> String {
    format!("w{col}{}", tag(step))
}
