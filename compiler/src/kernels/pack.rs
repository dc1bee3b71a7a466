//! Constants of products in the order in which kernels read them.

use crate::kernels::Gemm;
use crate::target::Target;

/// A product's numbers, as the model knows them.
#[derive(Clone, Debug)]
pub struct Product {
    /// `[channels][depth]`; the depth is in the order tap row, tap column, input channel. The zero point is
    /// subtracted, so that they reach ±255.
    pub weights: Vec<i32>,
    /// One a channel, in units of the sums.
    pub bias: Vec<i32>,
    /// One a channel: the sum's scale over the result's.
    pub scales: Vec<f32>,
    /// Zero point of the activations.
    pub zero_point: i32,
    /// Smallest and largest activation.
    pub range: (i32, i32),
}

/// Little-endian bytes of a product's constants.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// i8.
    pub weights: Vec<u8>,
    /// i32.
    pub bias: Vec<u8>,
    /// f32.
    pub scales: Vec<u8>,
}

/// Largest magnitude of a stored weight: two products with activations of 8 bits fit 16 bits.
const LARGEST: i32 = 127;

impl Product {
    /// Weights of a channel.
    pub fn row(&self, channel: usize) -> &[i32] {
        let depth = self.weights.len() / self.bias.len();
        &self.weights[channel * depth..][..depth]
    }

    /// How many addends of at most `LARGEST` the largest weight has. A kernel reads its window as often.
    pub fn parts(&self) -> usize {
        let largest = self.weights.iter().map(|w| w.abs()).max();
        let largest = largest.unwrap_or(0).max(1);
        (largest as usize).div_ceil(LARGEST as usize)
    }

    /// One of the addends of a channel's weight.
    pub(crate) fn addend(&self, channel: usize, k: usize, part: usize) -> u8 {
        let weight = self.row(channel)[k];
        let rest = weight.abs() - part as i32 * LARGEST;
        (rest.clamp(0, LARGEST) * weight.signum()) as i8 as u8
    }

    /// Where a channel's sum starts when activations are read as `x + offset`:
    /// `Σ w·(x − z) + bias = Σ w·(x + offset) + (bias − (z + offset)·Σ w)`.
    pub fn start(&self, channel: usize, offset: i32) -> i64 {
        let sum: i64 = self.row(channel).iter().map(|&w| i64::from(w)).sum();
        i64::from(self.bias[channel]) - i64::from(self.zero_point + offset) * sum
    }
}

/// The constants of `gemm`, in tiles `[group][tile][part][run][step][vector][lane][k]`; padding is zero.
/// Activations are read as `x + offset`.
pub fn pack(gemm: &Gemm, target: &Target, product: &Product, offset: i32) -> Packed {
    let layout = gemm.layout(target);
    let dot = &target.dot;
    let group = product.bias.len() / gemm.groups;
    let (runs, steps) = (layout.runs.count(), layout.runs.steps(dot.k));
    let runs_of_part = runs / gemm.parts;
    let mut weights = Vec::with_capacity(gemm.groups * layout.padded * layout.depth);
    for g in 0..gemm.groups {
        for lanes in layout.tiles(dot.lanes) {
            for (run, step) in (0..runs).flat_map(|run| (0..steps).map(move |step| (run, step))) {
                let (part, run) = (run / runs_of_part, run % runs_of_part);
                let first = run * layout.runs.len;
                let end = first + layout.runs.len;
                let start = first + step * dot.k;
                for lane in lanes.clone() {
                    weights.extend(
                        (start..start + dot.k).map(|k| match lane < group && k < end {
                            true => product.addend(g * group + lane, k, part),
                            false => 0,
                        }),
                    );
                }
            }
        }
    }
    let padded = layout.padded;
    let each = |f: &dyn Fn(usize) -> [u8; 4]| -> Vec<u8> {
        let lanes = (0..gemm.groups).flat_map(|g| (0..padded).map(move |lane| (g, lane)));
        lanes
            .flat_map(|(g, lane)| {
                if lane < group {
                    f(g * group + lane)
                } else {
                    [0; 4]
                }
            })
            .collect()
    };
    Packed {
        weights,
        bias: each(&|c| (product.start(c, offset) as i32).to_le_bytes()),
        scales: each(&|c| product.scales[c].to_le_bytes()),
    }
}

/// What the machine adds to an activation before it multiplies.
pub fn offset(target: &Target, signed: bool) -> i32 {
    if signed {
        target.dot.offset_i8
    } else {
        target.dot.offset_u8
    }
}
