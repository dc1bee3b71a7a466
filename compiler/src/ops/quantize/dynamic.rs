//! The scale and the zero point of DynamicQuantizeLinear
//! (<https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>), which follow from all elements of a tensor.
//!
//! `passes::typing` turns them into operators on reals, after the passes that would round their steps otherwise.

use crate::Result;
use crate::ir::{Array, Elem, IntType, Type};
use crate::ops::export::{Exporter, Operand, int, named};
use crate::ops::{Operator, check};

/// Steps of the integers from 0 to 255.
pub const STEPS: f32 = 255.0;

/// A number of a tensor's smallest and largest element, of which zero counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// `(max − min) / 255`. Operand: `x`.
    Scale,
    /// `round(saturate(−min / scale))`, of 8 bits without a sign. Operands: `x`, `scale`.
    ZeroPoint,
}

impl Operator for Dynamic {
    fn name(&self) -> &'static str {
        match self {
            Dynamic::Scale => "DynamicScale",
            Dynamic::ZeroPoint => "DynamicZeroPoint",
        }
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        check::real(operands, 0)?;
        let elem = match self {
            Dynamic::Scale => Elem::Float,
            Dynamic::ZeroPoint => {
                check::real(operands, 1)?;
                Elem::Int(IntType::U8)
            }
        };
        check::typed(vec![], elem)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand").reals();
        let smallest = x.iter().copied().fold(0.0, f32::min);
        match self {
            Dynamic::Scale => {
                let largest = x.iter().copied().fold(0.0, f32::max);
                Array::f32([], vec![(largest - smallest) / STEPS])
            }
            Dynamic::ZeroPoint => {
                let scale = operands[1].expect("infer demands the scale").reals()[0];
                let nearest = (-smallest / scale).clamp(0.0, STEPS).round_ties_even();
                Array::i64([], vec![nearest as i64])
            }
        }
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let x = named(operands, 0);
        let zero = to.real("zero", 0.0);
        let smallest = to.node("ReduceMin", &[x], vec![("keepdims", int(0))]);
        let smallest = to.node("Min", &[&smallest, &zero], vec![]);
        match self {
            Dynamic::Scale => {
                let largest = to.node("ReduceMax", &[x], vec![("keepdims", int(0))]);
                let largest = to.node("Max", &[&largest, &zero], vec![]);
                let (range, steps) = (
                    to.node("Sub", &[&largest, &smallest], vec![]),
                    to.real("steps", STEPS),
                );
                to.node("Div", &[&range, &steps], vec![])
            }
            Dynamic::ZeroPoint => {
                let negated = to.node("Neg", &[&smallest], vec![]);
                // Without a zero point the integers are of 8 bits without a sign.
                to.node("QuantizeLinear", &[&negated, named(operands, 1)], vec![])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(x: &[f32]) -> (f32, i64) {
        let x = Array::f32([x.len()], x.to_vec());
        let scale = Dynamic::Scale.eval(&[Some(&x)]);
        let zero_point = Dynamic::ZeroPoint.eval(&[Some(&x), Some(&scale)]);
        (scale.reals()[0], zero_point.ints()[0])
    }

    #[test]
    fn the_range_holds_zero() {
        // The examples of the operator's page.
        assert_eq!(of(&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]), (5.0 / 255.0, 153));
        assert_eq!(
            of(&[-1.0, -2.1, -1.3, -2.5, -3.34, -4.0]),
            (4.0 / 255.0, 255)
        );
        assert_eq!(of(&[1.0, 2.1, 1.3, 2.5, 3.34, 4.0]), (4.0 / 255.0, 0));
        assert_eq!(of(&[0.0, 0.0]), (0.0, 0));
    }
}
