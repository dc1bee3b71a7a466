//! Convolutions of 3×3 taps by Winograd's F(2×2, 3×3): sixteen products where the direct way takes thirty-six.
//!
//! Four results of a tile of 4×4 activations `d` and a filter `g` (arXiv 1509.09308, section 4.1) are
//!
//! ```text
//!  Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A      Bᵀ = 1  0 −1  0    2G = 2  0  0    Aᵀ = 1  1  1  0
//!                                       0  1  1  0         1  1  1         0  1 −1 −1
//!                                       0 −1  1  0         1 −1  1
//!                                       0  1  0 −1         0  0  2
//! ```
//!
//! With `2G` in place of `G` every number is an integer and the results are exactly four times the sums, which a
//! quarter of the scale undoes. [`crate::prove::winograd`] shows that nothing leaves its range.
//!
//! Filters are transformed when the network runs, so that they are stored as they are. Either all of them come
//! first and the image follows in strips of one row of tiles, or all tiles come first and the filters follow in
//! blocks, whichever needs less memory:
//!
//! ```text
//!  filters → u[element][input channels][block]   tiles → v[element][tile][input channels]
//!  products of both → m[element][tile][block]    results of m → y
//! ```
//!
//! An image of odd size ends in a tile that overlaps the one before.

use std::ops::Range;

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, op, var};
use crate::kernels::pack::{Packed, Product};
use crate::kernels::pixels::{counted, size};
use crate::kernels::requantize::{Sums, define};
use crate::kernels::scale::loads;
use crate::kernels::tile::{Channels, cut, split};
use crate::kernels::{Form, Names, Requantize, Scale, View, Window};
use crate::target::Target;

/// Weights of a filter.
const TAPS: usize = 9;

/// Elements of a transformed tile or filter.
const ELEMENTS: usize = 16;

/// Bytes that a cache keeps together; planes an odd number of them apart do not compete for the same places.
const LINE: usize = 64;

/// A convolution of 3×3 neighbouring taps whose sizes, zero points and clamp are compile-time facts.
///
/// Buffers: `x`, `r` if there is a residual, the scratch memory `u`, `v` and `m`, `y`.
/// `x` starts at the first window's corner.
#[derive(Clone, Debug)]
pub struct Winograd {
    /// The kernel's name.
    pub name: String,
    /// Lines above the function.
    pub comment: Vec<String>,
    /// How the weights are stored: as bytes of one part, or as fields with one smallest weight.
    pub form: Form,
    /// The padded input, which may be read up to whole vectors of channels.
    pub input: View,
    /// Whether the input is i8, not u8.
    pub input_signed: bool,
    /// The result, of at least 2×2 pixels.
    pub output: View,
    /// From sums to results.
    pub requantize: Requantize,
    /// Names of the constants.
    pub constants: Names,
    /// Names of tables of i32, the first row and the first column of each tile, where [`Winograd::firsts`] has them.
    pub tables: [String; 2],
}

/// Whether a window is one that this family takes.
pub(crate) fn takes(window: &Window, output: &View) -> bool {
    let neighbours = Window {
        extent: [3, 3],
        ..Window::POINT
    };
    *window == neighbours && output.extent[1] >= 2 && output.extent[2] >= 2
}

/// How the work is cut, and how many elements the parts of scratch memory have.
struct Layout {
    /// Tiles down and across.
    tiles: [usize; 2],
    /// Whether filters come first, then the image in strips; otherwise tiles come first.
    strips: bool,
    blocks: Vec<Channels>,
    /// Steps of `taps` input channels.
    steps: usize,
    /// Elements of a vector of 16 bits.
    vector: usize,
    /// Input channels, padded to whole vectors.
    padded: usize,
    /// Elements from a row of tiles to the next in `v` and `m`, counted in tiles; 0 in strips.
    row: usize,
    /// Elements from a plane of `v` to the next.
    plane: usize,
}

