//! Which repairs of the quantization help a network, found by trying: how ranges follow from samples, how channels
//! are equalised, what biases make good, and how weights are rounded.
//!
//! One after the other, each with what was kept before it. Samples that judge are held out from those that teach,
//! where there are enough; a repair that wins less than [`LEAST`] has won by chance, and is left out.

use super::measure::{self, Outputs};
use crate::data::Sample;
use crate::ir::{Array, Model, Node, TensorId};
use crate::passes::Stage;
use crate::passes::analyse::Noise;
use crate::passes::calibrate::{Calibration, Method};
use crate::passes::quantize::{self, Options, Texts};
use crate::{Result, bail};

/// What is tried of each option, in this order.
const ALTERNATIVES: [(Repair, &[&str]); 4] = [
    (
        Repair::Calibration,
        &["percentile=99.999", "mse", "percentile=99"],
    ),
    (Repair::Equalisation, &["none", "shifts"]),
    (Repair::BiasCorrection, &["none", "samples"]),
    (Repair::Rounding, &["gptq"]),
];

/// Decibels that a repair must win.
pub const LEAST: f64 = 0.2;

/// Of so many samples or more, every fourth is held out.
const ENOUGH: usize = 16;

/// Samples evaluated at a time.
const CHUNK: usize = 16;

/// An option of the quantization beside its widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// How ranges follow from samples.
    Calibration,
    /// How channels of one tensor are brought together.
    Equalisation,
    /// What biases make good.
    BiasCorrection,
    /// How weights become integers.
    Rounding,
}

/// What quantization does to the outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Beside those of the float network.
    pub noise: Noise,
    /// Share of answers that the float network has right and this one wrong, where samples have labels.
    pub lost: Option<f64>,
}

/// A repair that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Of which option.
    pub repair: Repair,
    /// The option's value.
    pub value: &'static str,
    /// Without it.
    pub before: Verdict,
    /// With it.
    pub after: Verdict,
    /// Whether it helps.
    pub kept: bool,
}

/// What was tried, and what of it helps.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The options that were given, and those that help.
    pub texts: Texts,
    /// In order.
    pub trials: Vec<Trial>,
    /// How many samples judged.
    pub judged: usize,
    /// Whether these were held out.
    pub held_out: bool,
}

impl Repair {
    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Repair::Calibration => "calibration",
            Repair::Equalisation => "equalisation",
            Repair::BiasCorrection => "bias-correction",
            Repair::Rounding => "rounding",
        }
    }

    fn of(self, texts: &mut Texts) -> &mut Option<String> {
        match self {
            Repair::Calibration => &mut texts.calibration,
            Repair::Equalisation => &mut texts.equalisation,
            Repair::BiasCorrection => &mut texts.bias_correction,
            Repair::Rounding => &mut texts.rounding,
        }
    }
}

/// How many repairs are tried beside what the options say.
pub fn count(texts: &Texts) -> usize {
    open(texts).map(|(_, values)| values.len()).sum()
}

/// What is left to be tried: an option that is given stays.
fn open(texts: &Texts) -> impl Iterator<Item = (Repair, &'static [&'static str])> {
    let mut texts = texts.clone();
    let all = ALTERNATIVES.into_iter();
    all.filter(move |(repair, _)| repair.of(&mut texts).is_none())
}

/// Tries repairs of a model of reals without ranges, but for those that are stated of its inputs. Where `answers`
/// count, none may be lost by a repair, whatever it does to the noise. `done` is called after each.
pub fn repair(
    model: &Model,
    (texts, signed): (&Texts, bool),
    samples: Vec<Sample>,
    answers: bool,
    done: &dyn Fn(),
) -> Result<Repaired> {
    if samples.is_empty() {
        bail!("repairs are tried on samples"; hint: "pass them with --calibrate");
    }
    let bench = Bench::new(model, (texts, signed), samples)?;
    let mut repaired = Repaired {
        texts: texts.clone(),
        trials: vec![],
        judged: bench.judge.len(),
        held_out: bench.held_out,
    };
    let mut best = bench.verdict(&repaired.texts, signed)?;
    for (repair, values) in open(texts) {
        let mut chosen = repaired.texts.clone();
        let before = best;
        let first = repaired.trials.len();
        for value in values {
            let mut tried = repaired.texts.clone();
            *repair.of(&mut tried) = Some(value.to_string());
            let after = bench.verdict(&tried, signed)?;
            let kept = is_better(best, before, after, answers);
            if kept {
                (best, chosen) = (after, tried);
                // Of one option only the best is kept.
                repaired.trials[first..]
                    .iter_mut()
                    .for_each(|t| t.kept = false);
            }
            repaired.trials.push(Trial {
                repair,
                value,
                before,
                after,
                kept,
            });
            done();
        }
        repaired.texts = chosen;
    }
    Ok(repaired)
}

/// Whether a repair wins enough over what was before it, and more than the best of its kind.
fn is_better(best: Verdict, before: Verdict, after: Verdict, answers: bool) -> bool {
    let wins = after.noise.decibel() > before.noise.decibel() + LEAST
        && after.noise.decibel() > best.noise.decibel();
    wins && !(answers && after.lost > before.lost)
}

/// A network with samples that teach and samples that judge.
struct Bench {
    /// With ranges by the method that is given, and with what rounding learns.
    model: Model,
    method: Method,
    teach: Vec<Vec<Array>>,
    judge: Vec<Sample>,
    held_out: bool,
    truth: Vec<Outputs>,
}

