//! What samples show of each channel: range, mean and power, from sums in f64.

use std::collections::BTreeMap;

use crate::ir::{Array, Channel, Model, Range, TensorId};
use crate::passes::affine::Sum;
use crate::passes::rewrite::subject;

/// The tensors that are multiplied with constant weights, each with the axis of its channels.
pub(super) fn axes(model: &Model) -> BTreeMap<TensorId, usize> {
    let mut axes = BTreeMap::new();
    for node in &model.nodes {
        let Some(sum) = Sum::of(model, node) else {
            continue;
        };
        let x = subject(node);
        let rank = model[x].ty.shape.len();
        if model[x].value.is_none() {
            axes.entry(x).or_insert_with(|| sum.channel_axis(rank));
        }
    }
    axes
}

/// Sums over the elements of each channel of a tensor.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Elements of one channel.
    count: u64,
    channels: Vec<Sums>,
}

/// Sums over the elements of a channel.
#[derive(Clone, Copy, Debug)]
struct Sums {
    range: Range,
    sum: f64,
    squares: f64,
}

impl Tally {
    /// Of one array, whose channels are along `axis`.
    pub(super) fn of(array: &Array, axis: usize) -> Tally {
        let run: usize = array.shape[axis + 1..].iter().product();
        let count = array.shape[axis];
        let nothing = Sums {
            range: Range {
                min: f32::INFINITY,
                max: f32::NEG_INFINITY,
            },
            sum: 0.0,
            squares: 0.0,
        };
        let mut channels = vec![nothing; count];
        for (i, elements) in array.reals().chunks_exact(run).enumerate() {
            channels[i % count].add(elements);
        }
        Tally {
            count: (array.len() / count.max(1)) as u64,
            channels,
        }
    }

    /// Takes in the sums over other elements.
    pub(super) fn merge(&mut self, other: Tally) {
        self.count += other.count;
        if self.channels.is_empty() {
            self.channels = other.channels;
            return;
        }
        for (all, other) in self.channels.iter_mut().zip(other.channels) {
            all.range = all.range.union(other.range);
            all.sum += other.sum;
            all.squares += other.squares;
        }
    }

    /// What the sums say of each channel.
    pub(super) fn channels(&self) -> Vec<Channel> {
        let count = self.count as f64;
        let channel = |sums: &Sums| Channel {
            range: sums.range,
            mean: (sums.sum / count) as f32,
            power: (sums.squares / count).min(f64::from(f32::MAX)) as f32,
        };
        self.channels.iter().map(channel).collect()
    }
}

impl Sums {
    fn add(&mut self, elements: &[f32]) {
        for x in elements {
            self.range = self.range.union(Range { min: *x, max: *x });
            self.sum += f64::from(*x);
            self.squares += f64::from(*x) * f64::from(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_range_mean_and_power() {
        // [1, 2, 1, 2] twice: the second channel is [3, -5] and [1, 1].
        let first = Array::f32([1, 2, 1, 2], vec![1.0, 2.0, 3.0, -5.0]);
        let second = Array::f32([1, 2, 1, 2], vec![0.0, 0.0, 1.0, 1.0]);
        let mut tally = Tally::default();
        tally.merge(Tally::of(&first, 1));
        tally.merge(Tally::of(&second, 1));
        let expected = Channel {
            range: Range {
                min: -5.0,
                max: 3.0,
            },
            mean: 0.0,
            power: 9.0,
        };
        assert_eq!(tally.channels()[1], expected);
        // The last axis of [2, 2]: columns.
        let columns = Tally::of(&Array::f32([2, 2], vec![1.0, 2.0, 3.0, 4.0]), 1);
        assert_eq!(columns.channels()[0].mean, 2.0);
        assert_eq!(columns.channels()[1].power, 10.0);
    }
}
