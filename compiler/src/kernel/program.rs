//! A whole network as kernels, constants, and the calls that run it. This is all that a backend sees.

use crate::ir::Type;
use crate::kernel::{Kernel, Scalar};

/// A network, lowered for one machine.
#[derive(Clone, Debug)]
pub struct Program {
    /// An identifier: prefix of C names, name of the Rust module.
    pub name: String,
    /// Given by the caller.
    pub inputs: Vec<Port>,
    /// Handed to the caller.
    pub outputs: Vec<Port>,
    /// Bytes of scratch memory, the only memory besides ports, constants and stack.
    pub arena_bytes: usize,
    /// Alignment of the arena and of the constants, in bytes.
    pub align: usize,
    /// In order of first use.
    pub kernels: Vec<Kernel>,
    /// In order of first use; a constant may serve several kernels.
    pub constants: Vec<Constant>,
    /// Run in order.
    pub calls: Vec<Call>,
    /// How many parts a kernel that [runs in parts](Kernel::in_parts) may be cut into, at most; where it is 0, none
    /// does, and there is no entry for several threads.
    pub threads: usize,
}

impl Program {
    /// Bytes of the arena, the inputs and the outputs.
    pub fn data_bytes(&self) -> usize {
        let ports = self.inputs.iter().chain(&self.outputs);
        let ports = ports.map(|port| port.ty.len() * port.scalar.bytes());
        self.arena_bytes + ports.sum::<usize>()
    }
}

/// An input or output of a program: a dense row-major tensor in the caller's memory.
#[derive(Clone, Debug)]
pub struct Port {
    /// The tensor's name in the model.
    pub name: String,
    /// Shape and element type; quantized per tensor, or plain integers.
    pub ty: Type,
    /// Element type in memory.
    pub scalar: Scalar,
}

/// Numbers known at compile time.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Unique in its program; an identifier.
    pub name: String,
    /// How kernels read it.
    pub elem: Scalar,
    /// Little-endian bytes.
    pub bytes: Vec<u8>,
}

/// One kernel, applied.
#[derive(Clone, Debug)]
pub struct Call {
    /// The layer's name in the model, for comments, traces and per-layer timings.
    pub layer: String,
    /// Index into `kernels`.
    pub kernel: usize,
    /// One for each of the kernel's buffers.
    pub args: Vec<Slot>,
    /// Whether it writes over memory that it has read through another buffer.
    pub overlaps: bool,
    /// Multiply-accumulates of the layer, as its operator counts them.
    pub macs: u64,
}

/// Where a buffer of a call lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// In the arena, at a byte offset.
    Arena(usize),
    /// In an input, at an element offset.
    Input(usize, usize),
    /// In an output, at an element offset.
    Output(usize, usize),
}
