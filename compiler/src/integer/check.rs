//! Which models have a meaning: every node on integers is listed here, or refused with a hint.

use super::real;
use crate::ir::{Array, Clamp, Data, Elem, IntType, Model, Node, Numerics, QuantParams, TensorId};
use crate::ops::{Op, Reduction};
use crate::{Error, Result, bail};

/// Fails, naming every node that has no integer meaning, with a hint for each.
pub fn check(model: &Model) -> Result<()> {
    let problems = model.nodes.iter().filter_map(|node| {
        let problem = check_node(model, node).err()?;
        Some(problem.at(&node.label()))
    });
    Error::collect(problems)
}

fn check_node(model: &Model, node: &Node) -> Result<()> {
    check_onnx(model, node)?;
    match model.numerics {
        Numerics::Onnx => Ok(()),
        Numerics::Tflite => super::tflite::check(model, node),
    }
}

fn check_onnx(model: &Model, node: &Node) -> Result<()> {
    if real::is_real(model, node) {
        return real::check(model, node);
    }
    match &node.op {
        Op::BatchNorm(_) => {
            bail!("a batch normalisation has no integer form"; hint: "run the float passes first")
        }
        Op::Host(_) => bail!("{} exists only while compiling", node.op.name()),
        Op::Quantize(_) | Op::Dequantize(_) | Op::Dynamic(_) => bail!(
            "scale and zero point are not numbers known at compile time, one for the whole tensor";
            hint: "export the model with static quantization, per tensor for activations"
        ),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) => {
            check_quantized(model, node)?;
            check_sum(model, node)
        }
        Op::PRelu(_) => {
            quantized(model, node.inputs[0])?;
            quantized(model, Some(node.output))?;
            match model.constant(node, 1).map(|slope| &slope.data) {
                Some(Data::F32(_)) => Ok(()),
                _ => bail!("the slope is not a constant of reals"),
            }
        }
        Op::ArgMax(op) => {
            quantized(model, node.inputs[0])?;
            match model.operand_type(node, 0).map(|ty| ty.shape[op.axis]) {
                Some(0) => bail!("axis {} is empty", op.axis),
                _ => Ok(()),
            }
        }
        Op::Reduce(op) if op.reduction == Reduction::Prod => bail!(
            "a product of many integers has no 8-bit form";
            hint: "replace ReduceProd by multiplications"
        ),
        Op::Softmax(op) => {
            check_quantized(model, node)?;
            check_softmax(model, node, op.axis)
        }
        _ => {
            check_quantized(model, node)?;
            check_equal_params(model, node)
        }
    }
}

fn quantized(model: &Model, id: Option<TensorId>) -> Result<&QuantParams> {
    let tensor = match id {
        Some(id) => &model[id],
        None => bail!("an operand is missing"),
    };
    match &tensor.ty.elem {
        Elem::Quantized(params) => Ok(params),
        _ => bail!(
            "tensor `{}` is not quantized", tensor.name;
            hint: "quantize the model first; an operator on plain integers must fold to a constant"
        ),
    }
}

/// Every operand and the result stand for reals; all but weights and biases by one scale.
fn check_quantized(model: &Model, node: &Node) -> Result<()> {
    let has_weights = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_));
    let moves = matches!(node.op, Op::Reshape(_) | Op::Transpose(_));
    for (operand, id) in node.inputs.iter().enumerate() {
        let Some(id) = id else { continue };
        let params = quantized(model, Some(*id))?;
        if moves && params.int == IntType::I32 {
            continue;
        }
        if has_weights && (operand == 1 || operand == 2) {
            check_weights(model, node, operand, params)?;
        } else {
            check_activation(model, Some(*id), params)?;
        }
    }
    let result = quantized(model, Some(node.output))?;
    match result.int == IntType::I32 {
        true if moves => Ok(()),
        true if has_weights => check_whole_sums(model, node, result),
        _ => check_activation(model, Some(node.output), result),
    }
}

/// A result of 32 bits is the sums themselves.
fn check_whole_sums(model: &Model, node: &Node, result: &QuantParams) -> Result<()> {
    let activation = match &node.op {
        Op::Conv(op) => op.activation,
        Op::ConvTranspose(op) => op.activation,
        Op::MatMul(op) => op.activation,
        _ => Clamp::NONE,
    };
    let (s_x, _) = quantized(model, node.inputs[0])?.uniform();
    let w = quantized(model, node.inputs[1])?;
    let channels = match model.constant(node, 1) {
        Some(w) => outputs_of_weights(node, &w.shape).count,
        None => 1,
    };
    let (s_y, z_y) = result.uniform();
    let units = w
        .scales(channels)
        .iter()
        .all(|s_w| (s_x * s_w) / s_y == 1.0);
    let residual = node.inputs.get(3).copied().flatten();
    if !units || z_y != 0 || activation != Clamp::NONE || residual.is_some() {
        bail!(
            "the result has 32 bits and is not a sum of products alone";
            hint: "activations of 8 and 16 bits are supported"
        );
    }
    Ok(())
}

