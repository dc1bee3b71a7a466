//! The steps from a file to integer models, with progress bars.

use indicatif::ProgressIterator;
use qcc_compiler::data::{InputRange, Samples, state_ranges};
use qcc_compiler::ir::Model;
use qcc_compiler::passes::quantize::{Options, correct_biases, needs_ranges};
use qcc_compiler::{Result, pipeline};

use crate::args::{DataArgs, ModelArgs, QuantizeArgs};
use crate::{choose, output, repair};

/// What stands in for samples when none are given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Batch normalization's statistics, or an error: the result is to be used.
    BatchNorm,
    /// Noise: only sizes, exactness and time matter, which do not depend on the ranges.
    Noise,
}

/// A network, as reals and as integers.
pub(crate) struct Prepared {
    /// Simplified, with ranges.
    pub(crate) float: Model,
    /// Quantized.
    pub(crate) integer: Model,
}

/// The machine whose constants count where none is compiled for.
pub(crate) const ANY: &str = "generic";

/// Loads, calibrates and quantizes, for a machine where `--precision auto` counts its constants.
pub(crate) fn prepare(
    model: &ModelArgs,
    quantize: &QuantizeArgs,
    data: &DataArgs,
    fallback: Fallback,
    target: &str,
) -> Result<Prepared> {
    let mut float = pipeline::load(&model.model, &model.options())?;
    let quantize = &repair::repaired(&float, quantize, data, &|text| eprint!("{text}"))?;
    calibrate(&mut float, quantize, data, fallback)?;
    let options = options(&mut float, quantize, data, target)?;
    let integer = pipeline::quantize(float.clone(), &options)?;
    Ok(Prepared { float, integer })
}

/// How a network with ranges is quantized; what is learned anew for a choice is annotated.
pub(crate) fn options(
    float: &mut Model,
    quantize: &QuantizeArgs,
    data: &DataArgs,
    target: &str,
) -> Result<Options> {
    match quantize.is_auto() {
        true => {
            let options = choose::choose(float, target, quantize, data)?;
            let samples = Samples::open(&quantize.calibrate, float, &data.options())?;
            correct_biases(float, samples.map(|s| s.map(|s| s.inputs)), &options)?;
            Ok(options)
        }
        false => quantize.options(),
    }
}

/// Annotates ranges.
pub(crate) fn calibrate(
    model: &mut Model,
    quantize: &QuantizeArgs,
    data: &DataArgs,
    fallback: Fallback,
) -> Result<()> {
    if let Some(ranges) = quantize.ranges()? {
        quantize.check_ranges(&ranges)?;
        return ranges.annotate(model);
    }
    state_ranges(model, &quantize.input_range)?;
    let options = data.options();
    if quantize.calibrate.is_empty() {
        let options_of_layers = quantize.options()?;
        let needs = needs_ranges(model, &options_of_layers)?;
        // What a range is stated for is the network that `compile` makes of it.
        if needs && fallback == Fallback::Noise && quantize.input_range.is_empty() {
            return pipeline::calibrate_on_noise(model, &options_of_layers);
        }
        if let (Some(range), []) = (options.preprocess.range(), &quantize.input_range[..]) {
            let input = None;
            state_ranges(model, &[InputRange { input, range }])?;
        }
        return pipeline::calibrate_without_samples(model, &options_of_layers);
    }
    let open = |model: &Model| {
        let samples = Samples::open(&quantize.calibrate, model, &options)?;
        let bar = output::progress(samples.len(), "calibrating");
        Ok(samples.progress_with(bar))
    };
    let learning = quantize.learning_options()?;
    pipeline::calibrate(model, open, quantize.method()?, &learning)
}
