//! ONNX's protobuf messages as prost types, one to one.
//!
//! `onnx.proto3` is ONNX 1.22's (Apache-2.0), as its own `gen_proto.py` writes it from `onnx.in.proto`.
//! `onnx.rs` is what prost-build makes of it; the test `regenerate` compares them, and rewrites `onnx.rs`
//! when run with `UPDATE=1`.

#[expect(
    missing_docs,
    reason = "generated; documented where the proto file documents it"
)]
#[expect(clippy::doc_overindented_list_items, reason = "generated")]
#[rustfmt::skip]
mod onnx;

pub use onnx::*;
pub use prost::{DecodeError, Message};
