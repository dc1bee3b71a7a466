//! What a kernel multiplies sums with, and how it rounds them.

use crate::kernel::{Expr, Stmt, int, op, var};
use crate::kernels::Names;
use crate::kernels::elementwise::{define, splat};
use qcc_runtime_support::fixed::Fixed;

/// The operation of scales in f32.
pub(crate) const REAL: &str = "scale_round";

/// A factor, and the operation that multiplies with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// `scale_round`: in f32.
    Real(f32),
    /// `scale_twice`: in fixed point, rounded twice.
    Twice(Fixed),
    /// `scale_once`: in fixed point, rounded once.
    Once(Fixed),
}

impl Scale {
    /// The operation.
    pub(crate) fn op(self) -> &'static str {
        match self {
            Scale::Real(_) => REAL,
            Scale::Twice(_) => "scale_twice",
            Scale::Once(_) => "scale_once",
        }
    }

    /// The factor itself.
    pub fn real(self) -> f64 {
        match self {
            Scale::Real(m) => m.into(),
            Scale::Twice(m) | Scale::Once(m) => m.real(),
        }
    }

    /// The operation's arguments: the bits of an f32, or a multiplier and a shift.
    pub(crate) fn words(self) -> [i32; 2] {
        match self {
            Scale::Real(m) => [m.to_bits() as i32, 0],
            Scale::Twice(m) => [m.multiplier, -m.exponent],
            Scale::Once(m) => [m.multiplier, 31 - m.exponent],
        }
    }

    /// A vector of integers times the factor, rounded.
    pub(crate) fn of(self, vector: Expr) -> Expr {
        let number = |word: i32| op("splat_i32", [int(word.into())]);
        match self {
            Scale::Real(m) => op(REAL, [vector, splat(m)]),
            _ => {
                let [multiplier, shift] = self.words();
                op(self.op(), [vector, number(multiplier), number(shift)])
            }
        }
    }
}

impl From<f32> for Scale {
    fn from(m: f32) -> Scale {
        Scale::Real(m)
    }
}

/// The factors of one vector of channels, as [`loads`] names them.
#[derive(Clone, Debug)]
pub(crate) struct Factors {
    /// Name of the scales, f32, or of the multipliers.
    scales: String,
    /// Name of the shifts of multipliers.
    shifts: Option<String>,
}

impl Factors {
    /// A vector of f32 of that name.
    pub(crate) fn reals(name: &str) -> Factors {
        Factors {
            scales: name.to_string(),
            shifts: None,
        }
    }

    /// The arguments of the operation behind the sum.
    pub(crate) fn args(&self) -> impl Iterator<Item = Expr> + '_ {
        std::iter::once(&self.scales).chain(&self.shifts).map(var)
    }
}

/// Loads a vector of factors; `address` tells where in each constant.
pub(crate) fn loads(
    names: &Names,
    name: &str,
    address: impl Fn(&str) -> Expr,
) -> (Vec<Stmt>, Factors) {
    if names.shifts.is_empty() {
        let load = op("load_f32", [address(&names.scales)]);
        return (vec![define(name, "vf32", load)], Factors::reals(name));
    }
    let shift = format!("shift_{name}");
    let load =
        |name: &str, constant: &str| define(name, "vi32", op("load_i32", [address(constant)]));
    let steps = vec![load(name, &names.scales), load(&shift, &names.shifts)];
    let factors = Factors {
        scales: name.to_string(),
        shifts: Some(shift),
    };
    (steps, factors)
}
