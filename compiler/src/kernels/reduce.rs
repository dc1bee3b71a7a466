//! Reductions, Softmax and ArgMax: kernels with a loop inside each element or line of the result.

use crate::kernel::{Expr, Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::Scale;
use crate::kernels::copy::buffer;
use crate::kernels::elements::elements;
use crate::kernels::elementwise::{Limits, add, define, define_mutable, set, subtract};
use crate::kernels::nest::{Axis, Nest, Piece, sweep};
use crate::target::Target;

/// The memory of a reduction: axes that stay and axes that go.
pub(crate) struct Lines<'a> {
    /// Elements of the operand.
    pub(crate) elem: Scalar,
    /// Extents of the axes that stay.
    pub(crate) kept: &'a [usize],
    /// The operand's strides along them.
    pub(crate) kept_from: &'a [usize],
    /// The result's strides along them.
    pub(crate) kept_to: &'a [usize],
    /// Extents of the axes that go.
    pub(crate) gone: &'a [usize],
    /// The operand's strides along them.
    pub(crate) gone_from: &'a [usize],
    /// For which machine.
    pub(crate) target: &'a Target,
}

/// `clamp(round(Σ (x − z) · factor) + z_y)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    /// The operand's zero point times the number of summands.
    pub(crate) zero: i32,
    /// From the sum to the result's integers.
    pub(crate) scale: Scale,
    /// What is done to the result.
    pub(crate) limits: Limits,
}

/// What a softmax reads for the distance of an element from the largest.
#[derive(Clone, Debug)]
pub(crate) struct SoftmaxTables {
    /// Constant of the exponentials.
    pub(crate) exponentials: String,
    /// If they are of every 256th distance: the constant of the first 256, and what products with it are divided by.
    pub(crate) fine: Option<(String, u32)>,
    pub(crate) numerators: Numerators,
}

/// An exponential over the scale of the result.
#[derive(Clone, Debug)]
pub(crate) enum Numerators {
    /// So many times the exponential.
    Times(u32),
    /// A constant of their own.
    Table(String),
}

