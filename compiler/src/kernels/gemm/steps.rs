//! The inner loops of a product: over a window's runs, and over a run in steps of `k`.

use std::ops::Range;

use crate::kernel::{Expr, Scalar, Stmt, at, op, var};
use crate::kernels::fields::tag;
use crate::kernels::gemm::chains::{pairs, unsigned};
use crate::kernels::gemm::{Build, Names, grid, high, low, sum};
use crate::kernels::pixels::{counted, size};
use crate::kernels::requantize::define;
use crate::kernels::unit::Unit;
use crate::kernels::{Form, Runs};

/// Where the weights and the activations of a tile begin.
pub(super) struct Places {
    pub(super) weights: Expr,
    pub(super) input: Expr,
}

impl Build<'_> {
    /// The sums of a tile.
    pub(super) fn products(&self, tile: [usize; 2]) -> Vec<Stmt> {
        if self.layout.depth == 0 {
            return vec![];
        }
        let Unit { k, lanes, .. } = self.unit;
        let Runs { levels, len } = &self.layout.runs;
        let mut weights = var("c") * self.layout.depth as i64;
        if self.gemm.groups > 1 {
            weights = weights + var("g") * (self.layout.padded * self.layout.depth) as i64;
        }
        let mut input = size(0);
        let mut run = self.layout.bytes * k * tile[1] * lanes;
        let names = ["t", "u", "q"];
        for (level, name) in levels.iter().zip(names).rev() {
            weights = weights + var(name) * run as i64;
            input = input + var(name) * level.stride as i64;
            run *= level.count;
        }
        let places = Places { weights, input };
        let (mut body, mut flushed) = self.run(tile, &places);
        // Each step of a run adds to all sums of pairs, also one that is not whole.
        let mut covered = match self.gemm.pairs {
            Some(_) => len.next_multiple_of(k),
            None => *len,
        };
        for (level, name) in levels.iter().zip(names).rev() {
            covered *= level.count;
            if !flushed && self.capacity().is_some_and(|most| covered > most) {
                body = self.flush(tile, body);
                flushed = true;
            }
            body = vec![counted(name, 0, level.count, 1, body)];
        }
        if self.capacity().is_some() && !flushed {
            body = self.flush(tile, body);
        }
        body
    }

    /// How many elements can be summed before they must be moved to wider sums.
    fn capacity(&self) -> Option<usize> {
        self.gemm.pairs.or(self.gemm.capacity)
    }

    /// Sums that start anew, and are moved to the wider ones after `body`.
    fn flush(&self, [rows, cols]: [usize; 2], body: Vec<Stmt>) -> Vec<Stmt> {
        let start = grid(rows, cols).map(|(i, j)| {
            let (name, ty, value) = match self.gemm.pairs {
                Some(_) => (pairs(i, j), "vt", op("zero_pairs", [])),
                None => (sum(i, j), "vi32", op("splat_i32", [size(0)])),
            };
            Stmt::Let {
                name,
                ty,
                mutable: true,
                value,
            }
        });
        let mut steps: Vec<Stmt> = start.collect();
        steps.extend(body);
        for (i, j) in grid(rows, cols) {
            if self.gemm.pairs.is_some() {
                let value = op("add_pairs", [var(sum(i, j)), var(pairs(i, j))]);
                steps.push(set(sum(i, j), value));
                continue;
            }
            let sum = var(sum(i, j));
            let above = op("shift_i32", [sum.clone(), size(16)]);
            let below = op("and_i32", [sum, size(0xffff)]);
            for (name, part) in [(high(i, j), above), (low(i, j), below)] {
                steps.push(set(name.clone(), op("add_i32", [var(name), part])));
            }
        }
        steps
    }

    /// The steps of a run, and whether their sums were moved to wider ones.
    fn run(&self, tile: [usize; 2], places: &Places) -> (Vec<Stmt>, bool) {
        if let Some(joint) = self.unit.joint {
            return (self.joint_run(tile, places, joint), false);
        }
        let (k, len) = (self.unit.k, self.layout.runs.len);
        let per_byte = self.gemm.form.steps();
        // What is left of a run behind its whole steps, unless more may be read.
        let rest = if self.gemm.slack { 0 } else { len % k };
        let whole = (len - rest).div_ceil(k);
        let (bytes, left) = (whole / per_byte, whole % per_byte);
        let mut last = vec![None; left];
        last.extend((rest > 0).then_some(Some(rest)));
        let full = vec![None; per_byte];
        let several = |first: Expr, count: usize, alone: bool| match count {
            0 => vec![],
            1 if alone => self.byte(tile, places, first, &full),
            _ => {
                let body = self.byte(tile, places, first + var("k"), &full);
                vec![counted("k", 0, count * k, k, body)]
            }
        };
        let most = self.capacity().unwrap_or(len) / (k * per_byte);
        let blocks = match len > most * k * per_byte && self.capacity().is_some() {
            true => bytes / most,
            false => 0,
        };
        let done = blocks * most;
        let mut body = several(size(done * k), bytes - done, last.is_empty());
        if !last.is_empty() {
            body.extend(self.byte(tile, places, size(bytes * k), &last));
        }
        if blocks == 0 {
            return (body, false);
        }
        let block = self.flush(tile, several(var("b"), most, true));
        let mut loops = vec![counted("b", 0, done * k, most * k, block)];
        if !body.is_empty() {
            loops.extend(self.flush(tile, body));
        }
        (loops, true)
    }

    /// The steps of `k` products for every sum whose weights share a byte; of each, the number of elements left of
    /// the run, or none if whole. `first` counts the bytes before, `k` times each.
    fn byte(
        &self,
        [rows, cols]: [usize; 2],
        places: &Places,
        first: Expr,
        parts: &[Option<usize>],
    ) -> Vec<Stmt> {
        let block = (cols * self.unit.lanes) as i64;
        let weights = places.weights.clone() + first.clone() * block;
        let input = places.input.clone() + first * self.gemm.form.steps() as i64;
        let mut steps = self.weights(cols, &weights, 0..parts.len());
        for (step, part) in parts.iter().enumerate() {
            let input = input.clone() + size(step * self.unit.k);
            steps.extend(self.step([rows, cols], step, input, *part));
        }
        steps
    }

    /// The weights of steps that share bytes.
    pub(super) fn weights(&self, cols: usize, first: &Expr, of: Range<usize>) -> Vec<Stmt> {
        let vector = self.unit.lanes * self.unit.k;
        let (ty, [load, load_packed]) = self.unit.weights;
        let Names { weights, lows, .. } = &self.gemm.constants;
        let address = |j: usize| at(weights, first.clone() + size(j * vector));
        let Form::Fields { each, .. } = self.gemm.form else {
            let load = |j| define(&weight(of.start, j), ty, op(load, [address(j)]));
            return (0..cols).map(load).collect();
        };
        let mut steps = vec![];
        for j in 0..cols {
            let packed = format!("p{j}{}", tag(of.start));
            steps.push(define(&packed, ty, op(load_packed, [address(j)])));
            let low = match each {
                true => self.index(j) * self.unit.k as i64,
                false => size(0),
            };
            let low = op(load, [at(lows, low)]);
            let name = |step| weight(of.start + step, j);
            steps.extend(self.gemm.form.unpack(&packed, ty, of.len(), low, name));
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
        let ty = self.unit.activations.0;
        let mut steps = vec![];
        for i in 0..rows {
            let index = self.activation(i, input.clone());
            let value = self.activations("x", index.clone(), part);
            let [a, v] = ["a", "v"].map(|name| format!("{name}{i}{}", tag(step)));
            steps.push(define(&a, ty, value));
            if self.gemm.magnitudes {
                steps.push(define(&v, ty, self.activations("v", index, part)));
            }
            if self.unit.raised {
                let value = op("add_raised", [var(raised(i)), var(&a)]);
                steps.push(set(raised(i), value));
            }
            for j in 0..cols {
                let (sums, a, w) = (var(sum(i, j)), var(&a), var(weight(step, j)));
                if self.gemm.pairs.is_some() {
                    let value = op("add_i16", [var(pairs(i, j)), op("unsigned_pairs", [a, w])]);
                    steps.push(set(pairs(i, j), value));
                    continue;
                }
                let value = match self.gemm.magnitudes {
                    true => op("dot_magnitude", [sums, a, var(&v), w]),
                    false => op(self.unit.dot, [sums, a, w]),
                };
                steps.push(set(sum(i, j), value));
            }
        }
        steps
    }

    /// Index of the first activation of a tile's row, `input` elements into its window.
    pub(super) fn activation(&self, row: usize, input: Expr) -> Expr {
        let stride = self.layout.pixels.row().strides[0];
        let group = self.gemm.input.extent[3] / self.gemm.groups;
        self.grouped(self.layout.pixels.index(0) + size(row * stride), group) + input
    }

    pub(super) fn activations(&self, buffer: &str, index: Expr, part: Option<usize>) -> Expr {
        let (_, [mut load, load_part]) = self.unit.activations;
        if self.gemm.pairs.is_some() {
            load = unsigned(self.gemm.elem);
        } else if self.gemm.aligned && self.target.has("load_a_aligned_u8") {
            load = match self.gemm.elem {
                Scalar::I8 => "load_a_aligned_i8",
                _ => "load_a_aligned_u8",
            };
        }
        let address = at(buffer, index);
        match part {
            None => op(load, [address]),
            Some(n) => op(load_part, [address, size(n)]),
        }
    }
}

impl Build<'_> {
    /// What weights that are stored plus 128 add too much to the sums of each row, from 0 on.
    pub(super) fn raised_starts(&self, rows: usize) -> Vec<Stmt> {
        let rows = 0..if self.raises() { rows } else { 0 };
        let start = |i| Stmt::Let {
            name: raised(i),
            ty: "vi32",
            mutable: true,
            value: op("splat_i32", [size(0)]),
        };
        rows.map(start).collect()
    }

    /// Takes it away again.
    pub(super) fn lowered(&self, [rows, cols]: [usize; 2]) -> Vec<Stmt> {
        let rows = if self.raises() { rows } else { 0 };
        let lower = |(i, j)| set(sum(i, j), op("sub_i32", [var(sum(i, j)), var(raised(i))]));
        grid(rows, cols).map(lower).collect()
    }

    fn raises(&self) -> bool {
        self.unit.raised && self.layout.depth > 0
    }
}

/// Of a row, what is too much in its sums.
fn raised(row: usize) -> String {
    format!("r{row}")
}

pub(super) fn set(name: String, value: Expr) -> Stmt {
    Stmt::Set { name, value }
}

pub(super) fn weight(step: usize, col: usize) -> String {
    format!("w{col}{}", tag(step))
}
