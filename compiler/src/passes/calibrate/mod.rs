//! Range annotation: where each tensor's reals lie, seen on samples or told by BatchNorm statistics.
//!
//! Samples stream: only one range for each tensor is kept. Samples of one call are evaluated in parallel and
//! merged in their order, so that the result does not depend on the number of threads.

mod channels;
mod histogram;
mod method;
mod moments;
mod ranges;

use std::collections::BTreeMap;

use rayon::prelude::*;

pub use self::method::Method;
pub use self::ranges::Ranges;

use self::channels::Tally;
use self::histogram::Histogram;
use self::moments::{Glimpse, Learning};
use super::intervals;
use crate::ir::{Array, Elem, Model, Node, Range, TensorId};
use crate::{Error, Result, bail, eval};

/// Ranges seen so far.
#[derive(Clone, Debug)]
pub struct Calibration {
    method: Method,
    /// Indexed as the model's tensors.
    ranges: Vec<Option<Range>>,
    /// Of the tensors of reals, where the method counts.
    histograms: BTreeMap<TensorId, Histogram>,
    /// Axis and sums of the channels of each tensor that is multiplied with constant weights.
    channels: BTreeMap<TensorId, (usize, Tally)>,
    learning: Learning,
    samples: usize,
}

/// What one sample shows.
struct Seen {
    /// In the order of evaluation.
    ranges: Vec<(TensorId, Option<Range>)>,
    histograms: Vec<(TensorId, Histogram)>,
    channels: Vec<(TensorId, Tally)>,
    glimpses: Vec<(TensorId, Glimpse)>,
}

impl Calibration {
    /// Nothing seen yet of a model of reals, to which no pass is applied until [`Self::finish`].
    pub fn new(model: &Model, method: Method) -> Calibration {
        Calibration {
            method,
            ranges: vec![None; model.tensors.len()],
            histograms: BTreeMap::new(),
            channels: channels::axes(model)
                .into_iter()
                .map(|(id, axis)| (id, (axis, Tally::default())))
                .collect(),
            learning: Learning::default(),
            samples: 0,
        }
    }

    /// The same, which also takes note of what the weights of some nodes are multiplied with.
    pub fn learning(self, model: &Model, learns: impl Fn(&Node) -> bool) -> Calibration {
        Calibration {
            learning: Learning::of(model, learns),
            ..self
        }
    }

    /// Evaluates one sample and takes note of every tensor's range.
    pub fn observe(&mut self, model: &Model, inputs: &[Array]) -> Result<()> {
        let seen = self.see(model, inputs)?;
        self.merge(model, seen)
    }

    /// Evaluates several samples in parallel; the same as observing them one after another.
    pub fn observe_all(&mut self, model: &Model, samples: &[Vec<Array>]) -> Result<()> {
        let seen: Vec<_> = samples
            .par_iter()
            .map(|inputs| self.see(model, inputs))
            .collect();
        seen.into_iter()
            .try_for_each(|seen| self.merge(model, seen?))
    }

    fn merge(&mut self, model: &Model, seen: Seen) -> Result<()> {
        self.samples += 1;
        for (id, range) in seen.ranges {
            let Some(range) = range else {
                let (name, n) = (&model[id].name, self.samples);
                bail!(
                    "tensor `{name}` holds no finite numbers in sample {n}";
                    hint: "check the samples' scale and layout against what the model expects"
                );
            };
            let slot = &mut self.ranges[id.0 as usize];
            *slot = Some(slot.map_or(range, |so_far| self.method.combine(so_far, range)));
        }
        for (id, histogram) in seen.histograms {
            self.histograms.entry(id).or_default().merge(histogram);
        }
        for (id, tally) in seen.channels {
            let (_, all) = self.channels.get_mut(&id).expect("only these were seen");
            all.merge(tally);
        }
        for (id, glimpse) in seen.glimpses {
            self.learning.merge(id, glimpse);
        }
        Ok(())
    }

    /// Annotates the model with what was seen; the range of an input that was stated beforehand stays.
    pub fn finish(self, model: &mut Model) -> Result<()> {
        if self.samples == 0 {
            bail!("no sample was given for calibration"; hint: "pass at least one; 100 are usual");
        }
        let stated = |id: &TensorId| model[*id].range.is_some();
        let stated: Vec<_> = model.inputs.iter().copied().filter(stated).collect();
        for (i, range) in self.ranges.into_iter().enumerate() {
            let id = TensorId(i as u32);
            if range.is_some() && !stated.contains(&id) {
                model[id].range = range;
            }
        }
        for (id, histogram) in &self.histograms {
            // What enters and leaves the network is kept whole: its extremes carry the meaning.
            let port = model.inputs.contains(id) || model.outputs.contains(id);
            if !port && let Some(range) = self.method.range(histogram) {
                model[*id].range = Some(range);
            }
        }
        for (id, (_, tally)) in self.channels {
            model[id].channels = tally.channels();
        }
        self.learning.finish(model);
        Ok(())
    }

