//! Where programs of a machine run: on the processor, or in what emulates the instructions that it lacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::embedded::TEMPLATES;
use crate::harness::compiler::{C_COMPILERS, answers, options};
use crate::harness::{Compiler, Skipped, compilers, runs_here};
use crate::target::{Emulator, Language, Target};

/// What runs the programs of a machine here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// The processor.
    Processor,
    /// An emulator, with the compilers whose programs it runs.
    Emulator(String, Vec<Compiler>),
}

/// What runs the programs of a machine here, the processor if it can; its emulator where that is asked for.
///
/// # Errors
///
/// Why nothing does, and what to install.
pub fn runner(target: &Target, emulate: bool) -> Result<Runner, Skipped> {
    let lacking = match (runs_here(target), emulate) {
        (Ok(()), false) => return Ok(Runner::Processor),
        (Ok(()), true) => None,
        (Err(skipped), _) => Some(skipped.reason),
    };
    let skipped = |reason: String| Skipped {
        name: target.name.clone(),
        reason: lacking
            .iter()
            .cloned()
            .chain([reason])
            .collect::<Vec<_>>()
            .join("; "),
    };
    let Some(emulator) = &target.emulator else {
        return Err(skipped("there is no emulator for it".to_string()));
    };
    let found = emulated(emulator);
    match found.is_empty() {
        true => Err(skipped(format!(
            "{} runs its C programs where {} is installed",
            emulator.name, emulator.package
        ))),
        false => Ok(Runner::Emulator(emulator.name.clone(), found)),
    }
}

impl Runner {
    /// The compilers of a language whose programs it runs, and what is left out.
    pub fn compilers(&self, target: &Target, language: Language) -> (Vec<Compiler>, Vec<Skipped>) {
        match (self, language) {
            (Runner::Processor, _) => compilers(target, language),
            (Runner::Emulator(_, found), Language::C) => (found.clone(), vec![]),
            (Runner::Emulator(name, _), Language::Rust) => {
                let skipped = Skipped {
                    name: "rustc".to_string(),
                    reason: format!("{name} runs C only"),
                };
                (vec![], vec![skipped])
            }
        }
    }
}

/// The compilers that find what an emulator needs; none if its own command is not there.
fn emulated(emulator: &Emulator) -> Vec<Compiler> {
    if emulator
        .run
        .first()
        .is_some_and(|command| !answers(Path::new(command)))
    {
        return vec![];
    }
    let usual = C_COMPILERS.iter().map(|name| name.to_string());
    let names: Vec<String> = match emulator.compilers.is_empty() {
        true => usual.collect(),
        false => emulator.compilers.clone(),
    };
    let files: Vec<_> = emulator
        .files
        .iter()
        .map(|name| (name.clone(), text(name)))
        .collect();
    let compiler = |name: String| {
        // Instructions in plain C take compilers long at higher levels.
        let mut arguments = options(Language::C, "1");
        arguments.extend(emulator.flags.iter().cloned());
        Compiler {
            name: format!("{name} -O1, {}", emulator.name),
            language: Language::C,
            command: PathBuf::from(name),
            arguments,
            files: files.clone(),
            run: emulator.run.clone(),
        }
    };
    names.into_iter().map(compiler).filter(finds).collect()
}

fn text(name: &str) -> &'static str {
    let file = TEMPLATES.iter().find(|(stem, _)| *stem == name);
    file.expect("a target names files that there are").1
}

/// Whether a compiler is there and finds all that its files include.
fn finds(compiler: &Compiler) -> bool {
    let Ok(folder) = tempfile::tempdir() else {
        return false;
    };
    let mut command = Command::new(&compiler.command);
    command.args(&compiler.arguments).current_dir(folder.path());
    for (name, text) in &compiler.files {
        if std::fs::write(folder.path().join(name), text).is_err() {
            return false;
        }
        command.args(["-include", name]);
    }
    let empty = std::fs::write(
        folder.path().join("empty.c"),
        "int main(void) { return 0; }\n",
    );
    let output = command.args(["empty.c", "-o", "empty"]).output();
    empty.is_ok() && output.is_ok_and(|o| o.status.success())
}