impl Layout {
    fn new(conv: &Winograd, target: &Target) -> Layout {
        let [_, h, w, channels] = conv.output.extent;
        let taps = target.depthwise.taps;
        let vector = target.lanes * taps;
        let depth = conv.input.extent[3];
        let vectors = channels.div_ceil(target.lanes);
        let blocks = cut(vectors, target.dot.cols.min(vectors));
        let blocks = blocks.iter().flat_map(|s| split(s, target.lanes, channels));
        let tiles = [h.div_ceil(2), w.div_ceil(2)];
        let mut layout = Layout {
            tiles,
            strips: false,
            blocks: blocks.collect(),
            steps: depth.div_ceil(taps),
            vector,
            padded: depth.next_multiple_of(vector),
            row: 0,
            plane: 0,
        };
        let ways = [true, false].map(|strips| {
            layout.strips = strips;
            layout.bytes(target)
        });
        layout.strips = ways[0] <= ways[1];
        layout.row = if layout.strips { 0 } else { tiles[1] };
        layout.plane = plane(layout.together() * layout.padded, Scalar::I16);
        layout
    }

    /// Tiles that are multiplied together.
    fn together(&self) -> usize {
        self.tiles[1] * if self.strips { 1 } else { self.tiles[0] }
    }

    /// Elements from a plane of a block of `u` to the next.
    fn filters(&self, block: &Channels) -> usize {
        plane(self.steps * block.vectors * self.vector, Scalar::I16)
    }

    /// Elements from a plane of `m` to the next.
    fn sums(&self, block: &Channels, target: &Target) -> usize {
        plane(self.together() * block.vectors * target.lanes, Scalar::I32)
    }

    /// Elements of `u`, `v` and `m`.
    fn scratch(&self, target: &Target) -> [usize; 3] {
        let filters = self.blocks.iter().map(|b| {
            let blocks = if self.strips { b.count } else { 1 };
            blocks * ELEMENTS * self.filters(b)
        });
        let sums = self.blocks.iter().map(|b| self.sums(b, target));
        [
            if self.strips {
                filters.sum()
            } else {
                filters.max().unwrap_or(0)
            },
            ELEMENTS * plane(self.together() * self.padded, Scalar::I16),
            ELEMENTS * sums.max().unwrap_or(0),
        ]
    }

    fn bytes(&self, target: &Target) -> usize {
        let [u, v, m] = self.scratch(target);
        2 * u + 2 * v + 4 * m
    }
}

/// At least `elements`, and an odd number of cache lines.
fn plane(elements: usize, scalar: Scalar) -> usize {
    let line = LINE / scalar.bytes();
    (elements.div_ceil(line) | 1) * line
}

impl Winograd {
    /// Elements of the scratch memory: transformed filters (i16), transformed tiles (i16), their products (i32).
    pub fn scratch(&self, target: &Target) -> [usize; 3] {
        Layout::new(self, target).scratch(target)
    }

    /// First row (axis 0) or column (axis 1) of each tile, where that is not twice the tile's number.
    pub fn firsts(&self, axis: usize) -> Option<Vec<i32>> {
        let extent = self.output.extent[axis + 1];
        let firsts = (0..extent.div_ceil(2)).map(|tile| (2 * tile).min(extent - 2) as i32);
        (extent % 2 == 1).then(|| firsts.collect())
    }

    /// The constants, weights in the order `[block][step][vector][byte][lane][channel of the step]`, where a byte has
    /// one tap or the fields of several.
    pub fn pack(&self, target: &Target, product: &Product) -> Packed {
        let layout = Layout::new(self, target);
        let (taps, depth) = (target.depthwise.taps, self.input.extent[3]);
        let channels = product.bias.len();
        let mut weights = vec![];
        let mut order = vec![];
        for block in &layout.blocks {
            let width = block.vectors * target.lanes;
            for start in (0..block.count).map(|i| block.start + i * width) {
                order.extend(start..start + width);
                for (step, j) in grid(layout.steps, block.vectors) {
                    for (byte, lane) in grid(self.bytes(), target.lanes) {
                        let m = start + j * target.lanes + lane;
                        let channel = (m < channels).then_some(m);
                        let inputs = step * taps..(step + 1) * taps;
                        weights.extend(inputs.map(|c| {
                            let at = self
                                .taps(byte)
                                .map(|tap| (c < depth).then_some(tap * depth + c));
                            product.byte(channel, at, 0)
                        }));
                    }
                }
            }
        }
        let each = |f: &dyn Fn(usize) -> [u8; 4]| -> Vec<u8> {
            let values = order.iter().map(|m| match *m < channels {
                true => f(*m),
                false => [0; 4],
            });
            values.flatten().collect()
        };
        let quarters = product.scales.iter().map(|scale| match scale {
            Scale::Real(m) => Scale::Real(m / 4.0),
            fixed => *fixed,
        });
        let scaled = Product {
            scales: quarters.collect(),
            ..product.clone()
        };
        let order = order.iter().map(|m| (*m < channels).then_some(*m));
        let (scales, shifts) = scaled.scale_words(order);
        Packed {
            weights,
            lows: product.lows(std::iter::empty(), target.lanes, taps),
            high: vec![],
            bias: each(&|m| (4 * product.start(m, 0) as i32).to_le_bytes()),
            scales,
            shifts,
            places: product.places(),
        }
    }

