//! The check programs, around networks written by hand in place of emitted ones.

#![expect(clippy::print_stdout, reason = "a test says what it skipped")]

use super::*;
use crate::backend::c;
use crate::ir::{Elem, IntType, QuantParams, Type};
use crate::kernel::{Port, Program, Scalar};
use crate::pipeline::Source;
use crate::target::{Language, Target};

const C_SOURCE: &str = "
#include \"twice.h\"
int twice_run(const uint8_t *x, const int8_t *z, int32_t *y, void *arena)
{
    uint8_t *scratch = arena;
    for (int i = 0; i < 3; i++) scratch[i] = x[i];
    TRACE
    for (int i = 0; i < 3; i++) y[i] = 2 * scratch[i] + z[0];
    TRACE2
    return 0;
}
";

const C_HEADER: &str = "
#include <stdint.h>
int twice_run(const uint8_t *x, const int8_t *z, int32_t *y, void *arena);
void twice_trace(int call);
";

const RUST_SOURCE: &str = "
pub struct Arena([u8; 64]);
impl Arena {
    pub const fn new() -> Arena { Arena([0; 64]) }
}
pub fn run(x: &[u8; 3], z: &[i8; 1], y: &mut [i32; 3], arena: &mut Arena) {
    arena.0[..3].copy_from_slice(x);
    TRACE
    for i in 0..3 { y[i] = 2 * i32::from(arena.0[i]) + i32::from(z[0]); }
    TRACE2
}
";

fn program() -> Program {
    let port = |name: &str, len: usize, scalar| Port {
        name: name.into(),
        ty: Type {
            shape: vec![1, len],
            elem: Elem::Quantized(QuantParams::per_tensor(IntType::U8, 1.0, 0)),
        },
        scalar,
    };
    let call = |macs| crate::kernel::Call {
        layer: "layer".into(),
        kernel: 0,
        args: vec![],
        overlaps: false,
        macs,
    };
    Program {
        name: "twice".into(),
        inputs: vec![port("x", 3, Scalar::U8), port("z", 1, Scalar::I8)],
        outputs: vec![port("y", 3, Scalar::I32)],
        arena_bytes: 64,
        align: 32,
        kernels: vec![],
        constants: vec![],
        calls: vec![call(0), call(3)],
        threads: 0,
    }
}

fn source(language: Language, trace: bool) -> Source {
    let (call, text) = match language {
        Language::C => ("twice_trace", C_SOURCE),
        Language::Rust => ("super::trace", RUST_SOURCE),
    };
    let hook = |i: usize| match trace {
        true => format!("{call}({i});"),
        false => String::new(),
    };
    let text = text.replace("TRACE2", &hook(1)).replace("TRACE", &hook(0));
    match language {
        Language::Rust => Source::Rust(text),
        Language::C => Source::C(c::Source {
            source: text,
            header: C_HEADER.into(),
        }),
    }
}

#[test]
fn every_compiler_builds_a_program_that_answers() {
    let (target, program) = (Target::load("generic").unwrap(), program());
    let samples = vec![
        vec![vec![1, 2, 3], vec![0]],
        vec![vec![255, 0, 7], vec![(-1_i8) as u8]],
    ];
    let expected = [[2, 4, 6], [509, -1, 13_i32]];
    for language in [Language::C, Language::Rust] {
        let (found, skipped) = compilers(&target, language);
        for skipped in skipped {
            println!("skipped: {}: {}", skipped.name, skipped.reason);
        }
        for compiler in found {
            let source = source(language, false);
            let built =
                Executable::build(&source, &program, &target, &compiler, Layers::Untold).unwrap();
            let outputs = built.run(&samples).unwrap();
            for (output, expected) in outputs.iter().zip(expected) {
                let bytes = expected.map(i32::to_le_bytes).concat();
                assert_eq!(output[0], bytes, "{}", compiler.name);
            }
            assert!(built.run(&[vec![vec![1], vec![1]]]).is_err());
        }
    }
}

#[test]
fn a_traced_program_times_its_calls() {
    let (target, program) = (Target::load("generic").unwrap(), program());
    for language in [Language::C, Language::Rust] {
        let Some(compiler) = compilers(&target, language).0.pop() else {
            println!("skipped: no compiler of {language:?}");
            continue;
        };
        let source = source(language, true);
        let built =
            Executable::build(&source, &program, &target, &compiler, Layers::Timed).unwrap();
        let timing = built.time(&[vec![1, 2, 3], vec![0]], 10).unwrap();
        assert_eq!(timing.calls.len(), 2);
        assert!(timing.best <= timing.median);
    }
}

