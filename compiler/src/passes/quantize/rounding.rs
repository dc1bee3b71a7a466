//! Weights as integers: scales and zero points of each output channel, or of the tensor.

use rayon::prelude::*;

use super::balance::balance;
use super::learn::learn;
use super::scheme::IntegerWeights;
use crate::ir::{Array, Granularity, IntType, Moments, QuantParams};
use crate::ops::Op;

/// Weights and what stands for them.
pub(in crate::passes) struct Rounded {
    /// How the integers stand for weights.
    pub(super) params: QuantParams,
    /// One for each output channel.
    pub(super) grids: Vec<Grid>,
    /// In the shape of the weights.
    pub(super) integers: Vec<i32>,
    /// The reals that the integers stand for, in the shape of the weights.
    pub(in crate::passes) reals: Array,
}

impl Rounded {
    /// The nearest integers to the weights of an operator; scales are no smaller than `least`, one for each output
    /// channel, or 0.
    pub(in crate::passes) fn of(
        op: &Op,
        w: &Array,
        form: IntegerWeights,
        least: impl Fn(usize) -> f64 + Sync,
    ) -> Rounded {
        let (axis, channels) = channels(op, &w.shape);
        let grids = match form.per_channel {
            true => {
                let mut weights = vec![vec![]; channels.count];
                for (i, w) in w.reals().iter().enumerate() {
                    weights[channels.of(i)].push(*w);
                }
                let each = weights.par_iter().enumerate();
                each.map(|(c, weights)| Grid::of(weights, form, least(c)))
                    .collect()
            }
            false => {
                let least = (0..channels.count).map(least).fold(0.0, f64::max);
                vec![Grid::of(w.reals(), form, least); channels.count]
            }
        };
        let all = w.reals().iter().enumerate();
        let integers = all
            .map(|(i, w)| grids[channels.of(i)].nearest(*w))
            .collect();
        Rounded::on(&grids, integers, w, axis, &channels, form)
    }

    /// The integers on the same grids with which the sums over samples that had these moments are closest.
    pub(super) fn learned(
        self,
        op: &Op,
        w: &Array,
        form: IntegerWeights,
        moments: &Moments,
    ) -> Rounded {
        let (axis, channels) = channels(op, &w.shape);
        let lines = Lines::of(op, &w.shape);
        let mut integers = self.integers;
        learn(moments, &lines, w.reals(), &self.grids, &mut integers);
        Rounded::on(&self.grids, integers, w, axis, &channels, form)
    }

    /// Integers on the same grids whose errors cancel in each sum, where nothing is known of what is multiplied.
    pub(super) fn balanced(self, op: &Op, w: &Array, form: IntegerWeights) -> Rounded {
        let (axis, channels) = channels(op, &w.shape);
        let kernel = match op {
            Op::Conv(_) => w.shape[2..].iter().product(),
            _ => 1,
        };
        let mut integers = self.integers;
        let lines = Lines::of(op, &w.shape);
        balance(&lines, kernel, w.reals(), &self.grids, &mut integers);
        Rounded::on(&self.grids, integers, w, axis, &channels, form)
    }

    fn on(
        grids: &[Grid],
        integers: Vec<i32>,
        w: &Array,
        axis: usize,
        channels: &Channels,
        form: IntegerWeights,
    ) -> Rounded {
        let all = integers.iter().enumerate();
        let reals = all.map(|(i, q)| grids[channels.of(i)].real(*q));
        Rounded {
            params: params(grids, axis, form),
            reals: Array::f32(w.shape.clone(), reals.collect()),
            grids: grids.to_vec(),
            integers,
        }
    }
}

/// The axis of the output channels of an operator's weights, or of those of one group, and their number in all.
pub(super) fn outputs(op: &Op, shape: &[usize]) -> (usize, usize) {
    let (axis, channels) = channels(op, shape);
    (axis, channels.count)
}

/// Which output channel a weight belongs to, by its flat index, and their number.
pub(super) fn outputs_of(op: &Op, shape: &[usize]) -> (impl Fn(usize) -> usize, usize) {
    let (_, channels) = channels(op, shape);
    let count = channels.count;
    (move |i| channels.of(i), count)
}

