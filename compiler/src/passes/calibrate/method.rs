//! From a histogram to the range that is represented; numbers outside it saturate.

use std::fmt;
use std::str::FromStr;

use super::histogram::{BINS, Histogram};
use crate::ir::Range;
use crate::{Error, Result, bail};

/// How the range of a tensor follows from what samples showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// The smallest range that holds every number (whitepaper arXiv 1806.08342 §2.5).
    #[default]
    MinMax,
    /// `momentum · so far + (1 − momentum) · sample` of each sample's extremes, in the order of the samples:
    /// an outlier fades (arXiv 1712.05877 §3.1).
    MovingAverage {
        /// Share of what was seen before, in 0..1; 0.99 is usual.
        momentum: f32,
    },
    /// The range outside of which `(100 − percent)/2` percent of the numbers lie at each end (arXiv 2004.09602 §5.1).
    Percentile {
        /// Between 0 and 100; 99.99 is usual.
        percent: f64,
    },
    /// The range whose 128 magnitudes lose the least information of the numbers' distribution: the smallest
    /// Kullback-Leibler divergence (Migacz, "8-bit inference with TensorRT", 2017).
    Entropy,
    /// The range with the smallest sum of squared errors, of rounding within and of saturation outside.
    Mse,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Method::MinMax => write!(f, "minmax"),
            Method::MovingAverage { .. } => write!(f, "moving-average"),
            Method::Percentile { percent } => write!(f, "percentile={percent}"),
            Method::Entropy => write!(f, "entropy"),
            Method::Mse => write!(f, "mse"),
        }
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Method> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match (name, value) {
            ("minmax", "") => Ok(Method::MinMax),
            ("moving-average", "") => Ok(Method::MovingAverage { momentum: 0.99 }),
            ("percentile", "") => Ok(Method::Percentile { percent: 99.99 }),
            ("percentile", value) => match value.parse() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => {
                    Ok(Method::Percentile { percent })
                }
                _ => {
                    bail!("`{value}` is no percentile"; hint: "write a number up to 100: percentile=99.9")
                }
            },
            ("entropy", "") => Ok(Method::Entropy),
            ("mse", "") => Ok(Method::Mse),
            _ => bail!(
                "no calibration method is called `{text}`";
                hint: "there are minmax, moving-average, percentile, percentile=99.9, entropy and mse"
            ),
        }
    }
}

/// Steps of 8 bits.
const STEPS: f64 = 255.0;

impl Method {
    /// The extremes of several samples, in order.
    pub(super) fn combine(self, so_far: Range, sample: Range) -> Range {
        match self {
            Method::MovingAverage { momentum } => Range {
                min: momentum * so_far.min + (1.0 - momentum) * sample.min,
                max: momentum * so_far.max + (1.0 - momentum) * sample.max,
            },
            _ => so_far.union(sample),
        }
    }

    /// Whether histograms decide.
    pub(super) fn counts(self) -> bool {
        matches!(
            self,
            Method::Percentile { .. } | Method::Entropy | Method::Mse
        )
    }

    /// The range to represent, of a tensor that has numbers; none where the histogram does not decide.
    pub(super) fn range(self, histogram: &Histogram) -> Option<Range> {
        let seen = histogram.range()?;
        let limits = match self {
            Method::MinMax | Method::MovingAverage { .. } => return None,
            Method::Percentile { percent } => {
                let cut = (100.0 - percent) / 200.0;
                [false, true].map(|side| percentile(histogram, side, cut))
            }
            Method::Entropy => [entropy(histogram); 2],
            Method::Mse => mse(histogram),
        };
        let [low, high] = limits.map(|limit| (limit * histogram.width()) as f32);
        Some(Range {
            min: seen.min.max(-low),
            max: seen.max.min(high),
        })
    }
}

/// The magnitude, in bins, beyond which a share of all numbers lies on one side of zero.
fn percentile(histogram: &Histogram, positive: bool, share: f64) -> f64 {
    let total: u64 = [true, false].iter().flat_map(|s| histogram.side(*s)).sum();
    let mut left = share * total as f64;
    let side: Vec<u64> = histogram.side(positive).collect();
    for (bin, count) in side.iter().enumerate().rev() {
        let count = *count as f64;
        if count > left {
            // Within a bin the numbers are taken to lie evenly.
            return bin as f64 + 1.0 - left / count;
        }
        left -= count;
    }
    0.0
}

