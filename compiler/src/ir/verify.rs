//! What is true of every model between passes:
//!
//! 1. Nodes are in topological order, and no node reads a tensor that nothing defines.
//! 2. A tensor is an input, a constant or the output of exactly one node.
//! 3. Names of tensors and of nodes are unique.
//! 4. A constant's data have the shape and kind of its type.
//! 5. Each node's output has the shape that its operator infers from its operands.
//! 6. Quantized tensors: scales are positive and finite, zero points within the range in use, the range
//!    within the type; one entry for each index of the axis where per channel (for the weights of a grouped
//!    transposed convolution, one for each index and group), or for each block; activations per tensor.
//! 7. Model outputs are defined.
//!
//! 2 to 4 and 6 concern the tensors in use: passes may leave others behind.

use std::collections::HashSet;

use crate::ir::{Array, Data, Elem, Granularity, Model, Node, QuantParams, Tensor, TensorId, Type};
use crate::ops::Op;
use crate::{Result, bail};

/// Checks the list above; the error names the node or tensor and the broken rule.
pub fn verify(model: &Model) -> Result<()> {
    let mut defined = vec![false; model.tensors.len()];
    for id in constants(model).chain(model.inputs.iter().copied()) {
        define(model, &mut defined, id)?;
    }
    for node in &model.nodes {
        verify_node(model, node, &mut defined).map_err(|e| e.at(&node.label()))?;
    }
    for id in &model.outputs {
        if !is_defined(model, &defined, *id) {
            bail!("output `{}` is never computed", model[*id].name);
        }
    }
    verify_names(model)?;
    let used = |id: &TensorId| defined[id.0 as usize];
    let mut used = ids(model).filter(used).map(|id| &model[id]);
    used.try_for_each(verify_tensor)
}

fn ids(model: &Model) -> impl Iterator<Item = TensorId> {
    (0..model.tensors.len() as u32).map(TensorId)
}

/// Constants that a node or an output of the model reads, each once.
fn constants(model: &Model) -> impl Iterator<Item = TensorId> {
    let read = model.nodes.iter().flat_map(Node::operands);
    let read = read.chain(model.outputs.iter().copied());
    let known = |id: &TensorId| {
        let tensor = model.tensors.get(id.0 as usize);
        tensor.is_some_and(|t| t.value.is_some())
    };
    let mut seen = HashSet::new();
    read.filter(known).filter(move |id| seen.insert(*id))
}

fn is_defined(model: &Model, defined: &[bool], id: TensorId) -> bool {
    (id.0 as usize) < model.tensors.len() && defined[id.0 as usize]
}

fn define(model: &Model, defined: &mut [bool], id: TensorId) -> Result<()> {
    let Some(slot) = defined.get_mut(id.0 as usize) else {
        bail!("tensor {} does not exist", id.0);
    };
    if std::mem::replace(slot, true) {
        bail!("tensor `{}` is defined twice", model[id].name);
    }
    Ok(())
}

fn verify_node(model: &Model, node: &Node, defined: &mut [bool]) -> Result<()> {
    for id in node.operands() {
        if (id.0 as usize) >= model.tensors.len() {
            bail!("operand {} does not exist", id.0);
        }
        if !defined[id.0 as usize] {
            bail!("operand `{}` is read before it is computed", model[id].name);
        }
    }
    define(model, defined, node.output)?;
    let result = &model[node.output];
    if result.value.is_some() {
        bail!("result `{}` is a constant", result.name);
    }
    let operands: Vec<Option<&Type>> = node
        .inputs
        .iter()
        .map(|operand| operand.map(|id| &model[id].ty))
        .collect();
    let inferred = node.op.infer(&operands)?;
    if inferred.shape != result.ty.shape {
        bail!(
            "result `{}` has shape {:?}, its operands make {:?}",
            result.name,
            result.ty.shape,
            inferred.shape
        );
    }
    verify_granularity(model, node)
}

/// Only constants have a scale for each channel or block.
fn verify_granularity(model: &Model, node: &Node) -> Result<()> {
    let several = |id: &TensorId| match &model[*id].ty.elem {
        Elem::Quantized(params) => !params.is_uniform(),
        _ => false,
    };
    let computed = node
        .operands()
        .filter(|id| model[*id].value.is_none())
        .chain([node.output])
        .find(several);
    if let Some(id) = computed {
        bail!("activation `{}` has several scales", model[id].name);
    }
    for (operand, id) in node.inputs.iter().enumerate() {
        let Some(Tensor { ty, name, .. }) = id.map(|id| &model[id]) else {
            continue;
        };
        let Elem::Quantized(params) = &ty.elem else {
            continue;
        };
        let (axis, scales) = match &params.map {
            Granularity::PerTensor { .. } => continue,
            Granularity::PerChannel { axis, scales, .. } => (axis, scales),
            Granularity::Blocks { .. } => {
                verify_blocks(name, &ty.shape, &params.map)?;
                continue;
            }
        };
        let groups = match &node.op {
            Op::ConvTranspose(op) if operand == 1 => op.groups,
            _ => 1,
        };
        if ty.shape.get(*axis).map(|extent| extent * groups) != Some(scales.len()) {
            bail!(
                "operand `{name}` of shape {:?} has {} scales along axis {axis}",
                ty.shape,
                scales.len()
            );
        }
    }
    Ok(())
}

fn verify_blocks(name: &str, shape: &[usize], map: &Granularity) -> Result<()> {
    let Granularity::Blocks {
        axis, size, scales, ..
    } = map
    else {
        return Ok(());
    };
    let fits = |extent: usize| {
        let lines = shape.iter().product::<usize>() / extent.max(1);
        scales.len() == lines * extent.div_ceil(*size)
    };
    if *size == 0 || !shape.get(*axis).is_some_and(|extent| fits(*extent)) {
        bail!(
            "operand `{name}` of shape {shape:?} has {} scales for blocks of {size} along axis {axis}",
            scales.len()
        );
    }
    Ok(())
}

