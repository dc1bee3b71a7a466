//! What programs around an emitted file meet: `run_f32` on any real, the header in C++, Clippy on the module.

#![expect(clippy::print_stdout, reason = "a test says what it skipped")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use qcc_compiler::backend::Header;
use qcc_compiler::backend::c;
use qcc_compiler::harness;
use qcc_compiler::ir::{Clamp, IntType, Model, QuantParams};
use qcc_compiler::kernel::Program;
use qcc_compiler::lower::{self, Options};
use qcc_compiler::ops::{Binary, BinaryFunction, Conv, Pads, Reshape};
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{self, Language, Target};
use qcc_tests::graph::Graph;

/// Zero, ties between integers, the ends of the range and far beyond them, and what is no number.
fn awkward_reals(params: &QuantParams) -> Vec<f32> {
    let (scale, zero_point) = params.uniform();
    let mut reals = vec![0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    reals.extend([f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, 1e9, -1e9]);
    for integer in params.low - 2..=params.high + 2 {
        let steps = (integer - zero_point) as f32;
        for half in [-0.5, -0.25, 0.0, 0.25, 0.5] {
            let real = (steps + half) * scale;
            reals.extend([real, real.next_up(), real.next_down()]);
        }
    }
    reals
}

/// A network that changes nothing.
fn identity(params: &QuantParams, len: usize) -> Model {
    let mut graph = Graph::new(1);
    let x = graph.input(&[1, len], params.clone());
    let shape = vec![len];
    let y = graph.node(Reshape { shape }, &[x], params.clone());
    graph.finish(&[y])
}

fn program(model: &Model, target: &Target) -> Program {
    lower::lower(model, target, &Options::default()).expect("the model can be lowered")
}

/// Runs a command in a folder; what it writes to stdout.
fn output(folder: &Path, command: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // A compiler does not read what it is given.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{error}");
    output.stdout
}

fn write(folder: &Path, source: &Source) {
    let file = |name: &str, text: &str| fs::write(folder.join(name), text).expect("it is written");
    match source {
        Source::Rust(text) => file("model.rs", text),
        Source::C(c::Source { source, header }) => {
            file("model.c", source);
            file("model.h", header);
        }
    }
}

const C_CALLER: &str = r#"
#include "model.h"
#include <stdio.h>
static float input[LEN], output[LEN];
static uint64_t arena[MODEL_ARENA_F32_BYTES / 8 + 1];
int main(void) {
    if (fread(input, 4, LEN, stdin) != LEN || model_run_f32(input, output, arena) != 0)
        return 1;
    return fwrite(output, 4, LEN, stdout) != LEN;
}
"#;

const RUST_CALLER: &str = r#"
mod model;
use std::io::{Read, Write};
fn main() {
    let (mut bytes, mut output) = (vec![], [0.0; LEN]);
    std::io::stdin().read_to_end(&mut bytes).unwrap();
    let mut input = [0.0; LEN];
    for (real, bytes) in input.iter_mut().zip(bytes.chunks(4)) {
        *real = f32::from_le_bytes(bytes.try_into().unwrap());
    }
    model::run_f32(&input, &mut output, &mut model::ArenaF32::new());
    let bytes: Vec<u8> = output.iter().flat_map(|y| y.to_le_bytes()).collect();
    std::io::stdout().write_all(&bytes).unwrap();
}
"#;

#[test]
fn reals_are_quantized_as_the_model_says() {
    let folder = tempfile::tempdir().expect("there is room");
    let folder = folder.path();
    let target = Target::load("generic").expect("a machine of the list");
    for (int, scale, zero_point) in [(IntType::U8, 0.3, 7), (IntType::I8, 1.7e-3, -20)] {
        let params = QuantParams::per_tensor(int, scale, zero_point);
        let reals = awkward_reals(&params);
        let expected: Vec<f32> = reals
            .iter()
            .map(|real| params.dequantize(params.quantize(*real)))
            .collect();
        let bytes: Vec<u8> = reals.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut program = program(&identity(&params, reals.len()), &target);
        program.name = "model".into();
        for language in [Language::C, Language::Rust] {
            let source = pipeline::print(&program, &target, language, &Header::default());
            write(folder, &source);
            let (file, text, build): (_, _, &[&str]) = match language {
                Language::C => (
                    "caller.c",
                    C_CALLER,
                    &["gcc", "-O2", "caller.c", "model.c", "-o", "caller"],
                ),
                Language::Rust => (
                    "caller.rs",
                    RUST_CALLER,
                    &["rustc", "--edition=2024", "-O", "-Adead_code", "caller.rs"],
                ),
            };
            let text = text.replace("LEN", &reals.len().to_string());
            fs::write(folder.join(file), text).expect("it is written");
            output(folder, build, &[]);
            let found = output(folder, &["./caller"], &bytes);
            let found = found.chunks(4);
            let found = found.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
            let cases = reals.iter().zip(&expected).zip(found);
            let wrong: Vec<_> = cases.filter(|((_, e), f)| *e != f).collect();
            assert!(wrong.is_empty(), "{int:?} in {language:?}: {wrong:?}");
        }
    }
}

/// A convolution, a depthwise one and a sum, so that kernels of several families are there.
fn small() -> Model {
    let mut graph = Graph::new(3);
    let params = graph.params();
    let x = graph.input(&[1, 12, 6, 6], params);
    let conv = |groups| Conv {
        strides: [1, 1],
        pads: Pads {
            top: 1,
            left: 1,
            bottom: 1,
            right: 1,
        },
        dilations: [1, 1],
        groups,
        activation: Clamp::RELU,
    };
    let (w, v) = (
        graph.weights(&[12, 12, 3, 3], 0),
        graph.weights(&[12, 1, 3, 3], 0),
    );
    let params = [graph.params(), graph.params(), graph.params()];
    let [p, q, r] = params;
    let a = graph.node(conv(1), &[x, w], p);
    let b = graph.node(conv(12), &[a, v], q);
    let add = Binary {
        function: BinaryFunction::Add,
        activation: Clamp::NONE,
    };
    let y = graph.node(add, &[a, b], r);
    graph.finish(&[y])
}

#[test]
fn headers_serve_programs_in_cpp() {
    let folder = tempfile::tempdir().expect("there is room");
    let folder = folder.path();
    let target = Target::load("generic").expect("a machine of the list");
    let mut program = program(&small(), &target);
    program.name = "model".into();
    let source = pipeline::print(&program, &target, Language::C, &Header::default());
    write(folder, &source);
    let caller = r#"
#include "model.h"
alignas(MODEL_ARENA_ALIGN) static uint8_t arena[MODEL_ARENA_BYTES];
static INPUT input[MODEL_INPUT_SIZE];
static OUTPUT output[MODEL_OUTPUT_SIZE];
int main() {
    static_assert(MODEL_INPUT_SIZE == 12 * 6 * 6, "the shape of the input");
    return model_run(input, output, arena);
}
"#;
    let c_type = |port: &qcc_compiler::kernel::Port| match port.scalar {
        qcc_compiler::kernel::Scalar::I8 => "int8_t",
        _ => "uint8_t",
    };
    let caller = caller
        .replace(
            "INPUT input",
            &format!("{} input", c_type(&program.inputs[0])),
        )
        .replace(
            "OUTPUT output",
            &format!("{} output", c_type(&program.outputs[0])),
        );
    fs::write(folder.join("caller.cpp"), caller).expect("it is written");
    let strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];
    output(
        folder,
        &[&["gcc", "-std=c99", "-c", "model.c"], &strict[..]].concat(),
        &[],
    );
    let build = ["g++", "-std=c++17", "caller.cpp", "model.o", "-o", "caller"];
    output(folder, &[&build, &strict[..]].concat(), &[]);
    output(folder, &["./caller"], &[]);
}

#[test]
fn clippy_has_nothing_to_say_about_emitted_rust() {
    let folder = tempfile::tempdir().expect("there is room");
    let folder = folder.path();
    for name in target::names() {
        let target = Target::load(name).expect("a machine of the list");
        if let Err(skipped) = harness::runs_here(&target) {
            println!("skipped {}: {}", skipped.name, skipped.reason);
            continue;
        }
        let program = program(&small(), &target);
        let source = pipeline::print(&program, &target, Language::Rust, &Header::default());
        write(folder, &source);
        let features: Vec<_> = target
            .rust
            .features
            .iter()
            .map(|f| format!("+{f}"))
            .collect();
        let features = format!("-Ctarget-feature={}", features.join(","));
        let check = [
            "clippy-driver",
            "--edition=2024",
            "--crate-type=lib",
            "--emit=metadata",
            "-Dwarnings",
            "-Dclippy::all",
            &features,
            "model.rs",
        ];
        output(folder, &check, &[]);
    }
}