/// The limits below and above zero, in bins, that minimise
/// `n·step²/12 + Σ (x − limit)²` with `step = (low + high)/255` and the sum over what lies outside.
fn mse(histogram: &Histogram) -> [f64; 2] {
    let outside = [false, true].map(|side| saturation(histogram, side));
    let total: u64 = [true, false].iter().flat_map(|s| histogram.side(*s)).sum();
    let rounding = total as f64 / (12.0 * STEPS * STEPS);
    let mut limits = outside.each_ref().map(|errors| {
        let reach = errors.iter().position(|e| *e == 0.0);
        reach.unwrap_or(BINS)
    });
    // The sum of errors is convex in both limits, so that improving one after the other leads to the least.
    loop {
        let before = limits;
        for side in [0, 1] {
            let other = limits[1 - side] as f64;
            let error =
                |limit: usize| rounding * (limit as f64 + other).powi(2) + outside[side][limit];
            let best = (0..=limits[side]).min_by(|a, b| error(*a).total_cmp(&error(*b)));
            limits[side] = best.unwrap_or(0);
        }
        if limits == before {
            return limits.map(|limit| limit as f64);
        }
    }
}

/// For each limit in bins the sum of squared distances of the magnitudes beyond it, in squared bins.
fn saturation(histogram: &Histogram, positive: bool) -> Vec<f64> {
    let side: Vec<u64> = histogram.side(positive).collect();
    let mut errors = vec![0.0; BINS + 1];
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (bin, numbers) in side.iter().enumerate().rev() {
        let (numbers, middle) = (*numbers as f64, bin as f64 + 0.5);
        count += numbers;
        sum += numbers * middle;
        squares += numbers * middle * middle;
        let limit = bin as f64;
        errors[bin] = (squares - 2.0 * limit * sum + limit * limit * count).max(0.0);
        if count == 0.0 {
            errors[bin] = 0.0;
        }
    }
    errors
}

/// Levels of magnitude in TensorRT's search.
const LEVELS: usize = 128;

/// The magnitude, in bins, at which the histogram of magnitudes, the rest added to its last bin, and the same
/// brought to 128 levels, differ least.
fn entropy(histogram: &Histogram) -> f64 {
    let sides = histogram.side(true).zip(histogram.side(false));
    let counts: Vec<u64> = sides.map(|(a, b)| a + b).collect();
    let reach = counts.iter().rposition(|c| *c > 0).map_or(0, |bin| bin + 1);
    let least = (LEVELS..=reach).min_by(|a, b| {
        let divergence = |limit: &usize| divergence(&counts, *limit);
        divergence(a).total_cmp(&divergence(b))
    });
    least.unwrap_or(BINS) as f64
}

