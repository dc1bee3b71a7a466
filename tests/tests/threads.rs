//! Programs whose layers threads share: the same integers for any number of threads, in C and in Rust.

use std::fs;
use std::path::Path;
use std::process::Command;

use qcc_compiler::backend::{Header, c};
use qcc_compiler::harness::{self, compilers};
use qcc_compiler::integer;
use qcc_compiler::ir::{Clamp, IntType, Model, QuantParams};
use qcc_compiler::kernel::{Program, Scalar, interp};
use qcc_compiler::lower::{self, Options};
use qcc_compiler::ops::{Binary, BinaryFunction, Concat, Conv, MatMul, Reshape};
use qcc_compiler::passes::calibrate::Method;
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{Language, Target};
use qcc_tests::graph::{Graph, around, in_ports, samples};
use qcc_tests::trained;

/// How many threads, of at most 7: one, few, more than some layers have rows.
const THREADS: [usize; 4] = [1, 2, 3, 7];

/// Convolutions of every kind, a sum, a concatenation in place and a dense layer.
fn random(seed: u64) -> Model {
    let mut graph = Graph::new(seed);
    let random = &mut graph.random;
    let (channels, size) = (4 + random.below(30), 5 + random.below(6));
    let bytes = |scale| QuantParams::per_tensor(IntType::U8, scale, 120);
    let x = graph.input(&[1, channels, size, size], bytes(0.02));
    let conv = |graph: &mut Graph, x, filters: usize, groups: usize, k: usize| {
        let depth = graph.shape(x)[1] / groups;
        let w = graph.weights(&[filters, depth, k, k], 0);
        let op = Conv {
            strides: [1, 1],
            pads: around(k / 2),
            dilations: [1, 1],
            groups,
            activation: Clamp::RELU,
        };
        graph.node(op, &[x, w], bytes(0.03))
    };
    let a = conv(&mut graph, x, 24, 1, 3);
    let b = conv(&mut graph, a, 24, 24, 3);
    let c = conv(&mut graph, b, 40, 1, 1);
    let d = conv(&mut graph, c, 40, 1, 3);
    let add = Binary {
        function: BinaryFunction::Add,
        activation: Clamp::NONE,
    };
    let e = graph.node(add, &[c, d], bytes(0.05));
    let f = conv(&mut graph, e, 24, 1, 1);
    let g = graph.node(Concat { axis: 1 }, &[a, f], bytes(0.03));
    let len = 48 * size * size;
    let rows = Reshape {
        shape: vec![1, len],
    };
    let h = graph.node(rows, &[g], bytes(0.03));
    let w = graph.weights(&[len, 70], 1);
    let dense = MatMul {
        activation: Clamp::NONE,
    };
    let y = graph.node(dense, &[h, w], bytes(0.1));
    graph.finish(&[y])
}

/// A network of the repository, as integers.
fn trained(name: &str) -> Model {
    let network = trained::own().into_iter().find(|n| n.name == name);
    let network = network.expect("it is part of the repository");
    let mut model = pipeline::load(&network.model, &network.options()).expect("it can be read");
    let options = Default::default();
    let open = |model: &Model| {
        let samples = [network.calibration.clone()];
        qcc_compiler::data::Samples::open(&samples, model, &Default::default())
    };
    pipeline::calibrate(&mut model, open, Method::MinMax, &options).expect("there are samples");
    pipeline::quantize(model, &options).expect("it can be quantized")
}

/// A program whose large layers threads share.
fn for_threads(model: &Model, target: &Target, threads: usize) -> Program {
    let options = Options {
        threads,
        ..Options::default()
    };
    lower::lower(model, target, &options).expect("the model can be lowered")
}

/// A program that at most seven threads share, whatever its layers are worth.
fn shared(model: &Model, target: &Target) -> Program {
    let mut program = for_threads(model, target, 7);
    lower::share(&mut program, target, 7, 0.0);
    program.name = "model".into();
    program
}

fn in_parts(program: &Program) -> usize {
    let calls = program.calls.iter();
    let parts = calls.filter(|call| program.kernels[call.kernel].in_parts());
    parts.count()
}

