//! Fake quantization, as exporters without Q and DQ write it: `clip(round(x / s), low, high) · s`.
//!
//! It becomes QuantizeLinear and DequantizeLinear, step for step the same f32 arithmetic. A product with `1/s` is
//! the quotient only where `s` is a power of two. A rounding beside a Clip that is none of this is refused: 8-bit
//! integers would not be the ones that the network was trained with.

use super::rewrite::{self, insert, subject};
use crate::ir::{Array, Clamp, Data, Elem, IntType, Model, Node, TensorId, Type};
use crate::ops::{BinaryFunction, Dequantize, Function, Op, Quantize, Scales, Unary};
use crate::{Error, Result};

/// Replaces fake quantizations by QuantizeLinear and DequantizeLinear.
pub(super) fn recognise(model: &mut Model) -> Result<usize> {
    let found = rewrite::each(model, recognise_node)?;
    for node in &model.nodes {
        if function(node) == Some(Function::Round) && is_clipped(model, node) {
            return Err(Error::new("this rounding and the Clip beside it quantize in an unknown way")
                .hint(
                    "clip(round(x / s), low, high) * s with constants of at most 8 bits is known; or export \
                     the network with QuantizeLinear and DequantizeLinear",
                )
                .at(&node.label()));
        }
    }
    Ok(found)
}

/// What `clip(round(x / scale), low, high) · scale` is made of.
struct Fake {
    x: TensorId,
    /// Whether `x` is a constant that was divided while importing.
    divided: bool,
    scale: TensorId,
    limits: Clamp,
}

fn recognise_node(model: &mut Model, position: usize) -> Result<bool> {
    let Some(Fake {
        x,
        divided,
        scale,
        limits,
    }) = fake(model, &model.nodes[position])
    else {
        return Ok(false);
    };
    let Some(scales) = scales(&model[x].ty.shape, &model[scale].ty.shape) else {
        return Ok(false);
    };
    let Some(int) = integer_type(limits) else {
        return Ok(false);
    };
    let name = model.nodes[position].name.clone();
    let flat = match scales {
        Scales::One => vec![],
        _ => vec![model[scale].ty.len()],
    };
    let value = model[scale].value.clone().expect("`fake` saw it");
    let ty = Type::float(flat.clone());
    let scale = model.add_tensor(&name, ty, Some(value.reshaped(flat.clone())));
    let zeros = Array::i64(flat.clone(), vec![0; flat.iter().product()]);
    let ty = Type {
        shape: flat,
        elem: Elem::Int(int),
    };
    let zero = model.add_tensor(&name, ty, Some(zeros));
    let (q, at) = match divided {
        true => (rounded(model, x, int, limits), position),
        false => {
            let operands = [Some(x), Some(scale), Some(zero)];
            let q = insert(model, position, &name, Quantize { int, scales }, &operands)?;
            clipped(model, q, position + 1, (int, limits))?
        }
    };
    // The last node of the chain becomes the DQ, so that its name and result stay.
    let node = &mut model.nodes[at];
    node.op = Dequantize { scales }.into();
    node.inputs = vec![Some(q), Some(scale), Some(zero)];
    Ok(true)
}

/// The integers of a constant that is divided by its scale.
fn rounded(model: &mut Model, divided: TensorId, int: IntType, limits: Clamp) -> TensorId {
    let quotients = model[divided].value.as_ref().expect("`fake` saw it");
    let integers = quotients
        .reals()
        .iter()
        .map(|x| limits.apply(x.round_ties_even()) as i64);
    let value = Array::i64(quotients.shape.clone(), integers.collect());
    let ty = Type {
        shape: value.shape.clone(),
        elem: Elem::Int(int),
    };
    let name = model[divided].name.clone();
    model.add_tensor(&name, ty, Some(value))
}

/// Integers within limits that may be narrower than their type, and the position behind the node that clips them.
fn clipped(
    model: &mut Model,
    q: TensorId,
    at: usize,
    (int, limits): (IntType, Clamp),
) -> Result<(TensorId, usize)> {
    if limits.min <= int.min() as f32 && limits.max >= int.max() as f32 {
        return Ok((q, at));
    }
    let name = model[q].name.clone();
    let function = Function::Clamp(limits);
    let clipped = insert(model, at, &name, Unary { function }, &[Some(q)])?;
    Ok((clipped, at + 1))
}

fn fake(model: &Model, node: &Node) -> Option<Fake> {
    let (rounded, scale) = product(model, node)?;
    let (first, second) = (producer(model, rounded)?, |node: &Node| {
        producer(model, subject(node))
    });
    let (limits, divided) = match (function(first)?, second(first)) {
        (Function::Clamp(limits), Some(round)) if function(round) == Some(Function::Round) => {
            (limits, subject(round))
        }
        (Function::Round, Some(clip)) => match function(clip) {
            Some(Function::Clamp(limits)) => (limits, subject(clip)),
            _ => return None,
        },
        _ => return None,
    };
    let whole = |x: f32| x.is_finite() && x == x.trunc();
    if !(whole(limits.min) && whole(limits.max)) {
        return None;
    }
    let positive = |s: &f32| s.is_finite() && *s > 0.0;
    if !reals(model, scale)?.iter().all(positive) {
        return None;
    }
    let known = reals(model, divided).is_some();
    let x = match known {
        true => divided,
        false => dividend(model, producer(model, divided)?, scale)?,
    };
    Some(Fake {
        x,
        divided: known,
        scale,
        limits,
    })
}

