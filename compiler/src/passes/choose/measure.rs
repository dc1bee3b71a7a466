//! What an integer network does beside the float one, on samples.

use rayon::prelude::*;

use crate::data::{Sample, answers};
use crate::ir::{Array, Data, Model};
use crate::passes::analyse::Noise;
use crate::{Result, eval, integer};

/// The outputs of one sample.
pub(super) type Outputs = Vec<Array>;

/// What the network of reals answers.
pub(super) fn truth(model: &Model, samples: &[Sample]) -> Result<Vec<Outputs>> {
    let outputs = samples.par_iter().map(|s| eval::run(model, &s.inputs));
    let outputs: Vec<Result<Outputs>> = outputs.collect();
    outputs.into_iter().collect()
}

/// What an integer network answers, as reals.
pub(super) fn answered(integer: &Model, samples: &[Sample]) -> Result<Vec<Outputs>> {
    let outputs = samples.par_iter().map(|sample| {
        let inputs = integer::quantize_inputs(integer, &sample.inputs);
        let outputs = integer::run(integer, &inputs)?;
        Ok(integer::dequantize_outputs(integer, outputs))
    });
    let outputs: Vec<Result<Outputs>> = outputs.collect();
    outputs.into_iter().collect()
}

/// All outputs of all samples beside the true ones.
pub(super) fn noise(truth: &[Outputs], found: &[Outputs]) -> Noise {
    let mut noise = Noise::default();
    for (exact, found) in truth.iter().flatten().zip(found.iter().flatten()) {
        if let (Data::F32(exact), Data::F32(found)) = (&exact.data, &found.data) {
            noise.add(Noise::of(exact, found));
        }
    }
    noise
}

/// The share of right answers, where samples have labels.
pub(super) fn accuracy(samples: &[Sample], outputs: &[Outputs]) -> Option<f64> {
    let (mut right, mut labelled) = (0, 0);
    for (sample, outputs) in samples.iter().zip(outputs) {
        let answers = answers(&outputs[0]);
        labelled += sample.labels.len();
        let pairs = sample.labels.iter().zip(answers);
        right += pairs.filter(|(label, answer)| *label == answer).count();
    }
    (labelled > 0).then(|| right as f64 / labelled as f64)
}

/// The share of answers that are right in the float network and wrong in the other, where samples have labels.
pub(super) fn lost(samples: &[Sample], truth: &[Outputs], found: &[Outputs]) -> Option<f64> {
    let (mut lost, mut labelled) = (0, 0);
    for ((sample, truth), found) in samples.iter().zip(truth).zip(found) {
        labelled += sample.labels.len();
        let answers = answers(&truth[0]).into_iter().zip(answers(&found[0]));
        let answers = sample.labels.iter().zip(answers);
        let answers =
            answers.filter(|(label, (float, integer))| float == *label && integer != *label);
        lost += answers.count();
    }
    (labelled > 0).then(|| lost as f64 / labelled as f64)
}
