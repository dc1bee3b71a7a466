//! Products that share a byte vector of activations: its parts one after the other, or blocks of several pixels,
//! channels and parts of sums.
//!
//! A block's sums lie as the machine's product leaves them:
//!
//! ```text
//!  two pixels of two channels     p0c0 p0c1 p1c0 p1c1     halves of two vectors are the sums of a pixel
//!  four parts of one sum          q0   q1   q2   q3       the lanes of four vectors are added
//! ```

use crate::kernel::{Expr, Stmt, at, op, var};
use crate::kernels::fields::tag;
use crate::kernels::gemm::steps::{Places, set, weight};
use crate::kernels::gemm::{Build, grid, sum};
use crate::kernels::pixels::{counted, size};
use crate::kernels::requantize::define;
use crate::kernels::unit::{Joint, Way};
use crate::target::{Block, Target};

/// A byte vector of activations on its way through a run.
struct Turn {
    /// Bytes of weights before it, `k` times each.
    first: Expr,
    /// Steps before it whose values have names.
    before: usize,
    /// Activations that count.
    count: usize,
}

impl Turn {
    /// The name of a row's activations.
    fn activations(&self, row: usize) -> String {
        format!("a{row}{}", tag(self.before))
    }
}

/// Whether a run of so many products of blocks is less work than of so many others, which serve as many lanes of one
/// pixel.
pub(super) fn worth(block: Block, [blocks, others]: [usize; 2], target: &Target) -> bool {
    let each = target.instructions("dot_block") as usize * block.parts(target.lanes);
    let one = target.instructions(if target.has("dot_part") {
        "dot_part"
    } else {
        "dot"
    });
    blocks * each < others * one as usize * block.pixels
}

impl Block {
    /// Vectors of sums for as many channels as a vector has lanes.
    fn parts(&self, lanes: usize) -> usize {
        lanes / self.channels
    }
}

