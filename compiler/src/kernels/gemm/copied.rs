//! Products whose windows are copied first, widened to 16 bits, so that no channel widens them again.
//!
//! For a machine whose registers hold pairs of 16 bits, as Cortex-M's. The windows of a tile of pixels lie in memory of
//! their own (`p`), step after step of `k` activations; each step meets the weights of two channels at once
//! (`dot_two`), which lie beside each other as numbers of 16 bits, `w0 + 256 · w1`.

use super::{Build, Gemm, sum};
use crate::kernel::{Expr, Stmt, at, op, var};
use crate::kernels::pack::Product;
use crate::kernels::pixels::{counted, size};
use crate::kernels::requantize::define;
use crate::kernels::scale::loads;
use crate::kernels::tile::{Segment, cut};
use crate::kernels::{Form, offset};
use crate::prove;
use crate::target::{Copied, Target};

/// Fewer channels do not make up for the copy.
const FEW_CHANNELS: usize = 4;

/// More memory for a copy than this is not worth its speed, in bytes.
const MOST_COPIED: usize = 8 << 10;

/// Two sums of 32 bits, one of which is 256 times itself and the other, tell both where they fit so many.
const BITS: u32 = 24;

/// Pairs of channels of a tile.
struct Pairs {
    /// First channel.
    start: usize,
    /// Pairs of a tile.
    pairs: usize,
    /// Channels of a tile that exist.
    stored: usize,
    /// Tiles.
    count: usize,
}

impl Gemm {
    /// Elements of i32 that the copy of a tile takes, where the machine has such products and they are worth it.
    pub fn copied_words(&self, target: &Target, product: &Product) -> Option<usize> {
        let copied = target.dot.copied?;
        let taken = self.groups == 1
            && self.elem.bytes() == 1
            && self.form == Form::Bytes { parts: 1 }
            && self.output.extent[3] >= FEW_CHANNELS
            && self.window.taps() > 0;
        let read = offset(target, self.elem);
        let bounds = prove::sums(product, read).ok().filter(|_| taken)?;
        let words = self.copied_rows(copied) * self.copied_steps(target) * STEP;
        (bounds.sum < 1 << (BITS - 1) && 4 * words <= MOST_COPIED).then_some(words)
    }

    fn copied_rows(&self, copied: Copied) -> usize {
        self.pixels().row().extent.min(copied.rows)
    }

    /// Steps of `k` that cover a window, each run of it by itself.
    fn copied_steps(&self, target: &Target) -> usize {
        let runs = self.runs();
        runs.count() * runs.steps(target.dot.k)
    }

    /// The weights in the order `[pair of channels][step][k]`, 16 bits each; padding is zero.
    pub(crate) fn copied_weights(&self, target: &Target, product: &Product) -> Vec<u8> {
        let (runs, k) = (self.runs(), target.dot.k);
        let channels = self.output.extent[3];
        let weight = |channel: usize, run: usize, i: usize| match channel < channels && i < runs.len
        {
            true => product.row(channel)[run * runs.len + i],
            false => 0,
        };
        let mut weights = vec![];
        for channel in (0..channels).step_by(2) {
            for run in 0..runs.count() {
                for step in (0..runs.steps(k)).map(|step| step * k) {
                    weights.extend(ORDER.iter().flat_map(|i| {
                        let [first, second] = [0, 1].map(|c| weight(channel + c, run, step + i));
                        ((first + 256 * second) as i16).to_le_bytes()
                    }));
                }
            }
        }
        weights
    }
}

/// Elements of i32 of a step's copy.
const STEP: usize = 2;

/// How the numbers of a step lie in memory: the first register's halves, and the second's.
const ORDER: [usize; 4] = [0, 2, 1, 3];

