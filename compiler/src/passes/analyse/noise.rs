//! Ratios of signal and noise, from sums of squares in f64.

use crate::ir::Array;

/// Sums of squares: of numbers, and of what stands for them less them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Of the numbers.
    pub signal: f64,
    /// Of the differences.
    pub noise: f64,
}

impl Noise {
    /// Of as many numbers as there are to stand for them.
    pub fn of(exact: &[f32], found: &[f32]) -> Noise {
        let mut all = Noise::default();
        for (exact, found) in exact.iter().zip(found) {
            all.signal += f64::from(*exact).powi(2);
            all.noise += (f64::from(*exact) - f64::from(*found)).powi(2);
        }
        all
    }

    /// Adds what was seen elsewhere.
    pub fn add(&mut self, other: Noise) {
        self.signal += other.signal;
        self.noise += other.noise;
    }

    /// Signal-to-quantization-noise ratio, `10·log₁₀(signal / noise)`, in decibel; ∞ where nothing differs.
    pub fn decibel(&self) -> f64 {
        match self.noise {
            0.0 => f64::INFINITY,
            noise => 10.0 * (self.signal / noise).log10(),
        }
    }
}

/// The noise of each channel of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channels(pub Vec<Noise>);

impl Channels {
    /// Of an array whose channels lie along `axis`; an array without axes is one channel.
    pub fn of(exact: &Array, found: &Array, axis: usize) -> Channels {
        let count = exact.shape.get(axis).copied().unwrap_or(1);
        let run: usize = exact.shape.iter().skip(axis + 1).product();
        let mut channels = vec![Noise::default(); count];
        let pairs = exact.reals().chunks(run.max(1));
        let pairs = pairs.zip(found.reals().chunks(run.max(1)));
        for (i, (exact, found)) in pairs.enumerate() {
            channels[i % count].add(Noise::of(exact, found));
        }
        Channels(channels)
    }

    /// Of all channels.
    pub fn all(&self) -> Noise {
        let mut all = Noise::default();
        self.0.iter().for_each(|channel| all.add(*channel));
        all
    }

    /// The channel with the smallest ratio, and the ratio in decibel; channels of zeros have none.
    pub fn worst(&self) -> Option<(usize, f64)> {
        let channels = self.0.iter().enumerate();
        let heard = channels.filter(|(_, noise)| noise.signal > 0.0);
        let each = heard.map(|(i, noise)| (i, noise.decibel()));
        each.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Adds what was seen elsewhere of the same channels.
    pub fn add(&mut self, other: &Channels) {
        for (all, new) in self.0.iter_mut().zip(&other.0) {
            all.add(*new);
        }
    }
}
