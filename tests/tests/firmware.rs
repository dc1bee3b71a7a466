//! What a microcontroller has no room for is not in emitted programs: floating point in software, a heap, a deep stack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use qcc_compiler::backend::Header;
use qcc_compiler::data::{Options as DataOptions, Samples};
use qcc_compiler::harness::{self, Compiler, Executable, Layers, Runner};
use qcc_compiler::ir::Model;
use qcc_compiler::kernel::Program;
use qcc_compiler::lower;
use qcc_compiler::passes::calibrate::Method;
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{Language, Target};
use qcc_tests::trained::{self, skipped};

/// What a program may call that it does not have: functions of libc that move bytes, those of libgcc or of Rust's
/// compiler_builtins on integers of 64 bits, and what Rust says of a division by zero: the sum that a Softmax divides
/// by is none, which rustc does not see.
const ALLOWED: [&str; 9] = [
    "memcpy",
    "memmove",
    "memset",
    "__aeabi_memcpy",
    "__aeabi_memclr",
    "__aeabi_memset",
    "__aeabi_lmul",
    "__aeabi_ldivmod",
    "__aeabi_uldivmod",
];

/// Whether it may; the name may end in an alignment, and Rust mangles its own.
fn is_allowed(symbol: &str) -> bool {
    let function = symbol.trim_end_matches(['4', '8']);
    ALLOWED.contains(&function) || symbol.contains("panic_const_div")
}

/// Stack of the functions above, in bytes: they are written by hand and save a few registers.
const LIBRARY_STACK: usize = 64;

/// The digit recogniser on integers.
fn digits() -> Model {
    let networks = trained::own();
    let network = networks.iter().find(|network| network.name == "digits");
    let network = network.expect("it is there");
    let mut model = pipeline::load(&network.model, &network.options()).expect("it can be read");
    let samples = |model: &Model| {
        Samples::open(
            std::slice::from_ref(&network.calibration),
            model,
            &DataOptions::default(),
        )
    };
    pipeline::calibrate(&mut model, samples, Method::MinMax, &Default::default())
        .expect("samples fit");
    pipeline::quantize(model, &Default::default()).expect("it can be quantized")
}

/// The microcontrollers, whose programs QEMU runs.
const MACHINES: [&str; 2] = ["cortex-m4", "cortex-m55"];

/// A network for a microcontroller, with the compiler that optimises it; none where that is not installed.
fn firmware(machine: &str, language: Language) -> Option<(Target, Program, Source, Compiler)> {
    let target = Target::load(machine).expect("a machine of the list");
    let runner = match harness::runner(&target, true) {
        Ok(runner @ Runner::Emulator(..)) => runner,
        Ok(Runner::Processor) => panic!("no processor that runs tests is a {machine}"),
        Err(why) => {
            skipped(&format!("firmware for {machine}: {}", why.reason));
            return None;
        }
    };
    let Some(compiler) = runner.compilers(&target, language).0.pop() else {
        skipped(&format!(
            "firmware for {machine} in {language:?}: no compiler"
        ));
        return None;
    };
    assert!(compiler.name.contains("-O2"), "{}", compiler.name);
    let program = pipeline::lower(&digits(), &target, &lower::Options::default(), "network");
    let program = program.expect("it can be lowered");
    let source = pipeline::print(&program, &target, language, &Header::default());
    Some((target, program, source, compiler))
}

/// Compiles the emitted file alone, each function in a section of its own.
fn object(folder: &Path, source: &Source, compiler: &Compiler) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    let (file, options) = match source {
        Source::C(c) => {
            write("network.h", &c.header).expect("there is room");
            write("network.c", &c.source).expect("there is room");
            let stack = ["-fstack-usage", "-fcallgraph-info=su"];
            let options = [&["-c", "-ffunction-sections"], &stack[..]].concat();
            ("network.c", options)
        }
        Source::Rust(text) => {
            let text = format!("#![no_std]\n{text}");
            write("network.rs", &text).expect("there is room");
            ("network.rs", vec!["--crate-type=lib", "--emit=obj"])
        }
    };
    for (name, text) in &compiler.files {
        write(name, text).expect("there is room");
    }
    let arguments = compiler.arguments.iter().map(String::as_str);
    let arguments = arguments.chain(options).chain([file, "-o", "network.o"]);
    let command = compiler.command.to_str().expect("it is a word");
    output(folder, command, arguments);
}