impl Bench {
    fn new(model: &Model, (texts, signed): (&Texts, bool), samples: Vec<Sample>) -> Result<Bench> {
        let held_out = samples.len() >= ENOUGH;
        let (mut teach, mut judge) = (vec![], vec![]);
        for (i, sample) in samples.into_iter().enumerate() {
            let judges = !held_out || i % 4 == 3;
            if !held_out || !judges {
                teach.push(sample.inputs.clone());
            }
            if judges {
                judge.push(sample);
            }
        }
        let truth = measure::truth(model, &judge)?;
        let options = texts.options(signed)?;
        let learns = texts.rounding.is_none();
        let method = texts.method()?;
        let learns = |node: &Node| learns || options.learns(node);
        let calibration = Calibration::new(model, method).learning(model, learns);
        let mut bench = Bench {
            model: model.clone(),
            method,
            teach,
            judge,
            held_out,
            truth,
        };
        bench.model = bench.calibrated(model, calibration)?;
        Ok(bench)
    }

    fn calibrated(&self, model: &Model, mut calibration: Calibration) -> Result<Model> {
        for chunk in self.teach.chunks(CHUNK) {
            calibration.observe_all(model, chunk)?;
        }
        let mut model = model.clone();
        calibration.finish(&mut model)?;
        Ok(model)
    }

    /// What the network does that is quantized with some options.
    fn verdict(&self, texts: &Texts, signed: bool) -> Result<Verdict> {
        let options = texts.options(signed)?;
        let mut model = self.model.clone();
        let method = texts.method()?;
        if method != self.method {
            let other = self.calibrated(&self.model, Calibration::new(&self.model, method))?;
            let inputs = &self.model.inputs;
            for (i, tensor) in other.tensors.iter().enumerate() {
                let id = TensorId(i as u32);
                // What an input holds was stated, or is kept whole by every method.
                if !inputs.contains(&id) {
                    model[id].range = tensor.range;
                }
            }
        }
        let found = measure::answered(&self.integer(model, &options)?, &self.judge)?;
        Ok(Verdict {
            noise: measure::noise(&self.truth, &found),
            lost: measure::lost(&self.judge, &self.truth, &found),
        })
    }

    fn integer(&self, mut model: Model, options: &Options) -> Result<Model> {
        let samples = self.teach.iter().map(|inputs| Ok(inputs.clone()));
        quantize::correct_biases(&mut model, samples, options)?;
        quantize::quantize(&mut model, options)?;
        crate::passes::run(&mut model, Stage::Quantized)?;
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::answers;
    use crate::eval;
    use crate::passes::testing::{Sketch, conv, noise};

    /// Channels of very different magnitude, and twenty samples.
    fn network() -> (Model, Vec<Sample>) {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 5, 5]);
        let weights: Vec<f32> = noise(5, 8 * 2)
            .iter()
            .enumerate()
            .map(|(i, w)| w * [1.0, 0.02][i / 2 % 2])
            .collect();
        let w = sketch.constant("w", &[8, 2, 1, 1], &weights);
        let a = sketch.node("a", conv(), &[x, w]);
        let large: Vec<f32> = noise(6, 3 * 8)
            .iter()
            .enumerate()
            .map(|(i, w)| w * [1.0, 50.0][i % 2])
            .collect();
        let v = sketch.constant("v", &[3, 8, 1, 1], &large);
        let y = sketch.node("y", conv(), &[a, v]);
        let model = sketch.model(&[y]);
        let sample = |seed| {
            let inputs = vec![Array::f32([1, 2, 5, 5], noise(seed, 50))];
            let labels = answers(&eval::run(&model, &inputs).unwrap()[0]);
            Sample { inputs, labels }
        };
        let samples = (1..21).map(sample).collect();
        (model, samples)
    }

    fn repaired(texts: &Texts) -> Repaired {
        let (model, samples) = network();
        repair(&model, (texts, false), samples, false, &|| ()).unwrap()
    }

    #[test]
    fn what_helps_is_kept_and_what_harms_is_not() {
        let repaired = repaired(&Texts::default());
        assert_eq!((repaired.judged, repaired.held_out), (5, true));
        assert_eq!(repaired.trials.len(), count(&Texts::default()));
        let none = |t: &&Trial| (t.repair, t.value) == (Repair::Equalisation, "none");
        let none = repaired.trials.iter().find(none).unwrap();
        // Channels a fiftieth as large as others need to grow.
        assert!(!none.kept);
        let [before, after] = [none.before, none.after].map(|v| v.noise.decibel());
        assert!(after < before - 10.0, "{before} {after}");
        for trial in &repaired.trials {
            let won = trial.after.noise.decibel() - trial.before.noise.decibel();
            assert!(!trial.kept || won > LEAST, "{trial:?}");
        }
    }

    #[test]
    fn where_channels_are_not_equalised_the_search_finds_that_they_should_be() {
        let start = Texts {
            equalisation: Some("none".to_string()),
            ..Texts::default()
        };
        let found = repaired(&start);
        // What is given stays.
        assert_eq!(found.texts.equalisation, start.equalisation);
        let tried = |t: &Trial| t.repair == Repair::Equalisation;
        assert!(!found.trials.iter().any(tried));
    }

    #[test]
    fn an_option_has_one_value_and_lost_answers_outweigh_noise() {
        let verdict = |noise: f64, lost: f64| Verdict {
            noise: Noise { signal: 1.0, noise },
            lost: Some(lost),
        };
        let before = verdict(0.1, 0.0);
        assert!(is_better(before, before, verdict(0.05, 0.1), false));
        assert!(!is_better(before, before, verdict(0.05, 0.1), true));
        assert!(is_better(before, before, verdict(0.05, 0.0), true));
        // A tenth of a decibel is chance, and the better one of a kind stays.
        assert!(!is_better(before, before, verdict(0.0977, 0.0), false));
        let best = verdict(0.04, 0.0);
        assert!(!is_better(best, before, verdict(0.05, 0.0), false));
    }
}
