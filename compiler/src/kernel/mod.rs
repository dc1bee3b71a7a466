//! Kernel IR: what every layer becomes before it is C, Rust, or interpreted.
//!
//! A kernel is straight-line `let`s inside counted loops. Vector operations are named, never typed: what
//! `dot` means is fixed by `interp`, how it is spelled on a machine is a row in `targets/<machine>.toml`.
//! `targets/README.md` lists the vocabulary.

mod access;
pub mod interp;
mod ir;
mod name;
mod program;
mod simplify;
mod work;

pub use access::{Access, accesses};
pub use ir::{Buffer, Expr, Kernel, Scalar, Stmt, at, int, op, var};
pub use name::identifier;
pub use program::{Call, Constant, Port, Program, Slot};
pub use simplify::simplified;
pub use work::Work;