fn output<'a>(folder: &Path, command: &str, arguments: impl Iterator<Item = &'a str>) -> String {
    let run = Command::new(command)
        .args(arguments)
        .current_dir(folder)
        .output();
    let run = run.expect("it starts");
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// The symbols that the functions of an object refer to and that it does not define. `run_f32`, which quantizes
/// reals, is no part of an integer build: linkers leave out what nobody calls.
fn needs(folder: &Path) -> BTreeSet<String> {
    let words = ["-u", "network.o"].into_iter();
    let undefined = output(folder, "arm-none-eabi-nm", words);
    let undefined: BTreeSet<&str> = undefined
        .lines()
        .filter_map(|l| l.split_whitespace().last())
        .collect();
    let relocations = output(
        folder,
        "arm-none-eabi-objdump",
        ["-r", "network.o"].into_iter(),
    );
    let (mut section, mut found) = (String::new(), BTreeSet::new());
    for line in relocations.lines() {
        if let Some(name) = line.strip_prefix("RELOCATION RECORDS FOR ") {
            section = name.to_string();
        }
        let symbol = line.split_whitespace().last().unwrap_or_default();
        let of_reals = section.contains("run_f32") || section.contains("quantize");
        if !of_reals && undefined.contains(symbol) && !symbol.is_empty() {
            found.insert(symbol.to_string());
        }
    }
    found
}

#[test]
fn integer_programs_call_no_floating_point_and_no_heap() {
    for machine in MACHINES {
        let languages = Target::load(machine)
            .expect("a machine of the list")
            .languages;
        for (_, _, source, compiler) in languages.into_iter().filter_map(|l| firmware(machine, l)) {
            let folder = tempfile::tempdir().expect("there is room");
            object(folder.path(), &source, &compiler);
            let needs = needs(folder.path());
            let more: Vec<_> = needs.iter().filter(|s| !is_allowed(s)).collect();
            assert!(more.is_empty(), "{machine}, {}: {more:?}", compiler.name);
        }
    }
}

/// What gcc says of a program's functions: the stack of each, and whom it calls.
#[derive(Default)]
struct Functions {
    stack: BTreeMap<String, usize>,
    calls: BTreeMap<String, Vec<String>>,
}

impl Functions {
    /// From `-fcallgraph-info=su`: `node: { title: "name" label: "name\nfile\n16 bytes (static)..." }` and
    /// `edge: { sourcename: "a" targetname: "b" ... }`.
    fn read(text: &str) -> Functions {
        let mut functions = Functions::default();
        for line in text.lines() {
            let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            if line.starts_with("node:") {
                let bytes = quoted[1].split("\\n").find_map(|part| {
                    let (bytes, kind) = part.split_once(" bytes (")?;
                    assert!(kind.starts_with("static"), "{line}");
                    bytes.parse().ok()
                });
                let bytes = bytes.unwrap_or(LIBRARY_STACK);
                functions.stack.insert(quoted[0].to_string(), bytes);
            } else if line.starts_with("edge:") {
                let calls = functions.calls.entry(quoted[0].to_string()).or_default();
                calls.push(quoted[1].to_string());
            }
        }
        functions
    }

    /// The most stack that a function and those that it calls take; none is called by itself.
    fn depth(&self, name: &str) -> usize {
        let calls = self.calls.get(name).into_iter().flatten();
        let deepest = calls.map(|called| self.depth(called)).max();
        self.stack[name] + deepest.unwrap_or(0)
    }
}

#[test]
fn the_stack_that_a_run_takes_is_what_the_compiler_counts() {
    let firmwares = MACHINES
        .into_iter()
        .filter_map(|machine| firmware(machine, Language::C));
    firmwares.for_each(|firmware| check_stack(&firmware));
}

fn check_stack((target, program, source, compiler): &(Target, Program, Source, Compiler)) {
    let folder = tempfile::tempdir().expect("there is room");
    object(folder.path(), source, compiler);
    let graph = std::fs::read_to_string(folder.path().join("network.ci")).expect("gcc writes it");
    let counted = Functions::read(&graph).depth("network_run");
    let executable = Executable::build(source, program, target, compiler, Layers::Untold);
    // Some sums of these are near a tie, where a Cortex-M4 goes a longer way.
    let sample = |n: usize| vec![(0..64).map(|i| (i * 37 + n * 91) as u8).collect()];
    let samples: Vec<Vec<Vec<u8>>> = (0..32).map(sample).collect();
    let answers = executable
        .expect("it builds")
        .evaluate(&samples)
        .expect("it runs");
    let painted = answers
        .stack
        .expect("programs without an operating system tell");
    let name = &target.name;
    for holds in [painted <= counted, painted + LIBRARY_STACK >= counted] {
        assert!(
            holds,
            "{name}: {painted} bytes are painted over, {counted} counted"
        );
    }
}