impl Lines<'_> {
    /// Sums and means. Buffers: `x`, `y`.
    pub(crate) fn sum(&self, name: &str, sum: &Sum) -> Kernel {
        let (outer, inner) = self.outer();
        let beside = inner.strides == [1, 1] && self.target.lanes > 1;
        let body = outer.wrap(|positions| {
            let (x, y) = (positions[0].clone(), positions[1].clone());
            if beside {
                return sweep("j", inner.extent, self.target.lanes, |piece| {
                    let x = x.clone() + piece.at.clone();
                    self.sum_vector(sum, piece, &x, at("y", y.clone() + piece.at.clone()))
                });
            }
            let x = x + var("j") * inner.strides[0] as i64;
            let y = at("y", y + var("j") * inner.strides[1] as i64);
            let mut body = self.accumulate("sum", int(0), &x, |s, e| op("add", [s, e]));
            let vector = op("splat_i32", [var("sum")]);
            body.push(define("r", "vi32", sum.scale(vector)));
            let part = (self.target.lanes > 1).then_some(1);
            body.push(sum.limits.store(y, var("r"), part));
            repeat("j", inner.extent, body)
        });
        self.kernel(name, sum.limits.elem, body)
    }

    /// Sums of as many lines as a vector has lanes, which lie beside each other.
    fn sum_vector(&self, sum: &Sum, piece: &Piece, x: &Expr, y: Expr) -> Vec<Stmt> {
        let [whole, part] = elements(self.elem).load;
        let name = piece.name("sum");
        let take = |from: &Expr| {
            let element = piece.op(whole, part, [at("x", x.clone() + from.clone())]);
            vec![set(&name, op("add_i32", [var(&name), element]))]
        };
        let mut steps = vec![define_mutable(&name, "vi32", op("splat_i32", [int(0)]))];
        steps.extend(self.along(take));
        let result = piece.name("r");
        steps.push(define(&result, "vi32", sum.scale(var(&name))));
        steps.push(sum.limits.store(y, var(result), piece.part));
        steps
    }

    /// The largest (`max`) or smallest (`min`) element of each line. Buffers: `x`, `y`.
    pub(crate) fn extreme(&self, name: &str, which: &'static str) -> Kernel {
        let (outer, inner) = self.outer();
        let (low, high) = elements(self.elem).limits;
        let start = int(if which == "max" { low } else { high }.into());
        let body = outer.wrap(|positions| {
            let x = positions[0].clone() + var("j") * inner.strides[0] as i64;
            let y = positions[1].clone() + var("j") * inner.strides[1] as i64;
            let mut body = self.accumulate("m", start, &x, |m, e| op(which, [m, e]));
            body.push(Stmt::Do(op(
                elements(self.elem).write,
                [at("y", y), var("m")],
            )));
            repeat("j", inner.extent, body)
        });
        self.kernel(name, self.elem, body)
    }

    /// The index of the largest element of each line, the last or the first of equal ones.
    /// Buffers: `x`, `y` of i32.
    pub(crate) fn arg_max(&self, name: &str, last: bool) -> Kernel {
        let (lowest, _) = elements(self.elem).limits;
        let (outer, inner) = self.outer();
        let body = outer.wrap(|positions| {
            let x = positions[0].clone() + var("j") * inner.strides[0] as i64;
            let y = positions[1].clone() + var("j") * inner.strides[1] as i64;
            let mut body = vec![
                define_mutable("best", "i32", int(i64::from(lowest) - 1)),
                define_mutable("found", "i32", int(0)),
                define_mutable("k", "i32", int(0)),
            ];
            body.extend(self.along(|from| self.compare(&(x.clone() + from.clone()), last)));
            body.push(Stmt::Do(op("write_i32", [at("y", y), var("found")])));
            repeat("j", inner.extent, body)
        });
        let mut kernel = self.kernel(name, self.elem, body);
        kernel.buffers[1].elem = Scalar::I32;
        kernel
    }

    fn compare(&self, x: &Expr, last: bool) -> Vec<Stmt> {
        let (best, found, k) = (var("best"), var("found"), var("k"));
        let better = if last {
            op("select_less", [var("e"), best.clone(), found, k.clone()])
        } else {
            op("select_less", [best.clone(), var("e"), k.clone(), found])
        };
        vec![
            define("e", "i32", self.read(x)),
            set("found", better),
            set("best", op("max", [best, var("e")])),
            set("k", op("add", [k, int(1)])),
        ]
    }

    /// Softmax along the one axis that goes; the result's stride along it is `to`. `table` holds
    /// `E` of every distance. Buffers: `x`, `y`.
    pub(crate) fn softmax(
        &self,
        name: &str,
        tables: &SoftmaxTables,
        to: usize,
        (elem, zero_point, high): (Scalar, i32, i32),
    ) -> Kernel {
        let (outer, inner) = self.outer();
        let body = outer.wrap(|positions| {
            let x = positions[0].clone() + var("j") * inner.strides[0] as i64;
            let y = positions[1].clone() + var("j") * inner.strides[1] as i64;
            let distance =
                |from: &Expr| op("sub", [var("m"), self.read(&(x.clone() + from.clone()))]);
            let entry =
                |table: &str, index: Expr| op("read_i32", [at(table, op("index", [index]))]);
            // The steps before an exponential, and the number itself.
            let exponential = |from: &Expr| {
                let Some((fine, unit)) = &tables.fine else {
                    return (vec![], entry(&tables.exponentials, distance(from)));
                };
                let (number, unit) = (|name, value| define(name, "i32", value), i64::from(*unit));
                let whole = op("mul", [var("far"), int(256)]);
                let far = entry(&tables.exponentials, var("far"));
                let product = op("mul", [far, entry(fine, var("near"))]);
                let steps = vec![
                    number("d", distance(from)),
                    number("far", op("div", [var("d"), int(256)])),
                    number("near", op("sub", [var("d"), whole])),
                    number("product", product),
                    number(
                        "e",
                        op(
                            "div",
                            [op("add", [var("product"), int(unit / 2)]), int(unit)],
                        ),
                    ),
                ];
                (steps, var("e"))
            };
            let numerator = |from: &Expr| match &tables.numerators {
                Numerators::Times(unit) => {
                    let (steps, e) = exponential(from);
                    (steps, op("mul", [e, int((*unit).into())]))
                }
                Numerators::Table(table) => (vec![], entry(table, distance(from))),
            };
            let add = |a, b| op("add", [a, b]);
            let lowest = int(elements(self.elem).limits.0.into());
            let mut body = self.accumulate("m", lowest, &x, |m, e| op("max", [m, e]));
            body.push(define_mutable("total", "i32", int(0)));
            body.extend(self.along(|from| {
                let (mut steps, e) = exponential(from);
                steps.push(set("total", add(var("total"), e)));
                steps
            }));
            body.push(define("half", "i32", op("div", [var("total"), int(2)])));
            body.extend(self.along(|from| {
                let (mut steps, numerator) = numerator(from);
                let share = op("div", [add(numerator, var("half")), var("total")]);
                let value = add(share, int(zero_point.into()));
                let value = op("min", [value, int(high.into())]);
                let place = y.clone() + var("k0") * to as i64;
                steps.push(Stmt::Do(op(elements(elem).write, [at("y", place), value])));
                steps
            }));
            repeat("j", inner.extent, body)
        });
        let mut kernel = self.kernel(name, self.elem, body);
        kernel.buffers[1].elem = elem;
        kernel.constants.push(tables.exponentials.clone());
        kernel
            .constants
            .extend(tables.fine.iter().map(|(table, _)| table.clone()));
        if let Numerators::Table(table) = &tables.numerators {
            kernel.constants.push(table.clone());
        }
        kernel
    }

    pub(super) fn outer(&self) -> (Nest, Axis) {
        Nest::new(self.kept, &[self.kept_from, self.kept_to]).split_inner()
    }

    /// A mutable number that starts as `start` and takes in every element of the line at `x`.
    pub(super) fn accumulate(
        &self,
        name: &str,
        start: Expr,
        x: &Expr,
        take: impl Fn(Expr, Expr) -> Expr,
    ) -> Vec<Stmt> {
        let mut steps = vec![define_mutable(name, "i32", start)];
        steps.extend(self.along(|from| {
            let element = self.read(&(x.clone() + from.clone()));
            vec![set(name, take(var(name), element))]
        }));
        steps
    }

    /// Loops along the axes that go.
    pub(super) fn along(&self, body: impl FnOnce(&Expr) -> Vec<Stmt>) -> Vec<Stmt> {
        let mut position = int(0);
        for (axis, stride) in self.gone_from.iter().enumerate() {
            position = position + var(format!("k{axis}")) * *stride as i64;
        }
        let mut steps = body(&position);
        for (axis, extent) in self.gone.iter().enumerate().rev() {
            steps = repeat(&format!("k{axis}"), *extent, steps);
        }
        steps
    }

    pub(super) fn read(&self, x: &Expr) -> Expr {
        op(elements(self.elem).read, [at("x", x.clone())])
    }

    pub(super) fn kernel(&self, name: &str, elem: Scalar, body: Vec<Stmt>) -> Kernel {
        Kernel {
            name: name.to_string(),
            comment: vec![],
            buffers: vec![buffer("x", self.elem, false), buffer("y", elem, true)],
            constants: vec![],
            body,
        }
    }
}

impl Sum {
    fn scale(&self, sum: Expr) -> Expr {
        let rounded = self.scale.of(subtract(sum, self.zero));
        add(rounded, self.limits.zero_point)
    }
}

pub(super) fn repeat(counter: &str, end: usize, body: Vec<Stmt>) -> Vec<Stmt> {
    vec![Stmt::For {
        var: counter.to_string(),
        start: int(0),
        end: int(end as i64),
        step: 1,
        body,
    }]
}