/// `x` of `x / scale`, or of `x · (1 / scale)` where that is the same.
fn dividend(model: &Model, quotient: &Node, scale: TensorId) -> Option<TensorId> {
    if let Op::Binary(op) = &quotient.op
        && op.function == BinaryFunction::Div
        && op.activation == Clamp::NONE
    {
        let same = model[quotient.inputs[1]?].value == model[scale].value;
        return same.then(|| subject(quotient));
    }
    let (x, inverse) = product(model, quotient)?;
    let (inverse, scale) = (reals(model, inverse)?, reals(model, scale)?);
    let power_of_two = |s: &f32| s.to_bits() & 0x7f_ffff == 0;
    let mut pairs = scale.iter().zip(inverse);
    let exact = scale.len() == inverse.len() && pairs.all(|(s, i)| s * i == 1.0 && power_of_two(s));
    exact.then_some(x)
}

/// A product of something with a constant.
fn product(model: &Model, node: &Node) -> Option<(TensorId, TensorId)> {
    let (Op::Binary(op), [Some(a), Some(b)]) = (&node.op, &node.inputs[..]) else {
        return None;
    };
    if op.function != BinaryFunction::Mul || op.activation != Clamp::NONE {
        return None;
    }
    match (reals(model, *a), reals(model, *b)) {
        (_, Some(_)) => Some((*a, *b)),
        (Some(_), _) => Some((*b, *a)),
        _ => None,
    }
}

fn reals(model: &Model, id: TensorId) -> Option<&[f32]> {
    match &model[id].value.as_ref()?.data {
        Data::F32(v) => Some(v),
        _ => None,
    }
}

fn producer(model: &Model, id: TensorId) -> Option<&Node> {
    model.producer(id).map(|position| &model.nodes[position])
}

fn function(node: &Node) -> Option<Function> {
    match &node.op {
        Op::Unary(op) => Some(op.function),
        _ => None,
    }
}

/// Whether a Clip to finite limits stands before or behind a rounding.
fn is_clipped(model: &Model, round: &Node) -> bool {
    let clips = |node: &Node| match function(node) {
        Some(Function::Clamp(limits)) => limits.min.is_finite() && limits.max.is_finite(),
        _ => false,
    };
    let readers = model.consumers(round.output);
    let mut around = readers.into_iter().map(|position| &model.nodes[position]);
    around.any(clips) || producer(model, subject(round)).is_some_and(clips)
}

/// Which elements of a tensor share a scale that broadcasts to it.
fn scales(shape: &[usize], scale: &[usize]) -> Option<Scales> {
    let missing = shape.len().checked_sub(scale.len())?;
    let mut varying = (0..scale.len()).filter(|axis| scale[*axis] != 1);
    match (varying.next(), varying.next()) {
        (None, _) => Some(Scales::One),
        (Some(axis), None) => Some(Scales::Axis(axis + missing)),
        _ => None,
    }
}

/// The narrowest type of at most 8 bits that holds the limits.
fn integer_type(limits: Clamp) -> Option<IntType> {
    let signed = limits.min < 0.0;
    let mut types = (2..=8).map(|bits| IntType { bits, signed });
    let found = types.find(|int| {
        let (low, high) = ((*int).min() as f32, (*int).max() as f32);
        low <= limits.min && limits.max <= high
    });
    found.filter(|_| limits.min < limits.max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval;
    use crate::passes::testing::{Sketch, rewritten};

    fn chain(sketch: &mut Sketch, x: TensorId, limits: (f32, f32)) -> TensorId {
        let scale = sketch.constant("s", &[], &[0.3]);
        let divided = sketch.binary("divided", BinaryFunction::Div, x, scale);
        let rounded = sketch.unary("rounded", Function::Round, divided);
        let (min, max) = limits;
        let clip = Function::Clamp(Clamp { min, max });
        let clipped = sketch.unary("clipped", clip, rounded);
        sketch.mul("y", scale, clipped)
    }

    #[test]
    fn the_chain_becomes_q_and_dq_with_the_same_values() {
        for (limits, expected) in [
            ((-32.0, 31.0), vec!["QuantizeLinear", "DequantizeLinear"]),
            (
                (-31.0, 31.0),
                vec!["QuantizeLinear", "Clip", "DequantizeLinear"],
            ),
        ] {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[4]);
            let y = chain(&mut sketch, x, limits);
            let mut model = sketch.model(&[y]);
            let inputs = [Array::f32([4], vec![0.46, -100.0, 0.45, 100.0])];
            let before = eval::run(&model, &inputs).unwrap();
            assert_eq!(rewritten(&mut model, recognise), expected);
            assert_eq!(eval::run(&model, &inputs).unwrap(), before);
        }
    }

    #[test]
    fn a_wide_one_is_refused() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[4]);
        let y = chain(&mut sketch, x, (-1000.0, 1000.0));
        let error = recognise(&mut sketch.model(&[y])).unwrap_err().to_string();
        assert!(
            error.starts_with("rounded (Round): this rounding"),
            "{error}"
        );
    }
}
