//! Second moments of the windows that the weights of a sum are multiplied with, `Σ x·xᵀ`, for the layers whose
//! rounding learns from samples. Of each sample some windows are taken, evenly, so that neither time nor memory
//! depends on the size of an image.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ir::{Array, Model, Moments, Node, TensorId};
use crate::ops::product::{Matrix, accumulate};
use crate::ops::{Conv, Op};
use crate::passes::affine::Sum;
use crate::passes::rewrite::subject;

/// Windows of a sample that are looked at.
const WINDOWS: usize = 64;

/// The sums to learn of, with what was seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Learning {
    /// By the operand.
    layers: BTreeMap<TensorId, Vec<Layer>>,
    /// By the result.
    moments: BTreeMap<TensorId, Moments>,
}

/// Where the windows of a sum lie in its operand.
#[derive(Clone, Debug)]
struct Layer {
    op: Op,
    y: TensorId,
    /// Shape of the result.
    result: Vec<usize>,
    /// Rows and columns of a window.
    kernel: [usize; 2],
    groups: usize,
    taps: usize,
}

/// What one sample shows of one sum.
pub(super) enum Glimpse {
    /// Windows, those of a group one after the other.
    Windows(Vec<f32>),
    /// Their moments, where these are smaller.
    Moments(Moments),
}

impl Learning {
    /// Of the sums that a predicate names.
    pub(super) fn of(model: &Model, learns: impl Fn(&Node) -> bool) -> Learning {
        let mut learning = Learning::default();
        for node in model.nodes.iter().filter(|node| learns(node)) {
            let Some(layer) = Layer::of(model, node) else {
                continue;
            };
            learning.moments.insert(layer.y, layer.nothing());
            let readers = learning.layers.entry(subject(node)).or_default();
            readers.push(layer);
        }
        learning
    }

    /// What the value of a tensor shows of the sums that read it.
    pub(super) fn see(&self, id: TensorId, x: &Array) -> Vec<(TensorId, Glimpse)> {
        let layers = self.layers.get(&id).into_iter().flatten();
        layers.map(|layer| (layer.y, layer.glimpse(x))).collect()
    }

    /// Adds what a sample showed.
    pub(super) fn merge(&mut self, y: TensorId, glimpse: Glimpse) {
        let all = self.moments.get_mut(&y).expect("only these were seen");
        match glimpse {
            Glimpse::Windows(windows) => add(all, &windows),
            Glimpse::Moments(own) => {
                all.windows += own.windows;
                let sums = all.sums.iter_mut().zip(own.sums);
                let products = all.products.iter_mut().zip(own.products);
                sums.chain(products).for_each(|(all, own)| *all += own);
            }
        }
    }

    /// Annotates the results.
    pub(super) fn finish(self, model: &mut Model) {
        for (y, moments) in self.moments {
            model[y].moments = Some(Arc::new(moments));
        }
    }
}

/// Adds the products of some windows.
fn add(moments: &mut Moments, windows: &[f32]) {
    let taps = moments.taps;
    let groups = moments.products.len() / (taps * taps);
    let count = windows.len() / (groups * taps);
    moments.windows += count as u64;
    let lines = windows.chunks_exact(taps).enumerate();
    for (i, line) in lines {
        let sums = moments.sums[i / count * taps..][..taps].iter_mut();
        sums.zip(line).for_each(|(sum, x)| *sum += x);
    }
    let groups = moments.products.chunks_exact_mut(taps * taps);
    for (products, windows) in groups.zip(windows.chunks_exact(count * taps)) {
        let transposed = Matrix {
            data: windows,
            strides: [1, taps],
        };
        let rows = Matrix::rows(windows, taps);
        accumulate([taps, count, taps], transposed, rows, products, taps);
    }
}

