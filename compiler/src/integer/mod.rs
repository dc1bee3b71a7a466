//! The integer evaluator: what a quantized model means, bit for bit. Independent of the kernels.
//!
//! Every step on reals is a single IEEE f32 operation in the order written, without fused multiply-add.
//! Sums of products of integers are exact. Nodes whose tensors are reals are evaluated by `real`; nothing falls
//! back to it: the types of a model's tensors say what is computed in floating point.

mod arithmetic;
mod check;
mod conv;
mod elementwise;
mod factor;
mod matmul;
mod movement;
mod pool;
mod real;
mod reduce;
mod resize;
mod softmax;
#[cfg(test)]
mod tests;
pub mod tflite;

use crate::ir::{Array, Data, Elem, Model, Node, Numerics, QuantParams, TensorId, Type};
use crate::ops::Op;
use crate::{Result, bail};

use arithmetic::Term;

pub use check::check;
pub use elementwise::function;
pub use factor::{Factor, factors};
pub(crate) use real::{is_real, real_taps};
pub use resize::linear_taps;
pub use softmax::{Shares, shares};

/// Outputs of a quantized model for inputs of quantized integers, or of reals where they stay such.
pub fn run(model: &Model, inputs: &[Array]) -> Result<Vec<Array>> {
    run_with(model, inputs, &mut |_, _| ())
}

/// [`run`], showing every input and every node's output to `observe` in the order of evaluation.
pub fn run_with(
    model: &Model,
    inputs: &[Array],
    observe: &mut dyn FnMut(TensorId, &Array),
) -> Result<Vec<Array>> {
    check(model)?;
    let mut values: Vec<Option<Array>> = vec![None; model.tensors.len()];
    accept_inputs(model, inputs, &mut values)?;
    for (id, input) in model.inputs.iter().zip(inputs) {
        observe(*id, input);
    }
    let last_uses = last_uses(model);
    for (position, node) in model.nodes.iter().enumerate() {
        let output = eval(&Call {
            model,
            node,
            values: node
                .inputs
                .iter()
                .map(|o| o.and_then(|id| value(model, &values, id)))
                .collect(),
        });
        observe(node.output, &output);
        values[node.output.0 as usize] = Some(output);
        for id in node
            .operands()
            .filter(|id| last_uses[id.0 as usize] == position)
        {
            values[id.0 as usize] = None;
        }
    }
    let output = |id: &TensorId| value(model, &values, *id).expect("outputs are defined");
    Ok(model.outputs.iter().map(|id| output(id).clone()).collect())
}

/// The result of one node of a checked model.
pub(crate) fn node(model: &Model, node: &Node, values: Vec<Option<&Array>>) -> Array {
    eval(&Call {
        model,
        node,
        values,
    })
}

/// The nodes that are computed in floating point, as messages call them; borders to integers are not among them.
pub fn reals(model: &Model) -> Vec<String> {
    let nodes = model.nodes.iter();
    let real = nodes.filter(|node| is_real(model, node) && !is_border(node));
    real.map(Node::label).collect()
}

/// How many nodes there are but for borders between reals and integers.
pub fn layers(model: &Model) -> usize {
    model.nodes.iter().filter(|node| !is_border(node)).count()
}

fn is_border(node: &Node) -> bool {
    matches!(node.op, Op::Quantize(_) | Op::Dequantize(_))
}

/// The integers of a model's inputs given as reals; integers pass through.
pub fn quantize_inputs(model: &Model, inputs: &[Array]) -> Vec<Array> {
    let quantize = |(id, array): (&TensorId, &Array)| match (&model[*id].ty.elem, &array.data) {
        (Elem::Quantized(params), Data::F32(reals)) => Array::i32(
            array.shape.clone(),
            reals.iter().map(|real| params.quantize(*real)).collect(),
        ),
        (Elem::Quantized(_), Data::I64(integers)) => Array::i32(
            array.shape.clone(),
            integers.iter().map(|q| *q as i32).collect(),
        ),
        _ => array.clone(),
    };
    model.inputs.iter().zip(inputs).map(quantize).collect()
}

/// The reals of a model's outputs given as integers; plain integers pass through.
pub fn dequantize_outputs(model: &Model, outputs: Vec<Array>) -> Vec<Array> {
    let dequantize = |(id, array): (&TensorId, Array)| match (&model[*id].ty.elem, &array.data) {
        (Elem::Quantized(params), Data::I32(integers)) => Array::f32(
            array.shape.clone(),
            integers.iter().map(|q| params.dequantize(*q)).collect(),
        ),
        _ => array,
    };
    model.outputs.iter().zip(outputs).map(dequantize).collect()
}

/// A node with the values of its operands.
struct Call<'a> {
    model: &'a Model,
    node: &'a Node,
    values: Vec<Option<&'a Array>>,
}

