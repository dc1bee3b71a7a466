//! Kernels as unsafe functions over pointers.

use super::layout::layout;
use crate::backend::row::Spelling;
use crate::backend::{one_line, wrap};
use crate::kernel::{Expr, Kernel, Program, Scalar, Stmt, simplified};
use crate::target::{Language, Target};

/// The function of a kernel; its constants lie in `statics`.
pub(super) fn kernel(
    kernel: &Kernel,
    name: &str,
    program: &Program,
    statics: &[String],
    target: &Target,
) -> String {
    let constants = program.constants.iter().zip(statics);
    let constants: Vec<_> = constants
        .filter(|(c, _)| kernel.constants.contains(&c.name))
        .collect();
    let buffers = kernel
        .buffers
        .iter()
        .map(|b| (b.name.as_str(), (b.elem, false)));
    let read = constants
        .iter()
        .map(|(c, _)| (c.name.as_str(), (c.elem, true)));
    let spelling = Spelling {
        target,
        language: Language::Rust,
        buffers: read.chain(buffers).collect(),
    };
    let buffers = kernel.buffers.iter().map(|b| {
        let pointer = if b.mutable { "*mut" } else { "*const" };
        format!("{}: {pointer} {}", b.name, spelling.scalar(b.elem))
    });
    let part = ["part: usize".to_string(), "parts: usize".to_string()];
    let part = part.into_iter().filter(|_| kernel.in_parts());
    let params: Vec<String> = buffers.chain(part).collect();
    let mut text = String::new();
    let comment = kernel.comment.iter().flat_map(|line| wrap::words(line, 96));
    for line in comment {
        text += &format!("#[doc = {:?}]\n", format!(" {}", one_line(&line)));
    }
    if !target.rust.features.is_empty() {
        text += &format!(
            "#[target_feature(enable = {:?})]\n",
            target.rust.features.join(",")
        );
    }
    // Many small tensors make many buffers; a kernel's signature is not for people to call.
    if params.len() > 7 {
        text += "#[allow(clippy::too_many_arguments)]\n";
    }
    text += &format!("unsafe fn {name}({}) {{", params.join(", "));
    for (constant, name) in constants {
        text += &pointer(&constant.name, constant.elem, name, &spelling);
    }
    text += "note!(\"SAFETY: the caller's buffers hold every element that is named here.\");";
    text += "unsafe {";
    block(&mut text, &simplified(kernel).body, &spelling);
    text += "}}";
    layout(
        text.parse()
            .unwrap_or_else(|e| panic!("{}: not Rust: {e}\n{text}", kernel.name)),
    )
}

/// A `let` of a constant's address, named as in the kernel.
fn pointer(name: &str, elem: Scalar, statik: &str, spelling: &Spelling) -> String {
    let array = match spelling.target.align > 8 {
        true => format!("{statik}.0"),
        false => statik.to_string(),
    };
    match elem {
        Scalar::I8 => format!("let {name} = {array}.as_ptr().cast::<i8>();"),
        _ => format!("let {name} = {array}.as_ptr();"),
    }
}

fn block(out: &mut String, body: &[Stmt], spelling: &Spelling) {
    for stmt in body {
        *out += &match stmt {
            Stmt::Let {
                name,
                mutable,
                value,
                ..
            } => {
                let mutable = if *mutable { "mut " } else { "" };
                format!("let {mutable}{name} = {};", spelling.expr(value))
            }
            Stmt::Set { name, value } => set(name, value, spelling),
            Stmt::Do(value) => format!("{};", spelling.expr(value)),
            Stmt::Note(text) => format!("note!({:?});", one_line(text)),
            Stmt::For {
                var,
                start,
                end,
                step,
                body,
            } => {
                let (start, end) = (spelling.expr(start), spelling.expr(end));
                let range = match step {
                    1 => format!("{start}..{end}"),
                    step => format!("({start}..{end}).step_by({step})"),
                };
                let mut text = format!("for {var} in {range} {{");
                block(&mut text, body, spelling);
                text + "}"
            }
        };
    }
}

/// `x += y` where a new value begins with the old one, as Clippy wants it.
fn set(name: &str, value: &Expr, spelling: &Spelling) -> String {
    let text = spelling.expr(value);
    match text
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(" + "))
    {
        Some(rest) => format!("{name} += {};", bare(rest)),
        None => format!("{name} = {text};"),
    }
}

/// A text without parentheses around all of it, which rustc warns of.
fn bare(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else {
        return text;
    };
    let mut depth = 0;
    let closes = inner.chars().any(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth < 0
    });
    if closes { text } else { inner }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn parentheses_around_all_of_a_sum_go_away() {
        assert_eq!(bare("((a - 1) * w)"), "(a - 1) * w");
        assert_eq!(bare("(a - 1) * (b - 2)"), "(a - 1) * (b - 2)");
        assert_eq!(bare("a * (b - 2)"), "a * (b - 2)");
    }
}
