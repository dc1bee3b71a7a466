//! Which nodes have a meaning in floating point.

use crate::ir::{Elem, Granularity, IntType, Model, Node, TensorId};
use crate::ops::Op;
use crate::{Result, bail};

/// Fails where a node that reads or writes reals has no meaning.
pub(crate) fn check(model: &Model, node: &Node) -> Result<()> {
    match &node.op {
        Op::Quantize(_) => {
            real(model, node.inputs[0])?;
            uniform(model, node.output)
        }
        Op::Dequantize(_) => {
            real(model, Some(node.output))?;
            uniform(model, node.inputs[0].expect("`infer` demands the operand"))
        }
        Op::BatchNorm(_) => {
            bail!("a batch normalisation has no form of its own"; hint: "run the float passes first")
        }
        Op::Host(_) => bail!("{} exists only while compiling", node.op.name()),
        Op::Dynamic(_) => bail!(
            "the zero point is read as an integer";
            hint: "only products of integers (MatMulInteger, ConvInteger) may read what DynamicQuantizeLinear writes"
        ),
        Op::ArgMax(_) => real(model, node.inputs[0]),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) => product(model, node),
        Op::Binary(op) => {
            all_real(model, node)?;
            let exponent = model.constant(node, 1).map(|b| b.reals());
            match op.function.steps(exponent) {
                Some(_) => Ok(()),
                None => bail!(
                    "only the powers 1, 2, 3, 0.5 and -0.5 have a form in floating point";
                    hint: "write other powers as products, or quantize the layer"
                ),
            }
        }
        _ => all_real(model, node),
    }
}

fn all_real(model: &Model, node: &Node) -> Result<()> {
    for id in node.operands().chain([node.output]) {
        real(model, Some(id))?;
    }
    Ok(())
}

fn real(model: &Model, id: Option<TensorId>) -> Result<()> {
    let Some(id) = id else {
        bail!("an operand is missing");
    };
    match model[id].ty.elem {
        Elem::Float => Ok(()),
        Elem::Quantized(_) => bail!("tensor `{}` is quantized, reals are needed", model[id].name),
        _ => bail!(
            "tensor `{}` holds plain integers", model[id].name;
            hint: "arithmetic on integers that depend on the input is not supported"
        ),
    }
}

/// Weights are constants of reals, of 16 bits with a sign or of at most 8 bits, but for a product of two activations.
fn product(model: &Model, node: &Node) -> Result<()> {
    real(model, node.inputs[0])?;
    real(model, Some(node.output))?;
    for operand in node.inputs.iter().skip(2).flatten() {
        real(model, Some(*operand))?;
    }
    if model.operand_type(node, 2).is_some() && model.constant(node, 2).is_none() {
        bail!("the bias depends on the input"; hint: "add it with a node of its own");
    }
    if model.constant(node, 1).is_none() {
        return match node.op {
            Op::MatMul(_) => real(model, node.inputs[1]),
            _ => bail!(
                "the weights depend on the input";
                hint: "only MatMul multiplies two computed tensors"
            ),
        };
    }
    match model.operand_type(node, 1).map(|ty| &ty.elem) {
        Some(Elem::Float) => Ok(()),
        Some(Elem::Quantized(params)) if params.int.bits <= 8 || params.int == IntType::I16 => {
            Ok(())
        }
        Some(Elem::Quantized(params)) => bail!(
            "the weights have {} bits", params.int.bits;
            hint: "beside activations of reals weights have 8 bits or fewer, or 16 with a sign"
        ),
        _ => bail!("the weights are plain integers"),
    }
}

fn uniform(model: &Model, id: TensorId) -> Result<()> {
    match &model[id].ty.elem {
        Elem::Quantized(params) => match params.map {
            Granularity::PerTensor { .. } => Ok(()),
            _ => bail!("tensor `{}` has several scales", model[id].name),
        },
        _ => bail!(
            "scale and zero point are not numbers known at compile time, one for the whole tensor";
            hint: "export the model with static quantization, per tensor for activations"
        ),
    }
}