fn params(grids: &[Grid], axis: usize, form: IntegerWeights) -> QuantParams {
    let (low, high) = limits(form);
    let map = match (form.per_channel, grids.first()) {
        (false, Some(grid)) => Granularity::PerTensor {
            scale: grid.scale,
            zero_point: grid.zero_point,
        },
        _ => Granularity::PerChannel {
            axis,
            scales: grids.iter().map(|grid| grid.scale).collect(),
            zero_points: grids.iter().map(|grid| grid.zero_point).collect(),
        },
    };
    QuantParams {
        int: int(form),
        low,
        high,
        map,
    }
}

fn int(form: IntegerWeights) -> IntType {
    IntType {
        bits: if form.bits == 7 { 8 } else { form.bits },
        signed: true,
    }
}

/// Smallest and largest integer of so many bits, without the smallest one where weights are symmetric.
fn limits(form: IntegerWeights) -> (i32, i32) {
    let high = (1 << (form.bits - 1)) - 1;
    let low = -high - 1;
    (if form.symmetric { -high } else { low }, high)
}

/// The reals that integers stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    pub(super) scale: f32,
    pub(super) zero_point: i32,
    pub(super) low: i32,
    pub(super) high: i32,
}

impl Grid {
    /// The grid with the smallest sum of squared errors among those whose largest distance of two integers, or of
    /// one from zero, spans a part of the weights' range; a part below the whole cuts weights off.
    /// Weights that lie on a grid already, as training with quantization leaves them, stay exact.
    /// A channel of zeros takes the scale that its bias needs, or 1.
    fn of(weights: &[f32], form: IntegerWeights, least: f64) -> Grid {
        let (min, max) = weights
            .iter()
            .fold((0.0f32, 0.0f32), |(min, max), w| (min.min(*w), max.max(*w)));
        let (low, high) = limits(form);
        let whole = Grid {
            scale: 1.0,
            zero_point: 0,
            low,
            high,
        };
        let candidate = |steps: f64| match form.symmetric {
            true => {
                let scale = f64::from(max.max(-min)) / steps;
                let scale = scale.max(least) as f32;
                Grid { scale, ..whole }
            }
            false => {
                let scale = ((f64::from(max) - f64::from(min)) / steps).max(least) as f32;
                // Where the range is cut, both of its ends are by the same share.
                let cut = (f64::from(high - low) / steps).min(1.0);
                let zero_point = f64::from(low) - f64::from(min) * cut / f64::from(scale);
                let zero_point = zero_point.round_ties_even();
                let zero_point = zero_point.clamp(f64::from(low), f64::from(high)) as i32;
                Grid {
                    scale,
                    zero_point,
                    ..whole
                }
            }
        };
        let mut best = (f64::INFINITY, whole);
        for grid in steps(form)
            .map(candidate)
            .filter(|grid| grid.scale >= SMALLEST)
        {
            let error = grid.error(weights, best.0);
            if error < best.0 {
                best = (error, grid);
            }
        }
        best.1
    }

    /// The integer nearest to a weight.
    pub(super) fn nearest(&self, w: f32) -> i32 {
        let nearest = (w / self.scale).round_ties_even();
        let (low, high) = (self.low - self.zero_point, self.high - self.zero_point);
        nearest.clamp(low as f32, high as f32) as i32 + self.zero_point
    }

    /// The real that an integer stands for.
    pub(super) fn real(&self, integer: i32) -> f32 {
        (integer - self.zero_point) as f32 * self.scale
    }

    /// The sum of squared errors of rounded weights, or a part of it that is no less than `enough`.
    fn error(&self, weights: &[f32], enough: f64) -> f64 {
        let mut error = 0.0;
        for weights in weights.chunks(64) {
            for w in weights {
                error += f64::from(w - self.real(self.nearest(*w))).powi(2);
            }
            if error >= enough {
                break;
            }
        }
        error
    }
}

/// How many steps of the scale the range of the weights may have, the most useful number first.
/// Of 7 or 8 bits it has no more than there are, so that nothing is cut off; of fewer up to four times as many, where
/// rare large weights would leave the others two or three integers.
fn steps(form: IntegerWeights) -> Box<dyn Iterator<Item = f64>> {
    let (low, high) = limits(form);
    let all = if form.symmetric { high } else { high - low };
    let parts = match form.bits {
        16.. => return Box::new(std::iter::once(f64::from(all))),
        7.. => 1,
        4.. => 4,
        _ => 16,
    };
    let most = if form.bits < 7 { 4 * all } else { all };
    let steps = (all * parts / 2 + i32::from(form.bits >= 7)..=most * parts).rev();
    Box::new(steps.map(move |n| f64::from(n) / f64::from(parts)))
}

