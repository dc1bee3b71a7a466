//! What the functions of two numbers compute.

use super::{Binary, BinaryFunction};
use crate::Result;
use crate::bail;
use crate::ir::{Array, Clamp, Data, Elem, Type};
use crate::ops::export::{Exporter, Operand};
use crate::ops::import::operand;
use crate::ops::{Operator, broadcast, check};

impl Operator for Binary {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let (a, b) = (operand(operands, 0)?, operand(operands, 1)?);
        let elem = match (&a.elem, &b.elem) {
            (Elem::Float | Elem::Quantized(_), Elem::Float | Elem::Quantized(_)) => Elem::Float,
            (Elem::Int(p), Elem::Int(q)) if p == q => Elem::Int(*p),
            (p, q) => bail!(
                "{} of {} and {}", self.function.name(), check::kind(p), check::kind(q);
                hint: "both operands need one numeric type"
            ),
        };
        check::typed(broadcast::shape(&a.shape, &b.shape)?, elem)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let [Some(a), Some(b)] = operands[..] else {
            unreachable!("infer demands both operands")
        };
        let shape = broadcast::shape(&a.shape, &b.shape).expect("infer checked the shapes");
        if let (Data::I64(v), Data::I64(w)) = (&a.data, &b.data) {
            let f = |a, b| self.function.apply_integer(a, b);
            let data = broadcast::zip(&shape, (&a.shape, v), (&b.shape, w), f);
            return Array::i64(shape, data);
        }
        let mut data = self.function.zip(&shape, a, b);
        if self.activation != Clamp::NONE {
            let clamp = self.activation;
            data.iter_mut().for_each(|x| *x = clamp.apply(*x));
        }
        Array::f32(shape, data)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        self.to_onnx(operands, to)
    }
}

impl BinaryFunction {
    /// The ONNX operator.
    pub fn name(self) -> &'static str {
        match self {
            BinaryFunction::Add => "Add",
            BinaryFunction::Sub => "Sub",
            BinaryFunction::Mul => "Mul",
            BinaryFunction::Div => "Div",
            BinaryFunction::Max => "Max",
            BinaryFunction::Min => "Min",
            BinaryFunction::Pow => "Pow",
        }
    }

    /// The function's value at two reals; Max and Min of a NaN are NaN.
    #[inline(always)]
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            BinaryFunction::Add => a + b,
            BinaryFunction::Sub => a - b,
            BinaryFunction::Mul => a * b,
            BinaryFunction::Div => a / b,
            BinaryFunction::Max if a > b || a.is_nan() => a,
            BinaryFunction::Min if a < b || a.is_nan() => a,
            BinaryFunction::Max | BinaryFunction::Min => b,
            BinaryFunction::Pow => f64::from(a).powf(f64::from(b)) as f32,
        }
    }

    fn zip(self, shape: &[usize], a: &Array, b: &Array) -> Vec<f32> {
        // One loop a function, so that none holds a match.
        macro_rules! loops {
            ($($function:ident)+) => {
                match self {
                    $(BinaryFunction::$function => {
                        let (a, b) = ((&a.shape[..], a.reals()), (&b.shape[..], b.reals()));
                        broadcast::zip(shape, a, b, |a, b| BinaryFunction::$function.apply(a, b))
                    })+
                }
            };
        }
        loops!(Add Sub Mul Div Max Min Pow)
    }

    fn apply_integer(self, a: i64, b: i64) -> i64 {
        match self {
            BinaryFunction::Add => a.wrapping_add(b),
            BinaryFunction::Sub => a.wrapping_sub(b),
            BinaryFunction::Mul => a.wrapping_mul(b),
            BinaryFunction::Div => a.checked_div(b).unwrap_or(0),
            BinaryFunction::Max => a.max(b),
            BinaryFunction::Min => a.min(b),
            BinaryFunction::Pow => match u32::try_from(b) {
                Ok(exponent) => a.wrapping_pow(exponent),
                Err(_) => f64::powf(a as f64, b as f64) as i64,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::IntType;

    fn binary(function: BinaryFunction) -> Binary {
        Binary {
            function,
            activation: Clamp::NONE,
        }
    }

    #[test]
    fn reals_broadcast_and_saturate() {
        let a = Array::f32([1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Array::f32([2, 1, 1], vec![10.0, -10.0]);
        let add = Binary {
            activation: Clamp::RELU,
            ..binary(BinaryFunction::Add)
        };
        let y = add.eval(&[Some(&a), Some(&b)]);
        assert_eq!(y, Array::f32([1, 2, 1, 2], vec![11.0, 12.0, 0.0, 0.0]));
    }

    #[test]
    fn each_function_on_reals_and_integers() {
        let cases = [
            (BinaryFunction::Add, 9.0, 9),
            (BinaryFunction::Sub, 5.0, 5),
            (BinaryFunction::Mul, 14.0, 14),
            (BinaryFunction::Div, 3.5, 3),
            (BinaryFunction::Max, 7.0, 7),
            (BinaryFunction::Min, 2.0, 2),
            (BinaryFunction::Pow, 49.0, 49),
        ];
        let (a, b) = (Array::f32([1], vec![7.0]), Array::f32([], vec![2.0]));
        let (i, j) = (Array::i64([1], vec![7]), Array::i64([], vec![2]));
        for (function, real, integer) in cases {
            assert_eq!(
                binary(function).eval(&[Some(&a), Some(&b)]).reals(),
                [real],
                "{function:?}"
            );
            assert_eq!(
                binary(function).eval(&[Some(&i), Some(&j)]).ints(),
                [integer],
                "{function:?}"
            );
        }
    }

    #[test]
    fn hostile_integers_do_not_panic() {
        let a = Array::i64([2], vec![i64::MIN, i64::MAX]);
        let zero = Array::i64([], vec![0]);
        let minus = Array::i64([], vec![-1]);
        assert_eq!(
            binary(BinaryFunction::Div)
                .eval(&[Some(&a), Some(&zero)])
                .ints(),
            [0, 0]
        );
        assert_eq!(
            binary(BinaryFunction::Div)
                .eval(&[Some(&a), Some(&minus)])
                .ints()[0],
            0
        );
        binary(BinaryFunction::Pow).eval(&[Some(&a), Some(&a)]);
    }

    #[test]
    fn maxima_of_nan_are_nan() {
        for function in [BinaryFunction::Max, BinaryFunction::Min] {
            assert!(function.apply(f32::NAN, 1.0).is_nan());
            assert!(function.apply(1.0, f32::NAN).is_nan());
        }
    }

    #[test]
    fn mixed_types_are_refused() {
        let integers = Type {
            shape: vec![2],
            elem: Elem::Int(IntType::I64),
        };
        let error = binary(BinaryFunction::Add)
            .infer(&[Some(&Type::float([2])), Some(&integers)])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Add of real numbers and integers; hint: both operands need one numeric type"
        );
    }
}