impl Build<'_> {
    /// The steps over a run, which end with a byte vector that is not full unless it is whole.
    pub(super) fn joint_run(&self, tile: [usize; 2], places: &Places, joint: Joint) -> Vec<Stmt> {
        let (bytes, len) = (self.target.bytes, self.layout.runs.len);
        let per_byte = self.gemm.form.steps();
        let (whole, rest) = (len / bytes, len % bytes);
        let load = |first, before, count| {
            let turn = Turn {
                first,
                before,
                count,
            };
            self.joint_steps(tile, places, joint, &turn)
        };
        let mut steps = match whole {
            0 => vec![],
            1 => load(size(0), 0, bytes),
            _ => {
                let body = load(var("k"), 0, bytes);
                vec![counted(
                    "k",
                    0,
                    whole * bytes / per_byte,
                    bytes / per_byte,
                    body,
                )]
            }
        };
        if rest > 0 {
            let before = if whole == 1 { bytes / self.unit.k } else { 0 };
            steps.extend(load(size(whole * bytes / per_byte), before, rest));
        }
        steps
    }

    /// The products of one byte vector of activations of each row.
    fn joint_steps(
        &self,
        tile: [usize; 2],
        places: &Places,
        joint: Joint,
        turn: &Turn,
    ) -> Vec<Stmt> {
        let Turn { first, count, .. } = turn;
        let input = places.input.clone() + first.clone() * self.gemm.form.steps() as i64;
        let mut steps = vec![];
        for i in 0..tile[0] {
            let address = at("x", self.activation(i, input.clone()));
            let loaded = match *count == self.target.bytes || self.gemm.slack {
                true => op("load_bytes", [address]),
                false => op("load_bytes_part", [address, size(*count)]),
            };
            let value = match joint.shift {
                Some(shift) => op(shift, [loaded]),
                None => loaded,
            };
            steps.push(define(&turn.activations(i), "vb", value));
        }
        let weights = places.weights.clone() + first.clone() * (tile[1] * self.unit.lanes) as i64;
        steps.extend(match joint.way {
            Way::Parts => self.parts(tile, weights, turn),
            Way::Block(block) => self.block_steps(tile, block, weights, turn),
        });
        steps
    }

    /// Products of parts of each row's activations.
    fn parts(&self, [rows, cols]: [usize; 2], weights: Expr, turn: &Turn) -> Vec<Stmt> {
        let (per_byte, k) = (self.gemm.form.steps(), self.unit.k);
        let (before, count) = (turn.before, turn.count.div_ceil(k));
        let mut steps = vec![];
        for first in (0..count).step_by(per_byte) {
            let shared = first..count.min(first + per_byte);
            let address = weights.clone() + size(first / per_byte * k * cols * self.unit.lanes);
            let named = before + shared.start..before + shared.end;
            steps.extend(self.weights(cols, &address, named));
            for (step, (i, j)) in shared.flat_map(|s| grid(rows, cols).map(move |ij| (s, ij))) {
                let args = [sum(i, j), turn.activations(i), weight(before + step, j)].map(var);
                let args = [args.to_vec(), vec![size(step)]].concat();
                steps.push(set(sum(i, j), op(self.unit.dot, args)));
            }
        }
        steps
    }

    /// Products of parts of each row's activations, in blocks.
    fn block_steps(
        &self,
        [rows, cols]: [usize; 2],
        block: Block,
        weights: Expr,
        turn: &Turn,
    ) -> Vec<Stmt> {
        let vectors = cols * block.parts(self.unit.lanes);
        let mut steps = vec![];
        for step in 0..turn.count.div_ceil(block.k) {
            let named = turn.before + step;
            for j in 0..vectors {
                let vector = (step * vectors + j) * block.channels * block.k;
                let address = at(&self.gemm.constants.weights, weights.clone() + size(vector));
                steps.push(define(&weight(named, j), "vw", op("load_b", [address])));
            }
            for i in (0..rows).step_by(block.pixels) {
                let mut activations = turn.activations(i);
                if block.pixels > 1 {
                    let other = turn.activations((i + 1).min(rows - 1));
                    let pair = op(
                        ["pair_low", "pair_high"][step],
                        [activations, other].map(var),
                    );
                    activations = format!("p{i}{}", tag(named));
                    steps.push(define(&activations, "vb", pair));
                }
                for j in 0..vectors {
                    let args = [sum(i, j), activations.clone(), weight(named, j)].map(var);
                    steps.push(set(sum(i, j), op(self.unit.dot, args)));
                }
            }
        }
        steps
    }

    /// The sums of a tile by products of blocks.
    pub(super) fn blocks(&self, tile: [usize; 2], block: Block) -> Vec<Stmt> {
        let parts = block.parts(self.unit.lanes);
        let pixels = (0..tile[0]).step_by(block.pixels);
        let sums = pixels.flat_map(|i| (0..tile[1] * parts).map(move |j| (i, j)));
        let start = |(i, j): (usize, usize)| {
            let bias = || var(format!("b{}", j / parts));
            Stmt::Let {
                name: sum(i, j),
                ty: "vi32",
                mutable: true,
                value: match block.pixels {
                    1 => op("splat_i32", [size(0)]),
                    _ => op(
                        ["pair_low_i32", "pair_high_i32"][j % parts],
                        [bias(), bias()],
                    ),
                },
            }
        };
        let mut steps: Vec<Stmt> = sums.map(start).collect();
        steps.extend(self.products(tile));
        for (i, j) in grid(tile[0], tile[1]) {
            let parts = (0..parts).map(|part| var(sum(i - i % block.pixels, j * parts + part)));
            let parts: Vec<_> = parts.collect();
            let value = match block.pixels {
                1 => op("add_i32", [op("add_lanes", parts), var(format!("b{j}"))]),
                _ => op(["pair_low_i32", "pair_high_i32"][i % 2], parts),
            };
            steps.push(define(&whole(i, j), "vi32", value));
        }
        steps
    }
}

/// A sum of blocks, gathered.
pub(super) fn whole(row: usize, col: usize) -> String {
    format!("t{row}_{col}")
}
