//! Functions of one and of two reals, element by element, and the borders between reals and integers.

use crate::Result;
use crate::ir::{Elem, Node, QuantParams, TensorId};
use crate::kernels::elementwise::Source;
use crate::kernels::fold::{Axis, Finish, Operand, Output, Step};
use crate::lower::Lowering;
use crate::lower::real::{Folding, NOTHING};
use crate::ops::{Binary, Unary};
use qcc_runtime_support::functions::{self, Arithmetic};

/// A function of one real.
pub(super) fn unary(cx: &mut Lowering, node: &Node, op: &Unary) -> Result<()> {
    let function = op.function;
    each(cx, node, 1, &function.name().to_lowercase(), &|m, _, v| {
        function.steps(m, &v[0])
    });
    Ok(())
}

/// Arithmetic of two tensors.
pub(super) fn binary(cx: &mut Lowering, node: &Node, op: &Binary) -> Result<()> {
    let exponent = cx.model.constant(node, 1).map(|b| b.reals().to_vec());
    let function = op.function.steps(exponent.as_deref());
    let function = function.expect("`check` demands steps");
    let what = op.function.name().to_lowercase();
    let operands = if function.reads_both() { 2 } else { 1 };
    each(cx, node, operands, &what, &|m, _, v| {
        let y = function.apply(m, &v[0], &v[operands - 1]);
        functions::clamp(m, &y, op.activation.min, op.activation.max)
    });
    Ok(())
}

/// `x < 0 ? slope · x : x`.
pub(super) fn prelu(cx: &mut Lowering, node: &Node) -> Result<()> {
    each(cx, node, 2, "prelu", &|m, _, v| {
        let zero = m.number(0.0);
        let scaled = m.mul(&v[1], &v[0]);
        m.select_less(&v[0], &zero, &scaled, &v[0])
    });
    Ok(())
}

/// `clamp(round(x / scale) + zero_point)`; what is no number becomes the zero point.
pub(super) fn quantize(cx: &mut Lowering, node: &Node) -> Result<()> {
    let params = cx.params(node.output).clone();
    each(cx, node, 1, "quantize", &|m, _, v| {
        distance(m, &v[0], &params)
    });
    Ok(())
}

/// `x / scale`, clamped to the distances from the zero point that integers have.
fn distance<A: Arithmetic>(m: &mut A, x: &A::Real, params: &QuantParams) -> A::Real {
    let (scale, zero_point) = params.uniform();
    let scale = m.number(scale);
    let (low, high) = (params.low - zero_point, params.high - zero_point);
    let (low, zero, high) = (m.number(low as f32), m.number(0.0), m.number(high as f32));
    let x = m.div(x, &scale);
    // A NaN is neither above nor below 0.
    let (above, below) = (m.max(&x, &zero), m.min(&x, &zero));
    let (above, below) = (m.min(&above, &high), m.max(&below, &low));
    m.add(&above, &below)
}

/// `(x − zero_point) · scale`.
pub(super) fn dequantize(cx: &mut Lowering, node: &Node) -> Result<()> {
    let x = node.inputs[0].expect("`infer` demands the operand");
    let (scale, zero_point) = cx.quant(x);
    each(cx, node, 1, "dequantize", &|m, _, v| {
        let (zero_point, scale) = (m.number(zero_point as f32), m.number(scale));
        let distance = m.sub(&v[0], &zero_point);
        m.mul(&distance, &scale)
    });
    Ok(())
}

/// A kernel that applies `f` to each element of the first `count` operands, broadcast to the result.
fn each(cx: &mut Lowering, node: &Node, count: usize, what: &str, f: Finish) {
    let inputs = node.inputs[..count].iter();
    let inputs: Vec<TensorId> = inputs
        .map(|id| id.expect("`infer` demands operands"))
        .collect();
    let y = node.output;
    let sources = cx.sources(&inputs, y);
    let (places, extents) = (sources.places, cx.shape(y));
    let (operands, result) = (sources.space.operands, sources.space.result);
    let buffers: Vec<&Source> = operands.iter().chain([&result]).collect();
    let folding = Folding {
        what,
        comment: vec![comment(cx, node, &inputs)],
        axes: axes(extents, &buffers),
        combined: vec![],
        operands: operands.iter().map(operand).collect(),
        output: Output {
            scalar: result.scalar,
            zero_point: match &cx.model[y].ty.elem {
                Elem::Quantized(params) => params.uniform().1,
                _ => 0,
            },
        },
        start: 0.0,
        macs: 0,
    };
    folding.call(cx, &places, NOTHING, f);
}

fn comment(cx: &Lowering, node: &Node, inputs: &[TensorId]) -> String {
    let shapes: Vec<String> = inputs
        .iter()
        .map(|id| format!("{:?}", cx.shape(*id)))
        .collect();
    let border = |id: TensorId| match &cx.model[id].ty.elem {
        Elem::Quantized(_) => {
            let (scale, zero_point) = cx.quant(id);
            format!(" Scale {scale:e}, zero point {zero_point}.")
        }
        _ => String::new(),
    };
    let borders = border(inputs[0]) + &border(node.output);
    format!("{} of {}.{borders}", node.op.name(), shapes.join(" and "))
}

/// The axes of an element-wise kernel, in the order in which the result lies in memory.
fn axes(extents: &[usize], buffers: &[&Source]) -> Vec<Axis> {
    let mut order: Vec<usize> = (0..extents.len()).collect();
    let result = buffers.last().expect("a result");
    order.sort_by_key(|axis| std::cmp::Reverse(result.strides[*axis]));
    let axis = |axis: usize| Axis {
        extent: extents[axis],
        steps: buffers.iter().map(|b| Step::By(b.strides[axis])).collect(),
    };
    order.into_iter().map(axis).collect()
}

fn operand(source: &Source) -> Operand {
    Operand {
        name: source.name.clone(),
        constant: source.constant,
        scalar: source.scalar,
        bytes: false,
        inside: false,
    }
}
