//! What a kernel multiplies sums with, and how it rounds them.

use crate::kernel::{Expr, Stmt, int, op, var};
use crate::kernels::Names;
use crate::kernels::elementwise::{define, splat};
use qcc_runtime_support::fixed::{Fixed, Places, scale_even, scale_once, scale_shared};
use qcc_runtime_support::integer::scale_real;
use qcc_runtime_support::scale_round;

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
    /// `scale_shared`: in fixed point, by a multiplier behind a shift of its own.
    Shared(Behind, Shared),
    /// `scale_real`: as in f32, by a factor that such numbers stand for.
    Near(Behind, Shared),
    /// `scale_even`: in fixed point, rounded as f32 rounds. Factors of one product have the same places.
    Even(Places),
}

/// `(sum << left) · multiplier`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behind {
    /// What the sum is multiplied with.
    pub multiplier: i32,
    /// What it is shifted by before.
    pub left: u32,
}

/// What channels share: `((product >> 32) + added) >> right`. The zero point is part of what is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shared {
    /// What is added to the high word of the product.
    pub added: i32,
    /// What that is shifted by.
    pub right: u32,
}

impl Scale {
    /// The operation.
    pub(crate) fn op(self) -> &'static str {
        match self {
            Scale::Real(_) => REAL,
            Scale::Twice(_) => "scale_twice",
            Scale::Once(_) => "scale_once",
            Scale::Shared(..) => "scale_shared",
            Scale::Near(..) => "scale_real",
            Scale::Even(_) => "scale_even",
        }
    }

    /// The factor itself.
    pub fn real(self) -> f64 {
        match self {
            Scale::Real(m) => m.into(),
            Scale::Twice(m) | Scale::Once(m) => m.real(),
            Scale::Shared(m, by) | Scale::Near(m, by) => {
                f64::from(m.multiplier) * f64::powi(2.0, m.left as i32 - 32 - by.right as i32)
            }
            Scale::Even(m) => m.real(),
        }
    }

    /// Whether results of the operation have their zero point.
    pub(crate) fn adds_zero_point(self) -> bool {
        matches!(self, Scale::Shared(..) | Scale::Near(..))
    }

    /// The operation's arguments behind the factors of channels.
    pub(crate) fn shared(self) -> Vec<Expr> {
        match self {
            Scale::Shared(_, by) | Scale::Near(_, by) => {
                vec![int(by.added.into()), int(by.right.into())]
            }
            _ => vec![],
        }
    }

    /// The operation's arguments: the bits of an f32, or a multiplier and a shift or places.
    pub(crate) fn words(self) -> [i32; 2] {
        match self {
            Scale::Real(m) => [m.to_bits() as i32, 0],
            Scale::Twice(m) => [m.multiplier, -m.exponent],
            Scale::Once(m) => [m.multiplier, 31 - m.exponent],
            Scale::Shared(m, _) | Scale::Near(m, _) => [m.multiplier, m.left as i32],
            Scale::Even(m) => [m.multiplier, m.places],
        }
    }

    /// A sum times the factor, rounded; with the zero point where the operation adds it.
    pub fn of_sum(self, sum: i32) -> i32 {
        match self {
            Scale::Real(m) => scale_round(sum, m),
            Scale::Twice(m) => m.scale(sum),
            Scale::Once(m) => scale_once(sum, m.multiplier, 31 - m.exponent),
            Scale::Shared(m, by) => {
                scale_shared(sum, m.multiplier, m.left as i32, by.added, by.right as i32)
            }
            Scale::Near(m, by) => {
                scale_real(sum, m.multiplier, m.left as i32, by.added, by.right as i32)
            }
            Scale::Even(m) => scale_even(sum, m.multiplier, m.places),
        }
    }

    /// A vector of integers times the factor, rounded.
    pub(crate) fn of(self, vector: Expr) -> Expr {
        let number = |word: i32| op("splat_i32", [int(word.into())]);
        match self {
            Scale::Real(m) => op(REAL, [vector, splat(m)]),
            Scale::Even(m) => op(
                self.op(),
                [vector, number(m.multiplier), int(m.places.into())],
            ),
            _ => {
                let [multiplier, shift] = self.words().map(number);
                let args = vec![vector, multiplier, shift];
                op(self.op(), [args, self.shared()].concat())
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
    /// Places of multipliers that have them in common.
    places: Option<i32>,
}

impl Factors {
    /// A vector of f32 of that name.
    pub(crate) fn reals(name: &str) -> Factors {
        Factors {
            scales: name.to_string(),
            shifts: None,
            places: None,
        }
    }

    /// The arguments of the operation behind the sum.
    pub(crate) fn args(&self) -> impl Iterator<Item = Expr> + '_ {
        let named = std::iter::once(&self.scales).chain(&self.shifts).map(var);
        named.chain(self.places.map(|places| int(places.into())))
    }
}

/// Loads a vector of factors; `address` tells where in each constant.
pub(crate) fn loads(
    names: &Names,
    name: &str,
    address: impl Fn(&str) -> Expr,
) -> (Vec<Stmt>, Factors) {
    if names.shifts.is_empty() && names.places.is_none() {
        let load = op("load_f32", [address(&names.scales)]);
        return (vec![define(name, "vf32", load)], Factors::reals(name));
    }
    let load =
        |name: &str, constant: &str| define(name, "vi32", op("load_i32", [address(constant)]));
    let mut steps = vec![load(name, &names.scales)];
    let mut factors = Factors {
        scales: name.to_string(),
        shifts: None,
        places: names.places,
    };
    if factors.places.is_none() {
        let shift = format!("shift_{name}");
        steps.push(load(&shift, &names.shifts));
        factors.shifts = Some(shift);
    }
    (steps, factors)
}
