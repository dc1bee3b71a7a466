//! Which nodes have a meaning in TFLite's numerics.

use super::softmax::LONGEST;
use crate::integer::{params, real};
use crate::ir::{Elem, Model, Node, QuantParams, TensorId};
use crate::ops::{BinaryFunction, Function, Op, Pads, Pool, PoolKind, Reduction, Unary};
use crate::{Result, bail};

/// Fails on a node, which has a meaning in ONNX's numerics, if it has none in TFLite's.
pub(in super::super) fn check(model: &Model, node: &Node) -> Result<()> {
    if real::is_real(model, node) {
        bail!(
            "floating point has no meaning in TFLite's numerics";
            hint: "quantize the layer, or compile without --numerics tflite"
        );
    }
    let wide = |id: &TensorId| {
        matches!(&model[*id].ty.elem, Elem::Quantized(p) if p.int.bits > 8)
            && model[*id].value.is_none()
    };
    if let Some(id) = node.operands().chain([node.output]).find(wide) {
        bail!(
            "tensor `{}` of more than 8 bits has no meaning in TFLite's numerics", model[id].name;
            hint: "give it 8 bits, or compile without --numerics tflite"
        );
    }
    match &node.op {
        Op::Conv(_) if node.inputs.get(3).copied().flatten().is_some() => {
            bail!("TFLite rounds a convolution before it is added to something")
        }
        Op::Conv(_) | Op::ArgMax(_) => Ok(()),
        Op::MatMul(_) if model.constant(node, 1).is_some() => Ok(()),
        Op::Unary(Unary {
            function: Function::Clamp(_),
        }) => Ok(()),
        Op::Binary(op) if op.function == BinaryFunction::Add => Ok(()),
        Op::Pool(op) if !node.op.moves() => average(model, node, op),
        Op::Reduce(op) if op.reduction == Reduction::Mean => Ok(()),
        Op::Softmax(op) => softmax(model, node, op.axis),
        Op::Concat(_) => equal(model, node),
        op if op.moves() => Ok(()),
        op => bail!(
            "{} has no meaning in TFLite's numerics here", op.name();
            hint: "compile without --numerics tflite"
        ),
    }
}

fn first<'a>(model: &'a Model, node: &Node) -> [&'a QuantParams; 2] {
    let x = node.inputs[0].expect("`infer` demands an operand");
    [x, node.output].map(|id| params(model, id))
}

fn average(model: &Model, node: &Node, op: &Pool) -> Result<()> {
    let [from, to] = first(model, node);
    let padded = op.pads != Pads::default();
    if padded
        && op.kind
            == (PoolKind::Average {
                count_include_pad: true,
            })
    {
        bail!("TFLite's AveragePool does not count padding");
    }
    if from.map != to.map && (padded || op.output != [1, 1]) {
        bail!(
            "TFLite's AveragePool has one scale and zero point for operand and result";
            hint: "quantize both alike"
        );
    }
    Ok(())
}

fn softmax(model: &Model, node: &Node, axis: usize) -> Result<()> {
    let shape = &model[node.output].ty.shape;
    if axis + 1 != shape.len() || shape[axis] > LONGEST {
        bail!("TFLite's Softmax is along the last axis, over at most {LONGEST} elements");
    }
    let [_, to] = first(model, node);
    let low = to.int.min() as i32;
    if to.uniform() != (1.0 / 256.0, low) {
        bail!("TFLite's Softmax gives multiples of 1/256 from zero point {low} on");
    }
    Ok(())
}

fn equal(model: &Model, node: &Node) -> Result<()> {
    let result = params(model, node.output);
    if node
        .operands()
        .any(|id| params(model, id).map != result.map)
    {
        bail!(
            "TFLite's concatenation has one scale and zero point for all";
            hint: "quantize operands and result alike"
        );
    }
    Ok(())
}
