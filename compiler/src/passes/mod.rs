//! Model to model. [`PIPELINE`] is one list, to be read aloud.
//!
//! A pass is a function that rewrites a model and says how often it did. A rewrite is exact on reals (up to
//! the rounding of folded constants) or it is not there. No pass sees a target.

mod absorb;
mod activation;
mod affine;
pub mod analyse;
mod borders;
pub mod calibrate;
mod canonical;
pub mod choose;
mod equalise;
mod fake_quant;
mod fold_constants;
mod function;
mod hoist;
mod identity;
mod intervals;
mod movement;
mod pad;
pub mod quantize;
mod real;
mod residual;
mod rewrite;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod typing;

use crate::Result;
use crate::ir::{Model, verify};

/// A rewriting of models.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// What the command line calls it.
    pub name: &'static str,
    /// When it runs.
    pub stage: Stage,
    /// Rewrites the model and returns the number of changes.
    pub run: fn(&mut Model) -> Result<usize>,
}

/// When a pass runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// On a model of reals, before ranges are annotated.
    Float,
    /// On a model of quantized integers.
    Quantized,
}

const fn float(name: &'static str, run: fn(&mut Model) -> Result<usize>) -> Pass {
    let stage = Stage::Float;
    Pass { name, stage, run }
}

const fn quantized(name: &'static str, run: fn(&mut Model) -> Result<usize>) -> Pass {
    let stage = Stage::Quantized;
    Pass { name, stage, run }
}

/// All passes, in order.
pub const PIPELINE: &[Pass] = &[
    // Before the statistics that tell ranges are folded away.
    float("note-ranges", intervals::note),
    // Before the roundings of weights fold, and while quotients are written as such.
    float("recognise-fake-quantization", fake_quant::recognise),
    float("fold-constants", fold_constants::fold),
    // Constants second, Mul and Add instead of Div and Sub: what follows matches fewer forms.
    float("canonicalise", canonical::run),
    // Before the Add and Mul of an idiom are taken for affine maps of a neighbour.
    float("recognise-functions", function::recognise),
    float("simplify-movement", movement::simplify),
    // Brings affine maps and activations next to the sums that can take them; reshapes meet and merge.
    float("hoist-elementwise", hoist::hoist),
    float("simplify-movement-again", movement::simplify),
    float("fold-affine", affine::fold),
    float("fuse-activations", activation::fuse),
    // After activations: a maximum takes a zero pad only where nothing is negative.
    float("fold-pads", pad::fold),
    // After every fold: what is left becomes a table or a depthwise convolution of its own.
    float("lower-affine", affine::lower),
    float("fuse-activations-again", activation::fuse),
    // After activations: the sum's own activation comes along.
    float("fuse-residuals", residual::fuse),
    quantized("drop-identities", identity::drop),
    // What stood between a DequantizeLinear and a QuantizeLinear meets its neighbours.
    quantized("simplify-integer-movement", movement::simplify),
    quantized("fold-integer-pads", pad::fold),
];

/// Runs the passes of a stage; the verifier runs after each.
pub fn run(model: &mut Model, stage: Stage) -> Result<()> {
    run_with(model, stage, &mut |_, _, _| ())
}

/// [`run`], showing each pass with its number of changes and the model after it to `observe`.
pub fn run_with(
    model: &mut Model,
    stage: Stage,
    observe: &mut dyn FnMut(&Pass, usize, &Model),
) -> Result<()> {
    verify(model)?;
    for pass in PIPELINE.iter().filter(|pass| pass.stage == stage) {
        let changes = (pass.run)(model)?;
        model.remove_dead();
        verify(model).map_err(|e| e.hint(format!("pass {} broke the model", pass.name)))?;
        observe(pass, changes, model);
    }
    Ok(())
}
