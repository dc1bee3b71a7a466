//! Softmax (<https://onnx.ai/onnx/operators/onnx__Softmax.html>).
//!
//! Before opset 13 the operand was flattened to two axes; import reshapes around the node then.

use crate::Result;
use crate::bail;
use crate::ir::{Array, TensorId, Type};
use crate::ops::export::{Exporter, Operand, int, named};
use crate::ops::{Import, Importer, Operator, Reshape, SourceNode, check};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[("Softmax", softmax)];

/// `exp(x − max) / Σ exp(x − max)` along an axis. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// Which axis.
    pub axis: usize,
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = check::real(operands, 0)?;
        if self.axis >= x.shape.len() {
            bail!(
                "axis {} does not exist in a tensor of rank {}",
                self.axis,
                x.shape.len()
            )
        }
        check::reals(x.shape.clone())
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let extent = x.shape[self.axis];
        let inner: usize = x.shape[self.axis + 1..].iter().product();
        let mut y = x.reals().to_vec();
        for block in y.chunks_exact_mut((extent * inner).max(1)) {
            for column in 0..inner {
                let along = || (0..extent).map(|i| i * inner + column);
                let max = along().fold(f32::NEG_INFINITY, |max, i| max.max(block[i]));
                let mut total = 0.0;
                for i in along() {
                    block[i] = (block[i] - max).exp();
                    total += block[i];
                }
                along().for_each(|i| block[i] /= total);
            }
        }
        Array::f32(x.shape.clone(), y)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        to.node(
            "Softmax",
            &[named(operands, 0)],
            vec![("axis", int(self.axis))],
        )
    }
}

fn softmax(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let shape = importer.shape(x).to_vec();
    let rank = shape.len();
    if node.opset >= 13 {
        let axis = node.axis(node.int("axis", -1)?, rank)?;
        return Ok(vec![importer.apply(Softmax { axis }, &[x])?]);
    }
    let axis = match node.int("axis", 1)? {
        // The axis of the flattened operand may be just past the last one.
        axis if axis == rank as i64 => rank,
        axis => node.axis(axis, rank)?,
    };
    if axis + 1 == rank {
        return Ok(vec![importer.apply(Softmax { axis }, &[x])?]);
    }
    let (lead, rest) = shape.split_at(axis);
    let flat = vec![lead.iter().product(), rest.iter().product()];
    let flat = importer.apply(Reshape { shape: flat }, &[x])?;
    let y = importer.apply(Softmax { axis: 1 }, &[flat])?;
    Ok(vec![importer.apply(Reshape { shape }, &[y])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    #[test]
    fn shares_along_the_axis_sum_to_one() {
        // e^0 : e^ln 3 = 1 : 3, and a large offset changes nothing.
        let x = Array::f32([1, 2, 2], vec![0.0, 1000.0, 3f32.ln(), 1000.0]);
        let y = Softmax { axis: 1 }.eval(&[Some(&x)]);
        for (y, expected) in y.reals().iter().zip([0.25, 0.5, 0.75, 0.5]) {
            assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
        }
    }

    #[test]
    fn the_default_axis_depends_on_the_opset() {
        let axis_of = |opset| {
            let x = counting(&[2, 3, 1, 1]);
            let (model, _) = OneNode::new("Softmax", opset)
                .inputs()
                .operand(x)
                .import()
                .unwrap();
            let shapes = model.nodes.iter().map(|n| model[n.output].ty.shape.clone());
            shapes.collect::<Vec<_>>()
        };
        assert_eq!(axis_of(13), [vec![2, 3, 1, 1]]);
        assert_eq!(axis_of(11), [vec![2, 3], vec![2, 3], vec![2, 3, 1, 1]]);
    }

    #[test]
    fn a_missing_axis_is_refused() {
        let node = OneNode::new("Softmax", 13)
            .int("axis", 2)
            .operand(counting(&[2, 3]));
        assert_eq!(
            node.refusal(),
            "axis 2 does not exist in a tensor of rank 2"
        );
    }
}