fn verify_names(model: &Model) -> Result<()> {
    let mut seen = HashSet::new();
    for tensor in &model.tensors {
        if !seen.insert(&tensor.name) {
            bail!("two tensors are named `{}`", tensor.name);
        }
    }
    seen.clear();
    for node in &model.nodes {
        if !seen.insert(&node.name) {
            bail!("two nodes are named `{}`", node.name);
        }
    }
    Ok(())
}

fn verify_tensor(tensor: &Tensor) -> Result<()> {
    let Tensor {
        name, ty, value, ..
    } = tensor;
    if let Some(value) = value {
        if value.shape != ty.shape {
            bail!(
                "constant `{name}` of shape {:?} has data of shape {:?}",
                ty.shape,
                value.shape
            );
        }
        if !is_kind(value, &ty.elem) {
            bail!("constant `{name}` has data of another kind than its type");
        }
    }
    match &ty.elem {
        Elem::Quantized(params) => match broken_law(params) {
            Some(law) => bail!("tensor `{name}`: {law}"),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn is_kind(value: &Array, elem: &Elem) -> bool {
    match elem {
        Elem::Float => matches!(value.data, Data::F32(_)),
        Elem::Int(_) | Elem::Bool => matches!(value.data, Data::I64(_)),
        Elem::Quantized(_) => matches!(value.data, Data::I32(_)),
    }
}

fn broken_law(params: &QuantParams) -> Option<&'static str> {
    let (scales, zero_points) = match &params.map {
        Granularity::PerTensor { scale, zero_point } => (vec![*scale], vec![*zero_point]),
        Granularity::PerChannel {
            scales,
            zero_points,
            ..
        }
        | Granularity::Blocks {
            scales,
            zero_points,
            ..
        } => (scales.clone(), zero_points.clone()),
    };
    let (low, high) = (params.low, params.high);
    let sound = |scale: &f32| scale.is_finite() && *scale > 0.0;
    if low >= high || i64::from(low) < params.int.min() || i64::from(high) > params.int.max() {
        Some("the range in use is not within the type")
    } else if !scales.iter().all(sound) {
        Some("a scale is not positive and finite")
    } else if !zero_points.iter().all(|z| (low..=high).contains(z)) {
        Some("a zero point is outside the range in use")
    } else if scales.len() != zero_points.len() {
        Some("scales and zero points differ in number")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{IntType, TensorId};
    use crate::ops::Reshape;

    /// x [2, 3] reshaped to y [6].
    fn model() -> Model {
        let mut model = Model::new("m");
        let x = model.add_tensor("x", Type::float([2, 3]), None);
        let y = model.add_tensor("y", Type::float([6]), None);
        model.inputs.push(x);
        model.outputs.push(y);
        model.nodes.push(Node {
            name: "flatten".into(),
            op: Reshape { shape: vec![6] }.into(),
            inputs: vec![Some(x)],
            output: y,
        });
        model
    }

    #[test]
    fn every_broken_rule_is_reported() {
        type Breakage = fn(&mut Model);
        let cases: [(Breakage, &str); 9] = [
            (
                |m| m.inputs.clear(),
                "operand `x` is read before it is computed",
            ),
            (
                |m| m.inputs.push(TensorId(0)),
                "tensor `x` is defined twice",
            ),
            (
                |m| m.nodes.push(m.nodes[0].clone()),
                "tensor `y` is defined twice",
            ),
            (
                |m| m.tensors[1].name = "x".into(),
                "two tensors are named `x`",
            ),
            (
                |m| m.tensors[0].value = Some(Array::f32([6], vec![0.0; 6])),
                "tensor `x` is defined twice",
            ),
            (
                |m| m.tensors[1].ty.shape = vec![3, 2],
                "result `y` has shape [3, 2], its operands make [6]",
            ),
            (
                |m| {
                    let params = QuantParams::per_tensor(IntType::U8, 0.0, 3);
                    m.tensors[1].ty.elem = Elem::Quantized(params);
                },
                "a scale is not positive and finite",
            ),
            (
                |m| {
                    let params = QuantParams::per_tensor(IntType::U8, 1.0, 256);
                    m.tensors[1].ty.elem = Elem::Quantized(params);
                },
                "a zero point is outside the range in use",
            ),
            (
                |m| {
                    let id = m.add_tensor("z", Type::float([1]), None);
                    m.outputs.push(id);
                },
                "output `z` is never computed",
            ),
        ];
        verify(&model()).expect("the model is sound");
        for (breakage, message) in cases {
            let mut broken = model();
            breakage(&mut broken);
            let error = verify(&broken).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn constants_agree_with_their_types() {
        let mut model = model();
        model.inputs.clear();
        model.tensors[0].value = Some(Array::f32([6], vec![0.0; 6]));
        let error = verify(&model).unwrap_err().to_string();
        assert!(error.contains("has data of shape [6]"), "{error}");
        model.tensors[0].value = Some(Array::i64([2, 3], vec![0; 6]));
        let error = verify(&model).unwrap_err().to_string();
        assert!(error.contains("data of another kind"), "{error}");
    }

    #[test]
    fn activations_have_one_scale() {
        let mut model = model();
        let params = QuantParams::symmetric_per_channel(IntType::I8, 0, vec![1.0; 6]);
        model.tensors[1].ty.elem = Elem::Quantized(params);
        let error = verify(&model).unwrap_err().to_string();
        assert!(
            error.contains("activation `y` has several scales"),
            "{error}"
        );
    }
}