/// Products with the scales of activations stay normal numbers.
const SMALLEST: f32 = f32::MIN_POSITIVE * 1e6;

/// Which output channel a weight belongs to.
struct Channels {
    count: usize,
    run: usize,
    cycle: usize,
    group: usize,
}

impl Channels {
    fn of(&self, i: usize) -> usize {
        i / self.group * self.cycle + i / self.run % self.cycle
    }
}

/// Which weights are summed together: lines of each group, a weight of each for every tap.
pub(super) struct Lines {
    /// Lines of one group.
    pub(super) count: usize,
    /// From a group's weights to the next one's, from a line's to the next one's, from a tap's to the next one's.
    strides: [usize; 3],
    channels: Channels,
}

impl Lines {
    fn of(op: &Op, shape: &[usize]) -> Lines {
        let (_, channels) = channels(op, shape);
        let size: usize = shape.iter().product();
        let (count, strides) = match op {
            Op::ConvTranspose(op) => {
                let count = shape[1..].iter().product();
                (count, [size / op.groups, 1, count])
            }
            Op::MatMul(_) => (shape[1], [size, 1, shape[1]]),
            op => {
                let groups = match op {
                    Op::Conv(op) => op.groups,
                    _ => 1,
                };
                let taps = size / shape[0];
                (shape[0] / groups, [size / groups, taps, 1])
            }
        };
        Lines {
            count,
            strides,
            channels,
        }
    }

    /// The lines of a matrix with a row for each of some outputs.
    #[cfg(test)]
    pub(super) fn rows(taps: usize, count: usize) -> Lines {
        Lines::of(&crate::passes::testing::conv().into(), &[count, taps, 1, 1])
    }

    /// The flat index of a weight.
    pub(super) fn weight(&self, group: usize, line: usize, tap: usize) -> usize {
        group * self.strides[0] + line * self.strides[1] + tap * self.strides[2]
    }

    /// The flat indices of the weights of each line, of so many in all.
    pub(super) fn all(&self, weights: usize) -> Vec<Vec<usize>> {
        let groups = weights / self.strides[0].max(1);
        let taps = self.strides[0] / self.count.max(1);
        let lines = (0..groups).flat_map(|group| (0..self.count).map(move |line| (group, line)));
        let taps = |(group, line)| (0..taps).map(|tap| self.weight(group, line, tap)).collect();
        lines.map(taps).collect()
    }

    /// The output channel of a weight by its flat index.
    pub(super) fn output(&self, weight: usize) -> usize {
        self.channels.of(weight)
    }
}

