//! Windows that slide over images with channels last: maxima and means, a vector of channels at a time.

use std::collections::BTreeMap;

use crate::kernel::{Expr, Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::copy::buffer;
use crate::kernels::elements::elements;
use crate::kernels::elementwise::{Limits, add, define, define_mutable, set, subtract};
use crate::kernels::nest::{Piece, sweep, sweep_bytes};
use crate::kernels::{Scale, View};
use crate::target::Target;

/// Windows of an image and what they become. The operand's view counts its halo.
#[derive(Clone, Debug)]
pub(crate) struct Windows<'a> {
    /// The padded operand.
    pub(crate) x: View,
    /// The result.
    pub(crate) y: View,
    /// Elements of the operand and of the result.
    pub(crate) elems: [Scalar; 2],
    /// Rows and columns of a window.
    pub(crate) kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub(crate) strides: [usize; 2],
    /// Distance of neighbouring elements of a window.
    pub(crate) dilations: [usize; 2],
    /// For which machine.
    pub(crate) target: &'a Target,
}

/// How the sum of a window becomes a mean.
#[derive(Clone, Debug)]
pub(crate) struct Mean {
    /// Where so many elements count, what is subtracted of the sum of all, and what that is multiplied with.
    pub(crate) sums: BTreeMap<usize, (i32, Scale)>,
    /// What is done to the result.
    pub(crate) limits: Limits,
    /// For each row and for each column of the result, how many elements count.
    pub(crate) counts: [Vec<usize>; 2],
}

/// A part of the result whose windows count the same number of elements.
struct Block {
    rows: (usize, usize),
    columns: (usize, usize),
}

