//! Concat (<https://onnx.ai/onnx/operators/onnx__Concat.html>).

use crate::ir::{Array, Data, Elem, TensorId, Type};
use crate::ops::export::{Exporter, Operand, int, named};
use crate::ops::import::operand;
use crate::ops::{Import, Importer, Operator, SourceNode, check};
use crate::{Result, bail};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[("Concat", concat)];

/// Joins tensors along an axis. Operands: one or more.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// Which axis.
    pub axis: usize,
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let first = operand(operands, 0)?;
        let axis = self.axis;
        if axis >= first.shape.len() {
            bail!("axis {axis} does not exist in shape {:?}", first.shape);
        }
        let mut shape = first.shape.clone();
        for index in 1..operands.len() {
            let next = operand(operands, index)?;
            if !same_kind(&first.elem, &next.elem) {
                let kinds = [check::kind(&first.elem), check::kind(&next.elem)];
                bail!(
                    "operand 0 holds {} and operand {index} {}",
                    kinds[0],
                    kinds[1]
                );
            }
            let fits = next.shape.len() == shape.len()
                && (0..shape.len()).all(|i| i == axis || next.shape[i] == shape[i]);
            if !fits {
                bail!(
                    "shapes {:?} and {:?} differ in more than axis {axis}", first.shape, next.shape;
                    hint: "check the sizes given with --batch and --dim"
                );
            }
            shape[axis] = shape[axis].saturating_add(next.shape[axis]);
        }
        check::typed(shape, first.elem.clone())
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let operands: Vec<&Array> = operands.iter().copied().flatten().collect();
        let mut shape = operands[0].shape.clone();
        shape[self.axis] = operands.iter().map(|x| x.shape[self.axis]).sum();
        match operands[0].data {
            Data::F32(_) => Array::f32(shape, self.joined(&operands, Array::reals)),
            Data::I64(_) => Array::i64(shape, self.joined(&operands, Array::ints)),
            Data::I32(_) => Array::i32(shape, self.joined(&operands, Array::quantized)),
        }
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let inputs: Vec<&str> = (0..operands.len()).map(|i| named(operands, i)).collect();
        to.node("Concat", &inputs, vec![("axis", int(self.axis))])
    }
}

impl Concat {
    fn joined<T: Copy>(&self, operands: &[&Array], data: impl Fn(&Array) -> &[T]) -> Vec<T> {
        let rows: usize = operands[0].shape[..self.axis].iter().product();
        let mut joined = Vec::with_capacity(operands.iter().map(|x| x.len()).sum());
        for row in 0..rows {
            for x in operands {
                let width: usize = x.shape[self.axis..].iter().product();
                joined.extend_from_slice(&data(x)[row * width..][..width]);
            }
        }
        joined
    }
}

/// Quantized operands may differ in their parameters: each is converted to the result's.
fn same_kind(a: &Elem, b: &Elem) -> bool {
    match (a, b) {
        (Elem::Quantized(_), Elem::Quantized(_)) => true,
        _ => a == b,
    }
}

fn concat(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let first = node.input(0)?;
    let rank = importer.shape(first).len();
    // Before opset 4 the axis was 1 unless given.
    let axis = node.axis(node.int("axis", 1)?, rank)?;
    if node.inputs.len() == 1 {
        return Ok(vec![first]);
    }
    Ok(vec![importer.push(Concat { axis }, &node.inputs)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    #[test]
    fn rows_are_joined() {
        let node = OneNode::new("Concat", 13).int("axis", -1);
        let node = node.operand(counting(&[2, 1])).operand(counting(&[2, 2]));
        let joined = Array::f32([2, 3], vec![1.0, 1.0, 2.0, 2.0, 3.0, 4.0]);
        assert_eq!(node.folded().unwrap(), joined);
    }

    #[test]
    fn integers_are_joined_along_the_first_axis() {
        let parts = [Array::i32([1, 2], vec![1, 2]), Array::i32([0, 2], vec![])];
        let last = Array::i32([1, 2], vec![3, 4]);
        let operands = [Some(&parts[0]), Some(&parts[1]), Some(&last)];
        let joined = Concat { axis: 0 }.eval(&operands);
        assert_eq!(joined, Array::i32([2, 2], vec![1, 2, 3, 4]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let node = OneNode::new("Concat", 13).int("axis", 0);
        let node = node.operand(counting(&[2, 1])).operand(counting(&[2, 2]));
        let message = "shapes [2, 1] and [2, 2] differ in more than axis 0";
        assert_eq!(node.refusal(), message);
        let node = OneNode::new("Concat", 13).int("axis", 0);
        let node = node
            .operand(counting(&[2]))
            .operand(Array::i64([1], vec![1]));
        let message = "operand 0 holds real numbers and operand 1 integers";
        assert_eq!(node.refusal(), message);
    }
}
