//! The qcc command: the only part that prints.

#![expect(clippy::print_stderr, reason = "messages belong on stderr")]

mod analyze;
mod args;
mod bench;
mod calibrate;
mod choose;
mod compile;
mod counted;
mod eval;
mod inspect;
mod json;
mod limit;
mod output;
mod prepare;
mod programs;
mod quantize;
mod repair;
mod report;
mod run;
mod targets;
mod verify;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compiles ONNX networks to standalone integer Rust and C.
#[derive(Parser)]
#[command(
    name = "qcc",
    version,
    after_help = "\
Examples:
  qcc inspect model.onnx
  qcc compile model.onnx --calibrate samples.npz --target x86_64-avx2 -o model.rs
  qcc compile model.onnx --calibrate photos/ --preset imagenet --resize 256 --target generic -o model.c
  qcc eval model.onnx --calibrate samples.npz --data labelled.npz

Exit codes:
  0  done
  1  the model or the data are at fault; nothing was written
  2  the command line is at fault
  3  verify found a difference"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a network as one Rust file, or one C file and its header
    Compile(compile::Args),
    /// Write what samples show of a network to a file that stands in for them
    Calibrate(calibrate::Args),
    /// Write the integer network as an ONNX file with QuantizeLinear and DequantizeLinear
    Quantize(quantize::Args),
    /// Show what a network consists of and what it will cost
    Inspect(inspect::Args),
    /// Measure the accuracy of the float and of the integer network on labelled samples
    Eval(eval::Args),
    /// Show what quantization costs, layer by layer
    Analyze(analyze::Args),
    /// Choose a width for each layer: the smallest network that is good enough, or the best that fits
    Choose(choose::Args),
    /// Run a network on samples and write its outputs
    Run(run::Args),
    /// Compile the emitted source with real compilers and compare it with the integer network
    Verify(verify::Args),
    /// Measure how long the emitted program takes
    Bench(bench::Args),
    /// List the machines that can be compiled for
    Targets(targets::Args),
}

fn main() -> ExitCode {
    report::set_up();
    let result = match Cli::parse().command {
        Command::Compile(args) => compile::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Choose(args) => choose::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Targets(args) => targets::run(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report::print(&error);
            ExitCode::from(1)
        }
    }
}