fn divergence(counts: &[u64], limit: usize) -> f64 {
    let beyond: u64 = counts[limit..].iter().sum();
    let total: u64 = counts.iter().sum();
    let inside: u64 = counts[..limit].iter().sum();
    let mut sum = 0.0;
    for level in 0..LEVELS {
        let bins = level * limit / LEVELS..(level + 1) * limit / LEVELS;
        let level = &counts[bins.clone()];
        let filled = level.iter().filter(|c| **c > 0).count();
        let mean = level.iter().sum::<u64>() as f64 / filled.max(1) as f64;
        for bin in bins {
            let rest = if bin + 1 == limit { beyond } else { 0 };
            let p = (counts[bin] + rest) as f64 / total as f64;
            if p == 0.0 {
                continue;
            }
            if counts[bin] == 0 {
                // The last bin holds outliers only: nothing of them is represented.
                return f64::INFINITY;
            }
            let q = mean / inside as f64;
            sum += p * (p / q).ln();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(method: Method, numbers: &[f32]) -> (f32, f32) {
        let range = method.range(&Histogram::of(numbers)).unwrap();
        (range.min, range.max)
    }

    /// Many numbers near zero and few far away: `count` of each `1/count`.
    fn heavy_tail() -> Vec<f32> {
        let reciprocals = (1..=120u16).map(|n| (n, 40.0 / f32::from(n)));
        reciprocals
            .flat_map(|(n, x)| std::iter::repeat_n(x, usize::from(n * n)))
            .collect()
    }

    #[test]
    fn percentiles_cut_as_many_numbers_at_each_end() {
        // 1000 numbers from −0.4995 to 0.4995, a thousandth apart: 2 percent at each end are 20.
        let even: Vec<f32> = (0..1000).map(|i| (i as f32 - 499.5) / 1000.0).collect();
        let (low, high) = range(Method::Percentile { percent: 96.0 }, &even);
        let outside = even.iter().filter(|x| **x > high).count();
        assert!((19..=21).contains(&outside), "{outside} above {high}");
        assert_eq!(low, -high);
        let all = range(Method::Percentile { percent: 100.0 }, &even);
        assert_eq!(all, (-0.4995, 0.4995));
        // Zeros are exact under every quantization, and are not counted.
        let zeros = [even, vec![0.0; 5000]].concat();
        assert_eq!(range(Method::Percentile { percent: 96.0 }, &zeros).1, high);
    }

    #[test]
    fn the_least_squared_error_is_found() {
        let numbers = heavy_tail();
        let (_, high) = range(Method::Mse, &numbers);
        // Rounding and saturation as they are, for limits around the one that was found.
        let error = |limit: f32| -> f64 {
            let step = limit / 255.0;
            let errors = numbers.iter().map(|x| {
                let nearest = (x / step).round().min(255.0) * step;
                f64::from(x - nearest).powi(2)
            });
            errors.sum()
        };
        let best = (1..=200).map(|i| 40.0 * i as f32 / 200.0);
        let best = best.map(error).fold(f64::INFINITY, f64::min);
        assert!(error(high) < 1.1 * best, "{high}: {} {best}", error(high));
        assert!(error(high) < 0.9 * error(40.0));
    }

    #[test]
    fn both_ends_are_cut_by_their_own_outliers() {
        let mut numbers: Vec<f32> = (0..100_000)
            .map(|i| (i % 1000) as f32 / 1000.0 - 0.5)
            .collect();
        numbers.push(10.0);
        let (low, high) = range(Method::Mse, &numbers);
        assert_eq!(low, -0.5);
        // Rounding of 100,000 numbers costs a·(L + 0.5)², the outlier (10 − L)²: the least is at
        // L = (10 − a/2)/(1 + a).
        let a = 1e5 / (12.0 * 255.0 * 255.0);
        assert!((high - (10.0 - a / 2.0) / (1.0 + a)).abs() < 0.01, "{high}");
    }

    #[test]
    fn the_divergence_is_that_of_the_definition() {
        // 256 bins in 128 levels of two; outliers join the last bin.
        let counts: Vec<u64> = (0..300)
            .map(|i| [3, 1][i % 2] + u64::from(i == 255) * 4)
            .collect();
        let (total, inside) = (604.0, 516.0);
        let mut expected = 0.0;
        for (bin, count) in counts.iter().enumerate().take(256) {
            let rest = if bin == 255 { 88.0 } else { 0.0 };
            let p = (*count as f64 + rest) / total;
            let level = if bin < 254 { 2.0 } else { 4.0 };
            expected += p * (p * inside / level).ln();
        }
        assert!((divergence(&counts, 256) - expected).abs() < 1e-12);
    }

    #[test]
    fn what_is_even_keeps_its_range() {
        let even: Vec<f32> = (0..=4096).map(|i| i as f32 / 4096.0).collect();
        for method in [Method::Entropy, Method::Mse] {
            let (low, high) = range(method, &even);
            assert!(low == 0.0 && high > 0.98, "{method}: {high}");
        }
        assert_eq!(Method::MinMax.range(&Histogram::of(&even)), None);
    }

    #[test]
    fn methods_are_read_as_they_are_written() {
        for text in [
            "minmax",
            "moving-average",
            "percentile=99.9",
            "entropy",
            "mse",
        ] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        for text in ["percentile=0", "percentile=101", "mse=1", "max"] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }
}
