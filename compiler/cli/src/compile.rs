//! `qcc compile`: from an ONNX file to source.

use std::path::{Path, PathBuf};

use qcc_compiler::Result;
use qcc_compiler::backend::Header;
use qcc_compiler::ir::Model;
use qcc_compiler::kernel::{Program, identifier};
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::Language;
use qcc_compiler::{integer, lower};

use crate::args::{DataArgs, LanguageArg, ModelArgs, QuantizeArgs, TargetArgs};
use crate::output;
use crate::prepare::{self, Fallback};
use crate::report;

/// Arguments of `qcc compile`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qcc compile digits.onnx --calibrate digits.npz --target x86_64-avx2 -o digits.rs
  qcc compile digits.onnx --calibrate digits.npz --target generic -o digits.c     (and digits.h)
  qcc compile net.onnx --calibrate photos/ --preset imagenet --resize 256 -o net.c
  qcc compile net.onnx --calibrate cifar.npz --scale 1/255 --mean 0.5 --std 0.5 -o - --lang rust
  qcc compile net.onnx --calibrate net.npz --precision w4a8 --rounding gptq --layer 'head*=w8a8' -o net.c
  qcc compile net.onnx --input-range 0..1 -o net.c    (no samples: batch normalization tells the other ranges)
  qcc compile net.onnx --precision w8 -o net.c        (8-bit weights, floating point else: needs no samples)
  qcc compile net.onnx --calibrate photos/ --layer 'head*=f32' -o net.c    (one part stays in floating point)
  qcc compile net_qdq.onnx --numerics tflite -o net.c     (the integers of TFLite's reference kernels)

Layers in floating point give the same bits on every target, too. Which layers these are is printed.")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Where the source goes: a .rs or .c file (the header NAME.h goes beside it), or - for stdout
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Language of the source; follows from the ending of the output where not given
    #[arg(long, value_enum)]
    lang: Option<LanguageArg>,
    /// Name of the Rust module or prefix of C names; the output's or the model's where not given
    #[arg(long)]
    name: Option<String>,
    /// Add an entry that shares the work of each large layer among threads, at most so many
    ///
    /// In C `NAME_run_parallel` takes the caller's parallel-for, in Rust `run_parallel` something that is
    /// `Threads`. Small layers, and those whose parts depend on each other, stay on the calling thread. The
    /// integers are the same for any number of threads.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..))]
    threads: Option<u8>,
    /// With --threads, in Rust: add threads of the standard library that wait for such work
    #[arg(long, requires = "threads")]
    thread_pool: bool,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Compiles, writes the files, and says on stderr what the network costs.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let language = args.language();
    if args.thread_pool && language == Language::C {
        report::usage(
            "C has no threads of its own: without --thread-pool the caller's parallel-for shares the work",
        );
    }
    let name = args.name();
    let target = args.target.load()?;
    target.speaks(language)?;
    let prepared = prepare::prepare(
        &args.model,
        &args.quantize,
        &args.data,
        Fallback::BatchNorm,
        &args.target.target,
    )?;
    let options = lower::Options {
        threads: args.threads.unwrap_or(0).into(),
        ..args.target.options()
    };
    let program = pipeline::lower(&prepared.integer, &target, &options, &name)?;
    let source = pipeline::print(&program, &target, language, &args.header()?);
    args.write(&source, &name)?;
    if let Some(text) = in_floating_point(&prepared.integer) {
        eprintln!("{text}");
    }
    eprintln!("{name} on {}: {}", args.target.target, summary(&program));
    Ok(0)
}

/// Layers that a line names before it counts the others.
const NAMED: usize = 8;

/// Which layers are computed in floating point, in one line, if any is.
pub(crate) fn in_floating_point(model: &Model) -> Option<String> {
    let real = integer::reals(model);
    if real.is_empty() {
        return None;
    }
    let all = integer::layers(model);
    if real.len() == all {
        return Some("all layers are computed in floating point".to_string());
    }
    let named = real[..real.len().min(NAMED)].join(", ");
    let more = match real.len().saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    let count = real.len();
    Some(format!(
        "{count} of {all} layers are computed in floating point: {named}{more}"
    ))
}

/// Memory, constants and work, in one line.
pub(crate) fn summary(program: &Program) -> String {
    let cost = Cost::of(program);
    format!(
        "arena {}, constants {}, {} MACs",
        output::size(cost.arena),
        output::size(cost.constants),
        output::grouped(cost.macs)
    )
}

/// What a program takes of a machine.
pub(crate) struct Cost {
    /// Bytes of scratch memory.
    pub(crate) arena: u64,
    /// Bytes of constants.
    pub(crate) constants: u64,
    /// Multiply-accumulates.
    pub(crate) macs: u64,
}

impl Cost {
    /// Of one evaluation.
    pub(crate) fn of(program: &Program) -> Cost {
        Cost {
            arena: program.arena_bytes as u64,
            constants: program.constants.iter().map(|c| c.bytes.len() as u64).sum(),
            macs: program.calls.iter().map(|c| c.macs).sum(),
        }
    }
}

impl Args {
    fn language(&self) -> Language {
        if let Some(language) = self.lang {
            return language.into();
        }
        match self.output.extension().and_then(|e| e.to_str()) {
            Some("rs") => Language::Rust,
            Some("c") => Language::C,
            _ => report::usage(&format!(
                "the language does not follow from the output `{}`: name a .rs or .c file, \
                 or pass --lang rust or --lang c",
                self.output.display()
            )),
        }
    }

    fn name(&self) -> String {
        let stem = |path: &Path| path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let from_file = || match self.output == Path::new("-") {
            true => stem(&self.model.model),
            false => stem(&self.output),
        };
        let name = self.name.clone().or_else(from_file).unwrap_or_default();
        identifier(&name, "model")
    }

    /// The comment at the top of the file: no folder and no date, so the same input gives the same bytes.
    fn header(&self) -> Result<Header> {
        let file = self.model.model.file_name().unwrap_or_default();
        Ok(Header {
            model: file.to_string_lossy().into_owned(),
            options: self.target.describe()
                + &self.describe_threads()
                + &self.model.describe()
                + &self.quantize.describe()?,
            version: env!("CARGO_PKG_VERSION").to_string(),
            trace: false,
            thread_pool: self.thread_pool,
        })
    }

    fn describe_threads(&self) -> String {
        let pool = if self.thread_pool {
            " --thread-pool"
        } else {
            ""
        };
        let threads = self.threads.map(|n| format!(" --threads {n}{pool}"));
        threads.unwrap_or_default()
    }

    fn write(&self, source: &Source, name: &str) -> Result<()> {
        let header_name = format!("{name}.h");
        if self.output == Path::new("-") {
            match source {
                Source::Rust(text) => output::print(text),
                // One stream has no second file to include.
                Source::C(c) => {
                    let include = format!("#include \"{header_name}\"\n");
                    output::print(&c.source.replacen(&include, &c.header, 1));
                }
            }
            return Ok(());
        }
        match source {
            Source::Rust(text) => output::write_files(&[(&self.output, text.as_bytes())]),
            Source::C(c) => {
                let header = self.output.with_file_name(header_name);
                output::write_files(&[
                    (&self.output, c.source.as_bytes()),
                    (&header, c.header.as_bytes()),
                ])
            }
        }
    }
}
