//! What a program means: runs it on byte memory, on any CPU, whatever machine it is for.
//!
//! The meaning of an operation depends on nothing but the target's numbers of lanes and taps
//! (`targets/README.md`). Anything that the vocabulary leaves undefined is a panic that names the kernel
//! and the operation: memory outside a buffer's region, sums beyond i32, unknown names.
//! The arena starts as arbitrary bytes, so that a kernel that reads what nothing wrote is found.

mod blocks;
mod memory;
mod operations;
mod reals;
mod value;

use std::collections::HashMap;

use crate::kernel::{Buffer, Expr, Kernel, Program, Slot, Stmt};
use crate::target::Target;

use memory::{Address, Memory, Region};
use operations::{Operation, operation};
use value::Value;

/// Runs a program on the bytes of its inputs and returns the bytes of its outputs.
pub fn run(program: &Program, target: &Target, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    run_in_parts(program, target, inputs, 1)
}

/// The same, with the kernels that run in parts cut into so many, or as many as may be, the last one first.
///
/// A part that touches what another part of the same call has written, or writes what another has read, is a
/// panic: such parts may not run at the same time.
pub fn run_in_parts(
    program: &Program,
    target: &Target,
    inputs: &[Vec<u8>],
    parts: usize,
) -> Vec<Vec<u8>> {
    let mut memory = Memory::new(program, inputs);
    let kernels: Vec<_> = program
        .kernels
        .iter()
        .map(|k| compile(k, program))
        .collect();
    for call in &program.calls {
        let kernel = &kernels[call.kernel];
        memory.kernel = program.kernels[call.kernel].name.clone();
        let mut buffers: Vec<Address> = kernel
            .buffers
            .iter()
            .zip(&call.args)
            .map(|(b, slot)| address(*slot, b))
            .collect();
        buffers.extend_from_slice(&kernel.constants);
        let parts = match program.kernels[call.kernel].in_parts() {
            true => parts.min(program.threads),
            false => 1,
        };
        memory.begin(parts);
        for part in (0..parts).rev() {
            memory.part = part;
            let mut run = Run {
                target,
                memory: &mut memory,
                buffers: buffers.clone(),
                vars: vec![Value::None; kernel.vars],
                part: [part as i64, parts as i64],
            };
            run.block(&kernel.body);
        }
    }
    memory.outputs()
}

fn address(slot: Slot, buffer: &Buffer) -> Address {
    let bytes = buffer.elem.bytes();
    let (region, byte) = match slot {
        Slot::Arena(byte) => (Region::Arena, byte),
        Slot::Input(index, element) => (Region::Input(index), element * bytes),
        Slot::Output(index, element) => (Region::Output(index), element * bytes),
    };
    Address {
        region,
        byte: byte as i64,
        element: bytes as i64,
    }
}

/// A kernel with names resolved to numbers.
struct Compiled {
    buffers: Vec<Buffer>,
    constants: Vec<Address>,
    vars: usize,
    body: Vec<Step>,
}

enum Step {
    Set(usize, Term),
    For {
        var: usize,
        start: Term,
        end: Term,
        step: usize,
        body: Vec<Step>,
    },
    Do(Term),
}

enum Term {
    Int(i64),
    Var(usize),
    Add(Box<Term>, Box<Term>),
    Mul(Box<Term>, i64),
    Share { count: i64, next: bool },
    Part,
    At(usize, Box<Term>),
    Op(&'static str, Operation, Vec<Term>),
}

fn compile(kernel: &Kernel, program: &Program) -> Compiled {
    let mut names = Names {
        kernel,
        vars: HashMap::new(),
    };
    let body = names.block(&kernel.body);
    let constant = |name: &String| {
        let known = program.constants.iter().position(|c| c.name == *name);
        let index = known.unwrap_or_else(|| panic!("{}: no constant `{name}`", kernel.name));
        let element = program.constants[index].elem.bytes() as i64;
        Address {
            region: Region::Constant(index),
            byte: 0,
            element,
        }
    };
    Compiled {
        buffers: kernel.buffers.clone(),
        constants: kernel.constants.iter().map(constant).collect(),
        vars: names.vars.len(),
        body,
    }
}

struct Names<'a> {
    kernel: &'a Kernel,
    vars: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    fn define(&mut self, name: &'a str) -> usize {
        let next = self.vars.len();
        *self.vars.entry(name).or_insert(next)
    }

    fn var(&self, name: &str) -> usize {
        *self
            .vars
            .get(name)
            .unwrap_or_else(|| panic!("{}: no value `{name}`", self.kernel.name))
    }

    fn buffer(&self, name: &str) -> usize {
        let buffers = self.kernel.buffers.iter().map(|b| &b.name);
        let mut all = buffers.chain(&self.kernel.constants);
        let found = all.position(|known| known == name);
        found.unwrap_or_else(|| panic!("{}: no buffer `{name}`", self.kernel.name))
    }

    fn block(&mut self, body: &'a [Stmt]) -> Vec<Step> {
        body.iter().filter_map(|stmt| self.stmt(stmt)).collect()
    }

    fn stmt(&mut self, stmt: &'a Stmt) -> Option<Step> {
        Some(match stmt {
            Stmt::Let { name, value, .. } => {
                let value = self.term(value);
                Step::Set(self.define(name), value)
            }
            Stmt::Set { name, value } => Step::Set(self.var(name), self.term(value)),
            Stmt::For {
                var,
                start,
                end,
                step,
                body,
            } => {
                assert!(
                    *step > 0,
                    "{}: a loop of `{var}` stands still",
                    self.kernel.name
                );
                let (start, end) = (self.term(start), self.term(end));
                let var = self.define(var);
                Step::For {
                    var,
                    start,
                    end,
                    step: *step as usize,
                    body: self.block(body),
                }
            }
            Stmt::Do(value) => Step::Do(self.term(value)),
            Stmt::Note(_) => return None,
        })
    }

