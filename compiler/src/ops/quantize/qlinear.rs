//! Operators on integers are read as what they are short for: DequantizeLinear of each operand, the operator
//! on reals, QuantizeLinear of the result. `passes::typing` then finds the same groups in all files.

use super::import::{binary as arithmetic, integer_type};
use super::{Dequantize, Quantize, Scales};
use crate::ir::{Array, Elem, IntType, TensorId};
use crate::ops::{BinaryFunction, Importer, SourceNode, import_of};
use crate::{Result, bail};

/// `QLinearConv(x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, bias)`.
pub(super) fn conv(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = dequantized(node, importer, 0, Vectors::Along(1))?;
    let w = dequantized(node, importer, 3, Vectors::Along(0))?;
    let mut operands = vec![x, w];
    if let Some(bias) = node.optional(8) {
        let scale = importer.apply(
            arithmetic(BinaryFunction::Mul),
            &[node.input(1)?, node.input(4)?],
        )?;
        operands.push(bias_of(importer, bias, scale)?);
    }
    quantized(node, importer, "Conv", &operands, 6)
}

/// `QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)`.
pub(super) fn matmul(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let a = dequantized(node, importer, 0, Vectors::FromEnd(2))?;
    let b = dequantized(node, importer, 3, Vectors::FromEnd(1))?;
    quantized(node, importer, "MatMul", &[a, b], 6)
}

/// ONNX Runtime's `QGemm(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c, y_scale, y_zero_point)`.
pub(super) fn gemm(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let columns = if node.int("transB", 0)? == 0 { 1 } else { 0 };
    let a = dequantized(node, importer, 0, Vectors::FromEnd(2))?;
    let b = dequantized(node, importer, 3, Vectors::Along(columns))?;
    let mut operands = vec![a, b];
    if let Some(c) = node.optional(6) {
        let mut scale = importer.apply(
            arithmetic(BinaryFunction::Mul),
            &[node.input(1)?, node.input(4)?],
        )?;
        let alpha = node.float("alpha", 1.0)?;
        if alpha != 1.0 {
            let alpha = importer.constant("alpha", Array::f32([], vec![alpha]), Elem::Float);
            scale = importer.apply(arithmetic(BinaryFunction::Mul), &[scale, alpha])?;
        }
        operands.push(bias_of(importer, c, scale)?);
    }
    match node.optional(7) {
        Some(_) => quantized(node, importer, "Gemm", &operands, 7),
        None => on_reals(node, importer, "Gemm", &operands),
    }
}

/// ONNX Runtime's QLinearAdd and QLinearMul.
pub(super) fn binary(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let a = dequantized(node, importer, 0, Vectors::Along(1))?;
    let b = dequantized(node, importer, 3, Vectors::Along(1))?;
    quantized(node, importer, real_name(node), &[a, b], 6)
}

/// ONNX Runtime's operators of one operand: `(x, x_scale, x_zero_point, y_scale, y_zero_point)`.
pub(super) fn unary(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    if node.int("channels_last", 0)? != 0 {
        bail!("channels last are not supported"; hint: "export the model before its layout is changed");
    }
    let x = dequantized(node, importer, 0, Vectors::Along(1))?;
    quantized(node, importer, real_name(node), &[x], 3)
}

/// [`unary`], whose attribute `channels_last` only says where the channels are.
pub(super) fn global_average_pool(
    node: &SourceNode,
    importer: &mut Importer,
) -> Result<Vec<TensorId>> {
    unary(node, importer)
}

/// [`unary`] with the operator set of the Softmax in an attribute.
pub(super) fn softmax(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let mut node = node.clone();
    node.opset = node.int("opset", node.opset)?;
    unary(&node, importer)
}

/// ONNX Runtime's `QLinearConcat(y_scale, y_zero_point, x, x_scale, x_zero_point, ..)`.
pub(super) fn concat(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let operands = (2..node.inputs.len())
        .step_by(3)
        .map(|first| dequantized(node, importer, first, Vectors::Along(1)))
        .collect::<Result<Vec<_>>>()?;
    quantized(node, importer, "Concat", &operands, 0)
}

/// `ConvInteger(x, w, x_zero_point, w_zero_point)`: sums of products as 32-bit integers.
pub(super) fn conv_integer(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    integer_sums(
        node,
        importer,
        "Conv",
        [Vectors::Along(1), Vectors::Along(0)],
    )
}

