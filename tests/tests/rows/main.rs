//! Each row of each target, in each language and under each compiler, gives what the operation means.
//!
//! One program a target, or several where its memory is small, hold a kernel for each operation; the interpreter says
//! what it computes. `$QCC_TARGETS` has words of some targets' names.
#![allow(clippy::print_stdout, reason = "a test says what it skipped")]

mod blocks;
mod cases;
mod copied;
mod fixed;
mod halves;
mod numbers;
mod reals;

use qcc_compiler::backend::Header;
use qcc_compiler::harness::{self, Compiler, Executable, Layers, Runner};
use qcc_compiler::ir::{Elem, IntType, Type};
use qcc_compiler::kernel::{Call, Constant, Kernel, Port, Program, Scalar, Slot, interp};
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{self, Language, Target};
use qcc_tests::parallel;
use qcc_tests::trained::skipped;

use cases::Case;
use numbers::Numbers;

/// How often a case's body runs, each time on other numbers: 1024 lanes of them, or few where the machine has little
/// memory; then it is given more samples.
fn rounds(target: &Target) -> usize {
    match is_small(target) {
        true => 16,
        false => 1024 / target.lanes,
    }
}

fn is_small(target: &Target) -> bool {
    let emulator = target.emulator.as_ref();
    emulator.is_some_and(|e| e.memory.is_some())
}

#[test]
fn rows_do_what_operations_mean() {
    let words = std::env::var("QCC_TARGETS").unwrap_or_default();
    let mut names = target::names();
    names.retain(|name| words.is_empty() || words.split(' ').any(|word| name.contains(word)));
    parallel::each(names, check_rows);
}

fn check_rows(name: &str) {
    let target = Target::load(name).unwrap();
    let numbers = Numbers::new(&target);
    let cases = cases::all(&target);
    let untested: Vec<&str> = target
        .operations()
        .filter(|op| !cases.iter().any(|c| c.covers(op)))
        .collect();
    assert!(
        untested.is_empty(),
        "{name}: rows without a case: {untested:?}"
    );
    // What runs, of so many cases, beside its inputs and its stack fits the smallest machine.
    let (at_once, count) = match is_small(&target) {
        true => (12, 16),
        false => (cases.len(), 1),
    };
    let samples: Vec<_> = (0..count).map(|turn| numbers.sample(turn)).collect();
    // One case may read the constants of another.
    let constants = cases.iter().flat_map(|c| c.constants.iter().cloned());
    let constants: Vec<_> = numbers.constants.iter().cloned().chain(constants).collect();
    for cases in cases.chunks(at_once) {
        check_cases(&target, cases, &numbers, &constants, &samples);
    }
}

/// Programs of some cases.
fn check_cases(
    target: &Target,
    cases: &[Case],
    numbers: &Numbers,
    constants: &[Constant],
    samples: &[Vec<Vec<u8>>],
) {
    let header = Header {
        model: "rows".into(),
        version: "test".into(),
        ..Header::default()
    };
    let program = program(target, cases, numbers, constants);
    let expected = samples.iter();
    let expected: Vec<_> = expected
        .map(|inputs| interp::run(&program, target, inputs))
        .collect();
    let check = |source: &Source, compiler: &Compiler| {
        let check = Executable::build(source, &program, target, compiler, Layers::Untold);
        let found = check.and_then(|check| check.run(samples));
        let found = found.unwrap_or_else(|e| panic!("{e}"));
        for (expected, found) in expected.iter().zip(&found) {
            compare(cases, target, &compiler.name, expected, found);
        }
    };
    let native = harness::runs_here(target);
    if let Some(compiler) = native.is_ok().then(|| emulating(target)).flatten() {
        let source = pipeline::print(&program, target, Language::C, &header);
        check(&source, &compiler);
    }
    let runner = match harness::runner(target, false) {
        Ok(runner) => runner,
        Err(skipped) => {
            println!("skipped {}: {}", skipped.name, skipped.reason);
            return;
        }
    };
    for language in target.languages.clone() {
        let source = pipeline::print(&program, target, language, &header);
        for compiler in compilers(&runner, target, language) {
            check(&source, &compiler);
        }
    }
}

/// A compiler whose programs the emulator of a machine like this one runs, if it has one.
fn emulating(target: &Target) -> Option<Compiler> {
    target.emulator.as_ref()?;
    match harness::runner(target, true) {
        Ok(runner) => runner.compilers(target, Language::C).0.pop(),
        Err(why) => {
            skipped(&format!("emulated rows of {}: {}", why.name, why.reason));
            None
        }
    }
}

