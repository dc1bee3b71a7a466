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

mod chains;
mod copied;
mod joint;
mod steps;

use std::ops::Range;

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, op, var};
use crate::kernels::pixels::{Pixels, counted, size};
use crate::kernels::requantize::{Sums, define};
use crate::kernels::scale::{Factors, loads};
use crate::kernels::tile::{Channels, Segment, Tiling, split, tiling};
use crate::kernels::unit::Unit;
use crate::kernels::{Form, Level, Requantize, Runs, View, Window};
use crate::target::Target;

/// Weights larger than this many bytes do not stay in the nearest cache while pixels pass by.
const NEAR_CACHE: usize = 16 << 10;

/// An input larger than this many bytes is not read again for each block of channels.
const FAR_CACHE: usize = 256 << 10;

/// A product whose sizes, zero points and clamp are compile-time facts.
///
/// Buffers: `x`, the input's magnitudes `v` if it has them (and before it `a`), `r` if there is a residual, the memory `p`
/// if windows are copied, `y`.
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
    /// Elements of the input.
    pub elem: Scalar,
    /// Whether the input may be read a few bytes past its end.
    pub slack: bool,
    /// Whether every step's activations lie at a multiple of their number, as [`Window::aligns`] says of the steps.
    pub aligned: bool,
    /// Whether the input comes with its magnitudes: i8, or where there are chains u8, and then as `a` too, less 128.
    pub magnitudes: bool,
    /// The result.
    pub output: View,
    /// From sums to results.
    pub requantize: Requantize,
    /// How many elements of a window can be summed in 32 bits before they must be moved to wider sums; none where
    /// all can.
    pub capacity: Option<usize>,
    /// Names of the constants.
    pub constants: Names,
    /// How sums are kept in 16 bits; none where each product is added in 32.
    pub chains: Option<Chains>,
    /// How many elements of a window 16 bits hold the sums of, whichever they are: then they are added there first.
    /// There is no need for chains then.
    pub pairs: Option<usize>,
    /// Whether windows are copied, widened, to memory `p` before they are multiplied.
    pub copied: bool,
}

/// Tables of chains of steps, by [`crate::kernels::chain`], as constants of i32.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    /// Where the chains, weights and steps of each tile begin.
    pub tiles: String,
    /// The first step of each chain.
    pub starts: String,
    /// Where the activations of each step lie.
    pub offsets: String,
    /// Whether there are chains of unsigned, and of signed activations.
    pub kinds: [bool; 2],
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
    /// The same in units of 2¹⁶, to which `bias` is added; empty where 32 bits hold all.
    pub high: String,
    /// Multipliers of the sums: f32, or i32.
    pub scales: String,
    /// What products with i32 are shifted by; empty where multipliers are f32 or have places.
    pub shifts: String,
    /// Places that multipliers of i32 have in common.
    pub places: Option<i32>,
}

