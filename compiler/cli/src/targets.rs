//! `qcc targets`: the machines.

use qcc_compiler::harness::{self, Runner};
use qcc_compiler::{Result, target};

use crate::output;

/// Arguments of `qcc targets`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Prints one line a machine.
pub(crate) fn run(_: &Args) -> Result<u8> {
    let mut rows = vec![];
    for name in target::names() {
        let target = target::Target::load(name)?;
        let here = match harness::runner(&target, false) {
            Ok(Runner::Processor) => "yes".to_string(),
            Ok(Runner::Emulator(name, _)) => format!("C in {name}"),
            Err(skipped) => format!("no: {}", skipped.reason),
        };
        let flags = target.c.flags.join(" ");
        rows.push(vec![target.name, target.description, flags, here]);
    }
    let header = ["target", "machine", "C flags", "runs here"];
    output::print(&output::table(&header, &rows, header.len()));
    Ok(0)
}
