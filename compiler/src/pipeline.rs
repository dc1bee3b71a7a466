//! From an ONNX file to source text: the steps that the command line and the macro share.
//!
//! ```text
//! load ─▶ calibrate ─▶ quantize ─▶ lower ─▶ print
//! ```

use std::path::Path;

use crate::backend::{self, Header};
use crate::data::Sample;
use crate::ir::{Array, Elem, Model, Node, Range, TensorId, verify};
use crate::kernel::{Program, identifier};
use crate::passes::calibrate::{Calibration, Method, from_batch_norm};
use crate::passes::quantize::BiasCorrection;
use crate::passes::{self, Stage, quantize};
use crate::target::{Language, Target};
use crate::{Result, bail, lower, onnx};

/// Where noise lies when an input's range is not known.
const UNIT: Range = Range {
    min: -1.0,
    max: 1.0,
};

/// Samples evaluated at a time: bounds memory, and keeps a few cores busy.
const CHUNK: usize = 16;

/// Emitted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One module.
    Rust(String),
    /// A source file and the header that it includes.
    C(backend::c::Source),
}

/// Reads a model and simplifies it: constants folded, batch norm folded, activations fused.
pub fn load(path: &Path, options: &onnx::Options) -> Result<Model> {
    let mut model = onnx::load(path, options)?;
    verify(&model)?;
    passes::run(&mut model, Stage::Float)?;
    Ok(model)
}

/// Annotates where the reals of each tensor lie, as seen on samples, and what the quantization is to learn from them.
/// Samples are read a few at a time, so their number costs no memory; `open` begins to read them, again for a
/// correction of biases.
pub fn calibrate<S: Iterator<Item = Result<Sample>>>(
    model: &mut Model,
    open: impl Fn(&Model) -> Result<S>,
    method: Method,
    options: &quantize::Options,
) -> Result<()> {
    options.check(model)?;
    let learns = |node: &Node| options.learns(node);
    let mut calibration = Calibration::new(model, method).learning(model, learns);
    let mut inputs = open(model)?.map(|s| s.map(|s| s.inputs));
    let mut empty = true;
    loop {
        let chunk: Vec<_> = inputs.by_ref().take(CHUNK).collect::<Result<_>>()?;
        if chunk.is_empty() {
            break;
        }
        calibration.observe_all(model, &chunk)?;
        empty = false;
    }
    drop(inputs);
    if empty {
        bail!("no samples to calibrate with"; hint: "pass a .npz or .npy file, or a folder of images");
    }
    calibration.finish(model)?;
    if options.bias == BiasCorrection::Samples {
        let inputs = open(model)?.map(|s| s.map(|s| s.inputs));
        quantize::correct_biases(model, inputs, options)?;
    }
    Ok(())
}

/// Annotates ranges without samples, from the ranges of the inputs, which
/// [`state_ranges`](crate::data::state_ranges) sets, and from what batch normalization knows about its outputs.
/// Where no range is needed it is no error that they do not tell all.
pub fn calibrate_without_samples(model: &mut Model, options: &quantize::Options) -> Result<()> {
    if quantize::needs_ranges(model, options)? {
        return from_batch_norm(model);
    }
    let mut known = model.clone();
    if from_batch_norm(&mut known).is_ok() {
        *model = known;
    }
    Ok(())
}

/// Annotates ranges as seen on a few inputs of noise: enough where only sizes and time matter.
pub fn calibrate_on_noise(model: &mut Model, options: &quantize::Options) -> Result<()> {
    let learns = |node: &Node| options.learns(node);
    let mut calibration = Calibration::new(model, Method::MinMax).learning(model, learns);
    for sample in noise(model, 2) {
        calibration.observe(model, &sample)?;
    }
    calibration.finish(model)?;
    let inputs = noise(model, 2).into_iter().map(Ok);
    quantize::correct_biases(model, inputs, options)
}

/// Inputs of uniform noise over the input's range, `[-1, 1]` where it has none, always the same; integer inputs
/// are zeros.
pub fn noise(model: &Model, samples: usize) -> Vec<Vec<Array>> {
    // Marsaglia's xorshift: the quality is enough, and it needs no crate.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut input = |id: &TensorId| {
        let ty = &model[*id].ty;
        match ty.elem {
            Elem::Int(_) | Elem::Bool => Array::i64(ty.shape.clone(), vec![0; ty.len()]),
            _ => {
                let range = model[*id].range.unwrap_or(UNIT);
                let (middle, reach) =
                    (0.5 * (range.min + range.max), 0.5 * (range.max - range.min));
                let reals = (0..ty.len()).map(|_| middle + reach * next());
                Array::f32(ty.shape.clone(), reals.collect())
            }
        }
    };
    (0..samples)
        .map(|_| model.inputs.iter().map(&mut input).collect())
        .collect()
}

/// The integer model: 8-bit activations and weights, fused and ready to lower.
pub fn quantize(mut model: Model, options: &quantize::Options) -> Result<Model> {
    quantize::quantize(&mut model, options)?;
    passes::run(&mut model, Stage::Quantized)?;
    Ok(model)
}

/// The program of an integer model on a machine, under a name that is an identifier.
pub fn lower(
    model: &Model,
    target: &Target,
    options: &lower::Options,
    name: &str,
) -> Result<Program> {
    let mut program = lower::lower(model, target, options)?;
    program.name = identifier(name, "model");
    Ok(program)
}

/// The text of a program.
pub fn print(program: &Program, target: &Target, language: Language, header: &Header) -> Source {
    match language {
        Language::Rust => Source::Rust(backend::rust::print(program, target, header)),
        Language::C => Source::C(backend::c::print(program, target, header)),
    }
}
