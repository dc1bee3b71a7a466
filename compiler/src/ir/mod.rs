//! The quantization-aware graph: types, their laws and their verifier. No algorithm lives here.
//!
//! A [`Model`] is a list of nodes in topological order over a table of [`Tensor`]s.
//! Every node has exactly one output.
//! Shapes are static and logical: images are `[N, C, H, W]` as in ONNX, whatever order a machine
//! stores them in (that is decided while lowering).
//! How integers stand for reals is part of a tensor's type ([`Elem::Quantized`]), so a model in which
//! some tensors are quantized and others are not needs no flag.

mod array;
mod model;
mod numerics;
mod quant;
mod text;
mod verify;

pub(crate) use array::strides;
pub use array::{Array, Data};
pub use model::{Channel, Model, Moments, Node, Tensor, TensorId, Type};
pub use numerics::Numerics;
pub use quant::{Clamp, Elem, Granularity, IntType, QuantParams, Range, blocks};
pub use verify::verify;
