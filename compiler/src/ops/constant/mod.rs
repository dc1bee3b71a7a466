//! Operators that exist only while compiling: shape arithmetic that folds to constants
//! (Shape, Size, ConstantOfShape, Range, Cast, Equal, Where, ...;
//! <https://onnx.ai/onnx/operators/onnx__Shape.html> and its neighbours).
//!
//! Dropout and Identity vanish here too, and casts between floating-point types, which are all evaluated
//! in f32. One that depends on the input's values is refused.

mod import;

use crate::ir::{Array, Data, Elem, Type};
use crate::ops::export::{Exporter, Operand};
use crate::ops::import::operand;
use crate::ops::importer::wrap;
use crate::ops::movement::repeated;
use crate::ops::{Operator, broadcast, check};
use crate::{Error, Result, bail};

pub(super) use import::{IMPORTS, elem};

/// An operator that must fold to a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    /// To another element type: reals lose their fraction, integers wrap. Operand: `x`.
    Cast(Elem),
    /// Compares two arrays of one type. Operands: `a`, `b`.
    Compare(Comparison),
    /// Joins truth values. Operands: `a`, `b`.
    Logic(Logic),
    /// The other truth value. Operand: `x`.
    Not,
    /// `condition ? a : b`. Operands: `condition`, `a`, `b`.
    Where,
    /// Remainder of the division `a / b`. Operands: `a`, `b`.
    Remainder {
        /// Whether it has the sign of `a`, as in C, and not of `b`.
        truncated: bool,
    },
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How two truth values are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Logic {
    And,
    Or,
    Xor,
}

impl Operator for Host {
    fn name(&self) -> &'static str {
        match self {
            Host::Cast(_) => "Cast",
            Host::Compare(Comparison::Equal) => "Equal",
            Host::Compare(Comparison::Less) => "Less",
            Host::Compare(Comparison::LessOrEqual) => "LessOrEqual",
            Host::Compare(Comparison::Greater) => "Greater",
            Host::Compare(Comparison::GreaterOrEqual) => "GreaterOrEqual",
            Host::Logic(Logic::And) => "And",
            Host::Logic(Logic::Or) => "Or",
            Host::Logic(Logic::Xor) => "Xor",
            Host::Not => "Not",
            Host::Where => "Where",
            Host::Remainder { .. } => "Mod",
        }
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let first = operand(operands, 0)?;
        match self {
            Host::Cast(elem) => Ok(Type {
                shape: first.shape.clone(),
                elem: elem.clone(),
            }),
            Host::Compare(_) => {
                let (shape, _) = pair(first, operand(operands, 1)?)?;
                check::typed(shape, Elem::Bool)
            }
            Host::Logic(_) => {
                let second = operand(operands, 1)?;
                truth(first)?;
                truth(second)?;
                check::typed(pair(first, second)?.0, Elem::Bool)
            }
            Host::Not => truth(first).map(|()| first.clone()),
            Host::Where => {
                truth(first)?;
                let (shape, elem) = pair(operand(operands, 1)?, operand(operands, 2)?)?;
                check::typed(broadcast::shape(&first.shape, &shape)?, elem)
            }
            Host::Remainder { truncated } => {
                let (shape, elem) = pair(first, operand(operands, 1)?)?;
                if elem == Elem::Float && !truncated {
                    bail!("the remainder of reals needs fmod = 1"; hint: "the file breaks the ONNX specification of Mod");
                }
                check::typed(shape, elem)
            }
        }
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let operands: Vec<&Array> = operands.iter().copied().flatten().collect();
        match self {
            Host::Cast(elem) => cast(operands[0], elem),
            Host::Compare(comparison) => compare(*comparison, operands[0], operands[1]),
            Host::Logic(logic) => {
                let (shape, a, b) = broadcast_pair(operands[0], operands[1]);
                let pairs = a.ints().iter().zip(b.ints());
                Array::i64(shape, pairs.map(|(a, b)| logic.apply(*a, *b)).collect())
            }
            Host::Not => {
                let x = operands[0];
                Array::i64(x.shape.clone(), x.ints().iter().map(|x| 1 - x).collect())
            }
            Host::Where => select(operands[0], operands[1], operands[2]),
            Host::Remainder { truncated } => remainder(*truncated, operands[0], operands[1]),
        }
    }

    fn export(&self, _: &[Option<Operand>], _: &mut Exporter) -> String {
        unreachable!("arithmetic on shapes is folded while importing")
    }
}

impl Host {
    /// Why the operator cannot run on a device.
    pub(super) fn refusal(&self) -> Error {
        Error::new(format!(
            "the operands of {} depend on the input's values",
            self.name()
        ))
        .hint(
            "it is supported where it computes shapes that are known at compile time; \
             move it out of the network, or simplify the model before exporting it",
        )
    }
}

