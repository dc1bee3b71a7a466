//! Prints a program as Rust: a `no_std` module of one file.

mod frame;
mod function;
mod layout;
mod reals;
mod threads;

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::{Header, described, function_names, literal, one_line, operations, unique};
use crate::kernel::{Program, Scalar};
use crate::target::{Language, Target, identifiers};

use layout::layout;

/// The text of a program.
pub fn print(program: &Program, target: &Target, header: &Header) -> String {
    let statics = statics(program);
    let names = function_names(program, target);
    let kernels = program.kernels.iter().zip(&names);
    let kernels: Vec<String> = kernels
        .map(|(k, name)| function::kernel(k, name, program, &statics, target))
        .collect();
    let snippets = target.snippets(operations(program), Language::Rust);
    let code = kernels.concat() + &snippets.concat();
    let mut sections = vec![opening(program, target, header)];
    sections.extend(uses(target, &code));
    sections.push(layout(frame::sizes(program, target)));
    sections.push(layout(frame::run(program, &names, target, header)));
    sections.push(layout(reals::run_f32(program, target)));
    if program.threads > 0 {
        sections.push(layout(threads::run_parallel(program, target)));
        if header.thread_pool {
            sections.push(layout(threads::pool()));
        }
        sections.push(layout(threads::parts(program, &names, target)));
    }
    sections.extend(kernels);
    sections.extend(snippets.iter().map(|s| format!("{s}\n")));
    if target.align > 8 && !program.constants.is_empty() {
        sections.push(layout(aligned(target.align)));
    }
    sections.extend(constants(program, &statics, target));
    sections.join("\n")
}

/// The comment that a file begins with; not documentation, so that the file can be included anywhere.
fn opening(program: &Program, target: &Target, header: &Header) -> String {
    let mut lines = vec![format!(
        "{}: {} for {}, made by qcc {}.",
        program.name,
        described(program),
        target.name,
        header.version
    )];
    lines.push(format!("Model: {}", header.model));
    if !header.options.is_empty() {
        lines.push(format!("Options: {}", header.options));
    }
    let lines = lines.iter().map(|l| format!("// {}\n", one_line(l)));
    lines.collect()
}

fn uses(target: &Target, code: &str) -> Vec<String> {
    let needed = |beginnings: &[String]| {
        identifiers(code).any(|word| beginnings.iter().any(|b| word.starts_with(b.as_str())))
    };
    let uses = target.rust.uses.iter().filter(|(_, b)| needed(b));
    let lines: String = uses.map(|(path, _)| format!("use {path};\n")).collect();
    if lines.is_empty() {
        vec![]
    } else {
        vec![lines]
    }
}

/// The statics that hold a program's constants.
fn statics(program: &Program) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for constant in &program.constants {
        names.push(unique(constant.name.to_uppercase(), &names));
    }
    names
}

fn aligned(align: usize) -> TokenStream {
    let align = Literal::usize_unsuffixed(align);
    let doc = format!(" Constants at multiples of {align} bytes.");
    quote! {
        #[doc = #doc]
        #[repr(C, align(#align))]
        struct Aligned<T>(T);
    }
}

fn constants(program: &Program, statics: &[String], target: &Target) -> Vec<String> {
    let real = target.ty("f32", Language::Rust) == Some("f32");
    let constants = program.constants.iter().zip(statics);
    let text = constants.map(|(constant, name)| {
        let value = literal::constant(constant.elem, &constant.bytes, real, Language::Rust);
        let len = constant.bytes.len() / constant.elem.bytes();
        let ty = match constant.elem {
            Scalar::I8 | Scalar::U8 => "u8".to_string(),
            Scalar::F32 if !real => "u32".to_string(),
            elem => format!("{elem:?}").to_lowercase(),
        };
        match target.align > 8 {
            true => format!("static {name}: Aligned<[{ty}; {len}]> = Aligned({value});\n"),
            false => format!("static {name}: [{ty}; {len}] = {value};\n"),
        }
    });
    text.collect()
}