impl Names {
    /// Those that exist, those of weights first.
    pub(crate) fn all(&self) -> Vec<String> {
        let Names {
            weights,
            lows,
            bias,
            high,
            scales,
            shifts,
            places: _,
        } = self;
        let names = [weights, lows, bias, high, scales, shifts];
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
    /// The product that the machine makes of such activations.
    pub(crate) fn unit(&self, target: &Target) -> Unit {
        let unit = Unit::new(target, self.elem);
        let narrow = self.chains.is_some() || self.pairs.is_some();
        if self.elem.bytes() > 1 || self.magnitudes || narrow || self.window.taps() == 0 {
            return unit;
        }
        unit.joint(target, self.elem, self.blocks(target))
    }

    /// Whether products of blocks are less work than others.
    fn blocks(&self, target: &Target) -> bool {
        let Some(block) = target.dot.block else {
            return false;
        };
        let run = self.runs().len;
        let products = [block.k, target.dot.k].map(|k| run.div_ceil(k));
        let bytes = matches!(self.form, Form::Bytes { .. });
        bytes && self.pixels().row().extent >= block.pixels && joint::worth(block, products, target)
    }

    fn pixels(&self) -> Pixels {
        let point = [1, 1];
        let mut views = vec![(self.input, self.window.strides), (self.output, point)];
        views.extend(self.requantize.residual.iter().map(|r| (r.view, point)));
        Pixels::new(self.output.extent, &views)
    }

    /// The window's runs, once for each of the weights' addends.
    fn runs(&self) -> Runs {
        let channels = self.input.extent[3] / self.groups;
        let mut runs = self.window.runs(&self.input, channels);
        if self.form.parts() > 1 {
            let (count, stride) = (self.form.parts(), 0);
            runs.levels.insert(0, Level { count, stride });
        }
        runs
    }

    pub(crate) fn layout(&self, target: &Target) -> Layout {
        let unit = self.unit(target);
        let (pixels, runs) = (self.pixels(), self.runs());
        let lanes = unit.lanes;
        let channels = self.output.extent[3] / self.groups;
        let vectors = channels.div_ceil(lanes);
        let narrow = self.chains.is_some() || self.pairs.is_some();
        let most = match (target.dot.chains.filter(|_| narrow), unit.block()) {
            (Some(tile), _) => [tile.rows, tile.cols],
            (_, Some(tile)) => [tile.rows, tile.cols],
            _ => [target.dot.rows, target.dot.cols],
        };
        let Tiling { rows, cols } = tiling(most, unit.raised.into(), pixels.row().extent, vectors);
        let bytes = runs.steps(unit.k).div_ceil(self.form.steps());
        Layout {
            bytes,
            depth: runs.count() * bytes * unit.k,
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

    /// Products of each sum, those with padding too.
    pub fn depth(&self, target: &Target) -> usize {
        self.layout(target).depth * self.form.steps()
    }

    /// The product as a kernel.
    pub fn kernel(&self, target: &Target) -> Kernel {
        let layout = self.layout(target);
        let body = Build {
            gemm: self,
            target,
            layout: &layout,
            unit: self.unit(target),
        }
        .body();
        let buffer = |name: &str, elem, mutable| Buffer {
            name: name.to_string(),
            elem,
            mutable,
        };
        let mut buffers = vec![buffer("x", self.elem, false)];
        if self.magnitudes {
            if self.chains.is_some() && self.elem == Scalar::U8 {
                buffers.push(buffer("a", Scalar::I8, false));
            }
            buffers.push(buffer("v", Scalar::U8, false));
        }
        let residual = self.requantize.residual.as_ref();
        buffers.extend(residual.map(|r| buffer("r", r.elem, false)));
        buffers.extend(self.copied.then(|| buffer("p", Scalar::I32, true)));
        buffers.push(buffer("y", self.requantize.elem, true));
        let mut constants = self.constants.clone();
        let tables = self.chains.iter();
        let tables = tables.flat_map(|c| [&c.tiles, &c.starts, &c.offsets].map(String::clone));
        if layout.depth == 0 {
            (constants.weights, constants.lows) = Default::default();
        }
        Kernel {
            name: self.name.clone(),
            comment: self.comment.clone(),
            buffers,
            constants: constants.all().into_iter().chain(tables).collect(),
            body,
        }
    }
}

struct Build<'a> {
    gemm: &'a Gemm,
    target: &'a Target,
    layout: &'a Layout,
    unit: Unit,
}

impl Build<'_> {
    /// Loops in the order that keeps the larger operand near: small weights stay while pixels pass;
    /// large ones stay a block of channels at a time while the image, or a row of it, passes.
    fn body(&self) -> Vec<Stmt> {
        if let Some(copied) = self.target.dot.copied.filter(|_| self.gemm.copied) {
            return self.copied(copied);
        }
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
        let lanes = self.unit.lanes;
        channels
            .map(|c| {
                let width = c.vectors * lanes;
                counted("c", c.start, c.start + width * c.count, width, body(*c))
            })
            .collect()
    }

    fn tile(&self, rows: usize, channels: Channels) -> Vec<Stmt> {
        let cols = channels.vectors;
        let wide = self.gemm.capacity.is_some();
        let Names { bias, high, .. } = &self.gemm.constants;
        let mut steps = vec![];
        for j in 0..cols {
            let load = |name| op("load_i32", [self.constant(name, j)]);
            steps.push(define(&format!("b{j}"), "vi32", load(bias)));
            if wide {
                steps.push(define(&format!("h{j}"), "vi32", load(high)));
            }
        }
        let start = |name: String, value| Stmt::Let {
            name,
            ty: "vi32",
            mutable: self.layout.depth > 0,
            value,
        };
        for (i, j) in grid(rows, cols) {
            let bias = var(format!("b{j}"));
            if wide {
                steps.push(start(low(i, j), bias));
                steps.push(start(self::high(i, j), var(format!("h{j}"))));
            } else if self.unit.block().is_none() {
                steps.push(start(sum(i, j), bias));
            }
        }
        steps.extend(self.raised_starts(rows));
        steps.extend(match (&self.gemm.chains, self.unit.block()) {
            (Some(chains), _) => self.chains([rows, cols], chains),
            (_, Some(block)) => self.blocks([rows, cols], block),
            _ => self.products([rows, cols]),
        });
        steps.extend(self.lowered([rows, cols]));
        let scaled = if self.gemm.requantize.keeps_sums() {
            0
        } else {
            cols
        };
        let mut scales = vec![];
        for j in 0..scaled {
            let address = |constant: &str| self.constant(constant, j);
            let (loaded, factors) = loads(&self.gemm.constants, &format!("m{j}"), address);
            steps.extend(loaded);
            scales.push(factors);
        }
        let name = match (wide, self.unit.block()) {
            (true, _) => low,
            (_, Some(_)) => joint::whole,
            _ => sum,
        };
        let pixel = |i: usize| {
            let names = (0..cols).map(|j| name(i, j)).collect();
            let sums = self.sums(i, names, scales.clone(), channels.stored);
            let high = (0..if wide { cols } else { 0 }).map(|j| self::high(i, j));
            Sums {
                high: high.collect(),
                ..sums
            }
        };
        let (pixels, strides) = ((0..rows).map(pixel).collect(), self.layout.pixels.row());
        let stores = &self.gemm.requantize;
        steps.extend(stores.store_row(self.target, pixels, &strides.strides[1..]));
        steps
    }

    /// Sums of one row of a tile, of so many channels.
    fn sums(&self, row: usize, sums: Vec<String>, scales: Vec<Factors>, count: usize) -> Sums {
        Sums {
            tag: format!("y{row}_"),
            sums,
            high: vec![],
            scales,
            count,
            output: self.result(1, row),
            residual: match self.gemm.requantize.residual {
                Some(_) => self.result(2, row),
                None => size(0),
            },
        }
    }

    /// Address of a vector of a constant that has one element a channel.
    fn constant(&self, name: &str, vector: usize) -> Expr {
        at(name, self.index(vector))
    }

    /// Index of the first channel of one of the tile's vectors, padding counted.
    fn index(&self, vector: usize) -> Expr {
        self.grouped(var("c"), self.layout.padded) + size(vector * self.unit.lanes)
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

/// Of a wider sum, what is added to the part in units of 2¹⁶.
fn low(row: usize, col: usize) -> String {
    format!("low{row}_{col}")
}

/// Of a wider sum, the part in units of 2¹⁶.
fn high(row: usize, col: usize) -> String {
    format!("high{row}_{col}")
}
