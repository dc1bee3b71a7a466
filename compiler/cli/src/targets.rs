//! `qcc targets`: the machines.

use qcc_compiler::Result;
use qcc_compiler::harness::{self, Runner};
use qcc_compiler::target::{self, Language, Target};

use crate::output;

/// Arguments of `qcc targets`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// The languages whose programs an emulator runs.
fn emulated(runner: &Runner, target: &Target) -> String {
    let languages = Language::ALL.into_iter();
    let languages = languages.filter(|l| !runner.compilers(target, *l).0.is_empty());
    let languages: Vec<&str> = languages.map(Language::name).collect();
    format!("{} in {}", languages.join(" and "), runner.name())
}

/// Prints one line a machine.
pub(crate) fn run(_: &Args) -> Result<u8> {
    let mut rows = vec![];
    for name in target::names() {
        let target = Target::load(name)?;
        let here = match harness::runner(&target, false) {
            Ok(Runner::Processor) => "yes".to_string(),
            Ok(runner @ Runner::Emulator(..)) => emulated(&runner, &target),
            Err(skipped) => format!("no: {}", skipped.reason),
        };
        let flags = target.c.flags.join(" ");
        rows.push(vec![target.name, target.description, flags, here]);
    }
    let header = ["target", "machine", "C flags", "runs here"];
    output::print(&output::table(&header, &rows, header.len()));
    Ok(0)
}
