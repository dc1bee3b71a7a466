//! Layers in floating point: which ones, and what their constants become.

use std::collections::BTreeSet;

use super::activations::range;
use super::correction::gains;
use super::rounding::{Rounded, outputs};
use super::weights::own_scales;
use super::{Activations, BiasCorrection, Options, Rounding, Weights, reals, replace};
use crate::ir::{Array, Elem, IntType, Model, Node, TensorId};
use crate::ops::Op;
use crate::passes::rewrite::set_constant;
use crate::{Result, bail};
use qcc_runtime_support::{half, to_half};

/// The names of the nodes that are computed in floating point: those whose scheme says so, and in a network of
/// which a part came quantized those that nothing quantizes and no range is known for, and those whose weights
/// have a scale for each block. Where sums of products are integers of the network, all else is what the file says.
pub(in crate::passes) fn nodes(model: &Model, options: &Options) -> BTreeSet<String> {
    let imported = came_quantized(model);
    let whole = model.nodes.iter().any(|node| keeps_sums(model, node));
    let real = model.nodes.iter().filter(|node| {
        let asked = options.scheme(node).activations == Activations::Float;
        !is_border(node)
            && (asked || imported && lacks_range(model, node, whole) || has_blocks(model, node))
    });
    real.map(|node| node.name.clone()).collect()
}

/// Whether a part of a model came quantized: some activations, or weights alone.
pub(super) fn came_quantized(model: &Model) -> bool {
    let quantized = |id: TensorId| matches!(model[id].ty.elem, Elem::Quantized(_));
    let sums = model.nodes.iter().filter(|node| has_weights(node));
    let weights = sums.filter_map(|node| node.inputs.get(1).copied().flatten());
    let computed = model.nodes.iter().map(|node| node.output);
    let mut all = computed.chain(model.inputs.iter().copied()).chain(weights);
    all.any(quantized)
}

pub(super) fn has_weights(node: &Node) -> bool {
    matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_))
}

/// What came with the file and depends on the input's values.
fn is_border(node: &Node) -> bool {
    matches!(node.op, Op::Quantize(_) | Op::Dequantize(_))
}

/// Whether a scale in the middle of its sums keeps a node from the integers.
fn has_blocks(model: &Model, node: &Node) -> bool {
    let blocks = |id: TensorId| matches!(&model[id].ty.elem, Elem::Quantized(p) if p.has_blocks());
    node.operands().any(blocks)
}

/// Whether a result is sums of products as integers, as in MatMulInteger.
fn keeps_sums(model: &Model, node: &Node) -> bool {
    matches!(&model[node.output].ty.elem, Elem::Quantized(p) if p.int == IntType::I32)
}

/// Whether a node reads or writes reals whose range is not known, or must not be used.
fn lacks_range(model: &Model, node: &Node, unused: bool) -> bool {
    let computed = node.operands().filter(|id| model[*id].value.is_none());
    let mut tensors = computed.chain([node.output]);
    tensors.any(|id| model[id].ty.elem == Elem::Float && (unused || range(model, id).is_none()))
}

/// The constants of a node in floating point: weights get the form that the scheme says, all else is reals.
pub(super) fn constants(model: &mut Model, position: usize, options: &Options) -> Result<()> {
    let node = &model.nodes[position];
    let label = node.label();
    let has_weights = has_weights(node);
    for operand in 0..node.inputs.len() {
        if !has_weights || operand != 1 {
            reals(model, position, operand);
        }
    }
    if has_weights {
        weights(model, position, options).map_err(|e| e.at(&label))?;
    }
    Ok(())
}

fn weights(model: &mut Model, position: usize, options: &Options) -> Result<()> {
    let node = &model.nodes[position];
    let Some(w) = model.constant(node, 1).cloned() else {
        return Ok(());
    };
    let (axis, channels) = outputs(&node.op, &w.shape);
    if let Some(Elem::Quantized(params)) = model.operand_type(node, 1).map(|ty| &ty.elem) {
        // Weights that came quantized stay so where each output channel or block has one scale.
        let kept = params.has_blocks() || own_scales(params, axis, channels).is_ok();
        if !kept || params.int.bits > 8 && params.int != IntType::I16 {
            reals(model, position, 1);
        }
        return Ok(());
    }
    let constants = [1, 2]
        .into_iter()
        .filter_map(|operand| model.constant(node, operand));
    if !constants
        .flat_map(|array| array.reals())
        .all(|x| x.is_finite())
    {
        bail!("weights or bias are not finite"; hint: "the file is damaged, or the network was not trained to the end");
    }
    match options.scheme(node).weights {
        Weights::F32 => {}
        // A layer that the default scheme has no range for: its weights stay as they are.
        Weights::Integers(_) if options.scheme(node).activations != Activations::Float => {}
        Weights::Integers(form) => {
            let mut rounded = Rounded::of(&node.op, &w, form, |_| 0.0);
            if let (Rounding::Gptq, Some(moments)) = (form.rounding, &model[node.output].moments) {
                rounded = rounded.learned(&node.op, &w, form, moments);
            }
            match gains(model, node, options.bias, &rounded.reals) {
                Some(gains) => correct(model, position, &gains),
                None if options.bias != BiasCorrection::None => {
                    rounded = rounded.balanced(&node.op, &w, form);
                }
                None => {}
            }
            let value = Array::i32(w.shape.clone(), rounded.integers);
            replace(model, position, 1, rounded.params, value);
        }
        Weights::F16 => {
            let halves: Vec<f32> = w.reals().iter().map(|x| half(to_half(*x))).collect();
            if halves.iter().any(|x| x.is_infinite()) {
                bail!("a weight is beyond the largest half, 65504"; hint: "leave the layer in f32");
            }
            set_constant(model, position, 1, Array::f32(w.shape.clone(), halves));
        }
    }
    Ok(())
}

/// Adds to the bias of each output channel.
fn correct(model: &mut Model, position: usize, gains: &[f64]) {
    let node = &model.nodes[position];
    let own = model.constant(node, 2).map(Array::reals);
    // A single number stands for every channel.
    let number = |c: usize| own.map_or(0.0, |own| own[c % own.len()]);
    let bias = gains.iter().enumerate();
    let bias = bias.map(|(c, gain)| (f64::from(number(c)) + gain) as f32);
    let bias = Array::f32([gains.len()], bias.collect());
    set_constant(model, position, 2, bias);
}
