//! `qcc quantize`: the integer network as an ONNX file that other tools read.

use std::path::PathBuf;

use qcc_compiler::{Result, onnx};

use crate::args::{DataArgs, ModelArgs, QuantizeArgs};
use crate::output;
use crate::prepare::{self, Fallback};

/// Arguments of `qcc quantize`.
#[derive(clap::Args)]
#[command(after_help = "\
The file holds QuantizeLinear and DequantizeLinear around operators on reals (opset 21), with folded and equalised
weights as integers. It takes and returns reals, as the float network does.
ONNX Runtime computes sums in f32 where it does not fuse them: a result next to a tie may then round to the other
side. qcc itself compiles the file to the same integers, without samples.

Examples:
  qcc quantize digits.onnx --calibrate digits.npz -o digits.qdq.onnx
  qcc compile digits.qdq.onnx --target x86_64-avx2 -o digits.rs")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Where the quantized network goes: an .onnx file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Writes the file.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let prepared = prepare::prepare(
        &args.model,
        &args.quantize,
        &args.data,
        Fallback::BatchNorm,
        prepare::ANY,
    )?;
    onnx::exportable(&prepared.integer)?;
    let bytes = onnx::export(&prepared.integer);
    output::write_files(&[(&args.output, &bytes)])?;
    let size = output::size(bytes.len() as u64);
    eprintln!("{}: {size}", args.output.display());
    Ok(0)
}
