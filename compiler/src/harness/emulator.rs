//! Where programs of a machine run: on the processor, or in what emulates the instructions that it lacks.

use std::path::Path;
use std::process::Command;

use crate::embedded::TEMPLATES;
use crate::harness::compiler::{C_COMPILERS, LEVELS, answers, options};
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
    let found = emulated(target, emulator);
    match found.is_empty() {
        true => Err(skipped(format!(
            "{} runs its programs where {} is installed",
            emulator.name, emulator.package
        ))),
        false => Ok(Runner::Emulator(emulator.name.clone(), found)),
    }
}

impl Runner {
    /// For reports.
    pub fn name(&self) -> &str {
        match self {
            Runner::Processor => "the processor",
            Runner::Emulator(name, _) => name,
        }
    }

    /// The compilers of a language whose programs it runs, and what is left out.
    pub fn compilers(&self, target: &Target, language: Language) -> (Vec<Compiler>, Vec<Skipped>) {
        let (name, found) = match self {
            Runner::Processor => return compilers(target, language),
            Runner::Emulator(name, found) => (name, found),
        };
        let of_language = found.iter().filter(|c| c.language == language).cloned();
        let of_language: Vec<Compiler> = of_language.collect();
        let command = match language {
            Language::C => "a C compiler",
            Language::Rust => "rustc",
        };
        let skipped = of_language.is_empty().then(|| Skipped {
            name: command.to_string(),
            reason: format!("{name} runs none of its programs here"),
        });
        (of_language, skipped.into_iter().collect())
    }
}

/// The compilers that find what an emulator needs; none if its own command is not there.
fn emulated(target: &Target, emulator: &Emulator) -> Vec<Compiler> {
    let there = match (&emulator.simulator, emulator.run.first()) {
        (Some(simulator), _) => {
            let folder = tempfile::tempdir();
            folder.is_ok_and(|folder| simulator.compile(folder.path()).is_ok())
        }
        (None, command) => command.is_none_or(|command| answers(Path::new(command))),
    };
    if !there {
        return vec![];
    }
    let c = match emulator.compilers.is_empty() {
        true => C_COMPILERS.iter().map(|name| name.to_string()).collect(),
        false => emulator.compilers.clone(),
    };
    let rust = (!emulator.rust.is_empty()).then(|| format!("rustc {}", emulator.rust.join(" ")));
    let commands = c.into_iter().map(|command| (Language::C, command));
    let commands = commands.chain(rust.map(|command| (Language::Rust, command)));
    let levels = match emulator.levels.is_empty() {
        true => LEVELS.map(str::to_string).to_vec(),
        false => emulator.levels.clone(),
    };
    let mut found = vec![];
    for (language, command) in commands {
        let mut all = levels.iter().map(|level| {
            let words: Vec<&str> = command.split(' ').collect();
            let mut compiler = Compiler::new(target, language, Path::new(words[0]), level);
            if language == Language::C && !emulator.flags.is_empty() {
                compiler.arguments = options(language, level);
                compiler.arguments.extend(emulator.flags.iter().cloned());
            }
            let more = words[1..].iter().map(|word| word.to_string());
            compiler.arguments.extend(more);
            compiler.name += &format!(", {}", emulator.name);
            let files = emulator.files.iter();
            compiler.files = files.map(|name| (name.clone(), text(name))).collect();
            compiler.run = emulator.run.clone();
            compiler.simulator = emulator.simulator.clone();
            compiler.freestanding = emulator.freestanding;
            compiler
        });
        if all.clone().next().as_ref().is_some_and(finds) {
            found.extend(&mut all);
        }
    }
    found
}

/// A file of `codegen-templates`.
pub(super) fn text(name: &str) -> &'static str {
    let file = TEMPLATES.iter().find(|(stem, _)| *stem == name);
    file.expect("a target names files that there are").1
}

/// A library and nothing else: whether there is one for the machine is seen when it is linked.
const FREESTANDING: &str = "#![no_std]
#![no_main]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
";

/// Whether a compiler is there and finds all that its files include.
fn finds(compiler: &Compiler) -> bool {
    let Ok(folder) = tempfile::tempdir() else {
        return false;
    };
    let (file, program) = match compiler.language {
        Language::C => ("empty.c", "int main(void) { return 0; }\n"),
        Language::Rust if compiler.freestanding => ("empty.rs", FREESTANDING),
        Language::Rust => ("empty.rs", "fn main() {}\n"),
    };
    let mut command = Command::new(&compiler.command);
    command.args(&compiler.arguments).current_dir(folder.path());
    for (name, text) in &compiler.files {
        if std::fs::write(folder.path().join(name), text).is_err() {
            return false;
        }
        if name.ends_with(".h") && compiler.language == Language::C {
            command.args(["-include", name]);
        }
    }
    let written = std::fs::write(folder.path().join(file), program);
    let output = command.args([file, "-o", "empty"]).output();
    written.is_ok() && output.is_ok_and(|o| o.status.success())
}