    /// Bytes that hold the weights of a pair of channels.
    fn bytes(&self) -> usize {
        TAPS.div_ceil(self.form.steps())
    }

    /// The taps whose weights share a byte.
    fn taps(&self, byte: usize) -> Range<usize> {
        let steps = self.form.steps();
        byte * steps..((byte + 1) * steps).min(TAPS)
    }

    /// The convolution as a kernel.
    pub fn kernel(&self, target: &Target) -> Kernel {
        let buffer = |name: &str, elem, mutable| Buffer {
            name: name.to_string(),
            elem,
            mutable,
        };
        let bytes = |signed| if signed { Scalar::I8 } else { Scalar::U8 };
        let mut buffers = vec![buffer("x", bytes(self.input_signed), false)];
        let residual = self.requantize.residual.as_ref();
        buffers.extend(residual.map(|r| buffer("r", r.elem, false)));
        buffers.extend([
            buffer("u", Scalar::I16, true),
            buffer("v", Scalar::I16, true),
            buffer("m", Scalar::I32, true),
            buffer("y", self.requantize.elem, true),
        ]);
        let mut constants = self.constants.all();
        for (axis, table) in self.tables.iter().enumerate() {
            if self.firsts(axis).is_some() && !constants.contains(table) {
                constants.push(table.clone());
            }
        }
        let build = Build {
            conv: self,
            target,
            layout: Layout::new(self, target),
        };
        Kernel {
            name: self.name.clone(),
            comment: self.comment.clone(),
            buffers,
            constants,
            body: build.body(),
        }
    }
}

struct Build<'a> {
    conv: &'a Winograd,
    target: &'a Target,
    layout: Layout,
}

/// A block's places: where its filters lie in the weights and in `u`, and which channels are its own.
struct Block<'a> {
    channels: &'a Channels,
    /// Elements of the blocks before this kind, in the weights.
    weights: usize,
    /// The same in `u`.
    filters: usize,
}

impl Block<'_> {
    /// The first channel.
    fn channel(&self, lanes: usize) -> Expr {
        var("b") * (self.channels.vectors * lanes) as i64 + size(self.channels.start)
    }
}

