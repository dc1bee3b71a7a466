//! What an ATmega328P has no room for is not in emitted programs: constants in RAM, floating point, a heap; and the
//! network of digits computes on it what the integer evaluator does, in its 32 KB of flash and 2 KB of RAM.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use qcc_compiler::backend::Header;
use qcc_compiler::data::{Options as DataOptions, Sample, Samples};
use qcc_compiler::harness::{self, Compiler, Executable, Layers, Runner};
use qcc_compiler::ir::Model;
use qcc_compiler::kernel::Program;
use qcc_compiler::lower;
use qcc_compiler::passes::calibrate::Method;
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{Language, Target};
use qcc_compiler::{backend, integer};
use qcc_tests::trained::{self, skipped};

/// Samples of the test set that run: each is more than a million cycles.
const SAMPLES: usize = 24;

/// The small digit recogniser on integers, and samples.
fn digits() -> (Model, Vec<Sample>) {
    let network = trained::tiny();
    let mut model = pipeline::load(&network.model, &network.options()).expect("it can be read");
    let open = |path: &std::path::PathBuf, model: &Model| {
        Samples::open(std::slice::from_ref(path), model, &DataOptions::default())
    };
    let samples = open(&network.test, &model)
        .expect("samples fit")
        .take(SAMPLES);
    let samples = samples.map(|s| s.expect("it can be read")).collect();
    let calibration = |model: &Model| open(&network.calibration, model);
    pipeline::calibrate(&mut model, calibration, Method::MinMax, &Default::default())
        .expect("samples fit");
    let model = pipeline::quantize(model, &Default::default()).expect("it can be quantized");
    (model, samples)
}

/// The machine with the compiler that makes small programs; none where that is not installed.
fn machine() -> Option<(Target, Compiler)> {
    let target = Target::load("atmega328p").expect("a machine of the list");
    match harness::runner(&target, true) {
        Ok(runner @ Runner::Emulator(..)) => {
            let compiler = runner.compilers(&target, Language::C).0.pop();
            let compiler = compiler.expect("an emulator comes with one");
            assert!(compiler.name.contains("-Os"), "{}", compiler.name);
            Some((target, compiler))
        }
        Ok(Runner::Processor) => panic!("no processor that runs tests is an AVR"),
        Err(why) => {
            skipped(&format!("programs for AVRs: {}", why.reason));
            None
        }
    }
}

fn emitted(model: &Model, target: &Target) -> (Program, backend::c::Source) {
    let program = pipeline::lower(model, target, &lower::Options::default(), "network");
    let program = program.expect("it can be lowered");
    let source = pipeline::print(&program, target, Language::C, &Header::default());
    let Source::C(source) = source else {
        panic!("it is C");
    };
    (program, source)
}

fn output(folder: &Path, command: &str, arguments: &[&str]) -> String {
    let run = Command::new(command)
        .args(arguments)
        .current_dir(folder)
        .output();
    let run = run.expect("it starts");
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// What `run_f32` and `quantize` call, and what the other functions of an object do.
fn calls(folder: &Path) -> [BTreeSet<String>; 2] {
    let undefined = output(folder, "avr-nm", &["-u", "network.o"]);
    let undefined: BTreeSet<_> = undefined.split_whitespace().collect();
    let (mut of_reals, mut found) = (false, [BTreeSet::new(), BTreeSet::new()]);
    for line in output(folder, "avr-objdump", &["-r", "network.o"]).lines() {
        if let Some(section) = line.strip_prefix("RELOCATION RECORDS FOR ") {
            of_reals = section.contains("run_f32") || section.contains("quantize");
        }
        let symbol = line.split_whitespace().last().unwrap_or_default();
        if undefined.contains(symbol) {
            found[usize::from(!of_reals)].insert(symbol.to_string());
        }
    }
    found
}

#[test]
fn integer_programs_keep_constants_in_flash_and_call_no_floating_point_and_no_heap() {
    let Some((target, compiler)) = machine() else {
        return;
    };
    let (program, source) = emitted(&digits().0, &target);
    let folder = tempfile::tempdir().expect("there is room");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    write("network.h", &source.header).expect("there is room");
    write("network.c", &source.source).expect("there is room");
    let arguments = compiler.arguments.iter().map(String::as_str);
    let arguments: Vec<_> = arguments.chain(["-c", "network.c"]).collect();
    let command = compiler.command.to_str().expect("it is a word");
    output(folder.path(), command, &arguments);

    // text, data and bss, below their names.
    let sizes = output(folder.path(), "avr-size", &["network.o"]);
    let sizes: Vec<_> = sizes
        .lines()
        .nth(1)
        .expect("sizes")
        .split_whitespace()
        .collect();
    assert_eq!(sizes[1..3], ["0", "0"], "data and bss");
    let constants: usize = program.constants.iter().map(|c| c.bytes.len()).sum();
    assert!(sizes[0].parse::<usize>().expect("a number") > constants);

    let [reals, integers] = calls(folder.path());
    let is_real = |symbol: &&String| symbol.contains("sf");
    assert!(reals.iter().any(|s| is_real(&s)), "{reals:?}");
    let heap = ["malloc", "calloc", "realloc", "free"];
    let more: Vec<_> = integers
        .iter()
        .filter(|s| is_real(s) || heap.contains(&s.as_str()))
        .collect();
    assert!(more.is_empty(), "{more:?}");
    assert!(integers.iter().any(|s| s.starts_with("__")), "{integers:?}");
}

#[test]
fn digits_are_the_integer_evaluators_in_2_kb() {
    let Some((target, compiler)) = machine() else {
        return;
    };
    let (model, samples) = digits();
    let (program, source) = emitted(&model, &target);
    let executable = Executable::build(
        &Source::C(source),
        &program,
        &target,
        &compiler,
        Layers::Untold,
    );
    let inputs = samples.iter();
    let inputs: Vec<_> = inputs
        .map(|s| integer::quantize_inputs(&model, &s.inputs))
        .collect();
    let fed = inputs.iter().map(|i| harness::to_ports(&program, i));
    let answers = executable
        .expect("it fits")
        .evaluate(&fed.collect::<Vec<_>>())
        .expect("it runs");
    assert_eq!(answers.outputs.len(), SAMPLES);
    for (inputs, found) in inputs.iter().zip(&answers.outputs) {
        let wanted = integer::run(&model, inputs).expect("it evaluates");
        assert_eq!(harness::from_ports(&program, &model, found), wanted);
    }
    let stack = answers
        .stack
        .expect("programs without an operating system tell");
    let memory = target.emulator.and_then(|e| e.memory).expect("it is small");
    let data = program.data_bytes() + stack;
    assert!(stack > 0 && data < memory.data, "{data} bytes of RAM");
}
