//! Emitted programs under real compilers: built beside a check program, fed with samples, timed.

mod bytes;
mod compiler;
mod emulator;
mod program;

pub use bytes::{from_ports, to_ports};
pub use compiler::{Compiler, Skipped, compilers, runs_here};
pub use emulator::{Runner, runner};
pub use program::{Executable, Timing};

#[cfg(test)]
mod tests;
