//! One form of what has several: the constant operand second; Mul by the reciprocal for Div; Add of the
//! negative for Sub; Mul by itself for squares.

use super::rewrite::{self, reals, set_constant, single, subject};
use crate::Result;
use crate::ir::{Array, Model};
use crate::ops::{BinaryFunction, Function, Op, Unary};

/// Rewrites arithmetic with constants.
pub(super) fn run(model: &mut Model) -> Result<usize> {
    rewrite::each(model, canonicalise)
}

fn canonicalise(model: &mut Model, position: usize) -> Result<bool> {
    let node = &model.nodes[position];
    let Op::Binary(op) = &node.op else {
        return Ok(false);
    };
    let mut op = op.clone();
    let first_known = reals(model, node, 0).is_some();
    let Some(constant) = reals(model, node, 1).filter(|_| !first_known) else {
        return Ok(first_known && swap(model, position));
    };
    let mapped = |f: fn(f32) -> f32| {
        let numbers = constant.reals().iter().map(|c| f(*c));
        Array::f32(constant.shape.clone(), numbers.collect())
    };
    let no_activation = op.activation == crate::ir::Clamp::NONE;
    let constant = match op.function {
        BinaryFunction::Sub => {
            op.function = BinaryFunction::Add;
            mapped(|c| -c)
        }
        BinaryFunction::Div if constant.reals().iter().all(|c| *c != 0.0) => {
            op.function = BinaryFunction::Mul;
            mapped(|c| 1.0 / c)
        }
        BinaryFunction::Pow if no_activation => return Ok(power(model, position)),
        _ => return Ok(false),
    };
    model.nodes[position].op = op.into();
    set_constant(model, position, 1, constant);
    Ok(true)
}

/// The constant operand of a commutative function goes second.
fn swap(model: &mut Model, position: usize) -> bool {
    let node = &mut model.nodes[position];
    let Op::Binary(op) = &node.op else {
        return false;
    };
    use BinaryFunction::{Add, Max, Min, Mul};
    let commutes = matches!(op.function, Add | Mul | Max | Min);
    if commutes {
        node.inputs.swap(0, 1);
    }
    // Two constants would swap for ever; they fold instead.
    commutes && {
        let node = &model.nodes[position];
        reals(model, node, 0).is_none()
    }
}

/// Powers with the exponents 1, 2 and ½.
fn power(model: &mut Model, position: usize) -> bool {
    let node = &model.nodes[position];
    let x = subject(node);
    let same_shape = model[x].ty.shape == model[node.output].ty.shape;
    let Some(exponent) = single(model, node, 1).filter(|_| same_shape) else {
        return false;
    };
    if exponent == 1.0 {
        return rewrite::bypass(model, position);
    }
    let node = &mut model.nodes[position];
    if exponent == 2.0 {
        if let Op::Binary(op) = &mut node.op {
            op.function = BinaryFunction::Mul;
        }
        node.inputs = vec![Some(x), Some(x)];
    } else if exponent == 0.5 {
        let function = Function::Sqrt;
        node.op = Unary { function }.into();
        node.inputs = vec![Some(x)];
    } else {
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{Sketch, rewritten};

    #[test]
    fn arithmetic_with_constants_takes_one_form() {
        let cases = [
            (BinaryFunction::Sub, "Add"),
            (BinaryFunction::Div, "Mul"),
            (BinaryFunction::Pow, "Mul"),
        ];
        for (function, expected) in cases {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[2, 2]);
            let c = sketch.constant("c", &[1], &[2.0]);
            let y = sketch.binary("y", function, x, c);
            let mut model = sketch.model(&[y]);
            assert_eq!(rewritten(&mut model, run), [expected]);
        }
    }

    #[test]
    fn constants_go_second_where_order_does_not_matter() {
        for function in [
            BinaryFunction::Max,
            BinaryFunction::Mul,
            BinaryFunction::Div,
        ] {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[2, 2]);
            let c = sketch.constant("c", &[1], &[2.0]);
            let y = sketch.binary("y", function, c, x);
            let mut model = sketch.model(&[y]);
            assert_eq!(rewritten(&mut model, run), [function.name()]);
            let second = model.nodes[0].inputs[1];
            assert_eq!(second == Some(c), function != BinaryFunction::Div);
        }
    }
}
