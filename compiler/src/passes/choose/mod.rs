//! A width for each layer: the smallest network that is good enough, or the best that is small enough.
//!
//! All networks that are considered lie on one path. Its middle is 8 bits everywhere. Towards one end layers give
//! bits of their weights up, those first that make the outputs least worse for a byte; towards the other, layers
//! read 16-bit activations, those first that make the outputs most better. Where the goal is met for the first
//! time is found by halving, with the integer network as a whole evaluated on the samples at each point.

mod measure;
mod repairs;
mod steps;
#[cfg(test)]
mod tests;

pub use self::repairs::{LEAST, Repair, Repaired, Trial, Verdict, count, repair};

use self::measure::Outputs;
use self::steps::Costs;
use super::Stage;
use super::analyse::{Analysis, Noise, Report};
use super::quantize::{
    self, Activations, BiasCorrection, IntegerWeights, Layers, Options, Rounding, Scheme, Weights,
};
use crate::data::Sample;
use crate::ir::Model;
use crate::{Result, bail};

/// What the network must be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    /// Bytes of constants, at most.
    pub max_flash: Option<u64>,
    /// Signal to noise of the outputs beside the float network's, in decibel, at least.
    pub min_sqnr: Option<f64>,
    /// Share of the labelled samples that are answered right, at least.
    pub min_accuracy: Option<Accuracy>,
}

/// A share of right answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accuracy {
    /// From 0 to 1.
    Share(f64),
    /// The float network's less this.
    BelowFloat(f64),
}

/// One layer's change on the path.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The node's name.
    pub node: String,
    /// What it becomes.
    pub scheme: Scheme,
    /// What the outputs' noise gains by it alone, in squares.
    pub noise: f64,
    /// What the weights gain in bytes.
    pub bytes: i64,
}

/// A network on the path, as measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where: 0 has the fewest bits.
    pub position: usize,
    /// How it is quantized.
    pub options: Options,
    /// Bytes of constants.
    pub flash: u64,
    /// The outputs beside the float network's.
    pub noise: Noise,
    /// Share of right answers, where samples have labels.
    pub accuracy: Option<f64>,
    /// Share of answers that the float network has right and this one wrong, where samples have labels. What a goal
    /// allows to lose: of a hundred answers one that is right by luck must not pay for another that is lost.
    pub lost: Option<f64>,
}

/// The path, with what was measured on it.
pub struct Path<'a> {
    model: &'a Model,
    options: &'a Options,
    samples: &'a [Sample],
    truth: Vec<Outputs>,
    /// Bytes of the constants of an integer network.
    flash: &'a (dyn Fn(&Model) -> Result<u64> + Sync),
    down: Vec<Step>,
    up: Vec<Step>,
    points: Vec<Point>,
}

/// Widths that weights come down to.
const NARROWER: [u8; 2] = [4, 2];

/// Samples that each layer alone is evaluated on.
pub const ANALYZED: usize = 4;

impl<'a> Path<'a> {
    /// The path of a model of reals whose ranges are annotated. Weights of less than 8 bits are rounded as `rounding`
    /// says, and the others as the options say. `done` is called once a layer, a sample and a width:
    /// [`Path::work`] times.
    pub fn new(
        model: &'a Model,
        (options, rounding): (&'a Options, Rounding),
        samples: &'a [Sample],
        flash: &'a (dyn Fn(&Model) -> Result<u64> + Sync),
        done: &(dyn Fn() + Sync),
    ) -> Result<Path<'a>> {
        if samples.is_empty() {
            bail!("a width for each layer is chosen on samples"; hint: "pass them with --calibrate");
        }
        if !is_w8a8(options.scheme) {
            bail!(
                "a width for each layer is chosen from w8a8 on, not from {}", options.scheme;
                hint: "pin layers with --layer instead"
            );
        }
        let truth = measure::truth(model, samples)?;
        let cost = |scheme: Scheme| {
            // Each width has gains of its own; layers are told apart without them.
            let options = Options {
                scheme,
                ..analytic(options)
            };
            analyse(model, &options, samples, done)
        };
        let narrower = NARROWER.map(|bits| narrowed(options.scheme, bits, rounding));
        let [at_4, at_2] = narrower;
        let costs = Costs {
            base: cost(options.scheme)?,
            narrower: [cost(at_4)?, cost(at_2)?],
            wider: cost(widened(options.scheme))?,
        };
        let real = quantize::equalised(model, &analytic(options))?;
        Ok(Path {
            down: steps::down(&real, options, &costs, narrower),
            up: steps::up(&real, options, &costs),
            model,
            options,
            samples,
            truth,
            flash,
            points: vec![],
        })
    }