/// The axis of the output channels, and how to find a weight's.
fn channels(op: &Op, shape: &[usize]) -> (usize, Channels) {
    let size: usize = shape.iter().product();
    let of_axis = |axis: usize, groups: usize| Channels {
        count: shape[axis] * groups,
        run: shape[axis + 1..].iter().product(),
        cycle: shape[axis],
        group: (size / groups).max(1),
    };
    match op {
        Op::ConvTranspose(op) => (1, of_axis(1, op.groups)),
        Op::MatMul(_) => (shape.len() - 1, of_axis(shape.len() - 1, 1)),
        _ => (0, of_axis(0, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(bits: u8, symmetric: bool) -> IntegerWeights {
        IntegerWeights {
            bits,
            symmetric,
            ..IntegerWeights::default()
        }
    }

    /// Sum of squared errors, from the definition.
    fn error(weights: &[f32], grid: &Grid) -> f64 {
        let error = |w: &f32| {
            let all = (grid.low..=grid.high).map(|q| (q - grid.zero_point) as f32 * grid.scale);
            all.map(|real| f64::from(w - real).powi(2))
                .fold(f64::INFINITY, f64::min)
        };
        weights.iter().map(error).sum()
    }

    #[test]
    fn weights_on_a_grid_stay_exact() {
        // Of 8 bits multiples of 0.03, the largest 101 of them; of 4 and 2 bits as many as fit.
        let cases: [(u8, bool, &[i32]); 5] = [
            (8, true, &[101, -7, 55, 2, -64]),
            (8, false, &[150, -7, 55, 2, -64]),
            (4, true, &[5, -7, 1, 0]),
            (4, false, &[12, -3, 1, 0]),
            (2, true, &[1, 0, -1]),
        ];
        for (bits, symmetric, multiples) in cases {
            let weights: Vec<f32> = multiples.iter().map(|m| *m as f32 * 0.03).collect();
            let grid = Grid::of(&weights, form(bits, symmetric), 0.0);
            assert!((grid.scale - 0.03).abs() < 1e-8, "{grid:?}");
            let integers = weights.iter().map(|w| grid.nearest(*w) - grid.zero_point);
            assert_eq!(integers.collect::<Vec<_>>(), multiples);
        }
    }

    #[test]
    fn no_other_scale_that_keeps_the_largest_weight_has_a_smaller_error() {
        let weights = crate::passes::testing::noise(5, 40);
        let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let grid = Grid::of(&weights, form(8, true), 0.0);
        let chosen = error(&weights, &grid);
        for n in 64..=127 {
            let scale = largest / n as f32;
            assert!(chosen <= error(&weights, &Grid { scale, ..grid }) * 1.0001);
        }
    }

    #[test]
    fn few_bits_cut_rare_weights_off() {
        let mut weights = crate::passes::testing::noise(5, 400);
        (weights[7], weights[8]) = (3.0, -3.0);
        for (bits, symmetric) in [(4, true), (4, false), (2, true), (2, false)] {
            let grid = Grid::of(&weights, form(bits, symmetric), 0.0);
            let steps = if symmetric {
                grid.high
            } else {
                grid.high - grid.low
            };
            let range = if symmetric { 3.0 } else { 6.0 };
            let uncut = Grid {
                scale: range / steps as f32,
                zero_point: if symmetric { 0 } else { grid.low + steps / 2 },
                ..grid
            };
            assert!(
                error(&weights, &grid) < 0.9 * error(&weights, &uncut),
                "{grid:?}"
            );
        }
    }

    #[test]
    fn asymmetric_weights_use_the_whole_type() {
        let weights: Vec<f32> = (0..=255).map(|i| i as f32 * 0.5 - 10.0).collect();
        let grid = Grid::of(&weights, form(8, false), 0.0);
        let expected = Grid {
            scale: 0.5,
            zero_point: -108,
            low: -128,
            high: 127,
        };
        assert_eq!(grid, expected);
        assert_eq!(
            weights.iter().map(|w| grid.nearest(*w)).collect::<Vec<_>>(),
            (-128..=127).collect::<Vec<_>>()
        );
    }

    #[test]
    fn one_scale_serves_the_tensor_or_each_channel() {
        let w = Array::f32([2, 2, 1, 1], vec![1.0, -0.5, 127.0, 3.0]);
        let rounded = |per_channel: bool| {
            let form = IntegerWeights {
                per_channel,
                ..form(8, true)
            };
            Rounded::of(&crate::passes::testing::conv().into(), &w, form, |_| 0.0)
        };
        let tensor = rounded(false);
        assert_eq!(
            tensor.params.map,
            Granularity::PerTensor {
                scale: 1.0,
                zero_point: 0
            }
        );
        assert_eq!(tensor.integers, [1, 0, 127, 3]);
        let Granularity::PerChannel {
            scales,
            zero_points,
            axis,
        } = rounded(true).params.map
        else {
            panic!("each channel has a scale");
        };
        assert_eq!((scales[1], zero_points, axis), (1.0, vec![0, 0], 0));
        assert!(scales[0] < 0.02);
    }

    #[test]
    fn the_bias_has_room_and_zeros_have_a_scale() {
        let scale = |weights: &[f32], least: f64| Grid::of(weights, form(8, true), least).scale;
        assert_eq!(scale(&[0.25, -1.0], 3.0), 3.0);
        assert_eq!(scale(&[0.0, 0.0], 0.0), 1.0);
        assert_eq!(scale(&[0.0, 0.0], 0.5), 0.5);
    }

    #[test]
    fn weights_of_grouped_transposed_convolutions_find_their_channel() {
        let op = crate::ops::ConvTranspose {
            strides: [1, 1],
            pads: Default::default(),
            dilations: [1, 1],
            groups: 2,
            output_padding: [0, 0],
            activation: crate::ir::Clamp::NONE,
        };
        // [C, M/groups, kh, kw] = [4, 3, 1, 2]: channels 0 1 2 for inputs 0 and 1, 3 4 5 for inputs 2 and 3.
        let (axis, channels) = channels(&op.into(), &[4, 3, 1, 2]);
        let found: Vec<usize> = (0..24).step_by(2).map(|i| channels.of(i)).collect();
        assert_eq!((axis, channels.count), (1, 6));
        assert_eq!(found, [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
    }
}
