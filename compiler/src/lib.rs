//! qcc: ONNX networks to standalone integer Rust and C.
//!
//! The pipeline on one page:
//!
//! ```text
//! ONNX bytes ── onnx ──▶ ir::Model of reals (opsets end here; constants folded)
//!            ── passes ▶ batch norm folded, activations fused, ranges annotated, quantized, fused
//!            ── lower ─▶ kernel::Program: kernels over named vector operations, one arena
//!            ── backend▶ C or Rust text
//! ```
//!
//! `integer` evaluates the quantized model and is the oracle for everything emitted.

pub mod backend;
pub mod data;
mod embedded;
mod error;
pub mod eval;
pub mod harness;
pub mod integer;
pub mod ir;
pub mod kernel;
pub mod kernels;
pub mod lower;
pub mod onnx;
pub mod ops;
pub mod passes;
pub mod pipeline;
pub mod prove;
pub mod target;

pub use error::{Diagnostic, Error, Result};