impl Layer {
    fn of(model: &Model, node: &Node) -> Option<Layer> {
        let sum = Sum::of(model, node)?;
        let shape = &sum.weights.shape;
        let (groups, taps, kernel) = match &node.op {
            Op::Conv(op) => (op.groups, shape[1..].iter().product(), [shape[2], shape[3]]),
            Op::ConvTranspose(op) => (op.groups, shape[0] / op.groups, [1, 1]),
            _ => (1, shape[0], [1, 1]),
        };
        let seen = taps > 0 && groups > 0 && !model[node.output].ty.is_empty();
        seen.then(|| Layer {
            op: node.op.clone(),
            y: node.output,
            result: model[node.output].ty.shape.clone(),
            kernel,
            groups,
            taps,
        })
    }

    fn nothing(&self) -> Moments {
        Moments {
            taps: self.taps,
            plane: self.kernel[0] * self.kernel[1],
            windows: 0,
            sums: vec![0.0; self.groups * self.taps],
            products: vec![0.0; self.groups * self.taps * self.taps],
        }
    }

    fn glimpse(&self, x: &Array) -> Glimpse {
        let windows = self.windows(x);
        if self.taps * self.taps * self.groups > windows.len() {
            return Glimpse::Windows(windows);
        }
        let mut moments = self.nothing();
        add(&mut moments, &windows);
        Glimpse::Moments(moments)
    }

    /// Some windows, each group's one after the other.
    fn windows(&self, x: &Array) -> Vec<f32> {
        let reals = x.reals();
        let mut windows = vec![];
        match &self.op {
            Op::Conv(op) => {
                let plane = self.result[2] * self.result[3];
                for group in 0..self.groups {
                    for position in positions(self.result[0] * plane) {
                        let (row, column) =
                            (position % plane / self.result[3], position % self.result[3]);
                        self.window(op, x, [position / plane, group, row, column], &mut windows);
                    }
                }
            }
            Op::ConvTranspose(_) => {
                let plane = x.shape[2] * x.shape[3];
                for group in 0..self.groups {
                    for position in positions(x.shape[0] * plane) {
                        let channel = position / plane * x.shape[1] + group * self.taps;
                        let pixel = |tap: usize| reals[(channel + tap) * plane + position % plane];
                        windows.extend((0..self.taps).map(pixel));
                    }
                }
            }
            _ => {
                for position in positions(reals.len() / self.taps) {
                    windows.extend(&reals[position * self.taps..][..self.taps]);
                }
            }
        }
        windows
    }

    /// The elements under the window of one result, in the order of the weights; 0 outside the image.
    fn window(
        &self,
        op: &Conv,
        x: &Array,
        [image, group, row, column]: [usize; 4],
        into: &mut Vec<f32>,
    ) {
        let [_, channels, height, width] = x.shape[..] else {
            unreachable!("`infer` demands four axes");
        };
        let [rows, columns] = self.kernel;
        let depth = self.taps / (rows * columns);
        let first = image * channels + group * depth;
        for channel in first..first + depth {
            for ky in 0..rows {
                let y = (row * op.strides[0] + ky * op.dilations[0]).wrapping_sub(op.pads.top);
                for kx in 0..columns {
                    let x_at =
                        (column * op.strides[1] + kx * op.dilations[1]).wrapping_sub(op.pads.left);
                    // Above and before the image the index wraps to a large one.
                    let inside = y < height && x_at < width;
                    let at = || x.reals()[(channel * height + y) * width + x_at];
                    into.push(if inside { at() } else { 0.0 });
                }
            }
        }
    }
}

/// [`WINDOWS`] of so many positions, or all; spread by the golden ratio, so that they fall in step with no side.
fn positions(count: usize) -> impl Iterator<Item = usize> {
    let golden = (count as f64 * 0.618_034) as usize;
    let step = (golden.max(1)..)
        .find(|step| coprime(*step, count))
        .unwrap_or(1);
    (0..count.min(WINDOWS)).map(move |i| i * step % count)
}

