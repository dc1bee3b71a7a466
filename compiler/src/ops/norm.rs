//! BatchNormalization (<https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>), inference only.

use crate::Result;
use crate::bail;
use crate::ir::{Array, TensorId, Type};
use crate::ops::Attribute;
use crate::ops::export::{Exporter, Operand, named};
use crate::ops::{Import, Importer, Operator, SourceNode, check};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[("BatchNormalization", batch_norm)];

/// `scale · (x − mean) / √(variance + epsilon) + shift`, per channel (axis 1).
///
/// Operands: `x [N, C, ..]`, `scale [C]`, `shift [C]`, `mean [C]`, `variance [C]`; all but `x` constant.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for BatchNorm {
    fn name(&self) -> &'static str {
        "BatchNorm"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = check::real(operands, 0)?;
        let Some(channels) = x.shape.get(1) else {
            bail!("operand 0 of shape {:?} has no channels", x.shape)
        };
        for (index, what) in (1..).zip(["scale", "shift", "mean", "variance"]) {
            let numbers = check::real(operands, index)?;
            if numbers.shape != [*channels] {
                bail!(
                    "{what} has shape {:?}, one number for each of {channels} channels is needed",
                    numbers.shape
                )
            }
        }
        check::reals(x.shape.clone())
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let [scale, shift, mean, variance] =
            [1, 2, 3, 4].map(|i| operands[i].expect("infer demands the operand").reals());
        let inner: usize = x.shape[2..].iter().product();
        let mut y = x.reals().to_vec();
        for (plane, channel) in y
            .chunks_exact_mut(inner.max(1))
            .zip((0..scale.len()).cycle())
        {
            let factor = scale[channel] / (variance[channel] + self.epsilon).sqrt();
            let (mean, shift) = (mean[channel], shift[channel]);
            plane
                .iter_mut()
                .for_each(|x| *x = (*x - mean) * factor + shift);
        }
        Array::f32(x.shape.clone(), y)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let inputs = [0, 1, 2, 3, 4].map(|i| named(operands, i));
        let epsilon = ("epsilon", Attribute::Float(self.epsilon));
        to.node("BatchNormalization", &inputs, vec![epsilon])
    }
}

fn batch_norm(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let trains = node.int("training_mode", 0)? != 0;
    if trains || (1..5).any(|output| node.has_output(output)) {
        bail!("batch normalization in training mode"; hint: "export the model in evaluation mode")
    }
    if node.int("spatial", 1)? == 0 {
        bail!("batch normalization with statistics for each pixel (spatial = 0)"; hint: "export with opset 9 or later")
    }
    let op = BatchNorm {
        epsilon: node.float("epsilon", 1e-5)?,
    };
    let operands = [0, 1, 2, 3, 4].map(|index| node.input(index));
    let operands = operands.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(vec![importer.apply(op, &operands)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    fn node(opset: i64) -> OneNode {
        let per_channel = |a, b| Array::f32([2], vec![a, b]);
        OneNode::new("BatchNormalization", opset)
            .with("epsilon", crate::ops::Attribute::Float(0.25))
            .operand(counting(&[1, 2, 2]))
            .operand(per_channel(2.0, 3.0))
            .operand(per_channel(10.0, 20.0))
            .operand(per_channel(1.0, 4.0))
            .operand(per_channel(0.75, 2.0))
    }

    #[test]
    fn each_channel_has_its_own_line() {
        // Standard deviations 1 and 1.5: 2·(x − 1) + 10 and 2·(x − 4) + 20.
        let expected = Array::f32([1, 2, 2], vec![10.0, 12.0, 18.0, 20.0]);
        assert_eq!(node(15).folded().unwrap(), expected);
        assert_eq!(node(7).folded().unwrap(), expected);
    }

    #[test]
    fn training_is_refused() {
        let message = "batch normalization in training mode";
        assert_eq!(node(15).int("training_mode", 1).refusal(), message);
        assert_eq!(node(7).outputs(&["y", "mean"]).refusal(), message);
    }
}