    /// How often [`Path::new`] calls `done`, at most.
    pub fn work(model: &Model, samples: usize) -> usize {
        4 * (model.nodes.len() + model.inputs.len()) * samples.min(ANALYZED)
    }

    /// The position of 8 bits everywhere.
    pub fn middle(&self) -> usize {
        self.down.len()
    }

    /// The last position.
    pub fn end(&self) -> usize {
        self.down.len() + self.up.len()
    }

    /// What changes between 8 bits everywhere and a position.
    pub fn steps(&self, position: usize) -> &[Step] {
        match position.checked_sub(self.middle()) {
            Some(wider) => &self.up[..wider],
            None => &self.down[..self.middle() - position],
        }
    }

    /// All points that were measured, from the smallest.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The share of right answers of the float network, where samples have labels.
    pub fn float_accuracy(&self) -> Option<f64> {
        measure::accuracy(self.samples, &self.truth)
    }

    /// How many samples have labels, and what share of all answers a network loses at most, with a certainty of 95 %,
    /// as far as these tell.
    pub fn lost_at_most(&self, point: &Point) -> Option<(usize, f64)> {
        let labelled = measure::labelled(self.samples);
        let lost = (point.lost? * labelled as f64).round() as usize;
        Some((labelled, measure::lost_at_most(lost, labelled)))
    }

    /// How the network at a position is quantized: what was said of a layer stays.
    pub fn options(&self, position: usize) -> Options {
        let mut options = self.options.clone();
        let mut chosen: Vec<Layers> = vec![];
        for step in self.steps(position) {
            chosen.retain(|layers| layers.pattern != step.node);
            chosen.push(Layers {
                pattern: step.node.clone(),
                scheme: step.scheme,
            });
        }
        chosen.append(&mut options.layers);
        options.layers = chosen;
        options
    }

    /// Evaluates the network at a position, unless it was before.
    pub fn measure(&mut self, position: usize) -> Result<&Point> {
        let found = self
            .points
            .binary_search_by_key(&position, |point| point.position);
        let index = match found {
            Ok(index) => index,
            Err(index) => {
                let point = self.evaluate(position)?;
                self.points.insert(index, point);
                index
            }
        };
        Ok(&self.points[index])
    }

    /// The point that meets a goal: the first good enough one, or else the last small enough one.
    pub fn choose(&mut self, goal: &Goal) -> Result<Point> {
        if goal.min_sqnr.is_none() && goal.min_accuracy.is_none() {
            return self.largest(goal);
        }
        let allowed = self.allowed_loss(goal)?;
        let good = |path: &mut Path, position: usize| {
            let point = path.measure(position)?;
            let sqnr = goal
                .min_sqnr
                .is_none_or(|least| point.noise.decibel() >= least);
            let right = allowed.is_none_or(|most| point.lost.is_some_and(|lost| lost <= most));
            Ok::<bool, crate::Error>(sqnr && right)
        };
        let (mut bad, mut position) = match good(self, self.middle())? {
            true if good(self, 0)? => (0, 0),
            true => (0, self.middle()),
            false if !good(self, self.end())? => return self.hopeless(),
            false => (self.middle(), self.end()),
        };
        while position > bad + 1 {
            let half = (bad + position) / 2;
            match good(self, half)? {
                true => position = half,
                false => bad = half,
            }
        }
        let point = self.measure(position)?.clone();
        if let Some(most) = goal.max_flash.filter(|most| point.flash > *most) {
            bail!(
                "what is good enough needs {} bytes of constants, {most} are allowed", point.flash;
                hint: "ask for less accuracy, or allow more; qcc choose --pareto shows what there is between"
            );
        }
        Ok(point)
    }

