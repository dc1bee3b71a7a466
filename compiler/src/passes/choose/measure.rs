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

/// How many labels samples have.
pub(super) fn labelled(samples: &[Sample]) -> usize {
    samples.iter().map(|sample| sample.labels.len()).sum()
}

/// The share of all answers that are lost at most, with a certainty of 95 %, where a network loses `lost` of the
/// `drawn` ones: the upper end of the one-sided interval of Clopper and Pearson (Biometrika 26, 1934).
pub(super) fn lost_at_most(lost: usize, drawn: usize) -> f64 {
    // Whether a share of `p` would rarely give so few.
    let rare = |p: f64| {
        let odds = p / (1.0 - p);
        let mut term = (drawn as f64 * (1.0 - p).ln()).exp();
        let mut sum = term;
        for i in 0..lost {
            term *= odds * (drawn - i) as f64 / (i + 1) as f64;
            sum += term;
        }
        sum < 0.05
    };
    if lost >= drawn {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let half = (low + high) / 2.0;
        match rare(half) {
            true => high = half,
            false => low = half,
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_answers_do_not_promise_much() {
        // Sums of binomial terms in exact fractions give these.
        for (lost, drawn, most) in LIMITS {
            let found = lost_at_most(lost, drawn);
            assert!((found - most).abs() < 1e-6, "{lost} of {drawn}: {found}");
        }
        assert_eq!(lost_at_most(5, 5), 1.0);
    }

    const LIMITS: [(usize, usize, f64); 3] = [
        (0, 32, 0.089368199),
        (3, 60, 0.124187210),
        (2, 100, 0.061619200),
    ];
}
