//! Softmax in fixed point: the reciprocal of the total by Newton's iteration, in 32-bit integers.

use crate::integer::tflite::NEWTON;
use crate::kernel::{Expr, Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::elements::elements;
use crate::kernels::elementwise::{define, define_mutable, set};
use crate::kernels::reduce::{Lines, repeat};

/// Constants that a softmax in fixed point reads at the distance of an element from the largest.
#[derive(Clone, Debug)]
pub(crate) struct FixedTables {
    /// Exponentials in units of 2⁻³¹.
    pub(crate) exponentials: String,
    /// Exponentials in units of 2⁻¹⁹.
    pub(crate) summands: String,
}

impl Lines<'_> {
    /// Softmax along the one axis that goes; the result's stride along it is `to`, its elements are `elem`, from their
    /// smallest on. Buffers: `x`, `y`.
    pub(crate) fn fixed_softmax(
        &self,
        name: &str,
        tables: &FixedTables,
        to: usize,
        elem: Scalar,
    ) -> Kernel {
        let (outer, inner) = self.outer();
        let (low, high) = elements(elem).limits;
        let body = outer.wrap(|positions| {
            let x = positions[0].clone() + var("j") * inner.strides[0] as i64;
            let y = positions[1].clone() + var("j") * inner.strides[1] as i64;
            let entry = |table: &str, from: &Expr| {
                let distance = op("sub", [var("m"), self.read(&(x.clone() + from.clone()))]);
                op("read_i32", [at(table, op("index", [distance]))])
            };
            let lowest = int(elements(self.elem).limits.0.into());
            let mut body = self.accumulate("m", lowest, &x, |m, e| op("max", [m, e]));
            body.push(define_mutable("total", "i32", int(0)));
            body.extend(self.along(|from| {
                let sum = op("add", [var("total"), entry(&tables.summands, from)]);
                vec![set("total", sum)]
            }));
            body.extend(reciprocal());
            body.extend(self.along(|from| {
                let product = times(var("r"), entry(&tables.exponentials, from));
                let eighths = op("div", [product, int(8)]);
                let twice = op("div", [eighths, var("unit")]);
                let share = op("div", [op("add", [twice, int(1)]), int(2)]);
                let value = op("add", [share, int(low.into())]);
                let value = op("min", [value, int(high.into())]);
                let place = y.clone() + var("k0") * to as i64;
                vec![Stmt::Do(op(elements(elem).write, [at("y", place), value]))]
            }));
            repeat("j", inner.extent, body)
        });
        let mut kernel = self.kernel(name, elem, body);
        kernel.constants = vec![tables.exponentials.clone(), tables.summands.clone()];
        kernel.constants.sort();
        kernel
    }
}

fn times(a: Expr, b: Expr) -> Expr {
    op("times", [a, b])
}

/// From `total` in units of 2⁻¹⁹, at least 1: `r` in units of 2⁻³¹ and `unit`, so that a share in units of 2⁻⁸ is
/// `e·r / 2³¹` over `16·unit`.
fn reciprocal() -> Vec<Stmt> {
    let [start, slope] = NEWTON.map(|n| int(n.into()));
    let mut steps = vec![define_mutable("unit", "i32", int(1 << 30))];
    for bits in [8, 4, 2, 1] {
        // Until its first bit is the first but one of 32.
        let most = int((1 << (31 - bits)) - 1);
        let shifted = op(
            "mul",
            [op("min", [var("total"), most.clone()]), int(1 << bits)],
        );
        let (total, unit) = (var("total"), var("unit"));
        let smaller = op("div", [unit.clone(), int(1 << bits)]);
        let unit = op("select_less", [most.clone(), total.clone(), unit, smaller]);
        let total = op("select_less", [most, total.clone(), total, shifted]);
        steps.extend([set("unit", unit), set("total", total)]);
    }
    let first = op("add", [start, times(var("total"), slope)]);
    steps.push(define_mutable("r", "i32", first));
    for turn in 0..3 {
        let error = op("sub", [int(1 << 29), times(var("total"), var("r"))]);
        let correction = format!("correction{turn}");
        let value = op("mul", [times(var("r"), error), int(4)]);
        steps.push(define(&correction, "i32", value));
        steps.push(set("r", op("add", [var("r"), var(correction)])));
    }
    let most = int((1 << 30) - 1);
    let doubled = op("mul", [op("min", [var("r"), most.clone()]), int(2)]);
    let largest = int(i32::MAX.into());
    steps.push(set(
        "r",
        op("select_less", [most, var("r"), largest, doubled]),
    ));
    steps
}