/// `MatMulInteger(a, b, a_zero_point, b_zero_point)`: sums of products as 32-bit integers.
pub(super) fn matmul_integer(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let vectors = [Vectors::FromEnd(2), Vectors::FromEnd(1)];
    integer_sums(node, importer, "MatMul", vectors)
}

fn integer_sums(
    node: &SourceNode,
    importer: &mut Importer,
    name: &str,
    vectors: [Vectors; 2],
) -> Result<Vec<TensorId>> {
    let one = importer.constant("one", Array::f32([], vec![1.0]), Elem::Float);
    let mut operands = vec![];
    for (index, vectors) in vectors.into_iter().enumerate() {
        let x = node.input(index)?;
        let zero_point = node.optional(2 + index);
        let mut scale = one;
        if let Some(zero_point) = zero_point
            && importer.ty(zero_point).len() > 1
        {
            let count = importer.ty(zero_point).len();
            let ones = Array::f32([count], vec![1.0; count]);
            scale = importer.constant("ones", ones, Elem::Float);
        }
        operands.push(dequantize(importer, x, scale, zero_point, vectors)?);
    }
    let sums = on_reals(node, importer, name, &operands)?;
    let op = Quantize {
        int: IntType::I32,
        scales: Scales::One,
    };
    Ok(vec![importer.apply(op, &[sums[0], one])?])
}

/// The name of the operator on reals: QLinearAdd is Add.
fn real_name(node: &SourceNode) -> &str {
    node.op_type.trim_start_matches("QLinear")
}

/// Along which axis the scales lie where there are several.
#[derive(Clone, Copy)]
enum Vectors {
    Along(usize),
    FromEnd(usize),
}

/// The reals of the operand at `first`, whose scale and zero point follow it.
fn dequantized(
    node: &SourceNode,
    importer: &mut Importer,
    first: usize,
    vectors: Vectors,
) -> Result<TensorId> {
    let (x, scale) = (node.input(first)?, node.input(first + 1)?);
    dequantize(importer, x, scale, node.optional(first + 2), vectors)
}

fn dequantize(
    importer: &mut Importer,
    x: TensorId,
    scale: TensorId,
    zero_point: Option<TensorId>,
    vectors: Vectors,
) -> Result<TensorId> {
    let rank = importer.shape(x).len();
    let axis = match vectors {
        Vectors::Along(axis) => axis,
        Vectors::FromEnd(back) => rank.saturating_sub(back),
    };
    let scales = match importer.ty(scale).len() {
        1 => Scales::One,
        _ if axis < rank => Scales::Axis(axis),
        _ => bail!("a tensor of {rank} axes has scales along axis {axis}"),
    };
    importer.push(Dequantize { scales }, &[Some(x), Some(scale), zero_point])
}

/// The reals of a bias, which is in units of the products.
fn bias_of(importer: &mut Importer, bias: TensorId, scale: TensorId) -> Result<TensorId> {
    let scales = match importer.ty(scale).len() {
        1 => Scales::One,
        _ => Scales::Axis(0),
    };
    importer.push(Dequantize { scales }, &[Some(bias), Some(scale)])
}

/// The operator on reals, with this node's attributes.
fn on_reals(
    node: &SourceNode,
    importer: &mut Importer,
    name: &str,
    operands: &[TensorId],
) -> Result<Vec<TensorId>> {
    let import = import_of("", name).expect("the family imports it");
    let mut attributes = node.attributes.clone();
    attributes.retain(|name, _| !matches!(name.as_str(), "channels_last" | "opset"));
    let real = SourceNode {
        op_type: name.to_string(),
        domain: String::new(),
        attributes,
        inputs: operands.iter().map(|id| Some(*id)).collect(),
        ..node.clone()
    };
    import(&real, importer)
}

/// [`on_reals`], quantized with the scale at operand `scale` and the zero point after it.
fn quantized(
    node: &SourceNode,
    importer: &mut Importer,
    name: &str,
    operands: &[TensorId],
    scale: usize,
) -> Result<Vec<TensorId>> {
    let y = on_reals(node, importer, name, operands)?[0];
    let zero_point = node.optional(scale + 1);
    let int = match zero_point {
        Some(id) => integer_type(&importer.ty(id).elem)?,
        None => IntType::U8,
    };
    let op = Quantize {
        int,
        scales: Scales::One,
    };
    Ok(vec![importer.push(
        op,
        &[Some(y), Some(node.input(scale)?), zero_point],
    )?])
}