/// Every compiler; C also as for this very machine, which may fuse a multiplication with an addition, and
/// with sanitizers, which find what no result shows.
fn compilers(runner: &Runner, target: &Target, language: Language) -> Vec<Compiler> {
    let (mut compilers, left_out) = runner.compilers(target, language);
    for skipped in left_out {
        println!("skipped {}: {}", skipped.name, skipped.reason);
    }
    if language == Language::C && *runner == Runner::Processor {
        let fast = compilers.iter().filter(|c| c.name.ends_with("-O3"));
        let fused = fast.map(|c| {
            // With `fast` clang disregards pragmas, all that a machine whose rows are plain C has.
            let plain = target.lanes == 1 && c.name.starts_with("clang");
            let contract = ["-ffp-contract=fast", "-ffp-contract=on"][usize::from(plain)];
            c.clone().with(&["-march=native", contract])
        });
        let sanitizers = [
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-pedantic",
        ];
        let checked = compilers.iter().filter(|c| c.name == "gcc -O0");
        let checked = checked.map(|c| c.clone().with(&sanitizers));
        let more: Vec<Compiler> = fused.chain(checked).collect();
        compilers.extend(more);
    }
    compilers
}

fn compare(
    cases: &[Case],
    target: &Target,
    compiler: &str,
    expected: &[Vec<u8>],
    found: &[Vec<u8>],
) {
    let (bytes, words) = sizes(target);
    let mut wrong = vec![];
    for (i, case) in cases.iter().enumerate() {
        let region = |out: &[Vec<u8>]| {
            let words = out[1][4 * i * words..][..4 * words].to_vec();
            [out[0][i * bytes..][..bytes].to_vec(), words]
        };
        if region(expected) != region(found) {
            wrong.push(case.name.clone());
        }
    }
    assert!(
        wrong.is_empty(),
        "{} with {compiler}: {wrong:?}",
        target.name
    );
}

/// Elements of a case's region in the output of bytes and in that of words.
fn sizes(target: &Target) -> (usize, usize) {
    (rounds(target) * target.bytes, rounds(target) * target.lanes)
}

fn program(target: &Target, cases: &[Case], numbers: &Numbers, constants: &[Constant]) -> Program {
    let port = |name: &str, len: usize, scalar: Scalar, int: IntType| Port {
        name: name.into(),
        ty: Type {
            shape: vec![len],
            elem: Elem::Int(int),
        },
        scalar,
    };
    let (bytes, words) = sizes(target);
    let kernel = |case: &Case| {
        let body = case.kernel_body(target);
        let read = |name: &str| body.iter().any(|s| cases::uses(s, name));
        let names = constants.iter().map(|c: &Constant| c.name.clone());
        Kernel {
            name: format!("case_{}", case.name),
            comment: vec![case.name.clone()],
            buffers: cases::buffers()
                .into_iter()
                .filter(|b| read(&b.name))
                .collect(),
            constants: names.filter(|name| read(name)).collect(),
            body,
        }
    };
    let kernels: Vec<Kernel> = cases.iter().map(kernel).collect();
    let read = |c: &&Constant| kernels.iter().any(|k| k.constants.contains(&c.name));
    let read = constants.iter().filter(read).cloned().collect();
    let call = |i: usize| Call {
        layer: cases[i].name.clone(),
        kernel: i,
        args: kernels[i]
            .buffers
            .iter()
            .map(|b| slot(&b.name, i * bytes, i * words))
            .collect(),
        macs: 0,
        overlaps: false,
    };
    let calls = (0..kernels.len()).map(call).collect();
    Program {
        name: "rows".into(),
        inputs: vec![
            port("bytes", numbers.bytes.len(), Scalar::U8, IntType::U8),
            port("words", numbers.words.len(), Scalar::I32, IntType::I32),
        ],
        outputs: vec![
            port("bytes", cases.len() * bytes, Scalar::U8, IntType::U8),
            port("words", cases.len() * words, Scalar::I32, IntType::I32),
        ],
        arena_bytes: 0,
        align: target.align,
        calls,
        kernels,
        constants: read,
        threads: 0,
    }
}

fn slot(buffer: &str, byte: usize, word: usize) -> Slot {
    match buffer {
        "x" => Slot::Input(0, 0),
        "w" => Slot::Input(1, 0),
        "y" => Slot::Output(0, byte),
        _ => Slot::Output(1, word),
    }
}
