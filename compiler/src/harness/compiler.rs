//! The compilers of this machine, and what they are told.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::emulator::text;
use crate::target::{Language, Simulator, Target};

/// A compiler with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// For reports: `gcc -O3`.
    pub name: String,
    /// What it compiles.
    pub language: Language,
    /// The command.
    pub command: PathBuf,
    /// Its options.
    pub arguments: Vec<String>,
    /// Names and texts of files that programs are compiled beside.
    pub files: Vec<(String, &'static str)>,
    /// The command that runs programs, or the simulator's arguments; empty where they run by themselves.
    pub run: Vec<String>,
    /// What is compiled for this machine to run them.
    pub simulator: Option<Simulator>,
    /// Whether its programs have no operating system.
    pub freestanding: bool,
}

/// Something that could not be done here, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The compilers that are looked for.
pub(super) const C_COMPILERS: &[&str] = &["gcc", "clang", "clang-19"];

/// The lowest and the highest level of optimisation.
pub(super) const LEVELS: [&str; 2] = ["0", "3"];

/// Every compiler of a language, at the lowest and the highest level of optimisation, and those that are
/// not installed. All treat warnings as errors.
pub fn compilers(target: &Target, language: Language) -> (Vec<Compiler>, Vec<Skipped>) {
    let (mut found, mut skipped) = (vec![], vec![]);
    let names = match language {
        Language::C => C_COMPILERS,
        Language::Rust => &["rustc"],
    };
    for name in names {
        let command = PathBuf::from(name);
        if !answers(&command) {
            skipped.push(Skipped {
                name: name.to_string(),
                reason: "not installed".to_string(),
            });
            continue;
        }
        for level in LEVELS {
            found.push(Compiler::new(target, language, &command, level));
        }
    }
    (found, skipped)
}

pub(super) fn answers(command: &Path) -> bool {
    let version = Command::new(command).arg("--version").output();
    version.is_ok_and(|v| v.status.success())
}

/// What any program is compiled with: warnings are errors.
pub(super) fn options(language: Language, level: &str) -> Vec<String> {
    let (strict, level) = match language {
        Language::C => (
            &["-std=c99", "-Wall", "-Wextra", "-Werror"][..],
            format!("-O{level}"),
        ),
        Language::Rust => (
            &["--edition=2024", "-Dwarnings"][..],
            format!("-Copt-level={level}"),
        ),
    };
    strict
        .iter()
        .map(|o| o.to_string())
        .chain([level])
        .collect()
}

impl Compiler {
    /// A compiler at a level of optimisation, warnings as errors.
    pub fn new(target: &Target, language: Language, command: &Path, level: &str) -> Compiler {
        let mut arguments = options(language, level);
        match language {
            Language::C => arguments.extend(target.c.flags.iter().cloned()),
            Language::Rust => {
                let features = target.rust.features.iter().map(|f| format!("+{f}"));
                let features = features.collect::<Vec<_>>().join(",");
                if !features.is_empty() {
                    arguments.push(format!("-Ctarget-feature={features}"));
                }
            }
        }
        Compiler {
            name: format!("{} -O{level}", command.display()),
            language,
            command: command.to_path_buf(),
            arguments,
            files: vec![],
            run: vec![],
            simulator: None,
            freestanding: false,
        }
    }

    /// The same compiler with further options.
    pub fn with(mut self, options: &[&str]) -> Compiler {
        for option in options {
            self.name += &format!(" {option}");
            self.arguments.push(option.to_string());
        }
        self
    }
}

/// Compiles a file of `codegen-templates` for this machine, in a folder.
///
/// # Errors
///
/// What the compilers say.
pub(super) fn compile_here(
    folder: &Path,
    file: &str,
    options: &[&str],
    out: &str,
) -> Result<(), String> {
    std::fs::write(folder.join(file), text(file)).map_err(|e| e.to_string())?;
    let mut reasons = vec![];
    for compiler in C_COMPILERS {
        let mut command = Command::new(compiler);
        command.args(["-O2", "-Wall", "-Wextra", "-Werror", file, "-o", out]);
        match command.args(options).current_dir(folder).output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => reasons.push(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(_) => reasons.push(format!("{compiler} is not installed")),
        }
    }
    Err(reasons.join("; "))
}

impl Simulator {
    /// Compiles it in a folder, where it has its own name.
    ///
    /// # Errors
    ///
    /// What the compilers say.
    pub(super) fn compile(&self, folder: &Path) -> Result<PathBuf, String> {
        let libraries: Vec<_> = self.libraries.iter().map(|l| format!("-l{l}")).collect();
        let options: Vec<_> = libraries.iter().map(String::as_str).collect();
        compile_here(folder, &self.file, &options, "simulator")?;
        Ok(folder.join("simulator"))
    }
}

/// Whether this machine runs a target's programs; else, why not.
/// rustc knows what the processor can do and calls it what targets call it.
pub fn runs_here(target: &Target) -> Result<(), Skipped> {
    if target.is_freestanding() {
        return Err(Skipped {
            name: target.name.clone(),
            reason: "its programs have no operating system".to_string(),
        });
    }
    let features = &target.rust.features;
    if features.is_empty() {
        return Ok(());
    }
    let native = Command::new("rustc")
        .args(["--print", "cfg", "-Ctarget-cpu=native"])
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    let has = |f: &&String| native.contains(&format!("target_feature=\"{f}\""));
    let lacking: Vec<_> = features.iter().filter(|f| !has(f)).cloned().collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Skipped {
            name: target.name.clone(),
            reason: format!("this machine lacks {}", lacking.join(", ")),
        }),
    }
}
