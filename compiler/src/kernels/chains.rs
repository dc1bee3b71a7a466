//! Products whose pairs are added in 16 bits over chains of steps.
//!
//! A step multiplies `k` neighbouring activations by the weights of a tile's lanes. Steps may be summed in any order,
//! so those that fit 16 bits together are brought together ([`crate::prove::Reach`]). A step with a pair of weights
//! that 16 bits do not hold for activations from 0 to 255 reads them as numbers from −128 to 127, which takes an
//! instruction more.
//!
//! Tables tell the kernel what was arranged. Of each tile, at its first lane, `tiles` has
//!
//! ```text
//!  0  its first chain of unsigned activations     3  its first byte of weights
//!  1  its first chain of signed activations       4  its first entry in `offsets`
//!  2  the end of its chains
//! ```
//!
//! `starts` has the first step of each chain, and behind the last of a tile the number of the tile's steps;
//! `offsets` has the place of each step's activations in the window.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::kernel::Scalar;
use crate::kernels::pack::{Packed, Product, addend, each};
use crate::kernels::unit::{offset, unsigned_offset};
use crate::kernels::{Form, Gemm, Runs};
use crate::prove::{self, Reach};
use crate::target::Target;

/// Constants of a product in chains.
#[derive(Clone, Debug, Default)]
pub struct Chained {
    /// i8, `[tile][chain][step][vector][lane][k]`.
    pub weights: Vec<u8>,
    /// Five numbers at the first lane of each tile.
    pub tiles: Vec<i32>,
    /// The first step of each chain.
    pub starts: Vec<i32>,
    /// Where the activations of each step lie.
    pub offsets: Vec<i32>,
    /// Of each tile its entry in `tiles`, and the channels of its lanes.
    pub lanes: Vec<(usize, Vec<Option<usize>>)>,
    /// Activations of a step.
    pub k: usize,
    /// Steps and chains of unsigned activations, and of signed ones.
    pub counts: [(usize, usize); 2],
}

/// One step of a tile.
struct Step {
    offset: usize,
    /// `[lane][k]`.
    weights: Vec<i8>,
    reach: Reach,
}

/// Steps whose sums 16 bits hold.
struct Chain {
    steps: Vec<Step>,
    reach: Reach,
}

/// What reads activations adds to them, in unsigned and in signed chains.
fn offsets(target: &Target, elem: Scalar) -> [i32; 2] {
    [unsigned_offset(elem), offset(target, elem)]
}

fn ranges(target: &Target, product: &Product) -> [(i32, i32); 2] {
    let (low, high) = product.range;
    offsets(target, product.elem).map(|offset| (low + offset, high + offset))
}

/// The constants of `gemm`, which is laid out for chains, and how much work they are, as a part of that without
/// them; none where weights are fields or all 0, or sums of 32 bits are not proven.
pub fn chain(gemm: &Gemm, target: &Target, product: &Product) -> Option<(Packed, Chained, f64)> {
    let layout = gemm.layout(target);
    let Form::Bytes { parts } = product.form() else {
        return None;
    };
    let runs = Runs {
        levels: layout.runs.levels[usize::from(parts > 1)..].to_vec(),
        len: layout.runs.len,
    };
    let ranges = ranges(target, product);
    let group = product.bias.len() / gemm.groups;
    let mut chained = Chained {
        k: target.dot.k,
        tiles: vec![0; gemm.groups * layout.padded],
        ..Chained::default()
    };
    let mut signed_sums = vec![0i64; product.bias.len()];
    let (mut work, mut plain) = (0.0, 0.0);
    for g in 0..gemm.groups {
        for lanes in layout.tiles(target.dot.lanes) {
            let entry = g * layout.padded + lanes.start;
            let channel = |lane: usize| (lane < group).then_some(g * group + lane);
            let channels: Vec<_> = lanes.map(channel).collect();
            let steps = steps(product, &runs, &channels, parts, target.dot.k);
            let [unsigned, signed] = arrange(steps, ranges);
            let products = layout.rows[0].size * channels.len() / target.dot.lanes;
            let widths = (channels.len() / target.dot.lanes) as f64;
            work +=
                widths * (cost(&unsigned, UNSIGNED, products) + cost(&signed, SIGNED, products));
            plain += widths * PLAIN * (parts * runs.count() * runs.steps(target.dot.k)) as f64;
            for step in signed.iter().flat_map(|chain| &chain.steps) {
                for (channel, weights) in channels.iter().zip(step.weights.chunks(target.dot.k)) {
                    let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
                    if let Some(channel) = channel {
                        signed_sums[*channel] += sum;
                    }
                }
            }
            chained.push(entry, channels, [unsigned, signed]);
        }
    }
    let [unsigned, signed] = offsets(target, product.elem);
    let start =
        |c: usize| product.start(c, unsigned) - i64::from(signed - unsigned) * signed_sums[c];
    let fits = |c: usize| {
        let weights: i64 = product.row(c).iter().map(|w| i64::from(w.abs())).sum();
        start(c).abs() + 255 * weights <= i32::MAX.into()
    };
    if chained.offsets.is_empty() || !(0..product.bias.len()).all(fits) {
        return None;
    }
    let places = places(&runs);
    prove::chains(&chained, product, ranges, |at| places.get(&at).copied())
        .expect("chains are arranged so that they fit");
    let channels = || {
        (0..gemm.groups).flat_map(|g| {
            (0..layout.padded).map(move |lane| (lane < group).then_some(g * group + lane))
        })
    };
    let (scales, shifts) = product.scale_words(channels());
    let packed = Packed {
        weights: chained.weights.clone(),
        lows: vec![],
        bias: each(channels(), |c| start(c) as i32),
        high: vec![],
        scales,
        shifts,
        places: product.places(),
    };
    Some((packed, chained, work / plain))
}

