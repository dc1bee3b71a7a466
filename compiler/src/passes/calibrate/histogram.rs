//! How often a tensor's numbers lie where: a histogram whose bounds grow by doubling, so that one pass over the
//! samples is enough and memory does not depend on their number.
//!
//! Bins are as wide as a power of two, so that two neighbours of a fine histogram are exactly one bin of a
//! coarse one: the result is the same in whatever order samples come.

use crate::ir::Range;

/// Bins on each side of zero.
pub(super) const BINS: usize = 2048;

/// Counts of numbers by their magnitude, positive and negative ones apart. Zeros are counted nowhere: every
/// quantization represents them exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    /// The smallest range that holds all numbers; none where there are none.
    range: Option<Range>,
    /// Magnitudes below `2^exponent`, in [`BINS`] bins.
    exponent: i32,
    positive: Vec<u64>,
    negative: Vec<u64>,
}

impl Histogram {
    /// Of finite numbers.
    pub(super) fn of(numbers: &[f32]) -> Histogram {
        let ranges = numbers.iter().map(|x| Range { min: *x, max: *x });
        let range = ranges.reduce(Range::union);
        let reach = range.map_or(0.0, |r| r.max.max(-r.min));
        let mut histogram = Histogram {
            range,
            exponent: exponent_of(reach),
            ..Histogram::default()
        };
        let per_unit = 1.0 / histogram.width();
        for x in numbers.iter().filter(|x| **x != 0.0) {
            let bin = (f64::from(x.abs()) * per_unit) as usize;
            histogram.side_mut(*x > 0.0)[bin] += 1;
        }
        histogram
    }

    /// Takes in the numbers of another histogram.
    pub(super) fn merge(&mut self, mut other: Histogram) {
        let Some(range) = other.range else {
            return;
        };
        if self.range.is_none() {
            *self = other;
            return;
        }
        let exponent = self.exponent.max(other.exponent);
        self.grow(exponent);
        other.grow(exponent);
        self.range = self.range.map(|r| r.union(range));
        for (positive, counts) in [(true, other.positive), (false, other.negative)] {
            if !counts.is_empty() {
                let side = self.side_mut(positive).iter_mut();
                side.zip(counts).for_each(|(all, count)| *all += count);
            }
        }
    }

    /// The smallest range that holds all numbers; none where there are none.
    pub(super) fn range(&self) -> Option<Range> {
        self.range
    }

    /// Width of a bin.
    pub(super) fn width(&self) -> f64 {
        2f64.powi(self.exponent) / BINS as f64
    }

    /// Counts of the numbers of one sign, by rising magnitude.
    pub(super) fn side(&self, positive: bool) -> impl Iterator<Item = u64> + Clone + '_ {
        let counts = if positive {
            &self.positive
        } else {
            &self.negative
        };
        (0..BINS).map(|bin| counts.get(bin).copied().unwrap_or(0))
    }

    fn side_mut(&mut self, positive: bool) -> &mut Vec<u64> {
        let side = match positive {
            true => &mut self.positive,
            false => &mut self.negative,
        };
        side.resize(BINS, 0);
        side
    }

    /// Doubles the bounds until they are `2^exponent`.
    fn grow(&mut self, exponent: i32) {
        // Beyond this all numbers are in the first bin.
        let shift = (exponent - self.exponent).min(BINS.ilog2() as i32) as u32;
        self.exponent = exponent;
        for side in [&mut self.positive, &mut self.negative] {
            let mut coarse = vec![0; side.len()];
            for (bin, count) in side.iter().enumerate() {
                coarse[bin >> shift] += count;
            }
            *side = coarse;
        }
    }
}

/// The smallest exponent, from −125 on, of a power of two that is larger than `reach`.
fn exponent_of(reach: f32) -> i32 {
    // A normal f32 is 1.m · 2^(biased − 127).
    let biased = (reach.to_bits() >> 23 & 0xff) as i32;
    (biased - 126).max(-125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_magnitudes_and_zeros_are_not_counted() {
        let histogram = Histogram::of(&[0.0, 1.0, -0.25, 0.9999, 0.0]);
        assert_eq!(
            histogram.range(),
            Some(Range {
                min: -0.25,
                max: 1.0
            })
        );
        assert_eq!(histogram.width(), 2.0 / 2048.0);
        let filled = |positive| -> Vec<(usize, u64)> {
            let side = histogram.side(positive).enumerate();
            side.filter(|(_, count)| *count > 0).collect()
        };
        assert_eq!(filled(true), [(1023, 1), (1024, 1)]);
        assert_eq!(filled(false), [(256, 1)]);
    }

    #[test]
    fn the_order_of_samples_does_not_matter() {
        // Magnitudes from 2⁻⁹ to 300, so that bounds double many times.
        let sample = |n: u32| -> Vec<f32> {
            let numbers = (1..50).map(|i| (i * n % 37) as f32 - 15.0);
            numbers.map(|x| x * 2f32.powi(n as i32 - 9)).collect()
        };
        let samples: Vec<Vec<f32>> = (0..13).map(sample).collect();
        let all = Histogram::of(&samples.concat());
        let merged = |order: &mut dyn Iterator<Item = &Vec<f32>>| {
            let mut histogram = Histogram::default();
            order.for_each(|sample| histogram.merge(Histogram::of(sample)));
            histogram
        };
        assert_eq!(merged(&mut samples.iter()), all);
        assert_eq!(merged(&mut samples.iter().rev()), all);
    }
}
