//! Range annotation by running samples (whitepaper arXiv 1806.08342 §2.5), with memory that does not grow
//! with their number.

use rayon::prelude::*;

use crate::ir::{Array, Data, Model, Range, TensorId};
use crate::{Result, bail, eval};

/// How the ranges of several samples become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The smallest range that holds them all.
    MinMax,
    /// A moving average of minima and of maxima, in the order of the samples:
    /// `range = momentum·range + (1 − momentum)·sample`, starting from the first sample.
    MovingAverage {
        /// Weight of the past, in `0.0..1.0`.
        momentum: f32,
    },
}

/// Ranges seen so far.
#[derive(Clone, Debug)]
pub struct Calibration {
    method: Method,
    /// By tensor.
    ranges: Vec<Option<Range>>,
}

impl Calibration {
    /// No sample seen.
    pub fn new(model: &Model, method: Method) -> Calibration {
        Calibration {
            method,
            ranges: vec![None; model.tensors.len()],
        }
    }

    /// Runs the model of reals on one sample's inputs.
    pub fn observe(&mut self, model: &Model, inputs: &[Array]) -> Result<()> {
        self.merge(&ranges_of(model, inputs)?);
        Ok(())
    }

    /// [`Calibration::observe`] for several samples, evaluated in parallel. The result is that of one after
    /// the other.
    pub fn observe_all(&mut self, model: &Model, samples: &[Vec<Array>]) -> Result<()> {
        let ranges: Vec<_> = samples
            .par_iter()
            .map(|inputs| ranges_of(model, inputs))
            .collect();
        for ranges in ranges {
            self.merge(&ranges?);
        }
        Ok(())
    }

    fn merge(&mut self, sample: &[Option<Range>]) {
        for (range, new) in self.ranges.iter_mut().zip(sample) {
            *range = match (*range, *new) {
                (Some(old), Some(new)) => Some(self.method.combine(old, new)),
                (old, new) => old.or(new),
            };
        }
    }

    /// Annotates the tensors that were seen; what was known of them before is replaced.
    pub fn finish(self, model: &mut Model) -> Result<()> {
        for (tensor, range) in model.tensors.iter_mut().zip(self.ranges) {
            tensor.range = range.or(tensor.range);
        }
        Ok(())
    }
}

impl Method {
    fn combine(self, old: Range, new: Range) -> Range {
        match self {
            Method::MinMax => old.union(new),
            Method::MovingAverage { momentum } => {
                let mix = |old: f32, new: f32| momentum * old + (1.0 - momentum) * new;
                Range {
                    min: mix(old.min, new.min),
                    max: mix(old.max, new.max),
                }
            }
        }
    }
}

/// Where each tensor's reals lie on one sample.
fn ranges_of(model: &Model, inputs: &[Array]) -> Result<Vec<Option<Range>>> {
    let mut ranges = vec![None; model.tensors.len()];
    let mut broken = None;
    eval::run_with(model, inputs, &mut |id: TensorId, array| {
        let range = range_of(array);
        if range.is_some_and(|r| !(r.min.is_finite() && r.max.is_finite())) {
            broken.get_or_insert(id);
        }
        ranges[id.0 as usize] = range;
    })?;
    if let Some(id) = broken {
        bail!(
            "tensor `{}` is infinite or not a number on a calibration sample", model[id].name;
            hint: "check the samples and their preprocessing (--mean, --scale, --layout)"
        );
    }
    Ok(ranges)
}

/// Where the reals of an array lie; `None` for integers and for no elements. A NaN is passed on.
pub(crate) fn range_of(array: &Array) -> Option<Range> {
    let Data::F32(reals) = &array.data else {
        return None;
    };
    let first = *reals.first()?;
    // Comparisons instead of f32::min, which would drop a NaN; the sum of all keeps it.
    let (mut min, mut max, mut sum) = (first, first, 0.0f32);
    for x in reals {
        min = if *x < min { *x } else { min };
        max = if *x > max { *x } else { max };
        sum += x * 0.0;
    }
    Some(Range {
        min: min + sum,
        max: max + sum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Clamp, Node, Type};
    use crate::ops::{Function, Unary};

    /// y = relu(x), three elements.
    fn model() -> Model {
        let mut model = Model::new("m");
        let x = model.add_tensor("x", Type::float([3]), None);
        let y = model.add_tensor("y", Type::float([3]), None);
        model.inputs.push(x);
        model.outputs.push(y);
        let op = Unary {
            function: Function::Clamp(Clamp::RELU),
        }
        .into();
        model.nodes.push(Node {
            name: "relu".into(),
            op,
            inputs: vec![Some(x)],
            output: y,
        });
        model
    }

    fn samples() -> Vec<Vec<Array>> {
        let sample = |values: [f32; 3]| vec![Array::f32([3], values.to_vec())];
        vec![
            sample([-1.0, 0.5, 2.0]),
            sample([-3.0, 0.0, 1.0]),
            sample([-2.0, 0.0, 7.0]),
        ]
    }

    fn calibrated(method: Method) -> [Option<Range>; 2] {
        let mut model = model();
        let mut calibration = Calibration::new(&model, method);
        calibration.observe_all(&model, &samples()).unwrap();
        calibration.finish(&mut model).unwrap();
        [model.tensors[0].range, model.tensors[1].range]
    }

    #[test]
    fn extremes_of_all_samples() {
        let [x, y] = calibrated(Method::MinMax);
        assert_eq!(
            x,
            Some(Range {
                min: -3.0,
                max: 7.0
            })
        );
        assert_eq!(y, Some(Range { min: 0.0, max: 7.0 }));
    }

    #[test]
    fn a_moving_average_weighs_the_past() {
        let [x, _] = calibrated(Method::MovingAverage { momentum: 0.5 });
        // min: −1, then (−1 − 3)/2 = −2, then (−2 − 2)/2; max: 2, then 1.5, then 4.25.
        assert_eq!(
            x,
            Some(Range {
                min: -2.0,
                max: 4.25
            })
        );
    }

    #[test]
    fn a_nan_names_its_tensor() {
        let model = model();
        let mut calibration = Calibration::new(&model, Method::MinMax);
        let inputs = [Array::f32([3], vec![1.0, f32::NAN, 0.0])];
        let error = calibration
            .observe(&model, &inputs)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("tensor `x` is infinite or not a number"),
            "{error}"
        );
    }
}
