//! What the functions of one number compute.

use super::{Function, Unary};
use crate::Result;
use crate::bail;
use crate::ir::{Array, Clamp, Data, Elem, Type};
use crate::ops::export::{Exporter, Operand, named};
use crate::ops::import::operand;
use crate::ops::{Operator, check};

impl Operator for Unary {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        use Function::{Abs, Clamp, Neg, Sign};
        let x = operand(operands, 0)?;
        match x.elem {
            Elem::Float | Elem::Quantized(_) => check::reals(x.shape.clone()),
            Elem::Int(_) if matches!(self.function, Abs | Clamp(_) | Neg | Sign) => Ok(x.clone()),
            Elem::Int(_) | Elem::Bool => bail!(
                "{} of {} has no meaning", self.function.name(), check::kind(&x.elem);
                hint: "cast the operand to float32 in the model"
            ),
        }
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        match &x.data {
            Data::I64(v) => {
                let integers = v.iter().map(|x| self.function.apply_integer(*x));
                Array::i64(x.shape.clone(), integers.collect())
            }
            _ => Array::f32(x.shape.clone(), self.function.map(x.reals())),
        }
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        self.function.to_onnx(named(operands, 0), to)
    }
}

impl Function {
    /// The ONNX operator, or the IR's own name for what several of them become.
    pub fn name(self) -> &'static str {
        match self {
            Function::Clamp(Clamp::NONE) => "Requantize",
            Function::Clamp(Clamp::RELU) => "Relu",
            Function::Clamp(_) => "Clip",
            Function::LeakyRelu { .. } => "LeakyRelu",
            Function::Elu { .. } => "Elu",
            Function::Sigmoid => "Sigmoid",
            Function::HardSigmoid { .. } => "HardSigmoid",
            Function::HardSwish => "HardSwish",
            Function::Tanh => "Tanh",
            Function::Exp => "Exp",
            Function::Log => "Log",
            Function::Sqrt => "Sqrt",
            Function::Reciprocal => "Reciprocal",
            Function::Erf => "Erf",
            Function::Neg => "Neg",
            Function::Abs => "Abs",
            Function::Sign => "Sign",
            Function::Floor => "Floor",
            Function::Ceil => "Ceil",
            Function::Round => "Round",
            Function::Softplus => "Softplus",
            Function::Softsign => "Softsign",
            Function::Selu { .. } => "Selu",
            Function::Gelu { .. } => "Gelu",
            Function::Mish => "Mish",
            Function::Silu => "Silu",
            Function::Affine { .. } => "Affine",
        }
    }

    /// The function's value at one real.
    ///
    /// Transcendental functions are computed in f64 and rounded once, so that hosts with different
    /// mathematical libraries agree in all but the rarest last bit.
    pub fn apply(self, x: f32) -> f32 {
        let wide = f64::from(x);
        match self {
            Function::Clamp(clamp) => clamp.apply(x),
            Function::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Function::Elu { alpha } if x < 0.0 => (f64::from(alpha) * wide.exp_m1()) as f32,
            Function::Elu { .. } => x,
            Function::Sigmoid => (1.0 / (1.0 + (-wide).exp())) as f32,
            Function::HardSigmoid { alpha, beta } => unit(alpha * x + beta),
            Function::HardSwish => hard_swish(x),
            Function::Tanh => wide.tanh() as f32,
            Function::Exp => wide.exp() as f32,
            Function::Log => wide.ln() as f32,
            Function::Sqrt => x.sqrt(),
            Function::Reciprocal => 1.0 / x,
            Function::Erf => erf(wide) as f32,
            Function::Neg => -x,
            Function::Abs => x.abs(),
            Function::Sign if x > 0.0 => 1.0,
            Function::Sign if x < 0.0 => -1.0,
            Function::Sign => x,
            Function::Floor => x.floor(),
            Function::Ceil => x.ceil(),
            Function::Round => x.round_ties_even(),
            Function::Softplus => softplus(wide) as f32,
            Function::Softsign => x / (1.0 + x.abs()),
            Function::Selu { alpha, gamma } if x <= 0.0 => {
                (f64::from(gamma) * f64::from(alpha) * wide.exp_m1()) as f32
            }
            Function::Selu { gamma, .. } => gamma * x,
            Function::Gelu { tanh } => gelu(wide, tanh) as f32,
            Function::Mish => (wide * softplus(wide).tanh()) as f32,
            Function::Silu => (wide / (1.0 + (-wide).exp())) as f32,
            Function::Affine { scale, offset } => scale * x + offset,
        }
    }

    fn map(self, x: &[f32]) -> Vec<f32> {
        // The frequent functions get a loop of their own, without a match inside, that vectorises.
        match self {
            Function::Clamp(clamp) => x.iter().map(|x| clamp.apply(*x)).collect(),
            Function::HardSwish => x.iter().map(|x| hard_swish(*x)).collect(),
            _ => x.iter().map(|x| self.apply(*x)).collect(),
        }
    }

    fn apply_integer(self, x: i64) -> i64 {
        match self {
            Function::Clamp(clamp) if (x as f32) < clamp.min => clamp.min as i64,
            Function::Clamp(clamp) if (x as f32) > clamp.max => clamp.max as i64,
            Function::Clamp(_) => x,
            Function::Neg => x.wrapping_neg(),
            Function::Abs => x.wrapping_abs(),
            Function::Sign => x.signum(),
            _ => unreachable!("infer refuses integers"),
        }
    }
}