#[test]
fn what_a_compiler_refuses_is_shown() {
    let (target, program) = (Target::load("generic").unwrap(), program());
    let Some(compiler) = compilers(&target, Language::Rust).0.pop() else {
        println!("skipped: no rustc");
        return;
    };
    let source = Source::Rust("pub fn run() -> u8 { unused }".into());
    let error = Executable::build(&source, &program, &target, &compiler, Layers::Untold);
    let message = error.err().expect("it cannot build").to_string();
    assert!(
        message.contains("refuses the program for generic"),
        "{message}"
    );
    assert!(message.contains("unused"), "{message}");
}

/// What 64-bit ARM executes for known instructions: counts of programs with and without them differ by these alone.
#[test]
fn an_emulator_counts_the_instructions_of_each_call() {
    let (target, program) = (Target::load("aarch64-neon").unwrap(), program());
    let found = runner(&target, true).map(|r| r.compilers(&target, Language::C).0);
    let counter = Counter::new(target.emulator.as_ref().unwrap());
    let (Ok(found), Ok(counter)) = (found, counter) else {
        println!("skipped: no emulator that counts");
        return;
    };
    // add, sdot, nop; usmmla, smull, nop.
    let words = [
        "0x8b020020, 0x4e829420, 0xd503201f",
        "0x4e82ac20, 0x0e22c020, 0xd503201f",
    ];
    let counts = |asm: [&str; 2], compiler: &Compiler| {
        let Source::C(mut text) = source(Language::C, true) else {
            panic!("it is C");
        };
        for (i, asm) in asm.iter().enumerate() {
            let hook = format!("twice_trace({i});");
            let statement = match asm.is_empty() {
                true => String::new(),
                false => format!("__asm__ volatile(\".inst {asm}\" ::: \"v0\", \"x0\");"),
            };
            text.source = text.source.replace(&hook, &(statement + &hook));
        }
        let source = Source::C(text);
        let built = Executable::build(&source, &program, &target, compiler, Layers::Marked);
        built
            .unwrap()
            .count(&counter, &[vec![1, 2, 3], vec![0]])
            .unwrap()
    };
    for compiler in found.iter().filter(|c| c.name.contains("-O0")) {
        let (without, with) = (counts(["", ""], compiler), counts(words, compiler));
        assert_eq!(without.len(), 2, "{}", compiler.name);
        for (call, products) in [(0, 1), (1, 2)] {
            assert_eq!(with[call].executed - without[call].executed, 3);
            assert_eq!(with[call].products - without[call].products, products);
        }
    }
}

/// The network for an AVR with a statement of its own after each of its calls; none where there is no simulator.
fn on_an_avr(statements: [&str; 2]) -> Option<(Executable, Counter)> {
    let (target, program) = (Target::load("atmega328p").unwrap(), program());
    let found = runner(&target, true).map(|r| r.compilers(&target, Language::C).0);
    let Ok(compiler) = found.map(|mut all| all.pop().expect("there is one")) else {
        println!("skipped: no simulator of AVRs");
        return None;
    };
    let Source::C(mut text) = source(Language::C, true) else {
        panic!("it is C");
    };
    for (i, statement) in statements.iter().enumerate() {
        let hook = format!("twice_trace({i});");
        text.source = text.source.replace(&hook, &format!("{statement} {hook}"));
    }
    let counter = Counter::new(target.emulator.as_ref().unwrap());
    let source = Source::C(text);
    let built = Executable::build(&source, &program, &target, &compiler, Layers::Marked);
    Some((built.unwrap(), counter.map_err(|why| why.reason).unwrap()))
}

/// Of nop, muls, mulsu, mul and eor, which take 1, 2, 2, 2 and 1 cycles.
#[test]
fn a_simulator_counts_the_cycles_of_each_call() {
    let words = r#"__asm__ volatile("nop\n muls r16, r16\n mulsu r16, r16\n mul r2, r2\n eor r1, r1" ::: "r0");"#;
    let sample = [vec![255, 2, 3], vec![(-1_i8) as u8]];
    let count = |statements| {
        let (built, counter) = on_an_avr(statements)?;
        let outputs = built.run(&[sample.to_vec()]).unwrap();
        assert_eq!(
            outputs[0][0],
            [509, 3, 5_i32].map(i32::to_le_bytes).concat()
        );
        Some(built.count(&counter, &sample).unwrap())
    };
    let (Some(without), Some(with)) = (count(["", ""]), count(["", words])) else {
        return;
    };
    assert_eq!(with[0], without[0]);
    assert_eq!(with[1].executed - without[1].executed, 8);
    assert_eq!(with[1].products - without[1].products, 3);
}

#[test]
fn a_stack_that_runs_into_the_data_is_an_error() {
    let deep = "volatile uint8_t deep[1990]; for (int i = 0; i < 1990; i++) deep[i] = 1; if (!deep[0]) return 1;";
    let Some((built, _)) = on_an_avr([deep, ""]) else {
        return;
    };
    let error = built.run(&[vec![vec![1, 2, 3], vec![0]]]).unwrap_err();
    assert!(error.to_string().contains("the stack overflows"), "{error}");
}