/// Work of a step of unsigned activations for one product, in vector operations, as fitted to the times of
/// MobileNetV2's layers in tiles of six products.
const UNSIGNED: f64 = 2.3;

/// The same of signed activations.
const SIGNED: f64 = 3.6;

/// The end of a chain.
const END: f64 = 2.2;

/// A `dot`.
const PLAIN: f64 = 4.25;

/// Operations of a step and of a chain that all products of a tile share, beside those that six have.
const SHARED: [f64; 2] = [3.5, 12.0];

/// Work of chains for one product of a tile of so many.
fn cost(chains: &[Chain], step: f64, products: usize) -> f64 {
    let steps: usize = chains.iter().map(|chain| chain.steps.len()).sum();
    let smaller = (1.0 / products as f64 - 1.0 / 6.0).max(0.0);
    let [step, end] = [step + SHARED[0] * smaller, END + SHARED[1] * smaller];
    step * steps as f64 + end * chains.len() as f64
}

/// Which weight of a channel each element of the window is multiplied by.
fn places(runs: &Runs) -> HashMap<usize, usize> {
    let firsts = runs.firsts().into_iter().enumerate();
    let run =
        |(run, first): (usize, usize)| (0..runs.len).map(move |i| (first + i, run * runs.len + i));
    firsts.flat_map(run).collect()
}

/// The steps of a tile; those without weights are left out.
fn steps(
    product: &Product,
    runs: &Runs,
    channels: &[Option<usize>],
    parts: usize,
    k: usize,
) -> Vec<(usize, Vec<i8>)> {
    let mut steps = vec![];
    for (run, first) in runs.firsts().into_iter().enumerate() {
        for at in (0..runs.len).step_by(k) {
            for part in 0..parts {
                let weight = |channel: Option<usize>, i: usize| match channel {
                    Some(channel) if at + i < runs.len => {
                        addend(product.row(channel)[run * runs.len + at + i], part) as i8
                    }
                    _ => 0,
                };
                let lanes = channels.iter();
                let weights: Vec<i8> = lanes
                    .flat_map(|c| (0..k).map(move |i| weight(*c, i)))
                    .collect();
                if weights.iter().any(|w| *w != 0) {
                    steps.push((first + at, weights));
                }
            }
        }
    }
    steps
}

/// Chains that a step is tried with: the last ones that were begun.
const OPEN: usize = 48;

/// Steps in as few chains as a quick search finds, unsigned and signed: the heaviest step first, each into the
/// fullest chain that holds it.
fn arrange(steps: Vec<(usize, Vec<i8>)>, [unsigned, signed]: [(i32, i32); 2]) -> [Vec<Chain>; 2] {
    let mut kinds = [vec![], vec![]];
    for (offset, weights) in steps {
        let mut kind = 0;
        let mut reach = Reach::of(&weights, unsigned);
        if !reach.fits() {
            kind = 1;
            reach = Reach::of(&weights, signed);
        }
        kinds[kind].push(Step {
            offset,
            weights,
            reach,
        });
    }
    kinds.map(|mut steps| {
        steps.sort_by_key(|step| Reverse(step.reach.size()));
        let mut chains: Vec<Chain> = vec![];
        for step in steps {
            let open = chains.len().saturating_sub(OPEN);
            let fitting = chains[open..].iter_mut();
            let fitting = fitting.filter(|chain| chain.reach.fits_with(&step.reach));
            match fitting.max_by_key(|chain| chain.reach.size()) {
                Some(chain) => {
                    chain.reach.extend(&step.reach);
                    chain.steps.push(step);
                }
                None => chains.push(Chain {
                    reach: step.reach.clone(),
                    steps: vec![step],
                }),
            }
        }
        // Loops of equal length follow each other, which a processor predicts.
        chains.sort_by_key(|chain| Reverse(chain.steps.len()));
        for chain in &mut chains {
            chain.steps.sort_by_key(|step| step.offset);
        }
        chains
    })
}

impl Chained {
    fn push(&mut self, entry: usize, channels: Vec<Option<usize>>, kinds: [Vec<Chain>; 2]) {
        let first = self.starts.len();
        let signed = first + kinds[0].len();
        let table = [
            first,
            signed,
            signed + kinds[1].len(),
            self.weights.len(),
            self.offsets.len(),
        ];
        for (place, value) in self.tiles[entry..].iter_mut().zip(table) {
            *place = value as i32;
        }
        let mut count = 0;
        for (kind, chains) in kinds.into_iter().enumerate() {
            self.counts[kind].1 += chains.len();
            for chain in chains {
                self.counts[kind].0 += chain.steps.len();
                self.starts.push(count);
                count += chain.steps.len() as i32;
                for step in chain.steps {
                    self.offsets.push(step.offset as i32);
                    self.weights.extend(step.weights.iter().map(|w| *w as u8));
                }
            }
        }
        self.starts.push(count);
        self.lanes.push((entry, channels));
    }
}
