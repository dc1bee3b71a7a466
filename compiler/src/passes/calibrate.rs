//! Range annotation: where each tensor's reals lie, seen on samples or told by BatchNorm statistics.
//!
//! Samples stream: only one range for each tensor is kept. Samples of one call are evaluated in parallel and
//! merged in their order, so that the result does not depend on the number of threads.

use rayon::prelude::*;

use super::intervals;
use crate::ir::{Array, Elem, Model, Range, TensorId};
use crate::{Error, Result, bail, eval};

/// How the ranges of several samples become one (whitepaper arXiv 1806.08342 §2.5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The smallest range that holds every sample's.
    MinMax,
    /// `momentum · so far + (1 − momentum) · sample`, in the order of the samples: an outlier fades.
    MovingAverage {
        /// Share of what was seen before, in 0..1; 0.9 is usual.
        momentum: f32,
    },
}

/// Ranges seen so far.
#[derive(Clone, Debug)]
pub struct Calibration {
    method: Method,
    /// Indexed as the model's tensors.
    ranges: Vec<Option<Range>>,
    samples: usize,
}

impl Calibration {
    /// Nothing seen yet of a model of reals, to which no pass is applied until [`Self::finish`].
    pub fn new(model: &Model, method: Method) -> Calibration {
        Calibration {
            method,
            ranges: vec![None; model.tensors.len()],
            samples: 0,
        }
    }

    /// Evaluates one sample and takes note of every tensor's range.
    pub fn observe(&mut self, model: &Model, inputs: &[Array]) -> Result<()> {
        self.merge(model, sample_ranges(model, inputs)?)
    }

    /// Evaluates several samples in parallel; the same as observing them one after another.
    pub fn observe_all(&mut self, model: &Model, samples: &[Vec<Array>]) -> Result<()> {
        let seen: Vec<_> = samples
            .par_iter()
            .map(|inputs| sample_ranges(model, inputs))
            .collect();
        seen.into_iter()
            .try_for_each(|ranges| self.merge(model, ranges?))
    }

    fn merge(&mut self, model: &Model, ranges: Vec<(TensorId, Option<Range>)>) -> Result<()> {
        self.samples += 1;
        for (id, range) in ranges {
            let Some(range) = range else {
                let (name, n) = (&model[id].name, self.samples);
                bail!(
                    "tensor `{name}` holds no finite numbers in sample {n}";
                    hint: "check the samples' scale and layout against what the model expects"
                );
            };
            let slot = &mut self.ranges[id.0 as usize];
            *slot = Some(match (*slot, self.method) {
                (None, _) => range,
                (Some(so_far), Method::MinMax) => so_far.union(range),
                (Some(so_far), Method::MovingAverage { momentum }) => Range {
                    min: momentum * so_far.min + (1.0 - momentum) * range.min,
                    max: momentum * so_far.max + (1.0 - momentum) * range.max,
                },
            });
        }
        Ok(())
    }

    /// Annotates the model with what was seen.
    pub fn finish(self, model: &mut Model) -> Result<()> {
        if self.samples == 0 {
            bail!("no sample was given for calibration"; hint: "pass at least one; 100 are usual");
        }
        for (tensor, range) in model.tensors.iter_mut().zip(self.ranges) {
            if range.is_some() {
                tensor.range = range;
            }
        }
        Ok(())
    }
}

/// The range of each tensor of reals in one sample, in the order of evaluation.
fn sample_ranges(model: &Model, inputs: &[Array]) -> Result<Vec<(TensorId, Option<Range>)>> {
    let mut ranges = vec![];
    eval::run_with(model, inputs, &mut |id, array| {
        if model[id].ty.elem == Elem::Float && !array.is_empty() {
            ranges.push((id, intervals::of_array(array)));
        }
    })?;
    Ok(ranges)
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
        Error::new(format!(
            "the range of tensor `{}` is unknown",
            model[id].name
        ))
        .hint("BatchNorm statistics do not tell it; pass samples with --calibrate")
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