fn coprime(a: usize, b: usize) -> bool {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval;
    use crate::ops::{ConvTranspose, MatMul};
    use crate::passes::calibrate::{Calibration, Method};
    use crate::passes::testing::{Sketch, conv, inputs, pads};

    /// The moments of a model's only sum after some samples.
    fn seen(model: &mut Model, samples: u32) -> Moments {
        let mut calibration = Calibration::new(model, Method::MinMax).learning(model, |_| true);
        let samples: Vec<_> = (0..samples).map(|seed| inputs(model, seed)).collect();
        calibration.observe_all(model, &samples).unwrap();
        calibration.finish(model).unwrap();
        let y = model.nodes[0].output;
        model[y].moments.as_deref().unwrap().clone()
    }

    /// `wᵀ·(Σ x·xᵀ)·w` is the sum of the squared results that the windows belong to: of all of them here.
    fn tells_squares(mut model: Model, lines: impl Fn(&[f32]) -> Vec<(usize, Vec<f32>)>) {
        let moments = seen(&mut model, 2);
        let mut expected = 0.0;
        for seed in 0..2 {
            let y = eval::run(&model, &inputs(&model, seed)).unwrap().remove(0);
            expected += y.reals().iter().map(|y| f64::from(y * y)).sum::<f64>();
        }
        let weights = model.constant(&model.nodes[0], 1).unwrap().reals();
        let taps = moments.taps;
        let mut squares = 0.0;
        for (group, line) in lines(weights) {
            let products = &moments.products[group * taps * taps..][..taps * taps];
            for (i, product) in products.iter().enumerate() {
                squares += f64::from(line[i / taps] * product * line[i % taps]);
            }
        }
        assert!(
            (squares - expected).abs() < 1e-4 * expected,
            "{squares} {expected}"
        );
    }

    #[test]
    fn moments_tell_the_power_of_every_sum() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 6, 5]);
        let op = Conv {
            groups: 2,
            strides: [2, 1],
            dilations: [1, 2],
            pads: pads(1),
            ..conv()
        };
        let w = sketch.noise("w", &[6, 2, 3, 2]);
        let y = sketch.node("y", op, &[x, w]);
        // Twelve taps a line, three lines a group.
        tells_squares(sketch.model(&[y]), |w| {
            let lines = w.chunks_exact(12).enumerate();
            lines.map(|(m, line)| (m / 3, line.to_vec())).collect()
        });

        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[3, 7]);
        let w = sketch.noise("w", &[7, 4]);
        let op = MatMul {
            activation: crate::ir::Clamp::NONE,
        };
        let y = sketch.node("y", op, &[x, w]);
        tells_squares(sketch.model(&[y]), |w| {
            let column = |n: usize| (0..7).map(|k| w[k * 4 + n]).collect();
            (0..4).map(|n| (0, column(n))).collect()
        });

        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4, 3, 4]);
        let op = ConvTranspose {
            // Windows that do not overlap.
            strides: [2, 2],
            pads: Default::default(),
            dilations: [1, 1],
            groups: 2,
            output_padding: [0, 0],
            activation: crate::ir::Clamp::NONE,
        };
        let w = sketch.noise("w", &[4, 3, 2, 2]);
        let y = sketch.node("y", op, &[x, w]);
        // A line for each of twelve numbers that a pixel spreads to.
        tells_squares(sketch.model(&[y]), |w| {
            let line = |l: usize| {
                (0..2)
                    .map(|tap| w[(l / 12 * 2 + tap) * 12 + l % 12])
                    .collect()
            };
            (0..24).map(|l| (l / 12, line(l))).collect()
        });
    }

    #[test]
    fn a_sample_shows_no_more_than_some_windows() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 1, 40, 40]);
        let y = sketch.conv("y", x, 1, 3, conv());
        assert_eq!(seen(&mut sketch.model(&[y]), 3).windows, 3 * WINDOWS as u64);
        let all: Vec<usize> = positions(60).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..60).collect::<Vec<_>>());
    }
}
