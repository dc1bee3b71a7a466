//! Bias correction: whether and how a bias makes good what rounding does to the mean of its sums.
//!
//! By analysis: the mean error that rounded weights bring into a sum of products, `Σ (ŵ − w)·E[x]`, is taken from
//! its bias (arXiv 1906.04721 §4.2, with the means that samples showed of each channel). From samples: see `bias`.

use std::fmt;
use std::str::FromStr;

use crate::ir::{Array, Model, Node, Type};
use crate::ops::Op;
use crate::passes::affine::Sum;
use crate::passes::rewrite::subject;
use crate::{Error, Result, bail};

/// What biases make good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BiasCorrection {
    /// Nothing.
    None,
    /// The mean error of the rounded weights, from the means of the channels that they are multiplied with.
    #[default]
    Analytic,
    /// The mean error of all that is quantized up to the sum, as samples show it.
    Samples,
}

impl fmt::Display for BiasCorrection {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            BiasCorrection::None => "none",
            BiasCorrection::Analytic => "analytic",
            BiasCorrection::Samples => "samples",
        })
    }
}

impl FromStr for BiasCorrection {
    type Err = Error;

    fn from_str(text: &str) -> Result<BiasCorrection> {
        match text {
            "none" => Ok(BiasCorrection::None),
            "analytic" => Ok(BiasCorrection::Analytic),
            "samples" => Ok(BiasCorrection::Samples),
            _ => bail!(
                "no correction of biases is called `{text}`";
                hint: "there are none, analytic and samples"
            ),
        }
    }
}

/// What the bias of a node gains when `rounded` takes the place of its weights.
pub(super) fn gains(
    model: &Model,
    node: &Node,
    correction: BiasCorrection,
    rounded: &Array,
) -> Option<Vec<f64>> {
    match correction {
        BiasCorrection::None => None,
        BiasCorrection::Analytic => analytic(model, node, rounded),
        BiasCorrection::Samples => {
            let gains = model[node.output].gains.as_ref()?;
            Some(gains.iter().map(|gain| f64::from(*gain)).collect())
        }
    }
}

/// For each output channel what its bias must gain when `rounded` takes the place of the node's weights;
/// `None` where no samples were seen.
fn analytic(model: &Model, node: &Node, rounded: &Array) -> Option<Vec<f64>> {
    let sum = Sum::of(model, node)?;
    let x = &model[subject(node)];
    if x.channels.is_empty() {
        return None;
    }
    let shares = Shares::of(node, &x.ty, &rounded.shape, &model[node.output].ty);
    let mut gain = vec![0.0; sum.bias.len()];
    let weights = sum.weights.reals().iter().zip(rounded.reals());
    for (i, (w, rounded)) in weights.enumerate() {
        let (input, output) = sum.ends(i);
        let mean = f64::from(x.channels[input].mean) * shares.of_tap(i);
        gain[output] += (f64::from(*w) - f64::from(*rounded)) * mean;
    }
    Some(gain)
}

/// The share of the results that each tap of a window contributes to: a tap over the padding meets zero.
struct Shares {
    rows: Vec<f64>,
    columns: Vec<f64>,
}

impl Shares {
    fn of(node: &Node, x: &Type, weights: &[usize], y: &Type) -> Shares {
        // Along one axis: the positions of the sliding side whose tap lies inside the other side.
        let along =
            |axis: usize, [stride, dilation, pad]: [usize; 3], slides: &Type, inside: &Type| {
                let results = y.shape[2 + axis] as f64;
                let share = |tap: usize| {
                    let positions = 0..slides.shape[2 + axis];
                    let at = |p: usize| (p * stride + tap * dilation).wrapping_sub(pad);
                    let hits = positions.filter(|p| at(*p) < inside.shape[2 + axis]);
                    hits.count() as f64 / results
                };
                (0..weights[2 + axis]).map(share).collect()
            };
        let [rows, columns] = match &node.op {
            Op::Conv(op) => [(0, op.pads.top), (1, op.pads.left)]
                .map(|(a, pad)| along(a, [op.strides[a], op.dilations[a], pad], y, x)),
            Op::ConvTranspose(op) => [(0, op.pads.top), (1, op.pads.left)]
                .map(|(a, pad)| along(a, [op.strides[a], op.dilations[a], pad], x, y)),
            _ => [vec![1.0], vec![1.0]],
        };
        Shares { rows, columns }
    }

