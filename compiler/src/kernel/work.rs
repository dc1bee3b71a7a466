//! How many operations a call executes, and what for, counted from its kernel's loops.
//!
//! An operation counts as the intrinsics that its row spells in C, at least one, but for casts and constants. A
//! snippet's loop counts once. Indices cost nothing.

use std::collections::{HashMap, HashSet};

use crate::kernel::{Call, Expr, Kernel, Program, Stmt};
use crate::target::Target;

/// Operations by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Products of activations and weights, with their first additions.
    pub products: u64,
    /// Further additions of sums narrower than 32 bits, their widening, and transformations of operands to and fro.
    pub sums: u64,
    /// Of the products, what reading activations less 128 costs.
    pub unsafe_pairs: u64,
    /// What brings activations and weights to registers.
    pub operands: u64,
    /// Look-ups in tables.
    pub tables: u64,
    /// What brings whole vectors of bytes from one place to another.
    pub moves: u64,
    /// All else: from sums to results, and arithmetic without products.
    pub rest: u64,
    /// Multiply-accumulates that the products execute, those of padding among them.
    pub multiplied: u64,
    /// Steps whose pairs are summed in 16 bits, and how often such sums end.
    pub steps: u64,
    /// How often sums of 16 bits are widened.
    pub ends: u64,
}

impl Work {
    /// Of a call; its bytes of constants are not part of it.
    pub fn of(call: &Call, program: &Program, target: &Target) -> Work {
        let kernel = &program.kernels[call.kernel];
        let mut count = Count {
            program,
            needed: needed(kernel),
            known: HashMap::new(),
            operations: HashMap::new(),
        };
        count.block(&kernel.body, 1);
        let mut work = Work::default();
        let reals = call.macs > 0 && !count.operations.keys().any(|op| is_product(op));
        for (op, times) in count.operations {
            work.add(op, times, target, reals);
        }
        work
    }

    /// All operations.
    pub fn total(&self) -> u64 {
        self.products + self.sums + self.operands + self.tables + self.moves + self.rest
    }

    /// The work of both.
    pub fn and(self, other: Work) -> Work {
        Work {
            products: self.products + other.products,
            sums: self.sums + other.sums,
            unsafe_pairs: self.unsafe_pairs + other.unsafe_pairs,
            operands: self.operands + other.operands,
            tables: self.tables + other.tables,
            moves: self.moves + other.moves,
            rest: self.rest + other.rest,
            multiplied: self.multiplied + other.multiplied,
            steps: self.steps + other.steps,
            ends: self.ends + other.ends,
        }
    }

    fn add(&mut self, op: &str, times: u64, target: &Target, reals: bool) {
        let cost = times * target.instructions(op);
        let safe = times * target.instructions("unsigned_pairs");
        let products = times * multiplied(op, target);
        self.multiplied += products;
        match op {
            "mul_f32" | "add_f32" if reals => {
                self.products += cost;
                let lanes = if op == "mul_f32" { target.lanes } else { 0 };
                self.multiplied += times * lanes as u64;
            }
            _ if is_product(op) => {
                self.products += cost;
                let pairs = op.ends_with("_pairs");
                self.steps += if pairs { times } else { 0 };
                let signed = matches!(op, "signed_pairs" | "magnitude_pairs");
                self.unsafe_pairs += if signed { cost.saturating_sub(safe) } else { 0 };
            }
            "add_pairs" => {
                self.ends += times;
                self.sums += cost;
            }
            "widen_add_low" | "widen_add_high" => self.sums += cost,
            "add_i16" | "sub_i16" | "zero_pairs" | "add_low" | "add_high" | "add_lanes" => {
                self.sums += cost
            }
            "lookup" => self.tables += cost,
            "load_bytes" | "load_bytes_part" | "store_bytes" | "store_bytes_part" => {
                self.moves += cost;
            }
            _ if is_operand(op) => self.operands += cost,
            _ => self.rest += cost,
        }
    }
}