#[test]
fn convolutions_sums_and_dense_layers_run_in_parts() {
    for name in ["generic", "x86_64-avx2"] {
        let target = Target::load(name).expect("a machine of the list");
        let model = random(1);
        let program = shared(&model, &target);
        assert!(in_parts(&program) >= 6, "{name}: {}", in_parts(&program));
        for inputs in samples(&model, 1, 1) {
            let expected = integer::run(&model, &inputs).expect("it has an integer meaning");
            let expected = in_ports(&expected, &program.outputs);
            let inputs = in_ports(&inputs, &program.inputs);
            for parts in THREADS {
                let found = interp::run_in_parts(&program, &target, &inputs, parts);
                assert_eq!(found, expected, "{name}, {parts} parts");
            }
        }
    }
}

/// A convolution of 3×3 taps on an image large enough for Winograd's way.
fn winograd(seed: u64) -> Model {
    let mut graph = Graph::new(seed);
    let bytes = |scale| QuantParams::per_tensor(IntType::U8, scale, 120);
    let x = graph.input(&[1, 48, 16, 16], bytes(0.02));
    let w = graph.weights(&[48, 48, 3, 3], 0);
    let op = Conv {
        strides: [1, 1],
        pads: around(1),
        dilations: [1, 1],
        groups: 1,
        activation: Clamp::RELU,
    };
    let y = graph.node(op, &[x, w], bytes(0.03));
    graph.finish(&[y])
}

#[test]
fn each_part_has_scratch_memory_of_its_own() {
    let target = Target::load("x86_64-avx2").expect("a machine of the list");
    let model = winograd(1);
    let whole = for_threads(&model, &target, 1);
    let scratch = |p: &Program| {
        p.kernels
            .iter()
            .any(|k| k.buffers.iter().any(|b| b.name == "m"))
    };
    assert!(scratch(&whole), "it is Winograd's way");
    let program = shared(&model, &target);
    assert!(program.arena_bytes > whole.arena_bytes);
    assert!(in_parts(&program) >= 2);
    let inputs = samples(&model, 1, 1).remove(0);
    let expected = integer::run(&model, &inputs).expect("it has an integer meaning");
    let inputs = in_ports(&inputs, &program.inputs);
    for parts in THREADS {
        let found = interp::run_in_parts(&program, &target, &inputs, parts);
        assert_eq!(
            found,
            in_ports(&expected, &program.outputs),
            "{parts} parts"
        );
    }
}

#[test]
fn small_layers_stay_whole() {
    let target = Target::load("x86_64-avx2").expect("a machine of the list");
    let options = Options {
        threads: 4,
        ..Options::default()
    };
    let program = lower::lower(&trained("digits"), &target, &options);
    assert_eq!(in_parts(&program.expect("it can be lowered")), 0);
}

const C_CALLER: &str = r#"
#include "model.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
static INPUT input[MODEL_INPUT_SIZE];
static OUTPUT output[MODEL_OUTPUT_SIZE];
static union { uint8_t bytes[MODEL_ARENA_BYTES + 1]; } arena __attribute__((aligned(64)));
struct part { void (*work)(void *, size_t); void *run; size_t part; pthread_t thread; };
static size_t most;
static void *begin(void *given) {
    struct part *part = (struct part *)given;
    part->work(part->run, part->part);
    return NULL;
}
static void parallel(void *context, size_t parts, void (*work)(void *, size_t), void *run) {
    struct part all[MODEL_THREADS];
    most = parts > most ? parts : most;
    for (size_t i = parts; i-- > 0;) {
        all[i].work = work; all[i].run = run; all[i].part = i;
        if (pthread_create(&all[i].thread, NULL, begin, &all[i])) { *(int *)context = 1; }
    }
    for (size_t i = 0; i < parts; i++) { pthread_join(all[i].thread, NULL); }
}
int main(void) {
    static const size_t threads[] = {1, 2, 3, 7, 100};
    int failed = 0;
    if (fread(input, sizeof input, 1, stdin) != 1) return 1;
    for (int i = 0; i < 5; i++) {
        memset(output, 77, sizeof output);
        if (model_run_parallel(input, output, arena.bytes, threads[i], parallel, &failed)) return 2;
        if (fwrite(output, sizeof output, 1, stdout) != 1) return 3;
        if (most != (threads[i] > 7 ? 7 : threads[i] > 1 ? threads[i] : 0)) return 4;
    }
    memset(output, 77, sizeof output);
    if (model_run(input, output, arena.bytes)) return 5;
    if (fwrite(output, sizeof output, 1, stdout) != 1) return 6;
    return failed;
}
"#;

