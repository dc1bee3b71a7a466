//! `qcc calibrate`: what samples show, written to a file that stands in for them.

use std::path::PathBuf;

use qcc_compiler::passes::calibrate::Ranges;
use qcc_compiler::{Result, pipeline};

use crate::args::{DataArgs, ModelArgs, QuantizeArgs};
use crate::output;
use crate::prepare::{self, Fallback};

/// Arguments of `qcc calibrate`.
#[derive(clap::Args)]
#[command(after_help = "\
The file holds the range of every tensor and what the quantizer needs to know of each channel.
With --ranges it takes the place of the samples, and gives the same bytes.

Examples:
  qcc calibrate digits.onnx --calibrate digits.npz -o digits.json
  qcc compile digits.onnx --ranges digits.json --target x86_64-avx2 -o digits.rs")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Where the ranges go: a JSON file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Writes the file.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let mut model = pipeline::load(&args.model.model, &args.model.options())?;
    prepare::calibrate(&mut model, &args.quantize, &args.data, Fallback::BatchNorm)?;
    let ranges = Ranges::of(&model, &args.quantize.describe_calibration()?);
    output::write_files(&[(&args.output, ranges.text().as_bytes())])?;
    Ok(0)
}