    /// The last point of at most 8 bits that is small enough.
    fn largest(&mut self, goal: &Goal) -> Result<Point> {
        let Some(most) = goal.max_flash else {
            bail!(
                "nothing says what the network must be";
                hint: "pass --max-flash, --min-accuracy or --min-sqnr"
            );
        };
        let fits = |path: &Path, position| Ok::<bool, crate::Error>(path.size(position)? <= most);
        let (mut good, mut bad) = (0, self.middle() + 1);
        if !fits(self, 0)? {
            bail!(
                "with 2-bit weights the constants are {} bytes, {most} are allowed", self.size(0)?;
                hint: "choose a smaller network"
            );
        }
        while bad > good + 1 {
            let half = (good + bad) / 2;
            match fits(self, half)? {
                true => good = half,
                false => bad = half,
            }
        }
        Ok(self.measure(good)?.clone())
    }

    /// The share of answers that may be lost.
    fn allowed_loss(&self, goal: &Goal) -> Result<Option<f64>> {
        let Some(wanted) = goal.min_accuracy else {
            return Ok(None);
        };
        let Some(float) = self.float_accuracy() else {
            bail!(
                "an accuracy is asked for, and the samples have no labels";
                hint: "calibrate with labelled samples, or ask with --min-sqnr"
            );
        };
        Ok(Some(match wanted {
            // A share of samples is no exact number.
            Accuracy::Share(share) => float - share + 1e-9,
            Accuracy::BelowFloat(less) => less + 1e-9,
        }))
    }

    fn hopeless<T>(&mut self) -> Result<T> {
        let end = self.end();
        let point = self.measure(end)?;
        let right = point
            .accuracy
            .map(|a| format!(" and {:.1} % right", 100.0 * a));
        bail!(
            "8-bit weights and 16-bit activations reach {:.1} dB{}, which is not enough",
            point.noise.decibel(), right.unwrap_or_default();
            hint: "ask for less, or pin layers with --layer; qcc analyze shows where the noise is from"
        )
    }

    fn integer(&self, options: &Options) -> Result<Model> {
        let mut integer = self.model.clone();
        let inputs = self.samples.iter().map(|sample| Ok(sample.inputs.clone()));
        quantize::correct_biases(&mut integer, inputs, options)?;
        quantize::quantize(&mut integer, options)?;
        super::run(&mut integer, Stage::Quantized)?;
        Ok(integer)
    }

    fn size(&self, position: usize) -> Result<u64> {
        // Biases take their place, whatever they gain.
        (self.flash)(&self.integer(&analytic(&self.options(position)))?)
    }

    fn evaluate(&self, position: usize) -> Result<Point> {
        let options = self.options(position);
        let integer = self.integer(&options)?;
        let outputs = measure::answered(&integer, self.samples)?;
        Ok(Point {
            position,
            flash: (self.flash)(&integer)?,
            accuracy: measure::accuracy(self.samples, &outputs),
            lost: measure::lost(self.samples, &self.truth, &outputs),
            noise: measure::noise(&self.truth, &outputs),
            options,
        })
    }
}

fn analyse(
    model: &Model,
    options: &Options,
    samples: &[Sample],
    done: &(dyn Fn() + Sync),
) -> Result<Report> {
    let mut analysis = Analysis::new(model, options)?;
    for sample in samples.iter().take(ANALYZED) {
        analysis.observe(&sample.inputs, done)?;
    }
    Ok(analysis.finish())
}

/// The same, with biases corrected without samples.
fn analytic(options: &Options) -> Options {
    Options {
        bias: BiasCorrection::Analytic,
        ..options.clone()
    }
}

fn is_w8a8(scheme: Scheme) -> bool {
    let eight = Activations::Integers { bits: 8 };
    scheme.activations == eight
        && matches!(scheme.weights, Weights::Integers(form) if form.bits == 8)
}

/// The scheme with weights of less bits, where they are integers.
fn narrowed(scheme: Scheme, bits: u8, rounding: Rounding) -> Scheme {
    match scheme.weights {
        Weights::Integers(form) => Scheme {
            weights: Weights::Integers(IntegerWeights {
                bits,
                rounding,
                ..form
            }),
            ..scheme
        },
        Weights::F16 | Weights::F32 => scheme,
    }
}

/// The scheme with activations of 16 bits.
fn widened(scheme: Scheme) -> Scheme {
    Scheme {
        activations: Activations::Integers { bits: 16 },
        ..scheme
    }
}