const RUST_CALLER: &str = r#"
mod model;
use std::io::{Read, Write};
struct Scoped;
impl model::Threads for Scoped {
    fn count(&self) -> usize {
        3
    }
    fn run(&self, work: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            scope.spawn(work);
            scope.spawn(work);
        });
    }
}
/// Asks for parts, and does none.
struct Idle;
impl model::Threads for Idle {
    fn count(&self) -> usize {
        5
    }
    fn run(&self, _: &(dyn Fn() + Sync)) {}
}
fn main() {
    let mut bytes = vec![];
    std::io::stdin().read_to_end(&mut bytes).unwrap();
    let mut input = [0; model_input()];
    for (x, byte) in input.iter_mut().zip(bytes) {
        *x = byte;
    }
    let mut arena = model::Arena::new();
    let mut run = |threads: Option<&dyn model::Threads>| {
        let mut output = [77; model_output()];
        match threads {
            Some(threads) => model::run_parallel(&input, &mut output, &mut arena, threads),
            None => model::run(&input, &mut output, &mut arena),
        }
        std::io::stdout().write_all(&output).unwrap();
    };
    for threads in [1, 2, 3, 7, 100] {
        let pool = model::ThreadPool::new(threads).unwrap();
        (0..20).for_each(|_| run(Some(&pool)));
    }
    run(Some(&Scoped));
    run(Some(&Idle));
    run(None);
}
const fn model_input() -> usize {
    model::INPUT.shape[0] * INPUT_REST
}
const fn model_output() -> usize {
    model::OUTPUT.shape[0] * OUTPUT_REST
}
"#;

/// What a caller in C prints for an input, built with some options beside the emitted file.
fn run_c(
    folder: &Path,
    program: &Program,
    target: &Target,
    compiler: &[&str],
    input: &[u8],
) -> Vec<u8> {
    let source = pipeline::print(program, target, Language::C, &Header::default());
    let Source::C(c::Source { source, header }) = source else {
        panic!("C was asked for");
    };
    let ty = |scalar| match scalar {
        Scalar::I8 => "int8_t",
        _ => "uint8_t",
    };
    let caller = C_CALLER.replace(
        "INPUT input",
        &format!("{} input", ty(program.inputs[0].scalar)),
    );
    let caller = caller.replace(
        "OUTPUT output",
        &format!("{} output", ty(program.outputs[0].scalar)),
    );
    for (name, text) in [
        ("model.c", &source),
        ("model.h", &header),
        ("caller.c", &caller),
    ] {
        fs::write(folder.join(name), text).expect("it is written");
    }
    let strict = [
        "-std=c99",
        "-D_GNU_SOURCE",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
    ];
    let mut command = Command::new(compiler[0]);
    let files = ["model.c", "caller.c", "-o", "caller"];
    command
        .args(&compiler[1..])
        .args(strict)
        .args(&target.c.flags)
        .args(files);
    output(command, folder, &[]);
    output(Command::new("./caller"), folder, input)
}