/// The operations of a maximum in one type of vectors.
struct Take {
    ty: &'static str,
    max: &'static str,
    start: Expr,
    load: [&'static str; 2],
    store: [&'static str; 2],
}

/// Windows of up to this many elements are unrolled.
const UNROLLED: usize = 16;

impl Windows<'_> {
    /// The largest element of each window. Buffers: `x`, `y`.
    pub(crate) fn max(&self, name: &str) -> Kernel {
        let [_, rows, columns, channels] = self.y.extent;
        let elements = elements(self.elems[0]);
        let signed = self.elems[0] == Scalar::I8;
        let max = if signed { "max_i8" } else { "max_u8" };
        let lowest = int(elements.limits.0.into());
        let block = Block {
            rows: (0, rows),
            columns: (0, columns),
        };
        let bytes = Take {
            ty: "vb",
            max,
            start: op("splat_byte", [lowest.clone()]),
            load: ["load_bytes", "load_bytes_part"],
            store: ["store_bytes", "store_bytes_part"],
        };
        let lanes = Take {
            ty: "vi32",
            max: "max_i32",
            start: op("splat_i32", [lowest]),
            load: elements.load,
            store: elements.store,
        };
        let is_byte = self.elems[0].bytes() == 1;
        let body = self.walk(&block, |x, y| {
            let pass = |piece: &Piece, take: &Take| self.max_of_pixel(piece, take, x, y);
            let (wide, narrow) = (|p: &Piece| pass(p, &bytes), |p: &Piece| pass(p, &lanes));
            match is_byte {
                true => sweep_bytes(channels, self.target, wide, narrow),
                false => sweep("c", channels, self.target.lanes, narrow),
            }
        });
        self.kernel_of(name, body)
    }

    fn max_of_pixel(&self, piece: &Piece, take: &Take, x: &Expr, y: &Expr) -> Vec<Stmt> {
        // Pieces of less than a byte vector stand beside each other.
        let name = match &piece.at {
            Expr::Int(first) => format!("m{first}"),
            _ => "m".to_string(),
        };
        let mut steps = self.gather(&name, take.ty, take.start.clone(), |m, tap| {
            let address = at("x", x.clone() + piece.at.clone() + tap);
            op(
                take.max,
                [m, piece.op(take.load[0], take.load[1], [address])],
            )
        });
        let address = at("y", y.clone() + piece.at.clone());
        let store = piece.op(take.store[0], take.store[1], [address, var(name)]);
        steps.push(Stmt::Do(store));
        steps
    }

    /// The mean of each window. Buffers: `x`, `y`.
    pub(crate) fn mean(&self, name: &str, mean: &Mean) -> Kernel {
        let mut body = vec![];
        for rows in runs(&mean.counts[0]) {
            for columns in runs(&mean.counts[1]) {
                let count = mean.counts[0][rows.0] * mean.counts[1][columns.0];
                let block = Block { rows, columns };
                body.extend(self.walk(&block, |x, y| self.mean_of_pixel(mean, count, x, y)));
            }
        }
        self.kernel_of(name, body)
    }

    fn mean_of_pixel(&self, mean: &Mean, count: usize, x: &Expr, y: &Expr) -> Vec<Stmt> {
        let (zero, scale) = mean.sums[&count];
        let [whole, part] = elements(self.elems[0]).load;
        sweep("c", self.y.extent[3], self.target.lanes, |piece: &Piece| {
            let load = |tap: Expr| {
                let address = at("x", x.clone() + piece.at.clone() + tap);
                piece.op(whole, part, [address])
            };
            let name = piece.name("sum");
            let zero_sum = op("splat_i32", [int(0)]);
            let mut steps = self.gather(&name, "vi32", zero_sum, |sum, tap| {
                op("add_i32", [sum, load(tap)])
            });
            let centred = subtract(var(&name), zero);
            let scaled = scale.of(centred);
            let result = piece.name("r");
            steps.push(define(&result, "vi32", add(scaled, mean.limits.zero_point)));
            let address = at("y", y.clone() + piece.at.clone());
            steps.push(mean.limits.store(address, var(result), piece.part));
            steps
        })
    }

    /// Loops over the pixels of a block; `body` is given a window's first element and its result's place.
    fn walk(&self, block: &Block, body: impl FnOnce(&Expr, &Expr) -> Vec<Stmt>) -> Vec<Stmt> {
        let place = |view: &View, steps: [usize; 2]| {
            var("n") * view.strides[0] as i64
                + var("h") * (view.strides[1] * steps[0]) as i64
                + var("w") * (view.strides[2] * steps[1]) as i64
        };
        let body = body(&place(&self.x, self.strides), &place(&self.y, [1, 1]));
        let body = repeat("w", block.columns, body);
        repeat("n", (0, self.y.extent[0]), repeat("h", block.rows, body))
    }

    /// A mutable value that starts as `start` and takes in every element of a window.
    fn gather(
        &self,
        name: &str,
        ty: &'static str,
        start: Expr,
        take: impl Fn(Expr, Expr) -> Expr,
    ) -> Vec<Stmt> {
        let row = self.x.strides[1] * self.dilations[0];
        let column = self.x.strides[2] * self.dilations[1];
        let [rows, columns] = self.kernel;
        let mut steps = vec![define_mutable(name, ty, start)];
        if rows * columns <= UNROLLED {
            for tap in 0..rows * columns {
                let (kh, kw) = (tap / columns, tap % columns);
                let place = int((kh * row + kw * column) as i64);
                steps.push(set(name, take(var(name), place)));
            }
            return steps;
        }
        let place = var("kh") * row as i64 + var("kw") * column as i64;
        let body = vec![set(name, take(var(name), place))];
        steps.extend(repeat("kh", (0, rows), repeat("kw", (0, columns), body)));
        steps
    }

    fn kernel_of(&self, name: &str, body: Vec<Stmt>) -> Kernel {
        let [x, y] = self.elems;
        Kernel {
            name: name.to_string(),
            comment: vec![],
            buffers: vec![buffer("x", x, false), buffer("y", y, true)],
            constants: vec![],
            body,
        }
    }
}

fn repeat(counter: &str, (start, end): (usize, usize), body: Vec<Stmt>) -> Vec<Stmt> {
    vec![Stmt::For {
        var: counter.to_string(),
        start: int(start as i64),
        end: int(end as i64),
        step: 1,
        body,
    }]
}

/// Maximal runs of equal numbers: first index, and the index after the last.
fn runs(counts: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = vec![];
    for (i, count) in counts.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if counts[run.0] == *count => run.1 = i + 1,
            _ => runs.push((i, i + 1)),
        }
    }
    runs
}
