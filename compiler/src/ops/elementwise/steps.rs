//! Functions of reals as steps of f32: what nodes in floating point compute, on numbers and in kernels.

use super::{BinaryFunction, Function};
use qcc_runtime_support::functions::{self, Arithmetic};

impl Function {
    /// The function's value in f32, each step one IEEE operation.
    pub(crate) fn steps<A: Arithmetic>(self, m: &mut A, x: &A::Real) -> A::Real {
        let (zero, one) = (m.number(0.0), m.number(1.0));
        match self {
            Function::Clamp(clamp) => functions::clamp(m, x, clamp.min, clamp.max),
            Function::LeakyRelu { alpha } => {
                let alpha = m.number(alpha);
                let scaled = m.mul(&alpha, x);
                m.select_less(x, &zero, &scaled, x)
            }
            Function::Elu { alpha } => exponential_unit(m, x, alpha, 1.0),
            Function::Selu { alpha, gamma } => exponential_unit(m, x, alpha * gamma, gamma),
            Function::Sigmoid => functions::sigmoid(m, x),
            Function::HardSigmoid { alpha, beta } => {
                let y = affine(m, x, alpha, beta);
                functions::clamp(m, &y, 0.0, 1.0)
            }
            Function::HardSwish => {
                let y = affine(m, x, 1.0 / 6.0, 0.5);
                let gate = functions::clamp(m, &y, 0.0, 1.0);
                m.mul(x, &gate)
            }
            Function::Tanh => functions::tanh(m, x),
            Function::Exp => functions::exp(m, x),
            Function::Log => functions::log(m, x),
            Function::Sqrt => m.sqrt(x),
            Function::Reciprocal => m.div(&one, x),
            Function::Erf => functions::erf(m, x),
            Function::Neg => functions::negate(m, x),
            Function::Abs => functions::abs(m, x),
            Function::Sign => functions::sign(m, x),
            Function::Floor => functions::floor(m, x),
            Function::Ceil => functions::ceil(m, x),
            Function::Round => functions::round(m, x),
            Function::Softplus => functions::softplus(m, x),
            Function::Softsign => {
                let size = functions::abs(m, x);
                let below = m.add(&one, &size);
                m.div(x, &below)
            }
            Function::Gelu { tanh } => gelu(m, x, tanh),
            Function::Mish => {
                let rise = functions::softplus(m, x);
                let gate = functions::tanh(m, &rise);
                m.mul(x, &gate)
            }
            Function::Silu => {
                let gate = functions::sigmoid(m, x);
                m.mul(x, &gate)
            }
            Function::Affine { scale, offset } => affine(m, x, scale, offset),
        }
    }
}

/// `scale · x + offset`, the product rounded first.
fn affine<A: Arithmetic>(m: &mut A, x: &A::Real, scale: f32, offset: f32) -> A::Real {
    let (scale, offset) = (m.number(scale), m.number(offset));
    let product = m.mul(&scale, x);
    m.add(&product, &offset)
}

/// `x < 0 ? negative · (eˣ − 1) : positive · x`.
fn exponential_unit<A: Arithmetic>(
    m: &mut A,
    x: &A::Real,
    negative: f32,
    positive: f32,
) -> A::Real {
    let (zero, one) = (m.number(0.0), m.number(1.0));
    let (negative, positive) = (m.number(negative), m.number(positive));
    let e = functions::exp(m, x);
    let below = m.sub(&e, &one);
    let below = m.mul(&negative, &below);
    let above = m.mul(&positive, x);
    m.select_less(x, &zero, &below, &above)
}

fn gelu<A: Arithmetic>(m: &mut A, x: &A::Real, tanh: bool) -> A::Real {
    let (half, one) = (m.number(0.5), m.number(1.0));
    let inner = match tanh {
        true => {
            let (cubic, scale) = (m.number(0.044_715), m.number(0.797_884_6));
            let square = m.mul(x, x);
            let cube = m.mul(&square, x);
            let cube = m.mul(&cubic, &cube);
            let sum = m.add(x, &cube);
            let scaled = m.mul(&scale, &sum);
            functions::tanh(m, &scaled)
        }
        false => {
            let scale = m.number(core::f32::consts::FRAC_1_SQRT_2);
            let scaled = m.mul(x, &scale);
            functions::erf(m, &scaled)
        }
    };
    let share = m.add(&one, &inner);
    let halved = m.mul(&half, x);
    m.mul(&halved, &share)
}

/// How a function of two reals is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// By the operation of that name.
    Plain(BinaryFunction),
    /// The second operand is 1, 2 or 3 everywhere: products.
    Power(u8),
    /// It is 0.5 everywhere, or −0.5 if `inverse`.
    Root {
        /// Whether one is divided by the root.
        inverse: bool,
    },
}

impl BinaryFunction {
    /// How the function is computed in f32, given its second operand if that is constant.
    pub(crate) fn steps(self, exponents: Option<&[f32]>) -> Option<Pair> {
        if self != BinaryFunction::Pow {
            return Some(Pair::Plain(self));
        }
        let [first, rest @ ..] = exponents? else {
            return None;
        };
        if rest.iter().any(|other| other != first) {
            return None;
        }
        Some(match *first {
            1.0 => Pair::Power(1),
            2.0 => Pair::Power(2),
            3.0 => Pair::Power(3),
            0.5 => Pair::Root { inverse: false },
            -0.5 => Pair::Root { inverse: true },
            _ => return None,
        })
    }
}

impl Pair {
    /// Whether the value depends on the second operand; a power's is known.
    pub(crate) fn reads_both(self) -> bool {
        matches!(self, Pair::Plain(_))
    }

    /// The value at two reals.
    pub(crate) fn apply<A: Arithmetic>(self, m: &mut A, a: &A::Real, b: &A::Real) -> A::Real {
        match self {
            Pair::Plain(BinaryFunction::Add) => m.add(a, b),
            Pair::Plain(BinaryFunction::Sub) => m.sub(a, b),
            Pair::Plain(BinaryFunction::Mul) => m.mul(a, b),
            Pair::Plain(BinaryFunction::Div) => m.div(a, b),
            Pair::Plain(BinaryFunction::Max) => m.max(a, b),
            Pair::Plain(BinaryFunction::Min) => m.min(a, b),
            Pair::Plain(BinaryFunction::Pow) | Pair::Power(1) => a.clone(),
            Pair::Power(power) => {
                let square = m.mul(a, a);
                (3..=power).fold(square, |product, _| m.mul(&product, a))
            }
            Pair::Root { inverse } => {
                let root = m.sqrt(a);
                if !inverse {
                    return root;
                }
                let one = m.number(1.0);
                m.div(&one, &root)
            }
        }
    }
}
