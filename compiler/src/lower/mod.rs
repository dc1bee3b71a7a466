//! From a quantized model to a program: layouts, memory plan, one kernel or more a node.
//!
//! 1. `integer::check`: every node has an integer meaning, or all that have none are reported.
//! 2. `layout`: images that convolutions and their kin touch lie channels last, everything else row-major.
//! 3. `plan`: which tensors share memory (concatenation in place, slices, reshapes, element-wise operators
//!    over an operand that dies), and how wide a halo each region has.
//! 4. Each family's file turns its nodes into calls of kernels over *places*, not addresses.
//! 5. `memory`: lifetimes are read off the calls, places become addresses in one arena; a result may lie over the part
//!    of its operand that is read no more ([`crate::prove::lead`]).
//! 6. `parts`: where several threads are asked for, which loops they share.
//!
//! [`Lowering`] is what a family's file works with.

mod assemble;
mod context;
mod conv;
mod elementwise;
mod layout;
mod links;
mod matmul;
mod memory;
mod movement;
mod needs;
mod parts;
mod plan;
mod pool;
mod ports;
mod product;
mod real;
mod reduce;
mod share;
mod sources;
mod spread;
#[cfg(test)]
mod tests;
mod transposed;
mod whole;
mod winograd;

use crate::integer;
use crate::ir::{Model, Node};
use crate::kernel::Program;
use crate::ops::Op;
use crate::target::Target;
use crate::{Result, bail};

pub use context::Lowering;
pub use memory::Place;
pub use needs::Needs;
pub use parts::{WORTH, share};

/// Choices that the user makes about the emitted program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether images of the caller's inputs lie channels last (`[N, H, W, C]`) instead of as in ONNX.
    pub channels_last_input: bool,
    /// How many threads may share the work of a layer, at most; 0 where the program has no entry for several.
    pub threads: usize,
}

/// Lowers a quantized model for one machine.
pub fn lower(model: &Model, target: &Target, options: &Options) -> Result<Program> {
    integer::check(model)?;
    let plan = plan::plan(model, target, options);
    let mut cx = Lowering::new(model, target, plan);
    ports::read_inputs(&mut cx, options);
    for node in &model.nodes {
        cx.enter(&node.name);
        lower_node(&mut cx, node).map_err(|e| e.at(&node.label()))?;
    }
    ports::write_outputs(&mut cx);
    let mut program = cx.finish(options);
    if options.threads > 0 {
        share(&mut program, target, options.threads, WORTH);
    }
    Ok(program)
}

/// The only list of operators in lowering, beside that of nodes in floating point.
fn lower_node(cx: &mut Lowering, node: &Node) -> Result<()> {
    if integer::is_real(cx.model, node) {
        return real::lower(cx, node);
    }
    match &node.op {
        Op::Conv(op) => conv::lower(cx, node, op),
        Op::ConvTranspose(op) => transposed::lower(cx, node, op),
        Op::MatMul(op) => matmul::lower(cx, node, op),
        Op::Unary(op) => elementwise::unary(cx, node, op),
        Op::Binary(op) => elementwise::binary(cx, node, op),
        Op::PRelu(_) => elementwise::prelu(cx, node),
        Op::Reshape(_) => movement::reshape(cx, node),
        Op::Transpose(op) => movement::transpose(cx, node, op),
        Op::Slice(op) => movement::slice(cx, node, op),
        Op::Gather(op) => movement::gather(cx, node, op),
        Op::Pad(op) => movement::pad(cx, node, op),
        Op::Concat(op) => movement::concat(cx, node, op),
        Op::Pool(op) => pool::lower(cx, node, op),
        Op::Resize(op) => pool::resize(cx, node, op),
        Op::Reduce(op) => reduce::reduce(cx, node, op),
        Op::ArgMax(op) => reduce::arg_max(cx, node, op),
        Op::Softmax(op) => reduce::softmax(cx, node, op),
        Op::BatchNorm(_) | Op::Host(_) | Op::Quantize(_) | Op::Dequantize(_) | Op::Dynamic(_) => {
            bail!("the operator has no integer form")
        }
    }
}