impl<'a> Call<'a> {
    /// A required operand.
    fn array(&self, operand: usize) -> &'a Array {
        self.optional(operand)
            .expect("`infer` demands required operands")
    }

    /// An operand that can be absent.
    fn optional(&self, operand: usize) -> Option<&'a Array> {
        self.values.get(operand).copied().flatten()
    }

    /// How the integers of an operand stand for reals.
    fn params(&self, operand: usize) -> &'a QuantParams {
        let id = self.node.inputs[operand].expect("`infer` demands required operands");
        params(self.model, id)
    }

    /// `w − z_w` of every weight, the second operand, which `channel` tells the channel of by its flat index.
    fn centred_weights<T: Term>(
        &self,
        channels: usize,
        channel: impl Fn(usize) -> usize,
    ) -> Vec<T> {
        let zero_points = self.params(1).zero_points(channels);
        let weights = self.array(1).quantized().iter().enumerate();
        weights
            .map(|(i, w)| T::of(w - zero_points[channel(i)]))
            .collect()
    }

    /// Whether one of the factors has more than 8 bits.
    fn is_wide(&self) -> bool {
        (0..2).any(|operand| self.params(operand).int.bits > 8)
    }

    /// How the integers of the result stand for reals.
    fn out(&self) -> &'a QuantParams {
        params(self.model, self.node.output)
    }

    /// Whether the result is the sums themselves.
    fn keeps_sums(&self) -> bool {
        self.out().int.bits == 32
    }

    /// Whether the node computes as TFLite does.
    fn is_tflite(&self) -> bool {
        self.model.numerics == Numerics::Tflite
    }

    /// Shape of the result.
    fn shape(&self) -> &'a [usize] {
        &self.model[self.node.output].ty.shape
    }

    /// The result, from its quantized integers.
    fn result(&self, integers: Vec<i32>) -> Array {
        Array::i32(self.shape(), integers)
    }
}

fn params(model: &Model, id: TensorId) -> &QuantParams {
    match &model[id].ty.elem {
        Elem::Quantized(params) => params,
        _ => unreachable!("`check` demands quantized operands"),
    }
}

fn eval(call: &Call) -> Array {
    if is_real(call.model, call.node) {
        return real::eval(call);
    }
    match &call.node.op {
        Op::Conv(op) => conv::conv(op, call),
        Op::ConvTranspose(op) => conv::conv_transpose(op, call),
        Op::MatMul(op) => matmul::matmul(op, call),
        Op::Unary(op) => elementwise::unary(op, call),
        Op::Binary(op) => elementwise::binary(op, call),
        Op::PRelu(_) => elementwise::prelu(call),
        Op::Pool(op) => pool::pool(op, call),
        Op::Reduce(op) => reduce::reduce(op, call),
        Op::ArgMax(op) => reduce::arg_max(op, call),
        Op::Softmax(op) => softmax::softmax(op, call),
        Op::Resize(op) => resize::resize(op, call),
        Op::Concat(op) => movement::concat(op, call),
        Op::Reshape(_) => call.array(0).clone().reshaped(call.shape()),
        Op::Transpose(op) => movement::transpose(op, call),
        Op::Slice(op) => movement::slice(op, call),
        Op::Gather(op) => movement::gather(op, call),
        Op::Pad(op) => movement::pad(op, call),
        Op::BatchNorm(_) | Op::Host(_) | Op::Quantize(_) | Op::Dequantize(_) | Op::Dynamic(_) => {
            unreachable!("`check` refuses these")
        }
    }
}

fn value<'a>(model: &'a Model, values: &'a [Option<Array>], id: TensorId) -> Option<&'a Array> {
    values[id.0 as usize].as_ref().or(model[id].value.as_ref())
}

fn accept_inputs(model: &Model, inputs: &[Array], values: &mut [Option<Array>]) -> Result<()> {
    if inputs.len() != model.inputs.len() {
        bail!(
            "the model has {} inputs, {} were given",
            model.inputs.len(),
            inputs.len()
        );
    }
    for (id, input) in model.inputs.iter().zip(inputs) {
        let Type { shape, elem } = &model[*id].ty;
        let name = &model[*id].name;
        if *shape != input.shape {
            bail!(
                "input `{name}` has shape {shape:?}, {:?} was given",
                input.shape
            );
        }
        match (elem, &input.data) {
            (Elem::Quantized(_), Data::I32(_))
            | (Elem::Float, Data::F32(_))
            | (Elem::Int(_) | Elem::Bool, Data::I64(_)) => {}
            (Elem::Quantized(_), _) => {
                bail!("input `{name}` takes quantized integers"; hint: "use quantize_inputs")
            }
            (Elem::Float, _) => bail!("input `{name}` takes reals"),
            _ => bail!("input `{name}` takes integers"),
        }
        values[id.0 as usize] = Some(input.clone());
    }
    Ok(())
}

/// Position of the last node that reads each tensor; outputs of the model are read forever.
fn last_uses(model: &Model) -> Vec<usize> {
    let mut last = vec![usize::MAX; model.tensors.len()];
    for (position, node) in model.nodes.iter().enumerate() {
        for id in node.operands() {
            last[id.0 as usize] = position;
        }
    }
    for id in &model.outputs {
        last[id.0 as usize] = usize::MAX;
    }
    last
}
