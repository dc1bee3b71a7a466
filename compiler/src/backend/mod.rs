//! Printers of programs: one a language. They know targets and Kernel IR; they know no operator.

pub mod c;
mod literal;
mod port;
mod row;
pub mod rust;
mod wrap;

use std::collections::BTreeSet;

use crate::kernel::{Expr, Kernel, Program, Scalar, Stmt};
use crate::target::Target;

/// What the first lines of an emitted file say, and what else the printer is asked for.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// The model's file name.
    pub model: String,
    /// The options that it was compiled with.
    pub options: String,
    /// qcc's version.
    pub version: String,
    /// Whether a function of the caller is told the number of each call when it is done: `NAME_trace` in C,
    /// `super::trace` in Rust.
    pub trace: bool,
    /// Whether a program that threads share comes with threads of the standard library, where the language has them.
    pub thread_pool: bool,
}

/// Bytes of the constants that a program reads.
fn flash_bytes(program: &Program) -> usize {
    program.constants.iter().map(|c| c.bytes.len()).sum()
}

/// Multiply-accumulates of one run.
fn macs(program: &Program) -> u64 {
    program.calls.iter().map(|c| c.macs).sum()
}

/// Whether some call of a kernel gives the same memory to two of its buffers.
fn runs_in_place(program: &Program, kernel: &Kernel) -> bool {
    let calls = program.calls.iter();
    let mut calls = calls.filter(|c| std::ptr::eq(&program.kernels[c.kernel], kernel));
    calls.any(|c| c.overlaps || (1..c.args.len()).any(|i| c.args[..i].contains(&c.args[i])))
}

/// Whether some kernel reads or writes reals.
fn has_reals(program: &Program) -> bool {
    let mut buffers = program.kernels.iter().flat_map(|k| &k.buffers);
    buffers.any(|buffer| buffer.elem == Scalar::F32)
}

/// What the first line of a file calls the program.
fn described(program: &Program) -> &'static str {
    match has_reals(program) {
        true => "kernels of integers and reals",
        false => "integer kernels",
    }
}

/// The operations that a program's kernels use, sorted.
fn operations(program: &Program) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for kernel in &program.kernels {
        statements(&kernel.body, &mut found);
    }
    found
}

fn statements(body: &[Stmt], found: &mut BTreeSet<&'static str>) {
    for stmt in body {
        match stmt {
            Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Do(value) => {
                expression(value, found);
            }
            Stmt::For {
                start, end, body, ..
            } => {
                expression(start, found);
                expression(end, found);
                statements(body, found);
            }
            Stmt::Note(_) => {}
        }
    }
}

fn expression(expr: &Expr, found: &mut BTreeSet<&'static str>) {
    match expr {
        Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => {}
        Expr::Add(a, b) => {
            expression(a, found);
            expression(b, found);
        }
        Expr::Mul(a, _) | Expr::At(_, a) => expression(a, found),
        Expr::Op(name, args) => {
            found.insert(name);
            args.iter().for_each(|a| expression(a, found));
        }
    }
}

/// What each kernel's function is called: its name, unless the file has another use for it.
fn function_names(program: &Program, target: &Target) -> Vec<String> {
    let reserved = target.snippet_names().chain(["run", "run_f32", "quantize"]);
    let mut taken: Vec<String> = reserved.map(str::to_string).collect();
    if program.threads > 0 {
        let own = [
            "run_parallel",
            "run_parallel_unchecked",
            "run_part",
            "share",
            "evaluate",
            "look",
            "wait_for_work",
        ];
        taken.extend(own.map(str::to_string));
    }
    taken.extend(program.constants.iter().map(|c| c.name.clone()));
    let first = taken.len();
    for kernel in &program.kernels {
        taken.push(unique(kernel.name.clone(), &taken));
    }
    taken.split_off(first)
}

/// `name` where it is free, else with the first number that makes it so.
fn unique(name: String, taken: &[String]) -> String {
    if !taken.contains(&name) {
        return name;
    }
    let mut numbered = (2..).map(|i| format!("{name}_{i}"));
    numbered
        .find(|n| !taken.contains(n))
        .expect("some number is free")
}

/// A text that stays on its line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