impl Build<'_> {
    fn body(&self) -> Vec<Stmt> {
        let Layout { tiles, strips, .. } = self.layout;
        let row = |steps| {
            let mut body = self.lookups(0);
            body.extend::<Vec<Stmt>>(steps);
            counted("h", 0, tiles[0], 1, body)
        };
        let blocks = |body: &dyn Fn(&Block) -> Vec<Stmt>| -> Vec<Stmt> {
            let each = self.blocks().into_iter();
            each.map(|b| counted("b", 0, b.channels.count, 1, body(&b)))
                .collect()
        };
        let (mut body, image) = if strips {
            let mut strip = self.tiles();
            strip.extend(blocks(&|b| {
                let mut steps = self.products(b);
                steps.extend(self.results(b));
                steps
            }));
            (blocks(&|b| self.filters(b)), vec![row(strip)])
        } else {
            let mut image = vec![row(self.tiles())];
            image.extend(blocks(&|b| {
                let mut steps = self.filters(b);
                steps.extend(self.products(b));
                steps.push(row(self.results(b)));
                steps
            }));
            (vec![], image)
        };
        body.push(counted("n", 0, self.conv.output.extent[0], 1, image));
        body
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let (mut weights, mut filters) = (0, 0);
        let mut blocks = vec![];
        for channels in &self.layout.blocks {
            blocks.push(Block {
                channels,
                weights,
                filters,
            });
            weights += channels.count * self.weights(channels);
            if self.layout.strips {
                filters += channels.count * ELEMENTS * self.layout.filters(channels);
            }
        }
        blocks
    }

    /// Weights of a block.
    fn weights(&self, channels: &Channels) -> usize {
        self.layout.steps * channels.vectors * self.conv.bytes() * self.layout.vector
    }

    /// Index in `u` of a block's first filters.
    fn filter(&self, block: &Block) -> Expr {
        match self.layout.strips {
            true => {
                let stride = ELEMENTS * self.layout.filters(block.channels);
                var("b") * stride as i64 + size(block.filters)
            }
            false => size(0),
        }
    }

    /// `u = 2G g (2G)ᵀ`, a vector of pairs of channels at a time.
    fn filters(&self, block: &Block) -> Vec<Stmt> {
        let vector = self.layout.vector;
        let first = var("b") * self.weights(block.channels) as i64
            + var("q") * (self.conv.bytes() * vector) as i64
            + size(block.weights);
        let Names { weights, lows, .. } = &self.conv.constants;
        let mut steps: Vec<Stmt> = vec![];
        for byte in 0..self.conv.bytes() {
            let address = at(weights, first.clone() + size(byte * vector));
            let taps = self.conv.taps(byte);
            let name = |step| {
                let tap = taps.start + step;
                format!("g{}{}", tap / 3, tap % 3)
            };
            if let Form::Bytes { .. } = self.conv.form {
                steps.push(define(&name(0), "vt", op("tap_weights", [address])));
                continue;
            }
            let packed = format!("p{byte}");
            steps.push(define(&packed, "vt", op("widen_u8", [address])));
            let low = op("tap_weights", [at(lows, size(0))]);
            let form = self.conv.form;
            steps.extend(form.unpack(&packed, "vt", taps.len(), low, name));
        }
        for s in 0..3 {
            let column = [0, 1, 2].map(|r| format!("g{r}{s}"));
            let names = [0, 1, 2, 3].map(|r| format!("f{r}{s}"));
            steps.extend(doubled(&column, &format!("e{s}"), &names));
        }
        let plane = self.layout.filters(block.channels);
        let base = self.filter(block) + var("q") * vector as i64;
        for r in 0..4 {
            let row = [0, 1, 2].map(|s| format!("f{r}{s}"));
            let names = [0, 1, 2, 3].map(|s| format!("u{r}{s}"));
            steps.extend(doubled(&row, &format!("d{r}"), &names));
            for (s, name) in names.into_iter().enumerate() {
                let index = base.clone() + size((4 * r + s) * plane);
                steps.push(Stmt::Do(op("store_taps", [at("u", index), var(name)])));
            }
        }
        let turns = self.layout.steps * block.channels.vectors;
        vec![
            Stmt::Note("Filters: u = 2G g (2G)ᵀ.".to_string()),
            counted("q", 0, turns, 1, steps),
        ]
    }

    /// `v = Bᵀ d B` of a row of tiles, a vector of channels at a time.
    fn tiles(&self) -> Vec<Stmt> {
        let [image, down, right, _] = self.conv.input.strides;
        let first = var("n") * image as i64
            + self.first(0) * down as i64
            + self.first(1) * right as i64
            + var("c");
        let load = match self.conv.input_signed {
            true => "tap_weights",
            false => "widen_u8",
        };
        let mut steps: Vec<Stmt> = grid(4, 4)
            .map(|(r, s)| {
                let address = at("x", first.clone() + size(r * down + s * right));
                define(&format!("x{r}{s}"), "vt", op(load, [address]))
            })
            .collect();
        for s in 0..4 {
            let differences = crossed([0, 1, 2, 3].map(|r| format!("x{r}{s}")));
            let columns = differences.into_iter().enumerate();
            steps.extend(columns.map(|(r, value)| define(&format!("d{r}{s}"), "vt", value)));
        }
        let tile = self.tile() * self.layout.padded as i64 + var("c");
        for r in 0..4 {
            let differences = crossed([0, 1, 2, 3].map(|s| format!("d{r}{s}")));
            for (s, value) in differences.into_iter().enumerate() {
                let index = tile.clone() + size((4 * r + s) * self.layout.plane);
                steps.push(Stmt::Do(op("store_taps", [at("v", index), value])));
            }
        }
        let Layout { padded, vector, .. } = self.layout;
        let channels = counted("c", 0, padded, vector, steps);
        let mut body = self.lookups(1);
        body.push(channels);
        vec![
            Stmt::Note("Tiles: v = Bᵀ d B.".to_string()),
            counted("w", 0, self.layout.tiles[1], 1, body),
        ]
    }

    /// `m = Σ u · v` over the input channels, for each element of the transformed tiles.
    fn products(&self, block: &Block) -> Vec<Stmt> {
        let vectors = block.channels.vectors;
        let accumulators = self.target.dot.rows * self.target.dot.cols;
        let rows = cut(self.layout.together(), accumulators / vectors);
        let rows = rows.iter().map(|s| {
            let end = s.start + s.size * s.count;
            counted("t", s.start, end, s.size, self.product(block, s.size))
        });
        vec![
            Stmt::Note("Products: m = Σ u v.".to_string()),
            counted("e", 0, ELEMENTS, 1, rows.collect()),
        ]
    }

    fn product(&self, block: &Block, rows: usize) -> Vec<Stmt> {
        let Layout { vector, padded, .. } = self.layout;
        let vectors = block.channels.vectors;
        let sum = |i: usize, j: usize| format!("s{i}_{j}");
        let mut steps: Vec<Stmt> = grid(rows, vectors)
            .map(|(i, j)| Stmt::Let {
                name: sum(i, j),
                ty: "vi32",
                mutable: true,
                value: op("splat_i32", [size(0)]),
            })
            .collect();
        let filters = self.filter(block)
            + var("e") * self.layout.filters(block.channels) as i64
            + var("k") * (vectors * vector) as i64;
        let tiles = var("e") * self.layout.plane as i64 + var("t") * padded as i64;
        let mut step: Vec<Stmt> = (0..vectors)
            .map(|j| {
                let address = at("u", filters.clone() + size(j * vector));
                define(&format!("u{j}"), "vt", op("load_taps", [address]))
            })
            .collect();
        for i in 0..rows {
            let index =
                tiles.clone() + var("k") * self.target.depthwise.taps as i64 + size(i * padded);
            let value = op("splat_i16", [at("v", index)]);
            step.push(define(&format!("v{i}"), "vt", value));
            for j in 0..vectors {
                let [u, v] = [format!("u{j}"), format!("v{i}")].map(var);
                step.push(Stmt::Set {
                    name: sum(i, j),
                    value: op("dot_taps", [var(sum(i, j)), v, u]),
                });
            }
        }
        steps.push(counted("k", 0, self.layout.steps, 1, step));
        let width = vectors * self.target.lanes;
        let index = var("e") * self.layout.sums(block.channels, self.target) as i64
            + var("t") * width as i64;
        for (i, j) in grid(rows, vectors) {
            let address = at("m", index.clone() + size(i * width + j * self.target.lanes));
            steps.push(Stmt::Do(op("store_i32", [address, var(sum(i, j))])));
        }
        steps
    }

    /// `Aᵀ m A` of a row of tiles, requantized.
    fn results(&self, block: &Block) -> Vec<Stmt> {
        let vectors = block.channels.vectors;
        let channel = block.channel(self.target.lanes);
        let mut steps = self.lookups(1);
        for j in 0..vectors {
            steps.extend(self.sums(block, j));
        }
        let mut scales = vec![];
        for j in 0..vectors {
            let address =
                |constant: &str| at(constant, channel.clone() + size(j * self.target.lanes));
            let (loaded, factors) = loads(&self.conv.constants, &format!("scale{j}"), address);
            steps.extend(loaded);
            scales.push(factors);
        }
        for (r, s) in grid(2, 2) {
            let result = |view: &View| {
                let [image, down, right, _] = view.strides;
                var("n") * image as i64
                    + self.first(0) * down as i64
                    + self.first(1) * right as i64
                    + channel.clone()
                    + size(r * down + s * right)
            };
            let residual = self.conv.requantize.residual.as_ref();
            let sums = Sums {
                tag: format!("y{r}{s}_"),
                sums: (0..vectors).map(|j| format!("s{r}{s}_{j}")).collect(),
                high: vec![],
                scales: scales.clone(),
                count: block.channels.stored,
                output: result(&self.conv.output),
                residual: residual.map_or(size(0), |r| result(&r.view)),
            };
            steps.extend(self.conv.requantize.store(self.target, &sums));
        }
        vec![
            Stmt::Note("Results: Aᵀ m A, four times the sums.".to_string()),
            counted("w", 0, self.layout.tiles[1], 1, steps),
        ]
    }

    /// Four times the sums, or they themselves, of a tile's results `s00_j`, `s01_j`, `s10_j`, `s11_j`.
    fn sums(&self, block: &Block, j: usize) -> Vec<Stmt> {
        let lanes = self.target.lanes;
        let tile = self.tile() * (block.channels.vectors * lanes) as i64;
        let plane = self.layout.sums(block.channels, self.target);
        let load = |r: usize, s: usize| {
            let index = tile.clone() + size((4 * r + s) * plane + j * lanes);
            op("load_i32", [at("m", index)])
        };
        let mut steps = vec![];
        for s in 0..4 {
            let [one, two] = [1, 2].map(|r| format!("m{r}{s}_{j}"));
            // The element (1, 1) counts once in each result.
            let start = at(
                &self.conv.constants.bias,
                block.channel(lanes) + size(j * lanes),
            );
            let value = match s {
                1 => op("add_i32", [load(1, s), op("load_i32", [start])]),
                _ => load(1, s),
            };
            steps.push(define(&one, "vi32", value));
            steps.push(define(&two, "vi32", load(2, s)));
            let above = op("add_i32", [load(0, s), var(&one)]);
            let above = op("add_i32", [above, var(&two)]);
            let below = op("sub_i32", [var(&one), var(&two)]);
            let below = op("sub_i32", [below, load(3, s)]);
            steps.push(define(&format!("p0{s}_{j}"), "vi32", above));
            steps.push(define(&format!("p1{s}_{j}"), "vi32", below));
        }
        for r in 0..2 {
            let [p0, p1, p2, p3] = [0, 1, 2, 3].map(|s| var(format!("p{r}{s}_{j}")));
            let left = op("add_i32", [op("add_i32", [p0, p1.clone()]), p2.clone()]);
            let right = op("sub_i32", [op("sub_i32", [p1, p2]), p3]);
            steps.push(define(&format!("s{r}0_{j}"), "vi32", self.quarter(left)));
            steps.push(define(&format!("s{r}1_{j}"), "vi32", self.quarter(right)));
        }
        steps
    }

    /// The sum itself, where its scale is not a quarter.
    fn quarter(&self, sum: Expr) -> Expr {
        match self.conv.requantize.scaling {
            Scale::Real(_) => sum,
            _ => op("shift_i32", [sum, Expr::Int(2)]),
        }
    }

    /// The number of the loops' tile among those that are multiplied together.
    fn tile(&self) -> Expr {
        var("h") * self.layout.row as i64 + var("w")
    }

    /// First row or column of the loops' tile in the image.
    fn first(&self, axis: usize) -> Expr {
        match self.conv.firsts(axis) {
            Some(_) => var(["top", "left"][axis]),
            None => var(["h", "w"][axis]) * 2,
        }
    }

    fn lookups(&self, axis: usize) -> Vec<Stmt> {
        if self.conv.firsts(axis).is_none() {
            return vec![];
        }
        let address = at(&self.conv.tables[axis], var(["h", "w"][axis]));
        let value = op("index", [op("read_i32", [address])]);
        vec![define(["top", "left"][axis], "index", value)]
    }
}

/// `2G` times a column: `2a`, `a + c + b`, `a + c − b`, `2c`, with `a + c` as `both`.
fn doubled([a, b, c]: &[String; 3], both: &str, names: &[String; 4]) -> Vec<Stmt> {
    let [a, b, c] = [a, b, c].map(var);
    let values = [
        op("add_i16", [a.clone(), a.clone()]),
        op("add_i16", [var(both), b.clone()]),
        op("sub_i16", [var(both), b]),
        op("add_i16", [c.clone(), c.clone()]),
    ];
    let sum = define(both, "vt", op("add_i16", [a, c]));
    let values = names.iter().zip(values);
    std::iter::once(sum)
        .chain(values.map(|(name, value)| define(name, "vt", value)))
        .collect()
}

/// `Bᵀ` times a column: `a − c`, `b + c`, `c − b`, `b − d`.
fn crossed(column: [String; 4]) -> [Expr; 4] {
    let [a, b, c, d] = column.map(var);
    [
        op("sub_i16", [a, c.clone()]),
        op("add_i16", [b.clone(), c.clone()]),
        op("sub_i16", [c, b.clone()]),
        op("sub_i16", [b, d]),
    ]
}

fn grid(rows: usize, cols: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..cols).map(move |j| (i, j)))
}
