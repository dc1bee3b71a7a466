//! The product of two matrices of activations.

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, op, var};
use crate::kernels::Requantize;
use crate::kernels::elements::elements;
use crate::kernels::pixels::{counted, size};
use crate::kernels::requantize::{Sums, define};
use crate::kernels::scale::Factors;
use crate::kernels::tile::cut;
use crate::prove::Moves;
use crate::target::Target;

/// Rows of a tile: each weighs the same vector of the right matrix.
const ROWS: usize = 4;

/// `y[m][n] = requantized (bias[n] + Σ (a[m][k] − z_a)·(b[k][n] − z_b))`, vectors along `n`.
///
/// Buffers: `a` unless it is a constant, `b`, `y`.
#[derive(Clone, Debug)]
pub struct Products {
    /// The kernel's name.
    pub name: String,
    /// Lines above the function.
    pub comment: Vec<String>,
    /// Rows of `a`, columns of `a`, columns of `b`.
    pub size: [usize; 3],
    /// Elements from a row to the next, of `a`, `b` and `y`.
    pub strides: [usize; 3],
    /// Of `a` and `b`.
    pub zero_points: [i32; 2],
    /// Elements of `a` and `b`.
    pub elems: [Scalar; 2],
    /// A constant in place of `a`, from an element on.
    pub left: Option<(String, usize)>,
    /// Whether `b` may be read a few bytes past its end.
    pub slack: bool,
    /// Name of the bias, padded to whole vectors.
    pub bias: Option<String>,
    /// Scale of the sums over the result's.
    pub scale: f32,
    /// How sums are kept within 32 bits; none if they stay there.
    pub moves: Option<Moves>,
    /// From sums to results.
    pub requantize: Requantize,
}

impl Products {
    /// The product as a kernel.
    pub fn kernel(&self, target: &Target) -> Kernel {
        let [height, _, width] = self.size;
        let whole = width / target.lanes * target.lanes;
        let tiles = |rows: usize| {
            let mut loops = vec![];
            if whole > 0 {
                loops.push(counted(
                    "n",
                    0,
                    whole,
                    target.lanes,
                    self.tile(target, rows, target.lanes),
                ));
            }
            if whole < width {
                let tile = self.tile(target, rows, width - whole);
                loops.push(counted("n", whole, width, target.lanes, tile));
            }
            loops
        };
        let rows = cut(height, ROWS);
        let body = rows.iter().map(|s| {
            counted(
                "m",
                s.start,
                s.start + s.size * s.count,
                s.size,
                tiles(s.size),
            )
        });
        let buffer = |name: &str, elem, mutable| Buffer {
            name: name.to_string(),
            elem,
            mutable,
        };
        let left = self.left.as_ref();
        let mut buffers = vec![
            buffer("a", self.elems[0], false),
            buffer("b", self.elems[1], false),
            buffer("y", self.requantize.elem, true),
        ];
        if left.is_some() {
            buffers.remove(0);
        }
        Kernel {
            name: self.name.clone(),
            comment: self.comment.clone(),
            buffers,
            constants: left
                .map(|l| &l.0)
                .into_iter()
                .chain(&self.bias)
                .cloned()
                .collect(),
            body: body.collect(),
        }
    }

    fn tile(&self, target: &Target, rows: usize, count: usize) -> Vec<Stmt> {
        let sum = |i: usize| match self.moves {
            None => format!("s{i}"),
            Some(_) => format!("low{i}"),
        };
        let bias = match &self.bias {
            Some(bias) => op("load_i32", [at(bias, var("n"))]),
            None => op("splat_i32", [size(0)]),
        };
        let mut steps = vec![define("start", "vi32", bias)];
        steps.extend(match self.moves {
            None => self.sums(target, rows, count),
            Some(moves) => self.wide_sums(target, rows, count, moves),
        });
        if !self.requantize.keeps_sums() {
            let scale = op("splat_f32", [Expr::Int(self.scale.to_bits().into())]);
            steps.push(define("scale", "vf32", scale));
        }
        for i in 0..rows {
            let row = var("m") * self.strides[2] as i64 + var("n");
            let sums = Sums {
                tag: format!("y{i}_"),
                sums: vec![sum(i)],
                high: match self.moves {
                    Some(_) => vec![format!("high{i}")],
                    None => vec![],
                },
                scales: vec![Factors::reals("scale")],
                count,
                output: row + size(i * self.strides[2]),
                residual: size(0),
            };
            steps.extend(self.requantize.store(target, &sums));
        }
        steps
    }

    /// Sums that stay within 32 bits.
    fn sums(&self, target: &Target, rows: usize, count: usize) -> Vec<Stmt> {
        let sum = |i: usize| format!("s{i}");
        let starts = (0..rows).map(|i| mutable(sum(i), var("start")));
        let mut steps: Vec<Stmt> = starts.collect();
        let k = var("k");
        let mut step = vec![define("w", "vi32", self.right(target, count, &k))];
        step.extend(
            (0..rows).map(|i| add(&sum(i), self.times(op("splat_i32", [self.left(i, &k)])))),
        );
        steps.push(counted("k", 0, self.size[1], 1, step));
        steps
    }