    fn term(&self, expr: &Expr) -> Term {
        match expr {
            Expr::Int(value) => Term::Int(*value),
            Expr::Var(name) => Term::Var(self.var(name)),
            Expr::Add(a, b) => Term::Add(Box::new(self.term(a)), Box::new(self.term(b))),
            Expr::Mul(a, b) => Term::Mul(Box::new(self.term(a)), *b),
            Expr::Share { count, next } => Term::Share {
                count: *count,
                next: *next,
            },
            Expr::Part => Term::Part,
            Expr::At(buffer, index) => Term::At(self.buffer(buffer), Box::new(self.term(index))),
            Expr::Op(name, args) => {
                let known = operation(name);
                let operation =
                    known.unwrap_or_else(|| panic!("{}: no operation `{name}`", self.kernel.name));
                Term::Op(name, operation, args.iter().map(|a| self.term(a)).collect())
            }
        }
    }
}

/// One call of a kernel.
struct Run<'a> {
    target: &'a Target,
    memory: &'a mut Memory,
    buffers: Vec<Address>,
    vars: Vec<Value>,
    /// Which part of how many.
    part: [i64; 2],
}

impl Run<'_> {
    fn block(&mut self, body: &[Step]) {
        for step in body {
            match step {
                Step::Set(var, value) => self.vars[*var] = self.eval(value),
                Step::For {
                    var,
                    start,
                    end,
                    step,
                    body,
                } => {
                    let (start, end) = (self.index(start), self.index(end));
                    for i in (start..end).step_by(*step) {
                        self.vars[*var] = Value::Int(i);
                        self.block(body);
                    }
                }
                Step::Do(value) => {
                    self.eval(value);
                }
            }
        }
    }

    fn index(&mut self, term: &Term) -> i64 {
        match term {
            Term::Int(value) => *value,
            Term::Add(a, b) => self.index(a) + self.index(b),
            Term::Mul(a, b) => self.index(a) * b,
            Term::Part => self.part[0],
            Term::Share { count, next } => {
                let [part, parts] = self.part;
                count * (part + i64::from(*next)) / parts
            }
            other => self.eval(other).int(),
        }
    }

    fn eval(&mut self, term: &Term) -> Value {
        match term {
            Term::Int(_) | Term::Add(..) | Term::Mul(..) | Term::Share { .. } | Term::Part => {
                Value::Int(self.index(term))
            }
            Term::Var(var) => self.vars[*var].clone(),
            Term::At(buffer, index) => {
                let mut address = self.buffers[*buffer];
                address.byte += self.index(index) * address.element;
                Value::Address(address)
            }
            Term::Op(name, operation, args) => {
                let args: Vec<_> = args.iter().map(|a| self.eval(a)).collect();
                self.memory.operation = name;
                operation(self.target, self.memory, &args)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Type;
    use crate::kernel::{Call, Constant, Port, Scalar, at, int, op, var};

    fn port(name: &str, len: usize) -> Port {
        Port {
            name: name.into(),
            ty: Type::float([len]),
            scalar: Scalar::U8,
        }
    }

    fn buffer(name: &str, mutable: bool) -> Buffer {
        Buffer {
            name: name.into(),
            elem: Scalar::U8,
            mutable,
        }
    }

    /// `y[i] = w[i] · x[i + 1] + 3`, an element at a time.
    fn program(len: i64) -> Program {
        let x = op("load_u8", [at("x", var("i") + int(1))]);
        let product = op("mul_i32", [x, op("load_i8", [at("w", var("i"))])]);
        let sum = op("add_i32", [product, op("splat_i32", [int(3)])]);
        let body = vec![
            Stmt::Let {
                name: "sum".into(),
                ty: "vi32",
                mutable: false,
                value: sum,
            },
            Stmt::Do(op("store_u8", [at("y", var("i")), var("sum")])),
        ];
        let kernel = Kernel {
            name: "scale".into(),
            comment: vec![],
            buffers: vec![buffer("x", false), buffer("y", true)],
            constants: vec!["w".into()],
            body: vec![Stmt::For {
                var: "i".into(),
                start: int(0),
                end: int(len),
                step: 1,
                body,
            }],
        };
        let args = vec![Slot::Input(0, 0), Slot::Output(0, 0)];
        Program {
            name: "net".into(),
            inputs: vec![port("x", 4)],
            outputs: vec![port("y", 3)],
            arena_bytes: 0,
            align: 1,
            kernels: vec![kernel],
            constants: vec![Constant {
                name: "w".into(),
                elem: Scalar::I8,
                bytes: vec![2, 255, 100],
            }],
            calls: vec![Call {
                layer: "scale".into(),
                kernel: 0,
                args,
                overlaps: false,
                macs: 3,
            }],
            threads: 0,
        }
    }

    #[test]
    fn a_kernel_runs_over_its_buffers() {
        let generic = Target::load("generic").unwrap();
        let outputs = run(&program(3), &generic, &[vec![9, 1, 2, 30]]);
        assert_eq!(outputs, [vec![5, 1, 255]]);
    }

    #[test]
    fn reading_past_an_input_is_found() {
        let generic = Target::load("generic").unwrap();
        let outcome = std::panic::catch_unwind(|| run(&program(4), &generic, &[vec![9, 1, 2, 30]]));
        let message = *outcome
            .expect_err("four elements are one too many")
            .downcast::<String>()
            .unwrap();
        assert!(
            message.starts_with("scale: load_u8 touches 1 bytes at 4 of Input(0)"),
            "{message}"
        );
    }
}
