//! `qcc verify`: what real compilers make of the emitted files equals the integer evaluator, bit for bit.

use std::fmt;
use std::path::PathBuf;

use qcc_compiler::data::Samples;
use qcc_compiler::harness::{Compiler, Layers};
use qcc_compiler::ir::{Array, Data, Model};
use qcc_compiler::{Result, bail, harness, integer, pipeline};

use crate::args::{DataArgs, LanguageArg, ModelArgs, QuantizeArgs, TargetArgs};
use crate::output;
use crate::prepare::{self, Fallback, Prepared};
use crate::programs::Lowered;

/// Exit code when outputs differ or do not exist.
const DIFFERENT: u8 = 3;

/// Samples where --samples does not say how many.
const USUAL: usize = 16;

/// Arguments of `qcc verify`.
#[derive(clap::Args)]
#[command(after_help = "\
Every compiler that is installed (gcc, clang, clang-19, rustc) builds the emitted file with all warnings as
errors, without and with optimisation. Exits with 3 when any of them refuses it or computes anything but what the
integer evaluator does.
Where the processor lacks the machine's instructions its emulator runs the programs, if it is installed;
`qcc targets` says so.
Programs of microcontrollers say how many bytes of stack the network took, and the RAM that this is with its arena,
inputs and outputs.
Without --data the samples of --calibrate are run, without these noise.

Examples:
  qcc verify digits.onnx --target x86_64-avx2 --calibrate digits.npz --samples 100
  qcc verify net.onnx --lang c")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Only this language
    #[arg(long, value_enum)]
    lang: Option<LanguageArg>,
    /// Run programs in the machine's emulator even if the processor has its instructions
    #[arg(long)]
    emulate: bool,
    /// Samples to run: .npz, .npy or a folder of images
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    samples: DataArgs,
}

/// Inputs of quantized integers and what they must give.
struct Case {
    inputs: Vec<Array>,
    outputs: Vec<Array>,
}

/// Prints a line for each compiler.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let prepared = prepare::prepare(
        &args.model,
        &args.quantize,
        &args.samples,
        Fallback::Noise,
        &args.target.target,
    )?;
    let lowered = Lowered::new(&prepared.integer, &args.target)?;
    let runner = lowered.runner(args.emulate)?;
    let cases = cases(args, &prepared)?;
    let languages = match args.lang {
        Some(language) => vec![language.into()],
        None => lowered.target.languages.clone(),
    };
    for language in &languages {
        lowered.target.speaks(*language)?;
    }
    let (mut rows, mut code) = (vec![], 0);
    for language in languages {
        let (compilers, skipped) = runner.compilers(&lowered.target, language);
        let bar = output::progress(compilers.len(), "verifying");
        for compiler in compilers {
            let verdict = match check(&lowered, &prepared.integer, &cases, &compiler) {
                Ok(None) => format!("{} samples equal", cases.len()),
                Ok(Some(stack)) => {
                    let all = stack + lowered.program.data_bytes();
                    let all = output::grouped(all as u64);
                    format!(
                        "{} samples equal, stack {stack} B of RAM {all} B",
                        cases.len()
                    )
                }
                Err(error) => {
                    code = DIFFERENT;
                    format!("FAILED: {error}")
                }
            };
            rows.push(vec![compiler.name, verdict]);
            bar.inc(1);
        }
        bar.finish_and_clear();
        rows.extend(
            skipped
                .into_iter()
                .map(|s| vec![s.name, format!("skipped: {}", s.reason)]),
        );
    }
    output::print(&output::table(&["compiler", &args.target.target], &rows, 2));
    Ok(code)
}

/// Whether what a compiler makes of the emitted source computes what it must; the stack it takes, where that is known.
fn check(
    lowered: &Lowered,
    model: &Model,
    cases: &[Case],
    compiler: &Compiler,
) -> Result<Option<usize>> {
    let executable = lowered.build(compiler, Layers::Untold)?;
    let inputs = cases
        .iter()
        .map(|c| harness::to_ports(&lowered.program, &c.inputs));
    let answers = executable.evaluate(&inputs.collect::<Vec<_>>())?;
    let found = answers
        .outputs
        .iter()
        .map(|o| harness::from_ports(&lowered.program, model, o));
    match difference(model, cases, found) {
        None => Ok(answers.stack),
        Some(text) => bail!("{text}"),
    }
}

/// Samples with the outputs of the integer evaluator.
fn cases(args: &Args, prepared: &Prepared) -> Result<Vec<Case>> {
    let mut options = args.samples.options();
    let limit = *options.limit.get_or_insert(USUAL);
    let paths = match args.data.is_empty() {
        true => &args.quantize.calibrate,
        false => &args.data,
    };
    let samples: Vec<Vec<Array>> = match paths.is_empty() {
        true => pipeline::noise(&prepared.float, limit),
        false => Samples::open(paths, &prepared.float, &options)?
            .map(|s| s.map(|s| s.inputs))
            .collect::<Result<_>>()?,
    };
    let model = &prepared.integer;
    let case = |sample: &Vec<Array>| {
        let inputs = integer::quantize_inputs(model, sample);
        let outputs = integer::run(model, &inputs)?;
        Ok(Case { inputs, outputs })
    };
    samples.iter().map(case).collect()
}

/// The first difference, in words.
fn difference(
    model: &Model,
    cases: &[Case],
    found: impl Iterator<Item = Vec<Array>>,
) -> Option<String> {
    for (i, (case, found)) in cases.iter().zip(found).enumerate() {
        for (id, (expected, found)) in model.outputs.iter().zip(case.outputs.iter().zip(&found)) {
            let (expected, found) = (numbers(expected), numbers(found));
            let wrong: Vec<_> = (0..expected.len())
                .filter(|k| !expected[*k].equals(found[*k]))
                .collect();
            if let Some(first) = wrong.first() {
                return Some(format!(
                    "sample {i}, output `{}`, element {first} is {} instead of {}; {} of {} elements differ",
                    model[*id].name,
                    found[*first],
                    expected[*first],
                    wrong.len(),
                    expected.len()
                ));
            }
        }
    }
    None
}

/// An element of an output.
#[derive(Clone, Copy)]
enum Number {
    Integer(i64),
    Real(f32),
}

impl Number {
    /// Whether the bits are the same; which NaN an operation gives is left to the machine.
    fn equals(self, other: Number) -> bool {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a == b,
            (Number::Real(a), Number::Real(b)) => {
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            }
            _ => false,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Integer(x) => write!(f, "{x}"),
            Number::Real(x) => write!(f, "{x:e}"),
        }
    }
}

fn numbers(array: &Array) -> Vec<Number> {
    match &array.data {
        Data::I32(v) => v.iter().map(|x| Number::Integer((*x).into())).collect(),
        Data::I64(v) => v.iter().map(|x| Number::Integer(*x)).collect(),
        Data::F32(v) => v.iter().map(|x| Number::Real(*x)).collect(),
    }
}