    fn of_tap(&self, weight: usize) -> f64 {
        let columns = self.columns.len();
        self.rows[weight / columns % self.rows.len()] * self.columns[weight % columns]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval;
    use crate::ir::TensorId;
    use crate::ops::{Conv, ConvTranspose, Pads};
    use crate::passes::calibrate::{Calibration, Method};
    use crate::passes::testing::{Sketch, conv, inputs};

    fn calibrated(mut model: Model, sample: &[Array]) -> Model {
        let mut calibration = Calibration::new(&model, Method::MinMax);
        calibration.observe(&model, sample).unwrap();
        calibration.finish(&mut model).unwrap();
        model
    }

    #[test]
    fn the_bias_takes_the_mean_error_of_rounded_weights() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 1, 2]);
        let w = sketch.constant("w", &[2, 2, 1, 1], &[1.0, 0.5, -1.0, 2.0]);
        let y = sketch.node("y", conv(), &[x, w]);
        // Means 3 and -2.
        let sample = [Array::f32([1, 2, 1, 2], vec![1.0, 5.0, -4.0, 0.0])];
        let model = calibrated(sketch.model(&[y]), &sample);
        let rounded = Array::f32([2, 2, 1, 1], vec![1.25, 0.5, -1.0, 2.5]);
        let gains = analytic(&model, &model.nodes[0], &rounded);
        assert_eq!(gains, Some(vec![-0.75, 1.0]));
    }

    /// Mean of each channel of the model's output for a sample.
    fn means(model: &Model, sample: &[Array]) -> Vec<f64> {
        let y = eval::run(model, sample).unwrap().remove(0);
        let plane = y.shape[2] * y.shape[3];
        let mean =
            |plane: &[f32]| plane.iter().map(|y| f64::from(*y)).sum::<f64>() / plane.len() as f64;
        y.reals().chunks(plane).map(mean).collect()
    }

    /// On channels of one number each, the correction is the difference of the results' means exactly.
    fn corrects(model: Model, w: TensorId) {
        let shape = model[model.inputs[0]].ty.shape.clone();
        let plane = shape[2] * shape[3];
        let numbers = (0..shape[1] * plane).map(|i| (i / plane) as f32 + 1.0);
        let sample = [Array::f32(shape, numbers.collect())];
        let model = calibrated(model, &sample);
        let weights = model[w].value.clone().unwrap();
        let rounded = weights.reals().iter().map(|w| (w * 4.0).round() / 4.0);
        let rounded = Array::f32(weights.shape.clone(), rounded.collect());
        let mut coarse = model.clone();
        coarse[w].value = Some(rounded.clone());
        let gains = analytic(&model, &model.nodes[0], &rounded).unwrap();
        let (exact, coarse) = (means(&model, &sample), means(&coarse, &sample));
        for ((gain, exact), coarse) in gains.iter().zip(exact).zip(coarse) {
            assert!(
                (gain - (exact - coarse)).abs() < 1e-6,
                "{gain}, {exact} - {coarse}"
            );
        }
    }

    #[test]
    fn taps_over_the_padding_count_as_often_as_they_meet_the_image() {
        let pads = Pads {
            top: 1,
            left: 2,
            bottom: 0,
            right: 1,
        };
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 5, 6]);
        let op = Conv {
            strides: [2, 1],
            dilations: [1, 2],
            groups: 2,
            pads,
            ..conv()
        };
        let w = sketch.noise("w", &[6, 2, 3, 2]);
        let y = sketch.node("y", op, &[x, w]);
        corrects(sketch.model(&[y]), w);

        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 3, 4]);
        let op = ConvTranspose {
            strides: [2, 3],
            pads,
            dilations: [1, 1],
            groups: 2,
            output_padding: [1, 0],
            activation: crate::ir::Clamp::NONE,
        };
        let w = sketch.noise("w", &[4, 3, 3, 2]);
        let y = sketch.node("y", op, &[x, w]);
        corrects(sketch.model(&[y]), w);
    }

    #[test]
    fn without_samples_nothing_is_corrected() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 2, 2]);
        let y = sketch.conv("y", x, 3, 1, conv());
        let model = sketch.model(&[y]);
        let w = model.constant(&model.nodes[0], 1).unwrap();
        assert_eq!(analytic(&model, &model.nodes[0], w), None);
        let seen = calibrated(model.clone(), &inputs(&model, 1));
        assert_eq!(analytic(&seen, &seen.nodes[0], w), Some(vec![0.0; 3]));
    }
}