/// Operations that multiply activations by weights.
fn is_product(op: &str) -> bool {
    matches!(
        op,
        "dot"
            | "dot_u8"
            | "dot_part"
            | "dot_part_u8"
            | "dot_block"
            | "dot_block_u8"
            | "dot_magnitude"
            | "dot_quads"
            | "dot_two"
            | "dot_taps"
            | "pair_products"
            | "mul_low"
            | "mul_high"
            | "mul_add_low"
            | "mul_add_high"
            | "unsigned_pairs"
            | "signed_pairs"
            | "magnitude_pairs"
    )
}

/// Operations that read or arrange what is multiplied.
fn is_operand(op: &str) -> bool {
    let begins = [
        "load_a_",
        "load_b",
        "load_unsigned_",
        "load_fields",
        "load_taps",
        "load_two",
        "load_spread",
        "store_spread",
        "pair_low",
        "pair_high",
        "splat_i16",
        "splat_u16",
        "taps_",
        "tap_",
        "zip_",
        "widen_",
        "field",
        "first_field",
        "shift_i8",
        "shift_u8",
        "add_weights",
        "magnitude_i8",
        "read_i32",
    ];
    begins.iter().any(|begin| op.starts_with(begin)) && !op.starts_with("load_bytes")
}

/// Multiply-accumulates of an operation.
fn multiplied(op: &str, target: &Target) -> u64 {
    let count = match op {
        "dot" | "dot_magnitude" | "unsigned_pairs" | "signed_pairs" | "magnitude_pairs" => {
            target.dot.lanes * target.dot.k
        }
        "dot_u8" | "dot_part" | "dot_part_u8" => target.dot.lanes * target.dot.k,
        "dot_block" | "dot_block_u8" => target
            .dot
            .block
            .map_or(0, |block| block.pixels * block.channels * block.k),
        "dot_two" => 2 * target.dot.k,
        "dot_quads" | "pair_products" => target.bytes,
        "mul_low" | "mul_high" | "mul_add_low" | "mul_add_high" => target.bytes / 2,
        "dot_taps" => target.lanes * target.depthwise.taps,
        _ => 0,
    };
    count as u64
}

/// Names whose values the ends of loops depend on.
fn needed(kernel: &Kernel) -> HashSet<&str> {
    let mut needed = HashSet::new();
    loop {
        let before = needed.len();
        find_needed(&kernel.body, &mut needed);
        if needed.len() == before {
            return needed;
        }
    }
}

fn find_needed<'a>(body: &'a [Stmt], needed: &mut HashSet<&'a str>) {
    for stmt in body {
        match stmt {
            Stmt::For {
                start, end, body, ..
            } => {
                names(start, needed);
                names(end, needed);
                find_needed(body, needed);
            }
            Stmt::Let { name, value, .. } | Stmt::Set { name, value }
                if needed.contains(name.as_str()) =>
            {
                names(value, needed);
            }
            _ => {}
        }
    }
}

fn names<'a>(expr: &'a Expr, found: &mut HashSet<&'a str>) {
    match expr {
        Expr::Int(_) | Expr::Share { .. } | Expr::Part => {}
        Expr::Var(name) => {
            found.insert(name);
        }
        Expr::Add(a, b) => {
            names(a, found);
            names(b, found);
        }
        Expr::Mul(a, _) | Expr::At(_, a) => names(a, found),
        Expr::Op(_, args) => args.iter().for_each(|arg| names(arg, found)),
    }
}

/// A kernel on the way through its loops; a loop that no end depends on is counted once.
struct Count<'a> {
    program: &'a Program,
    needed: HashSet<&'a str>,
    known: HashMap<&'a str, i64>,
    operations: HashMap<&'static str, u64>,
}

impl<'a> Count<'a> {
    fn block(&mut self, body: &'a [Stmt], times: u64) {
        for stmt in body {
            match stmt {
                Stmt::Let { name, value, .. } | Stmt::Set { name, value } => {
                    self.count(value, times);
                    if self.needed.contains(name.as_str()) {
                        let value = self.index(value);
                        self.known.insert(name, value);
                    }
                }
                Stmt::Do(value) => self.count(value, times),
                Stmt::Note(_) => {}
                Stmt::For {
                    var,
                    start,
                    end,
                    step,
                    body,
                } => {
                    let mut turns = (self.index(start)..self.index(end)).step_by(*step as usize);
                    if self.needed.contains(var.as_str()) {
                        turns.for_each(|turn| {
                            self.known.insert(var, turn);
                            self.block(body, times);
                        });
                    } else if let Some(turn) = turns.next() {
                        self.known.insert(var, turn);
                        self.block(body, times * (1 + turns.count() as u64));
                    }
                }
            }
        }
    }

