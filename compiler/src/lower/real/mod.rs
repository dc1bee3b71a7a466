//! Nodes in floating point: each family's file states axes, operands and steps of `kernels::fold`.

mod elements;
mod matmul;
mod pool;
mod product;
mod reduce;
mod transposed;
mod weights;

use crate::ir::Node;
use crate::kernel::Scalar;
use crate::kernels::fold::{Axis, Combine, Finish, Fold, Operand, Output, Step};
use crate::lower::{Lowering, Place, movement};
use crate::ops::{Op, ResizeMode};
use crate::{Result, bail};

/// Lowers a node that `integer::is_real`.
pub(super) fn lower(cx: &mut Lowering, node: &Node) -> Result<()> {
    match &node.op {
        Op::Conv(op) => product::lower(cx, node, op),
        Op::ConvTranspose(op) => transposed::lower(cx, node, op),
        Op::MatMul(op) => matmul::lower(cx, node, op),
        Op::Unary(op) => elements::unary(cx, node, op),
        Op::Binary(op) => elements::binary(cx, node, op),
        Op::PRelu(_) => elements::prelu(cx, node),
        Op::Quantize(_) => elements::quantize(cx, node),
        Op::Dequantize(_) => elements::dequantize(cx, node),
        Op::Pool(op) => pool::lower(cx, node, op),
        Op::Resize(op) => match op.mode {
            ResizeMode::Linear => pool::resize(cx, node, op),
            ResizeMode::Nearest(_) => super::pool::resize(cx, node, op),
        },
        Op::Reduce(op) => reduce::reduce(cx, node, op),
        Op::ArgMax(op) => reduce::arg_max(cx, node, op),
        Op::Softmax(op) => reduce::softmax(cx, node, op),
        Op::Reshape(_) => movement::reshape(cx, node),
        Op::Transpose(op) => movement::transpose(cx, node, op),
        Op::Slice(op) => movement::slice(cx, node, op),
        Op::Gather(op) => movement::gather(cx, node, op),
        Op::Pad(op) => movement::pad(cx, node, op),
        Op::Concat(op) => movement::concat(cx, node, op),
        Op::BatchNorm(_) | Op::Host(_) | Op::Dynamic(_) => {
            bail!("the operator has no form in floating point")
        }
    }
}

/// A kernel of [`Fold`] and its call.
struct Folding<'a> {
    /// What the kernel is called after the layer.
    what: &'a str,
    comment: Vec<String>,
    axes: Vec<Axis>,
    combined: Vec<Axis>,
    operands: Vec<Operand>,
    output: Output,
    start: f32,
    macs: u64,
}

impl Folding<'_> {
    /// Adds the kernel to the program, called on these places: the operands in memory, then the result.
    fn call(self, cx: &mut Lowering, places: &[Place], combine: Combine, finish: Finish) {
        let fold = Fold {
            axes: self.axes,
            combined: self.combined,
            operands: self.operands,
            output: self.output,
            start: self.start.to_bits(),
            combine,
            finish,
            target: cx.target,
        };
        let name = cx.name(self.what);
        let mut kernel = fold.kernel(&name);
        kernel.comment = self.comment;
        cx.call(kernel, places, self.macs);
    }
}

/// An axis that every buffer follows by a step.
fn axis(extent: usize, steps: impl IntoIterator<Item = usize>) -> Axis {
    Axis {
        extent,
        steps: steps.into_iter().map(Step::By).collect(),
    }
}

/// An operand in memory, read for each combined element if `inside`.
fn memory(name: &str, scalar: Scalar, inside: bool) -> Operand {
    Operand {
        name: name.to_string(),
        constant: false,
        scalar,
        bytes: false,
        inside,
    }
}

/// A constant of reals.
fn constant(cx: &mut Lowering, what: &str, reals: &[f32], inside: bool) -> Operand {
    let mut bytes: Vec<u8> = reals.iter().flat_map(|x| x.to_le_bytes()).collect();
    // Vectors are read whole.
    bytes.resize(bytes.len() + cx.target.lanes * 4, 0);
    Operand {
        name: cx.constant(what, Scalar::F32, bytes),
        constant: true,
        scalar: Scalar::F32,
        bytes: false,
        inside,
    }
}

/// What nothing combines.
const NOTHING: Combine = &|_, acc, _| acc;

/// A result of reals.
const REALS: Output = Output {
    scalar: Scalar::F32,
    zero_point: 0,
};
