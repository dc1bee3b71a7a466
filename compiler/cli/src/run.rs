//! `qcc run`: a network on samples, its outputs as `.npz`.

use std::io::BufWriter;
use std::path::PathBuf;

use qcc_compiler::data::{Samples, write_npz};
use qcc_compiler::harness::Layers;
use qcc_compiler::ir::{Array, Data, Model};
use qcc_compiler::target::Language;
use qcc_compiler::{Result, eval, integer, pipeline};

use crate::args::{DataArgs, ModelArgs, QuantizeArgs, TargetArgs};
use crate::output;
use crate::prepare::{self, Fallback, Prepared};
use crate::programs::Lowered;

/// Arguments of `qcc run`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qcc run net.onnx --inputs x.npz -o y.npz
  qcc run net.onnx --inputs x.npz -o y.npz --via integer --calibrate samples.npz
  qcc run net.onnx --inputs x.npz -o y.npz --via c --target x86_64-avx2 --calibrate samples.npz")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples: .npz, .npy or a folder of images; may be repeated
    #[arg(long, value_name = "DATA", required = true)]
    inputs: Vec<PathBuf>,
    /// Where the outputs go: one array an output, first axis the sample
    #[arg(short, long, value_name = "FILE.npz")]
    output: PathBuf,
    /// What evaluates the network
    #[arg(long, value_enum, default_value = "float")]
    via: Via,
    /// Write integers as they are instead of the reals that they stand for
    #[arg(long)]
    integers: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Via {
    /// The network as it was trained, in f32
    Float,
    /// The quantized network, as qcc defines it
    Integer,
    /// The emitted C, compiled and run
    C,
    /// The emitted Rust, compiled and run
    Rust,
}

/// Evaluates every sample, then writes the file.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let outputs = match args.via {
        Via::Float => {
            let model = pipeline::load(&args.model.model, &args.model.options())?;
            evaluate(args, &model, |inputs| eval::run(&model, inputs))?
        }
        Via::Integer => {
            let prepared = prepared(args)?;
            let run = |inputs: &[Array]| integer::run(&prepared.integer, inputs);
            evaluate_integers(args, &prepared, run)?
        }
        Via::C => evaluate_emitted(args, Language::C)?,
        Via::Rust => evaluate_emitted(args, Language::Rust)?,
    };
    let file = output::beside(&args.output)?;
    write_npz(BufWriter::new(file.as_file()), &outputs)?;
    output::persist(file, &args.output)?;
    Ok(0)
}

fn prepared(args: &Args) -> Result<Prepared> {
    prepare::prepare(
        &args.model,
        &args.quantize,
        &args.data,
        Fallback::BatchNorm,
        &args.target.target,
    )
}

fn evaluate_emitted(args: &Args, language: Language) -> Result<Vec<(String, Array)>> {
    let prepared = prepared(args)?;
    let lowered = Lowered::new(&prepared.integer, &args.target)?;
    let compiler = lowered.compiler(&lowered.runner(false)?, language, None)?;
    let executable = lowered.build(&compiler, Layers::Untold)?;
    let run = |inputs: &[Array]| lowered.run(&executable, &prepared.integer, inputs);
    evaluate_integers(args, &prepared, run)
}

/// [`evaluate`] for something that takes and gives quantized integers.
fn evaluate_integers(
    args: &Args,
    prepared: &Prepared,
    run: impl Fn(&[Array]) -> Result<Vec<Array>>,
) -> Result<Vec<(String, Array)>> {
    let model = &prepared.integer;
    evaluate(args, &prepared.float, |inputs| {
        let outputs = run(&integer::quantize_inputs(model, inputs))?;
        Ok(match args.integers {
            true => outputs,
            false => integer::dequantize_outputs(model, outputs),
        })
    })
}

/// The outputs of all samples, each with its name and the samples along the first axis.
fn evaluate(
    args: &Args,
    model: &Model,
    run: impl Fn(&[Array]) -> Result<Vec<Array>>,
) -> Result<Vec<(String, Array)>> {
    let samples = Samples::open(&args.inputs, model, &args.data.options())?;
    let bar = output::progress(samples.len(), "running");
    let mut all: Vec<Option<Array>> = vec![None; model.outputs.len()];
    for sample in samples {
        for (all, output) in all.iter_mut().zip(run(&sample?.inputs)?) {
            match all {
                Some(all) => append(all, output),
                None => *all = Some(stacked(output)),
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let names = model.outputs.iter().map(|id| model[*id].name.clone());
    let found = all.into_iter().map(|a| a.expect("there is a sample"));
    Ok(names.zip(found).collect())
}

/// An output with samples along its first axis: the batch axis, or one in front of a scalar.
fn stacked(output: Array) -> Array {
    let shape = match output.shape.is_empty() {
        true => vec![1],
        false => output.shape.clone(),
    };
    output.reshaped(shape)
}

fn append(all: &mut Array, output: Array) {
    all.shape[0] += output.shape.first().copied().unwrap_or(1);
    match (&mut all.data, output.data) {
        (Data::F32(a), Data::F32(b)) => a.extend(b),
        (Data::I64(a), Data::I64(b)) => a.extend(b),
        (Data::I32(a), Data::I32(b)) => a.extend(b),
        _ => unreachable!("an output has the same type every time"),
    }
}
