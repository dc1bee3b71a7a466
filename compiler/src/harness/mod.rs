//! Emitted programs under real compilers: built beside a check program, fed with samples, timed, counted.

mod bytes;
mod compiler;
mod counter;
mod emulator;
mod program;

pub use bytes::{from_ports, to_ports};
pub use compiler::{Compiler, Skipped, compilers, runs_here};
pub use counter::{Count, Counter};
pub use emulator::{Runner, runner};
pub use program::{Answers, Executable, Layers, Timing};

#[cfg(test)]
mod tests;
