//! Weights as integers from −127 to 127: the scale of each output channel.

use rayon::prelude::*;

use crate::ir::Array;
use crate::ops::Op;

/// The integer of the largest weight of a channel is one of these.
const LARGEST: std::ops::RangeInclusive<u8> = 64..=127;

/// Weights and what stands for them.
pub(in crate::passes) struct Rounded {
    /// The axis of the output channels, or of those of one group.
    pub(super) axis: usize,
    /// One for each output channel.
    pub(super) scales: Vec<f32>,
    /// In the shape of the weights.
    pub(super) integers: Vec<i32>,
    /// The reals that the integers stand for, in the shape of the weights.
    pub(in crate::passes) reals: Array,
}

impl Rounded {
    /// The weights of an operator; scales are no smaller than `least`, one for each output channel, or 0.
    pub(in crate::passes) fn of(
        op: &Op,
        w: &Array,
        least: impl Fn(usize) -> f64 + Sync,
    ) -> Rounded {
        let (axis, channels) = channels(op, &w.shape);
        let mut weights = vec![vec![]; channels.count];
        for (i, w) in w.reals().iter().enumerate() {
            weights[channels.of(i)].push(*w);
        }
        let each = weights.par_iter().enumerate();
        let scales: Vec<f32> = each.map(|(c, weights)| scale(weights, least(c))).collect();
        let all = w.reals().iter().enumerate();
        let integers: Vec<i32> = all
            .map(|(i, w)| nearest(*w, scales[channels.of(i)]) as i32)
            .collect();
        let all = integers.iter().enumerate();
        let reals = all.map(|(i, q)| *q as f32 * scales[channels.of(i)]);
        Rounded {
            axis,
            reals: Array::f32(w.shape.clone(), reals.collect()),
            scales,
            integers,
        }
    }
}

/// The axis of the output channels of an operator's weights, or of those of one group, and their number in all.
pub(super) fn outputs(op: &Op, shape: &[usize]) -> (usize, usize) {
    let (axis, channels) = channels(op, shape);
    (axis, channels.count)
}

fn nearest(w: f32, scale: f32) -> f32 {
    (w / scale).round_ties_even().clamp(-127.0, 127.0)
}

/// The scale with the smallest sum of squared errors among those that make the largest weight one of
/// [`LARGEST`]. Weights that lie on a grid already, as training with quantization leaves them, stay exact.
/// A channel of zeros takes the scale that its bias needs, or 1.
fn scale(weights: &[f32], least: f64) -> f32 {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let candidates = LARGEST
        .rev()
        .map(|n| (f64::from(largest) / f64::from(n)).max(least) as f32);
    let mut best = (f64::INFINITY, 1.0);
    for scale in candidates.filter(|scale| *scale >= SMALLEST) {
        let mut error = 0.0;
        for w in weights {
            error += f64::from(w - nearest(*w, scale) * scale).powi(2);
            if error >= best.0 {
                break;
            }
        }
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
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

    #[test]
    fn weights_on_a_grid_stay_exact() {
        // Multiples of 0.03, the largest 101 of them.
        let multiples = [101.0, -7.0, 55.0, 2.0, -64.0];
        let weights = multiples.map(|m: f32| m * 0.03);
        let scale = scale(&weights, 0.0);
        assert!((scale - 0.03).abs() < 1e-8, "{scale}");
        assert_eq!(weights.map(|w| nearest(w, scale)), multiples);
    }

    #[test]
    fn no_other_scale_has_a_smaller_error() {
        let weights = crate::passes::testing::noise(5, 40);
        let error = |scale: f32| -> f32 {
            let errors = weights.iter().map(|w| (w / scale).round() * scale - w);
            errors.map(|e| e * e).sum()
        };
        let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let chosen = error(scale(&weights, 0.0));
        let errors = (64..=127).map(|n| error(largest / n as f32));
        assert!(errors.into_iter().all(|e| chosen <= e * 1.0001));
    }

    #[test]
    fn the_bias_has_room_and_zeros_have_a_scale() {
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