/// The same in Rust.
fn run_rust(folder: &Path, program: &Program, target: &Target, input: &[u8]) -> Vec<u8> {
    let header = Header {
        thread_pool: true,
        ..Header::default()
    };
    let Source::Rust(text) = pipeline::print(program, target, Language::Rust, &header) else {
        panic!("Rust was asked for");
    };
    let rest = |shape: &[usize]| shape[1..].iter().product::<usize>().to_string();
    let caller = RUST_CALLER.replace("INPUT_REST", &rest(&program.inputs[0].ty.shape));
    let caller = caller.replace("OUTPUT_REST", &rest(&program.outputs[0].ty.shape));
    for (name, text) in [("model.rs", &text), ("caller.rs", &caller)] {
        fs::write(folder.join(name), text).expect("it is written");
    }
    let features: Vec<_> = target
        .rust
        .features
        .iter()
        .map(|f| format!("+{f}"))
        .collect();
    let features = format!("-Ctarget-feature={}", features.join(","));
    let lints = ["-Dwarnings", "-Dclippy::all", "-Adead_code", &features];
    let mut clippy = Command::new("clippy-driver");
    clippy
        .args(["--edition=2024", "--emit=metadata"])
        .args(lints)
        .arg("caller.rs");
    output(clippy, folder, &[]);
    let mut rustc = Command::new("rustc");
    rustc.args([
        "--edition=2024",
        "-O",
        "-Adead_code",
        &features,
        "caller.rs",
    ]);
    output(rustc, folder, &[]);
    output(Command::new("./caller"), folder, input)
}

fn output(mut command: Command, folder: &Path, input: &[u8]) -> Vec<u8> {
    let file = folder.join("stdin");
    fs::write(&file, input).expect("it is written");
    let stdin = fs::File::open(&file).expect("it was written");
    let ran = command.current_dir(folder).stdin(stdin).output();
    let ran = ran.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{command:?}: {}\n{error}", ran.status);
    ran.stdout
}

/// Compares all that a caller prints with the integer evaluator.
fn agrees(model: &Model, target: &Target, seed: u64, run: impl Fn(&Program, &[u8]) -> Vec<u8>) {
    let program = shared(model, target);
    let inputs = samples(model, seed, 3).remove(2);
    let expected = integer::run(model, &inputs).expect("it has an integer meaning");
    let expected = in_ports(&expected, &program.outputs).concat();
    let found = run(&program, &in_ports(&inputs, &program.inputs).concat());
    assert!(!found.is_empty() && found.len().is_multiple_of(expected.len()));
    for (i, found) in found.chunks(expected.len()).enumerate() {
        assert!(found == expected, "run {i} computes something else");
    }
}

/// The machine of vectors, where it is this one.
fn target() -> Target {
    let load = |name| Target::load(name).expect("a machine of the list");
    let avx2 = load("x86_64-avx2");
    match harness::runs_here(&avx2) {
        Ok(()) => avx2,
        Err(skipped) => {
            trained::skipped(&format!("{}: {}", skipped.name, skipped.reason));
            load("generic")
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room")
}

#[test]
fn c_computes_the_same_with_any_number_of_threads() {
    let target = target();
    let (found, _) = compilers(&target, Language::C);
    let commands: Vec<String> = found
        .iter()
        .map(|compiler| compiler.command.display().to_string())
        .collect();
    let models = [
        random(2),
        winograd(3),
        trained("digits"),
        trained("restore"),
    ];
    for (seed, model) in models.iter().enumerate() {
        // The list has each compiler at several levels; the turns visit each compiler.
        let name = match commands
            .iter()
            .find(|c| c.starts_with(["gcc", "clang"][seed % 2]))
        {
            Some(name) => name.as_str(),
            None => "gcc",
        };
        let folder = folder();
        agrees(model, &target, seed as u64, |program, input| {
            run_c(folder.path(), program, &target, &[name, "-O2"], input)
        });
    }
}

#[test]
fn rust_computes_the_same_with_any_number_of_threads() {
    let generic = Target::load("generic").expect("a machine of the list");
    for (model, target) in [(random(4), target()), (trained("digits"), generic)] {
        let folder = folder();
        agrees(&model, &target, 5, |program, input| {
            run_rust(folder.path(), program, &target, input)
        });
    }
}

#[test]
fn no_thread_races_another() {
    let target = Target::load("generic").expect("a machine of the list");
    let folder = folder();
    let sanitized = ["gcc", "-O1", "-g", "-fsanitize=thread"];
    agrees(&random(6), &target, 6, |program, input| {
        run_c(folder.path(), program, &target, &sanitized, input)
    });
}