    /// Sums in two parts, to which those of `capacity` products are moved.
    fn wide_sums(&self, target: &Target, rows: usize, count: usize, moves: Moves) -> Vec<Stmt> {
        let mut steps = vec![];
        for i in 0..rows {
            let [above, below] = [shifted(var("start"), 16), masked(var("start"), 0xffff)];
            steps.push(mutable(format!("high{i}"), above));
            steps.push(mutable(format!("low{i}"), below));
        }
        let depth = self.size[1];
        let whole = depth / moves.capacity * moves.capacity;
        if whole > 0 {
            let block = self.block(target, [rows, count, moves.capacity], var("b"), moves);
            steps.push(counted("b", 0, whole, moves.capacity, block));
        }
        if whole < depth {
            let rest = self.block(target, [rows, count, depth - whole], size(whole), moves);
            // The names of the block are its own.
            steps.push(counted("b", whole, whole + 1, 1, rest));
        }
        steps
    }

    /// `len` products for each sum, from `first` on, and the move to the wider sums.
    fn block(
        &self,
        target: &Target,
        [rows, count, len]: [usize; 3],
        first: Expr,
        moves: Moves,
    ) -> Vec<Stmt> {
        let (sum, lower) = (|i: usize| format!("s{i}"), |i: usize| format!("t{i}"));
        let zero = || op("splat_i32", [size(0)]);
        let mut steps = vec![];
        for i in 0..rows {
            steps.push(mutable(sum(i), zero()));
            if moves.halves {
                steps.push(mutable(lower(i), zero()));
            }
        }
        let k = first + var("k");
        let mut step = vec![define("w", "vi32", self.right(target, count, &k))];
        for i in 0..rows {
            let left = op("splat_i32", [self.left(i, &k)]);
            if !moves.halves {
                step.push(add(&sum(i), self.times(left)));
                continue;
            }
            let name = format!("a{i}");
            step.push(define(&name, "vi32", left));
            step.push(add(&sum(i), self.times(shifted(var(&name), 8))));
            step.push(add(&lower(i), self.times(masked(var(&name), 0xff))));
        }
        steps.push(counted("k", 0, len, 1, step));
        for i in 0..rows {
            let (high, low) = (format!("high{i}"), format!("low{i}"));
            let mut last = sum(i);
            if moves.halves {
                // 256·s is (s >> 8)·2¹⁶ + (s & 255)·256.
                let rest = op(
                    "mul_i32",
                    [masked(var(sum(i)), 0xff), op("splat_i32", [size(256)])],
                );
                steps.push(add(&high, shifted(var(sum(i)), 8)));
                steps.push(add(&low, rest));
                last = lower(i);
            }
            steps.push(add(&high, shifted(var(&last), 16)));
            steps.push(add(&low, masked(var(&last), 0xffff)));
        }
        steps
    }

    fn times(&self, left: Expr) -> Expr {
        op("mul_i32", [left, var("w")])
    }

    /// `a[m + i][k] − z_a`, a number.
    fn left(&self, i: usize, k: &Expr) -> Expr {
        let (name, first) = match &self.left {
            Some((name, first)) => (name.as_str(), *first),
            None => ("a", 0),
        };
        let index =
            var("m") * self.strides[0] as i64 + k.clone() + size(i * self.strides[0] + first);
        let value = op(elements(self.elems[0]).read, [at(name, index)]);
        match self.zero_points[0] {
            0 => value,
            z => op("sub", [value, Expr::Int(z.into())]),
        }
    }

    /// `b[k][n..] − z_b`, a vector of which `count` lanes matter.
    fn right(&self, target: &Target, count: usize, k: &Expr) -> Expr {
        let address = at("b", k.clone() * self.strides[1] as i64 + var("n"));
        let part = (count < target.lanes && !self.slack).then_some(count);
        let value = elements(self.elems[1]).get(address, part);
        match self.zero_points[1] {
            0 => value,
            z => op("sub_i32", [value, op("splat_i32", [Expr::Int(z.into())])]),
        }
    }
}

fn mutable(name: String, value: Expr) -> Stmt {
    Stmt::Let {
        name,
        ty: "vi32",
        mutable: true,
        value,
    }
}

fn add(name: &str, value: Expr) -> Stmt {
    Stmt::Set {
        name: name.to_string(),
        value: op("add_i32", [var(name), value]),
    }
}

fn shifted(value: Expr, bits: usize) -> Expr {
    op("shift_i32", [value, size(bits)])
}

fn masked(value: Expr, mask: usize) -> Expr {
    op("and_i32", [value, size(mask)])
}
