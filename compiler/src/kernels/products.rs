//! The product of two matrices of activations.

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, op, var};
use crate::kernels::Requantize;
use crate::kernels::pixels::{counted, size};
use crate::kernels::requantize::{Sums, define};
use crate::kernels::tile::cut;
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
    /// Whether `a` and `b` are i8, not u8.
    pub signed: [bool; 2],
    /// A constant in place of `a`, from an element on.
    pub left: Option<(String, usize)>,
    /// Whether `b` may be read a few bytes past its end.
    pub slack: bool,
    /// Name of the bias, padded to whole vectors.
    pub bias: Option<String>,
    /// Scale of the sums over the result's.
    pub scale: f32,
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
        let buffer = |name: &str, signed, mutable| Buffer {
            name: name.to_string(),
            elem: if signed { Scalar::I8 } else { Scalar::U8 },
            mutable,
        };
        let left = self.left.as_ref();
        let mut buffers = vec![
            buffer("a", self.signed[0], false),
            buffer("b", self.signed[1], false),
            buffer("y", self.requantize.signed, true),
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
        let sum = |i: usize| format!("s{i}");
        let bias = match &self.bias {
            Some(bias) => op("load_i32", [at(bias, var("n"))]),
            None => op("splat_i32", [size(0)]),
        };
        let mut steps = vec![define("start", "vi32", bias)];
        steps.extend((0..rows).map(|i| Stmt::Let {
            name: sum(i),
            ty: "vi32",
            mutable: true,
            value: var("start"),
        }));
        let mut step = vec![define("w", "vi32", self.right(target, count))];
        for i in 0..rows {
            let product = op("mul_i32", [op("splat_i32", [self.left(i)]), var("w")]);
            step.push(Stmt::Set {
                name: sum(i),
                value: op("add_i32", [var(sum(i)), product]),
            });
        }
        steps.push(counted("k", 0, self.size[1], 1, step));
        let scale = op("splat_f32", [Expr::Int(self.scale.to_bits().into())]);
        steps.push(define("scale", "vf32", scale));
        for i in 0..rows {
            let row = var("m") * self.strides[2] as i64 + var("n");
            let sums = Sums {
                tag: format!("y{i}_"),
                sums: vec![sum(i)],
                scales: vec!["scale".to_string()],
                count,
                output: row + size(i * self.strides[2]),
                residual: size(0),
            };
            steps.extend(self.requantize.store(target, &sums));
        }
        steps
    }

    /// `a[m + i][k] − z_a`, a number.
    fn left(&self, i: usize) -> Expr {
        let (name, first) = match &self.left {
            Some((name, first)) => (name.as_str(), *first),
            None => ("a", 0),
        };
        let index =
            var("m") * self.strides[0] as i64 + var("k") + size(i * self.strides[0] + first);
        let value = op(
            ["read_u8", "read_i8"][usize::from(self.signed[0])],
            [at(name, index)],
        );
        match self.zero_points[0] {
            0 => value,
            z => op("sub", [value, Expr::Int(z.into())]),
        }
    }

    /// `b[k][n..] − z_b`, a vector of which `count` lanes matter.
    fn right(&self, target: &Target, count: usize) -> Expr {
        let address = at("b", var("k") * self.strides[1] as i64 + var("n"));
        let signed = usize::from(self.signed[1]);
        let value = if count == target.lanes || self.slack {
            op(["load_u8", "load_i8"][signed], [address])
        } else {
            op(
                ["load_u8_part", "load_i8_part"][signed],
                [address, size(count)],
            )
        };
        match self.zero_points[1] {
            0 => value,
            z => op("sub_i32", [value, op("splat_i32", [Expr::Int(z.into())])]),
        }
    }
}