    fn see(&self, model: &Model, inputs: &[Array]) -> Result<Seen> {
        let (mut ranges, mut histograms) = (vec![], vec![]);
        let (mut channels, mut glimpses) = (vec![], vec![]);
        eval::run_with(model, inputs, &mut |id, array| {
            if model[id].ty.elem == Elem::Float && !array.is_empty() {
                ranges.push((id, intervals::of_array(array)));
                if self.method.counts() {
                    histograms.push((id, Histogram::of(array.reals())));
                }
                if let Some((axis, _)) = self.channels.get(&id) {
                    channels.push((id, Tally::of(array, *axis)));
                }
                glimpses.extend(self.learning.see(id, array));
            }
        })?;
        Ok(Seen {
            ranges,
            histograms,
            channels,
            glimpses,
        })
    }
}

/// Annotates ranges without samples, on a model that the float passes have been run on: they noted what
/// BatchNorm statistics tell. The range of an input can be set on its tensor beforehand.
pub fn from_batch_norm(model: &mut Model) -> Result<()> {
    intervals::note(model)?;
    intervals::estimate(model);
    let lacks = |id: &TensorId| {
        let tensor = &model[*id];
        tensor.value.is_none() && tensor.ty.elem == Elem::Float && tensor.range.is_none()
    };
    let results = model.nodes.iter().map(|node| node.output);
    let unknown = model.inputs.iter().copied().chain(results).filter(lacks);
    let problems = unknown.map(|id| {
        let hint = match model.inputs.contains(&id) {
            true => "state it with --input-range, or pass samples with --calibrate",
            false => "BatchNorm statistics do not tell it; pass samples with --calibrate",
        };
        Error::new(format!(
            "the range of tensor `{}` is unknown",
            model[id].name
        ))
        .hint(hint)
    });
    // What follows from an unknown range is unknown too: the first few are enough.
    Error::collect(problems.take(8).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::Sketch;

    fn model() -> (Model, [TensorId; 2]) {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2]);
        let y = sketch.relu("y", x);
        (sketch.model(&[y]), [x, y])
    }

    fn sample(a: f32, b: f32) -> Vec<Array> {
        vec![Array::f32([2], vec![a, b])]
    }

    #[test]
    fn ranges_merge_by_the_method() {
        let cases = [
            (Method::MinMax, [(-2.0, 5.0), (0.0, 5.0)]),
            (
                Method::MovingAverage { momentum: 0.75 },
                [(-1.25, 2.0), (0.0, 2.0)],
            ),
        ];
        for (method, expected) in cases {
            let (mut model, ids) = model();
            let mut calibration = Calibration::new(&model, method);
            let samples = [sample(-1.0, 1.0), sample(5.0, -2.0)];
            calibration.observe_all(&model, &samples).unwrap();
            calibration.finish(&mut model).unwrap();
            let seen = ids.map(|id| model[id].range.map(|r| (r.min, r.max)).unwrap());
            assert_eq!(seen, expected, "{method:?}");
        }
    }

    #[test]
    fn a_stated_range_goes_before_what_samples_show() {
        let (mut model, [x, y]) = model();
        let stated = Range {
            min: 0.0,
            max: 255.0,
        };
        model[x].range = Some(stated);
        let mut calibration = Calibration::new(&model, Method::MinMax);
        calibration.observe(&model, &sample(3.0, 9.0)).unwrap();
        calibration.finish(&mut model).unwrap();
        assert_eq!(model[x].range, Some(stated));
        assert_eq!(model[y].range, Some(Range { min: 3.0, max: 9.0 }));
    }

    #[test]
    fn unusable_samples_are_refused() {
        let (mut model, _) = model();
        let mut calibration = Calibration::new(&model, Method::MinMax);
        let error = calibration
            .observe(&model, &sample(f32::NAN, 0.0))
            .unwrap_err();
        let message = "tensor `x` holds no finite numbers in sample 1";
        assert_eq!(error.diagnostics[0].message, message);
        let none = Calibration::new(&model, Method::MinMax);
        assert!(none.finish(&mut model).is_err());
    }

    #[test]
    fn without_samples_the_input_must_be_told() {
        let (mut model, [x, y]) = model();
        let error = from_batch_norm(&mut model).unwrap_err();
        let named: Vec<_> = error.diagnostics.iter().map(|d| &d.message[..]).collect();
        let unknown = |name| format!("the range of tensor `{name}` is unknown");
        assert_eq!(named, [unknown("x"), unknown("y")]);
        model[x].range = Some(Range {
            min: -1.0,
            max: 3.0,
        });
        from_batch_norm(&mut model).unwrap();
        assert_eq!(model[y].range.map(|r| (r.min, r.max)), Some((0.0, 3.0)));
    }
}
