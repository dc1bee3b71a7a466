//! What needs a compiler, an emulator or a model.

pub mod file;
pub mod graph;
