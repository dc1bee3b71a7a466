//! The emitted program under the compilers of this machine.
#![allow(clippy::print_stdout, reason = "a test says what it skipped")]

use std::fs;
use std::path::Path;
use std::process::Command;

use qcc_compiler::backend::c::Source;
use qcc_compiler::kernel::Program;
use qcc_compiler::target::Target;

/// Compilers and their options; C is also compiled for this very machine, where fused multiply-add is at hand.
const C: &[(&str, &[&str])] = &[
    ("gcc", &["-O0"]),
    ("gcc", &["-O3"]),
    ("gcc", &["-O3", "-march=native", "-ffp-contract=fast"]),
    ("clang-19", &["-O0"]),
    ("clang-19", &["-O3"]),
    ("clang-19", &["-O3", "-march=native", "-ffp-contract=fast"]),
    (
        "gcc",
        &[
            "-O1",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
        ],
    ),
];
const WARNINGS: &[&str] = &["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"];
const RUST: &[&[&str]] = &[
    &["-Copt-level=0", "-Cdebug-assertions=on"],
    &["-Copt-level=3"],
];

pub(crate) fn outputs(
    program: &Program,
    target: &Target,
    c: &Source,
    rust: &str,
    inputs: &[Vec<u8>],
) -> Vec<(String, Vec<Vec<u8>>)> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &[u8]| fs::write(folder.join(name), text).unwrap();
    write("rows.c", c.source.as_bytes());
    write("rows.h", c.header.as_bytes());
    write("rows.rs", rust.as_bytes());
    write("in", &inputs.concat());
    write("check.c", check_c(program, inputs).as_bytes());
    write("check.rs", check_rust(program, inputs).as_bytes());
    let mut found = vec![];
    for (compiler, options) in C {
        let name = format!("{compiler} {}", options.join(" "));
        let mut command = Command::new(compiler);
        command.args(WARNINGS).args(*options).args(&target.c.flags);
        command
            .args(["check.c", "rows.c", "-o", "check"])
            .current_dir(folder);
        found.extend(run(&name, command, program, folder));
    }
    for options in RUST {
        let features: Vec<String> = target
            .rust
            .features
            .iter()
            .map(|f| format!("+{f}"))
            .collect();
        let mut command = Command::new("rustc");
        command.args(["--edition=2024", "-Dwarnings", "check.rs", "-o", "check"]);
        command.args(*options).current_dir(folder);
        command.arg(format!("-Ctarget-feature={}", features.join(",")));
        found.extend(run(
            &format!("rustc {}", options.join(" ")),
            command,
            program,
            folder,
        ));
    }
    found
}

fn run(
    name: &str,
    mut command: Command,
    program: &Program,
    folder: &Path,
) -> Option<(String, Vec<Vec<u8>>)> {
    let Ok(output) = command.output() else {
        println!("skipped: {name} is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}:\n{text}");
    let status = Command::new(folder.join("check"))
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(status.success(), "{name}: {status}");
    let bytes = fs::read(folder.join("out")).unwrap();
    let sizes = program
        .outputs
        .iter()
        .map(|p| p.ty.len() * p.scalar.bytes());
    let mut rest = bytes.as_slice();
    let outputs = sizes
        .map(|n| rest.split_off(..n).unwrap().to_vec())
        .collect();
    Some((name.to_string(), outputs))
}

fn check_c(program: &Program, inputs: &[Vec<u8>]) -> String {
    let [y, z] = [0, 1].map(|i| program.outputs[i].ty.len());
    format!(
        "#include <stdio.h>\n#include \"rows.h\"\n\
         static uint8_t x[{}], y[{y}];\nstatic int32_t w[{}], z[{z}];\n\
         int main(void) {{\n\
         FILE *in = fopen(\"in\", \"rb\"), *out = fopen(\"out\", \"wb\");\n\
         if (fread(x, sizeof x, 1, in) != 1 || fread(w, sizeof w, 1, in) != 1) return 1;\n\
         if (rows_run(x, w, y, z, 0) != 0) return 2;\n\
         fwrite(y, sizeof y, 1, out);\nfwrite(z, sizeof z, 1, out);\n\
         return fclose(in) | fclose(out);\n}}\n",
        inputs[0].len(),
        inputs[1].len() / 4,
    )
}

fn check_rust(program: &Program, inputs: &[Vec<u8>]) -> String {
    let [y, z] = [0, 1].map(|i| program.outputs[i].ty.len());
    let (x, w) = (inputs[0].len(), inputs[1].len() / 4);
    format!(
        "#[allow(dead_code)]\nmod rows;\nfn main() {{\n\
         let input = std::fs::read(\"in\").unwrap();\n\
         let x: [u8; {x}] = input[..{x}].try_into().unwrap();\n\
         let mut w = [0i32; {w}];\n\
         for (w, b) in w.iter_mut().zip(input[{x}..].chunks(4)) {{ *w = i32::from_le_bytes(b.try_into().unwrap()); }}\n\
         let (mut y, mut z) = (Box::new([0u8; {y}]), Box::new([0i32; {z}]));\n\
         rows::run(&x, &w, &mut y, &mut z, &mut rows::Arena::new());\n\
         let mut out = y.to_vec();\n\
         z.iter().for_each(|z| out.extend(z.to_le_bytes()));\n\
         std::fs::write(\"out\", out).unwrap();\n}}\n"
    )
}