    fn count(&mut self, expr: &Expr, times: u64) {
        match expr {
            Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => {}
            Expr::Add(a, b) => {
                self.count(a, times);
                self.count(b, times);
            }
            Expr::Mul(a, _) | Expr::At(_, a) => self.count(a, times),
            Expr::Op(name, args) => {
                args.iter().for_each(|arg| self.count(arg, times));
                if *name != "index" {
                    *self.operations.entry(name).or_default() += times;
                }
            }
        }
    }

    /// A number that the end of a loop depends on: one known here, or one of a table of constants.
    fn index(&self, expr: &Expr) -> i64 {
        match expr {
            Expr::Int(value) => *value,
            Expr::Var(name) => self.known[name.as_str()],
            Expr::Add(a, b) => self.index(a) + self.index(b),
            Expr::Mul(a, factor) => self.index(a) * factor,
            Expr::Op("index", args) => self.index(&args[0]),
            Expr::Op("read_i32", args) => match &args[0] {
                Expr::At(table, index) => self.entry(table, self.index(index) as usize),
                other => panic!("{other:?} is no address"),
            },
            other => panic!("the end of a loop depends on {other:?}"),
        }
    }

    fn entry(&self, table: &str, index: usize) -> i64 {
        let constants = &mut self.program.constants.iter();
        let constant = constants.find(|constant| constant.name == table);
        let bytes = &constant.expect("the ends of loops are in constants").bytes;
        let (words, _) = bytes.as_chunks::<4>();
        i32::from_le_bytes(words[index]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Constant, Scalar, at, int, op, var};

    #[test]
    fn loops_with_ends_in_tables_are_walked_and_others_multiplied() {
        let read = |index| op("index", [op("read_i32", [at("ends", index)])]);
        let define = |name: &str, value| Stmt::Let {
            name: name.into(),
            ty: "index",
            mutable: false,
            value,
        };
        let each = |name: &str, start, end, body| Stmt::For {
            var: name.into(),
            start,
            end,
            step: 1,
            body,
        };
        let product = Stmt::Do(op("dot", [int(0)]));
        let chain = vec![
            define("first", read(var("b"))),
            define("last", read(var("b") + int(1))),
            each("k", var("first"), var("last"), vec![product]),
        ];
        let kernel = Kernel {
            name: "k".into(),
            comment: vec![],
            buffers: vec![],
            constants: vec!["ends".into()],
            body: vec![each(
                "pixel",
                int(0),
                int(10),
                vec![each("b", int(0), int(2), chain)],
            )],
        };
        let call = Call {
            layer: "layer".into(),
            kernel: 0,
            args: vec![],
            overlaps: false,
            macs: 1,
        };
        let program = Program {
            name: "p".into(),
            inputs: vec![],
            outputs: vec![],
            arena_bytes: 0,
            align: 1,
            kernels: vec![kernel],
            constants: vec![Constant {
                name: "ends".into(),
                elem: Scalar::I32,
                bytes: [0i32, 3, 7].iter().flat_map(|x| x.to_le_bytes()).collect(),
            }],
            calls: vec![call.clone()],
            threads: 0,
        };
        let target = Target::load("generic").unwrap();
        let work = Work::of(&call, &program, &target);
        // Ten pixels of chains of three and of four steps; each chain reads two ends.
        let dot = target.instructions("dot");
        assert_eq!(work.products, 10 * 7 * dot);
        assert_eq!(work.multiplied, 10 * 7);
        assert_eq!(work.operands, 10 * 2 * 2 * target.instructions("read_i32"));
        assert_eq!(work.total(), work.products + work.operands);
    }
}
