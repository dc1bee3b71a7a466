//! Bilinear interpolation of images with channels last, in integers.

use crate::kernel::{Expr, Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::View;
use crate::kernels::copy::buffer;
use crate::kernels::elements::elements;
use crate::kernels::elementwise::{Limits, add, define, splat, subtract};
use crate::kernels::nest::{Piece, sweep};
use crate::target::Target;

/// `clamp(round(Σ (x − z)·share · factor) + z_y)` over four pixels, whose shares sum to 2²².
pub(crate) struct Bilinear {
    /// The operand.
    pub(crate) x: View,
    /// The result.
    pub(crate) y: View,
    /// Elements of the operand.
    pub(crate) elem: Scalar,
    /// The operand's zero point.
    pub(crate) zero_point: i32,
    /// From sums to the result's integers.
    pub(crate) factor: f32,
    /// What is done to the result.
    pub(crate) limits: Limits,
    /// Of rows and of columns.
    pub(crate) taps: [Taps; 2],
}

/// The two neighbours along one axis: constants of i32, an entry for each index of the result.
pub(crate) struct Taps {
    /// Where they lie, in elements.
    pub(crate) places: [String; 2],
    /// Their shares, of 2048.
    pub(crate) shares: [String; 2],
}

impl Bilinear {
    /// Buffers: `x`, `y`.
    pub(crate) fn kernel(&self, name: &str, target: &Target) -> Kernel {
        let [images, rows, columns, _] = self.y.extent;
        let mut columns_body = self.taps[1].read("w");
        columns_body.extend(self.mix());
        columns_body.extend(self.pixel(target));
        let mut rows_body = self.taps[0].read("h");
        rows_body.push(count("w", columns, columns_body));
        let body = vec![count("n", images, vec![count("h", rows, rows_body)])];
        let mut constants: Vec<String> = self
            .taps
            .iter()
            .flat_map(|taps| taps.places.iter().chain(&taps.shares).cloned())
            .collect();
        constants.sort();
        constants.dedup();
        Kernel {
            name: name.to_string(),
            comment: vec![],
            buffers: vec![
                buffer("x", self.elem, false),
                buffer("y", self.limits.elem, true),
            ],
            constants,
            body,
        }
    }

    /// Whether 32 bits do not hold a pixel times two shares.
    fn wide(&self) -> bool {
        self.elem.bytes() > 1
    }

    /// The four shares: rows above and below, columns before and after.
    fn mix(&self) -> Vec<Stmt> {
        let share = |row: usize, column: usize| {
            let across = var(format!("w_share{column}"));
            let product = match self.wide() {
                true => across,
                false => op("mul", [var(format!("h_share{row}")), across]),
            };
            define(
                &format!("share{row}{column}"),
                "vi32",
                op("splat_i32", [product]),
            )
        };
        vec![share(0, 0), share(0, 1), share(1, 0), share(1, 1)]
    }

    fn pixel(&self, target: &Target) -> Vec<Stmt> {
        let [whole, part] = elements(self.elem).load;
        let strides = |view: &View| view.strides.map(|s| s as i64);
        let (x, y) = (strides(&self.x), strides(&self.y));
        let place = var("n") * y[0] + var("h") * y[1] + var("w") * y[2];
        sweep("c", self.y.extent[3], target.lanes, |piece: &Piece| {
            let product = |row: usize, column: usize| {
                let from = var("n") * x[0]
                    + var(format!("h_from{row}"))
                    + var(format!("w_from{column}"))
                    + piece.at.clone();
                let pixel = subtract(piece.op(whole, part, [at("x", from)]), self.zero_point);
                op("mul_i32", [pixel, var(format!("share{row}{column}"))])
            };
            let row = |row: usize| op("add_i32", [product(row, 0), product(row, 1)]);
            let (above, below) = (piece.name("above"), piece.name("below"));
            let both = |part: &dyn Fn(usize, &str) -> Expr| {
                op("add_i32", [part(0, &above), part(1, &below)])
            };
            let rounded = match self.wide() {
                false => {
                    let sum = both(&|_, name| var(name));
                    op("scale_round", [sum, splat(self.factor)])
                }
                // Rows are mixed in two parts, of which one is in units of 2¹⁶.
                true => {
                    let share = |row: usize| op("splat_i32", [var(format!("h_share{row}"))]);
                    let part = |name: &'static str, bits: i64| {
                        both(&|row, of| {
                            let part = op(name, [var(of), int(bits)]);
                            op("mul_i32", [part, share(row)])
                        })
                    };
                    let parts = [part("shift_i32", 16), part("and_i32", 0xffff)];
                    let [high, low] = parts;
                    op("scale_round_wide", [high, low, splat(self.factor)])
                }
            };
            let result = piece.name("r");
            vec![
                define(&above, "vi32", row(0)),
                define(&below, "vi32", row(1)),
                define(&result, "vi32", add(rounded, self.limits.zero_point)),
                self.limits.store(
                    at("y", place.clone() + piece.at.clone()),
                    var(result),
                    piece.part,
                ),
            ]
        })
    }
}

impl Taps {
    /// Reads the neighbours at index `counter` of the result.
    fn read(&self, counter: &str) -> Vec<Stmt> {
        let entry = |name: &String| op("read_i32", [at(name, var(counter))]);
        let side = |side: usize| {
            let from = op("index", [entry(&self.places[side])]);
            let share = entry(&self.shares[side]);
            [
                define(&format!("{counter}_from{side}"), "index", from),
                define(&format!("{counter}_share{side}"), "i32", share),
            ]
        };
        side(0).into_iter().chain(side(1)).collect()
    }
}

fn count(counter: &str, end: usize, body: Vec<Stmt>) -> Stmt {
    Stmt::For {
        var: counter.to_string(),
        start: int(0),
        end: int(end as i64),
        step: 1,
        body,
    }
}