fn truth(ty: &Type) -> Result<()> {
    match ty.elem {
        Elem::Bool => Ok(()),
        _ => bail!(
            "truth values are needed, the operand holds {}",
            check::kind(&ty.elem)
        ),
    }
}

/// The shape that two types of the same elements broadcast to.
fn pair(a: &Type, b: &Type) -> Result<(Vec<usize>, Elem)> {
    if a.elem != b.elem {
        bail!(
            "operands of {} and {}", check::kind(&a.elem), check::kind(&b.elem);
            hint: "both operands need one type"
        );
    }
    Ok((broadcast::shape(&a.shape, &b.shape)?, a.elem.clone()))
}

fn broadcast_pair(a: &Array, b: &Array) -> (Vec<usize>, Array, Array) {
    let shape = broadcast::shape(&a.shape, &b.shape).expect("infer checked the shapes");
    let (a, b) = (repeated(a, &shape), repeated(b, &shape));
    (shape, a, b)
}

impl Logic {
    fn apply(self, a: i64, b: i64) -> i64 {
        match self {
            Logic::And => a & b,
            Logic::Or => a | b,
            Logic::Xor => a ^ b,
        }
    }
}

fn cast(x: &Array, elem: &Elem) -> Array {
    let shape = x.shape.clone();
    match (&x.data, elem) {
        (Data::F32(v), Elem::Int(int)) => {
            Array::i64(shape, v.iter().map(|x| wrap(*x as i64, *int)).collect())
        }
        (Data::F32(v), Elem::Bool) => {
            Array::i64(shape, v.iter().map(|x| i64::from(*x != 0.0)).collect())
        }
        (Data::I64(v), Elem::Float) => Array::f32(shape, v.iter().map(|x| *x as f32).collect()),
        (Data::I64(v), Elem::Int(int)) => {
            Array::i64(shape, v.iter().map(|x| wrap(*x, *int)).collect())
        }
        (Data::I64(v), Elem::Bool) => {
            Array::i64(shape, v.iter().map(|x| i64::from(*x != 0)).collect())
        }
        (Data::F32(_), _) | (Data::I64(_), Elem::Quantized(_)) | (Data::I32(_), _) => x.clone(),
    }
}

fn compare(comparison: Comparison, a: &Array, b: &Array) -> Array {
    let (shape, a, b) = broadcast_pair(a, b);
    let results = match (&a.data, &b.data) {
        (Data::F32(a), Data::F32(b)) => compared(comparison, a, b),
        _ => compared(comparison, a.ints(), b.ints()),
    };
    Array::i64(shape, results)
}

fn compared<T: PartialOrd>(comparison: Comparison, a: &[T], b: &[T]) -> Vec<i64> {
    let holds = |(a, b): (&T, &T)| match comparison {
        Comparison::Equal => a == b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
    };
    a.iter().zip(b).map(|pair| i64::from(holds(pair))).collect()
}

fn select(condition: &Array, a: &Array, b: &Array) -> Array {
    let (shape, a, b) = broadcast_pair(a, b);
    let shape = broadcast::shape(&condition.shape, &shape).expect("infer checked the shapes");
    let condition = repeated(condition, &shape);
    let (a, b) = (repeated(&a, &shape), repeated(&b, &shape));
    match (&a.data, &b.data) {
        (Data::F32(a), Data::F32(b)) => Array::f32(shape, chosen(condition.ints(), a, b)),
        (Data::I32(a), Data::I32(b)) => Array::i32(shape, chosen(condition.ints(), a, b)),
        _ => Array::i64(shape, chosen(condition.ints(), a.ints(), b.ints())),
    }
}

fn chosen<T: Copy>(condition: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    let pairs = condition.iter().zip(a.iter().zip(b));
    pairs
        .map(|(c, (a, b))| if *c != 0 { *a } else { *b })
        .collect()
}

fn remainder(truncated: bool, a: &Array, b: &Array) -> Array {
    let (shape, a, b) = broadcast_pair(a, b);
    match (&a.data, &b.data) {
        (Data::F32(a), Data::F32(b)) => {
            Array::f32(shape, a.iter().zip(b).map(|(a, b)| a % b).collect())
        }
        _ => {
            let pairs = a.ints().iter().zip(b.ints());
            // A remainder of division by zero is 0; ONNX leaves it open.
            let rest = |(a, b): (&i64, &i64)| match a.checked_rem(*b).unwrap_or(0) {
                rest if !truncated && rest != 0 && (rest < 0) != (*b < 0) => rest + b,
                rest => rest,
            };
            Array::i64(shape, pairs.map(rest).collect())
        }
    }
}

#[cfg(test)]
mod tests;