fn unit(x: f32) -> f32 {
    Clamp { min: 0.0, max: 1.0 }.apply(x)
}

fn hard_swish(x: f32) -> f32 {
    x * unit(x * (1.0 / 6.0) + 0.5)
}

/// ln(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn gelu(x: f64, tanh: bool) -> f64 {
    let inner = if tanh {
        ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()
    } else {
        erf(x * std::f64::consts::FRAC_1_SQRT_2)
    };
    0.5 * x * (1.0 + inner)
}

/// erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!; all terms have one sign, so nothing cancels.
fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    // 1 − erf(6) is 2e-17.
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum = x;
    let mut odd = 3.0;
    while term.abs() > sum.abs() * 1e-17 {
        term *= 2.0 * x * x / odd;
        sum += term;
        odd += 2.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_agree_with_tables() {
        // Values by 30-digit arithmetic, rounded.
        let cases = [
            (Function::Clamp(Clamp::RELU), -1.0, 0.0),
            (Function::LeakyRelu { alpha: 0.25 }, -2.0, -0.5),
            (Function::Elu { alpha: 2.0 }, -1.0, -1.264_241_1),
            (Function::Sigmoid, 1.0, 0.731_058_6),
            (
                Function::HardSigmoid {
                    alpha: 0.2,
                    beta: 0.5,
                },
                1.0,
                0.7,
            ),
            (Function::HardSwish, 1.0, 0.666_666_7),
            (Function::HardSwish, -4.0, 0.0),
            (Function::Tanh, 0.5, 0.462_117_16),
            (Function::Erf, 0.5, 0.520_499_9),
            (Function::Erf, -2.0, -0.995_322_3),
            (Function::Erf, 5.0, 1.0),
            (Function::Round, 2.5, 2.0),
            (Function::Round, -1.5, -2.0),
            (Function::Sign, -0.5, -1.0),
            (Function::Softplus, 1.0, 1.313_261_7),
            (Function::Softplus, 200.0, 200.0),
            (Function::Softsign, -3.0, -0.75),
            (
                Function::Selu {
                    alpha: 1.5,
                    gamma: 2.0,
                },
                -1.0,
                -1.896_361_7,
            ),
            (Function::Gelu { tanh: false }, 1.0, 0.841_344_7),
            (Function::Gelu { tanh: true }, 1.0, 0.841_192),
            (Function::Mish, 1.0, 0.865_098_4),
            (Function::Silu, 1.0, 0.731_058_6),
            (Function::Silu, -2.0, -0.238_405_84),
        ];
        for (function, x, expected) in cases {
            let y = function.apply(x);
            assert!(
                (y - expected).abs() <= 1e-6,
                "{function:?}({x}) = {y}, expected {expected}"
            );
        }
    }

    #[test]
    fn nan_stays_nan() {
        for function in [
            Function::Clamp(Clamp::RELU),
            Function::Erf,
            Function::Sign,
            Function::HardSwish,
        ] {
            assert!(function.apply(f32::NAN).is_nan(), "{function:?}");
        }
    }

    #[test]
    fn integers_are_clamped_and_negated_only() {
        let x = Array::i64([3], vec![-2, 3, 9]);
        let clip = Unary {
            function: Function::Clamp(Clamp { min: 0.0, max: 6.0 }),
        };
        assert_eq!(clip.eval(&[Some(&x)]).ints(), [0, 3, 6]);
        let ty = Type {
            shape: vec![3],
            elem: Elem::Int(crate::ir::IntType::I64),
        };
        assert_eq!(clip.infer(&[Some(&ty)]).unwrap(), ty);
        let error = Unary {
            function: Function::Sqrt,
        }
        .infer(&[Some(&ty)])
        .unwrap_err();
        assert_eq!(
            error.diagnostics[0].message,
            "Sqrt of integers has no meaning"
        );
    }
}
