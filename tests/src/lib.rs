//! What needs a compiler, an emulator or a model.

pub mod adversarial;
pub mod command;
pub mod file;
pub mod graph;
pub mod parallel;
pub mod programs;
pub mod trained;