impl Build<'_> {
    /// All tiles of all pixels.
    pub(super) fn copied(&self, copied: Copied) -> Vec<Stmt> {
        let row = &self.layout.pixels;
        let rows = cut(row.row().extent, self.gemm.copied_rows(copied));
        let tiles = rows.iter().map(|rows| {
            let mut body = self.copy(rows);
            body.extend(self.pairs(rows.size).iter().map(|pairs| {
                let step = 2 * pairs.pairs;
                let end = pairs.start + pairs.count * step;
                counted(
                    "c",
                    pairs.start,
                    end,
                    step,
                    self.copied_tile(rows.size, pairs),
                )
            }));
            counted(
                "w",
                rows.start,
                rows.start + rows.size * rows.count,
                rows.size,
                body,
            )
        });
        row.outer(tiles.collect())
    }

    /// One pixel meets two pairs of channels, so that its activations are loaded less often.
    fn pairs(&self, rows: usize) -> Vec<Pairs> {
        let channels = self.gemm.output.extent[3];
        let most = if rows == 1 { 2 } else { 1 };
        let mut tiles: Vec<Pairs> = cut(channels / 2, most)
            .iter()
            .map(|s| Pairs {
                start: 2 * s.start,
                pairs: s.size,
                stored: 2 * s.size,
                count: s.count,
            })
            .collect();
        tiles.extend((channels % 2 == 1).then_some(Pairs {
            start: channels - 1,
            pairs: 1,
            stored: 1,
            count: 1,
        }));
        tiles
    }

    /// Copies the windows of a tile.
    fn copy(&self, rows: &Segment) -> Vec<Stmt> {
        let k = self.unit.k;
        let runs = &self.layout.runs;
        let (whole, rest) = match self.gemm.slack {
            true => (runs.steps(k), 0),
            false => (runs.len / k, runs.len % k),
        };
        let names = ["t", "u"];
        let (mut copy, mut input) = (size(0), size(0));
        let mut run = runs.steps(k) * STEP;
        for (level, name) in runs.levels.iter().zip(names).rev() {
            copy = copy + var(name) * run as i64;
            input = input + var(name) * level.stride as i64;
            run *= level.count;
        }
        let one = |i: usize, step: Expr, part: Option<usize>| {
            let input = self.activation(i, input.clone() + step.clone() * k as i64);
            let value = self.activations("x", input, part);
            let to = copy.clone() + size(i * run) + step * STEP as i64;
            Stmt::Do(op("store_spread", [at("p", to), value]))
        };
        let each = |step: Expr, part| (0..rows.size).map(move |i| (i, step.clone(), part));
        let steps = |step, part| -> Vec<Stmt> {
            let steps = each(step, part);
            steps.map(|(i, step, part)| one(i, step, part)).collect()
        };
        let mut body = match whole {
            0 => vec![],
            1 => steps(size(0), None),
            _ => vec![counted("k", 0, whole, 1, steps(var("k"), None))],
        };
        if rest > 0 {
            body.extend(steps(size(whole), Some(rest)));
        }
        for (level, name) in runs.levels.iter().zip(names).rev() {
            body = vec![counted(name, 0, level.count, 1, body)];
        }
        body
    }

    fn copied_tile(&self, rows: usize, tile: &Pairs) -> Vec<Stmt> {
        let names = &self.gemm.constants;
        let steps = self.gemm.copied_steps(self.target);
        let channel = |j: usize| var("c") + size(j);
        let mut body = vec![];
        for j in 0..2 * tile.pairs {
            let bias = op("load_i32", [at(&names.bias, channel(j))]);
            body.push(define(&format!("b{j}"), "vi32", bias));
        }
        for (i, j) in super::grid(rows, tile.pairs) {
            let biases = [2 * j, 2 * j + 1].map(|j| var(format!("b{j}")));
            body.push(Stmt::Let {
                name: both(i, j),
                ty: "vs",
                mutable: true,
                value: op("two_sums", biases),
            });
        }
        body.push(counted(
            "k",
            0,
            steps,
            1,
            self.copied_step(rows, tile.pairs, steps),
        ));
        for (i, j) in super::grid(rows, tile.stored) {
            let which = ["first_sum", "second_sum"][j % 2];
            let value = op(which, [var(both(i, j / 2))]);
            body.push(define(&sum(i, j), "vi32", value));
        }
        let mut scales = vec![];
        for j in 0..if self.gemm.requantize.keeps_sums() {
            0
        } else {
            tile.stored
        } {
            let address = |constant: &str| at(constant, channel(j));
            let (loaded, factors) = loads(names, &format!("m{j}"), address);
            body.extend(loaded);
            scales.push(factors);
        }
        let pixels = (0..rows).map(|i| {
            let names = (0..tile.stored).map(|j| sum(i, j)).collect();
            self.sums(i, names, scales.clone(), tile.stored)
        });
        let strides = &self.layout.pixels.row().strides[1..];
        let stores = &self.gemm.requantize;
        body.extend(stores.store_row(self.target, pixels.collect(), strides));
        body
    }

    /// A step of the products of all sums.
    fn copied_step(&self, rows: usize, pairs: usize, steps: usize) -> Vec<Stmt> {
        let names = &self.gemm.constants;
        let k = self.unit.k;
        let mut body = vec![];
        for j in 0..pairs {
            // A pair has two bytes for each element of a window.
            let first = (var("c") + size(2 * j)) * (steps * k) as i64;
            let weights = at(&names.weights, first + var("k") * (2 * k) as i64);
            body.push(define(&format!("w{j}"), "vw", op("load_two", [weights])));
        }
        for i in 0..rows {
            let copy = at("p", var("k") * STEP as i64 + size(i * steps * STEP));
            body.push(define(&format!("a{i}"), "va", op("load_spread", [copy])));
            for j in 0..pairs {
                let args = [both(i, j), format!("a{i}"), format!("w{j}")].map(var);
                body.push(Stmt::Set {
                    name: both(i, j),
                    value: op("dot_two", args),
                });
            }
        }
        body
    }
}

/// The sums of a row and a pair of channels.
fn both(row: usize, pair: usize) -> String {
    format!("t{row}_{pair}")
}
