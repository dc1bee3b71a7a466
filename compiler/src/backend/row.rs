//! Expressions as text: rows of the target with their holes filled.

use std::collections::HashMap;

use crate::kernel::{Expr, Scalar};
use crate::target::{Language, Target};

/// What an expression's text depends on.
pub(super) struct Spelling<'a> {
    pub target: &'a Target,
    pub language: Language,
    /// Elements of the buffers and constants in scope, and whether they are constants.
    pub buffers: HashMap<&'a str, (Scalar, bool)>,
}

impl Spelling<'_> {
    /// The text of an expression.
    pub(super) fn expr(&self, expr: &Expr) -> String {
        match expr {
            Expr::Int(value) => value.to_string(),
            Expr::Var(name) => name.clone(),
            Expr::Add(a, b) => match b.as_ref() {
                Expr::Int(b) if *b < 0 => format!("{} - {}", self.expr(a), b.unsigned_abs()),
                b => format!("{} + {}", self.expr(a), self.expr(b)),
            },
            Expr::Mul(a, b) => format!("{} * {b}", parenthesised(self.expr(a))),
            Expr::At(buffer, index) => self.address(buffer, index),
            Expr::Part => "part".to_string(),
            Expr::Share { count, next } => {
                let times = match count {
                    1 => String::new(),
                    count => format!("{count} * "),
                };
                match next {
                    false => format!("{times}part / parts"),
                    true => format!("{times}(part + 1) / parts"),
                }
            }
            Expr::Op(name, args) => self.row(name, args),
        }
    }

    /// How an element type is spelled.
    pub(super) fn scalar(&self, scalar: Scalar) -> String {
        let name = format!("{scalar:?}").to_lowercase();
        self.pointee(&name)
    }

    fn pointee(&self, name: &str) -> String {
        match (name, self.language) {
            ("f32", _) => self.ty("f32").to_string(),
            ("u8" | "u16" | "u32" | "u64", Language::C) => format!("uint{}_t", &name[1..]),
            ("i8" | "i16" | "i32" | "i64", Language::C) => format!("int{}_t", &name[1..]),
            _ => name.to_string(),
        }
    }

    /// How a type of Kernel IR is spelled.
    pub(super) fn ty(&self, name: &str) -> &str {
        self.target
            .ty(name, self.language)
            .unwrap_or_else(|| panic!("target {} has no type `{name}`", self.target.name))
    }

    fn address(&self, buffer: &str, index: &Expr) -> String {
        match (index, self.language) {
            (Expr::Int(0), _) => buffer.to_string(),
            (_, Language::C) => format!("{buffer} + {}", self.expr(index)),
            (_, Language::Rust) => format!("{buffer}.add({})", self.expr(index)),
        }
    }

    fn row(&self, name: &str, args: &[Expr]) -> String {
        let row = self
            .target
            .operation(name, self.language)
            .unwrap_or_else(|| panic!("target {} has no row `{name}`", self.target.name));
        let mut out = String::new();
        let mut rest = row;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            rest = &rest[open..];
            let hole = rest.find('}').map(|close| &rest[1..close]);
            let Some(hole) = hole.filter(|h| is_hole(h)) else {
                out.push('{');
                rest = &rest[1..];
                continue;
            };
            rest = &rest[hole.len() + 2..];
            let text = self.hole(hole, args, name);
            out.push_str(&match stands_alone(&out, rest) {
                true => text,
                false => parenthesised(text),
            });
        }
        out + rest
    }

    /// The text of `{hole}`.
    fn hole(&self, hole: &str, args: &[Expr], row: &str) -> String {
        let (element, hole) = match hole.strip_prefix('*') {
            Some(hole) => (true, hole),
            None => (false, hole),
        };
        let (number, what) = hole.split_once(':').unwrap_or((hole, ""));
        let arg = number.parse().ok().and_then(|i: usize| args.get(i));
        let arg = arg.unwrap_or_else(|| panic!("row `{row}` has no argument {number}"));
        let (mutable, pointee) = match what.strip_prefix("mut ") {
            Some(pointee) => (true, pointee),
            None => (false, what),
        };
        match (element, pointee) {
            (false, "") => self.expr(arg),
            (false, "float") => super::literal::f32(bits(arg, row), self.language),
            (false, "bits") => match self.language {
                Language::C => format!("UINT32_C({:#010x})", bits(arg, row)),
                Language::Rust => format!("{:#010x}", bits(arg, row)),
            },
            (false, pointee) => self.pointer(arg, pointee, mutable),
            (true, pointee) => self.element(arg, pointee, mutable),
        }
    }

    /// An address as a pointer to `pointee`; a number as one of 8 bits.
    fn pointer(&self, address: &Expr, pointee: &str, mutable: bool) -> String {
        match (address, pointee) {
            (Expr::Int(number), "i8") => return (*number as i8).to_string(),
            (Expr::Int(number), "u8") => return (*number as u8).to_string(),
            _ => {}
        }
        let text = self.expr(address);
        if self.points_to(address, pointee) {
            return text;
        }
        let ty = self.pointee(pointee);
        match self.language {
            Language::C if mutable => format!("({ty} *){}", parenthesised(text)),
            Language::C if self.is_constant(address) => {
                format!("({}{ty} *){}", qualified(self.target), parenthesised(text))
            }
            Language::C => format!("(const {ty} *){}", parenthesised(text)),
            // The vector intrinsics say what they take; pointers to numbers may be used further.
            Language::Rust if pointee.starts_with('_') => format!("{text}.cast()"),
            Language::Rust => format!("{text}.cast::<{ty}>()"),
        }
    }

    /// The `pointee` in memory at an address.
    fn element(&self, address: &Expr, pointee: &str, mutable: bool) -> String {
        match (address, self.language) {
            (Expr::At(buffer, index), Language::C) if self.points_to(address, pointee) => {
                format!("{buffer}[{}]", self.expr(index))
            }
            (_, Language::C) if self.points_to(address, pointee) => {
                format!("*{}", parenthesised(self.expr(address)))
            }
            _ => format!("*{}", self.pointer(address, pointee, mutable)),
        }
    }

    fn is_constant(&self, address: &Expr) -> bool {
        let Expr::At(buffer, _) = address else {
            return false;
        };
        let known = self.buffers.get(buffer.as_str());
        known.is_some_and(|(_, constant)| *constant)
    }

    fn points_to(&self, address: &Expr, pointee: &str) -> bool {
        let Expr::At(buffer, _) = address else {
            return false;
        };
        let known = self.buffers.get(buffer.as_str());
        known.is_some_and(|(elem, _)| format!("{elem:?}").to_lowercase() == pointee)
    }
}

/// The qualifiers of C's constants, which a pointer to one has too, each with a blank after it.
pub(super) fn qualified(target: &Target) -> String {
    let space = target.c.constants.iter().map(|space| format!("{space} "));
    format!("const {}", space.collect::<String>())
}

fn bits(arg: &Expr, row: &str) -> u32 {
    match arg {
        Expr::Int(bits) => *bits as u32,
        other => panic!("row `{row}` takes the bits of an f32, found {other:?}"),
    }
}

fn is_hole(text: &str) -> bool {
    let text = text.strip_prefix('*').unwrap_or(text);
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether what surrounds a hole delimits it, so that it needs no parentheses.
fn stands_alone(before: &str, after: &str) -> bool {
    let before = before.trim_end().chars().next_back();
    let after = after.trim_start();
    let opened = before.is_none_or(|c| "(,{[=<".contains(c));
    let closed = after.chars().next().is_none_or(|c| "),}];>".contains(c));
    opened && closed && !after.starts_with(">>")
}

/// A text that is one operand to any operator; methods and `[]` are applied to addresses only.
fn parenthesised(text: String) -> String {
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ' ' if depth == 0 => return format!("({text})"),
            _ => {}
        }
    }
    text
}