/// Weights and bias are known, but for a product of two activations.
fn check_weights(model: &Model, node: &Node, operand: usize, params: &QuantParams) -> Result<()> {
    if model.constant(node, operand).is_some() {
        if params.has_blocks() {
            bail!(
                "the weights have a scale for each block";
                hint: "beside activations of integers weights have one scale a tensor or an output channel"
            );
        }
        let bits = if operand == 1 { 8 } else { 32 };
        if params.int.bits > bits {
            bail!("the weights have {} bits", params.int.bits; hint: "at most 8 bits are supported beside integers; w16 leaves activations reals");
        }
        return Ok(());
    }
    if operand == 1 && matches!(node.op, Op::MatMul(_)) {
        return check_activation(model, node.inputs[1], params);
    }
    bail!(
        "the weights depend on the input";
        hint: "only MatMul multiplies two computed tensors"
    );
}

fn check_activation(model: &Model, id: Option<TensorId>, params: &QuantParams) -> Result<()> {
    let name = id.map_or("", |id| &model[id].name);
    if !params.is_uniform() {
        bail!("operand `{name}` has several scales");
    }
    if params.int.bits > 16 {
        bail!(
            "operand `{name}` has {} bits", params.int.bits;
            hint: "activations of 8 and 16 bits are supported"
        );
    }
    Ok(())
}

/// No partial sum leaves 32 bits, whatever the input; sums of 16-bit activations may have more.
fn check_sum(model: &Model, node: &Node) -> Result<()> {
    let bound = largest_sum(model, node)?;
    let wide = |operand: usize| {
        let params = quantized(model, node.inputs[operand]);
        params.is_ok_and(|params| params.int.bits > 8)
    };
    let whole = quantized(model, Some(node.output))?.int == IntType::I32;
    if bound > f64::from(i32::MAX) && (whole || !wide(0) && !wide(1)) {
        bail!(
            "sums of products reach {bound:.0}, beyond 32 bits";
            hint: "the layer's weights are too many or its bias too large for 8-bit activations"
        );
    }
    Ok(())
}

/// The largest magnitude that any partial sum can reach: `max over outputs of Σ|w − z_w|·max|x − z_x| + |bias|`.
fn largest_sum(model: &Model, node: &Node) -> Result<f64> {
    let x = quantized(model, node.inputs[0])?;
    let reach = |params: &QuantParams| {
        let (_, zero) = params.uniform();
        f64::from((params.high - zero).max(zero - params.low))
    };
    let Some(w) = model.constant(node, 1) else {
        let b = quantized(model, node.inputs[1])?;
        let shape = &model[node.inputs[1].expect("just read")].ty.shape;
        return Ok(reach(x) * reach(b) * shape[shape.len() - 2] as f64);
    };
    let outputs = outputs_of_weights(node, &w.shape);
    let zero_points = quantized(model, node.inputs[1])?.zero_points(outputs.count);
    let mut sums = vec![0f64; outputs.count];
    for (i, weight) in w.quantized().iter().enumerate() {
        let channel = outputs.of(i);
        sums[channel] += f64::from((weight - zero_points[channel]).abs());
    }
    let bias = model.constant(node, 2).map(Array::quantized);
    let totals = sums.iter().enumerate().map(|(c, sum)| {
        let bias = bias.map_or(0.0, |b| f64::from(b[c].abs()));
        sum * reach(x) + bias
    });
    Ok(totals.fold(0.0, f64::max))
}

/// How the flat index of a weight tells the output channel.
struct Outputs {
    count: usize,
    /// Weights that follow each other with the same channel.
    run: usize,
    /// Channels that follow each other before they repeat.
    cycle: usize,
    /// Weights of one group; the next group has other channels.
    group: usize,
}

impl Outputs {
    fn of(&self, weight: usize) -> usize {
        weight / self.group * self.cycle + weight / self.run % self.cycle
    }
}

fn outputs_of_weights(node: &Node, shape: &[usize]) -> Outputs {
    let size: usize = shape.iter().product();
    match &node.op {
        Op::ConvTranspose(op) => Outputs {
            count: shape[1] * op.groups,
            run: shape[2] * shape[3],
            cycle: shape[1],
            group: size / op.groups,
        },
        Op::MatMul(_) => {
            let columns = shape[shape.len() - 1];
            Outputs {
                count: columns,
                run: 1,
                cycle: columns,
                group: size,
            }
        }
        _ => Outputs {
            count: shape[0],
            run: size / shape[0],
            cycle: shape[0],
            group: size,
        },
    }
}

fn check_softmax(model: &Model, node: &Node, axis: usize) -> Result<()> {
    let out = quantized(model, Some(node.output))?;
    let extent = model[node.output].ty.shape[axis];
    let x = quantized(model, node.inputs[0])?;
    if extent == 0 || super::shares(x, out, extent).is_none() {
        bail!(
            "a softmax over {extent} elements does not fit 32 bits";
            hint: "leave the softmax to the caller"
        );
    }
    Ok(())
}

/// Operators that move integers have equal parameters on both sides.
fn check_equal_params(model: &Model, node: &Node) -> Result<()> {
    let x = quantized(model, node.inputs[0])?;
    // A Reshape may give the same bits another meaning.
    let moves = node.op.moves() && !matches!(node.op, Op::Reshape(_));
    if moves && x != quantized(model, Some(node.output))? {
        bail!("operand and result must have one scale and zero point");
    }
    Ok(())
}
