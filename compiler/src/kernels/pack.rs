//! Constants of products in the order in which kernels read them.

use crate::kernel::Scalar;
use crate::kernels::unit::{offset, unsigned_offset};
use crate::kernels::{Fields, Form, Gemm, Scale};
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
    pub scales: Vec<Scale>,
    /// Zero point of the activations.
    pub zero_point: i32,
    /// Smallest and largest activation.
    pub range: (i32, i32),
    /// Elements of the activations.
    pub elem: Scalar,
    /// What is stored in place of weights that few bits hold.
    pub fields: Option<Fields>,
}

/// Little-endian bytes of a product's constants.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// i8, or fields.
    pub weights: Vec<u8>,
    /// i8: what is added to fields; empty without them.
    pub lows: Vec<u8>,
    /// i32.
    pub bias: Vec<u8>,
    /// i32: the same in units of 2¹⁶; empty where `bias` has all.
    pub high: Vec<u8>,
    /// f32, or multipliers, i32.
    pub scales: Vec<u8>,
    /// What products with multipliers are shifted by, i32; empty where scales are f32 or have places.
    pub shifts: Vec<u8>,
    /// Places that the multipliers have in common.
    pub places: Option<i32>,
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

    /// How sums are scaled: what the factors of all channels have in common.
    pub(crate) fn scaling(&self) -> Scale {
        self.scales.first().copied().unwrap_or(Scale::Real(1.0))
    }

    /// How the weights are stored.
    pub fn form(&self) -> Form {
        match &self.fields {
            None => Form::Bytes {
                parts: self.parts(),
            },
            Some(fields) => Form::Fields {
                bits: fields.bits,
                each: !fields.is_uniform(),
            },
        }
    }

    /// The byte of the weights `at` of a channel, one for each step that shares it: one of the addends of the only
    /// one, or their fields. A step that is `None` has weight 0, a channel that is `None` has no others.
    pub(crate) fn byte(
        &self,
        channel: Option<usize>,
        at: impl Iterator<Item = Option<usize>>,
        part: usize,
    ) -> u8 {
        let weight = |k: Option<usize>| match (channel, k) {
            (Some(channel), Some(k)) => self.row(channel)[k],
            _ => 0,
        };
        match &self.fields {
            None => at.fold(0, |_, k| addend(weight(k), part)),
            Some(fields) => {
                let low = channel.map_or(fields.spare(), |channel| fields.lows[channel]);
                let shifted = at.enumerate().map(|(step, k)| {
                    let field = weight(k) - low;
                    assert!(
                        (0..1 << fields.bits).contains(&field),
                        "weights are in range"
                    );
                    field << (step * fields.bits)
                });
                shifted.fold(0, |byte, field| byte | field as u8)
            }
        }
    }

    /// What is added to the fields of `lanes` channels at once, each `k` times: one vector, or one for each of
    /// `channels`, which `None` fills up.
    pub(crate) fn lows(
        &self,
        channels: impl Iterator<Item = Option<usize>>,
        lanes: usize,
        k: usize,
    ) -> Vec<u8> {
        match (&self.fields, self.form()) {
            (Some(fields), Form::Fields { each: false, .. }) => {
                vec![fields.lows[0] as u8; lanes * k]
            }
            (Some(fields), _) => {
                let low = |c: Option<usize>| c.map_or(0, |c| fields.lows[c]) as u8;
                channels
                    .flat_map(|c| std::iter::repeat_n(low(c), k))
                    .collect()
            }
            (None, _) => vec![],
        }
    }

    /// Places that the multipliers have in common.
    pub(crate) fn places(&self) -> Option<i32> {
        match self.scales.first() {
            Some(Scale::Even(m)) => Some(m.places),
            _ => None,
        }
    }

    /// Scales, or multipliers and shifts, of channels, which `None` fills up.
    pub(crate) fn scale_words(
        &self,
        channels: impl Iterator<Item = Option<usize>>,
    ) -> (Vec<u8>, Vec<u8>) {
        let fill = self
            .scales
            .first()
            .map_or([0, 0], |first| [0, first.words()[1]]);
        let words: Vec<[i32; 2]> = channels
            .map(|c| c.map_or(fill, |c| self.scales[c].words()))
            .collect();
        let bytes = |i: usize| words.iter().flat_map(move |pair| pair[i].to_le_bytes());
        match self.scales.first() {
            None | Some(Scale::Real(_) | Scale::Even(_)) => (bytes(0).collect(), vec![]),
            Some(_) => (bytes(0).collect(), bytes(1).collect()),
        }
    }

    /// What no sum of so many products exceeds, nor 2³⁰ once it is scaled down.
    pub(crate) fn reach(&self, depth: usize) -> i32 {
        let farthest = |z: i32| (self.range.0 - z).abs().max((self.range.1 - z).abs());
        let bias = self.bias.iter().map(|b| i64::from(b.abs())).max();
        let products = depth as i64 * 256 * i64::from(farthest(self.zero_point));
        (bias.unwrap_or(0) + products).min(1 << 30) as i32
    }

    /// Where a channel's sum starts when activations are read as `x + offset`:
    /// `Σ w·(x − z) + bias = Σ w·(x + offset) + (bias − (z + offset)·Σ w)`.
    pub fn start(&self, channel: usize, offset: i32) -> i64 {
        let sum: i64 = self.row(channel).iter().map(|&w| i64::from(w)).sum();
        i64::from(self.bias[channel]) - i64::from(self.zero_point + offset) * sum
    }
}

/// One of the addends of a weight.
pub(crate) fn addend(weight: i32, part: usize) -> u8 {
    let rest = weight.abs() - part as i32 * LARGEST;
    (rest.clamp(0, LARGEST) * weight.signum()) as i8 as u8
}

/// A stored weight plus 128.
const RAISED: u8 = 0x80;

/// The constants of `gemm`, in tiles `[group][tile][part][run][byte][vector][lane][k]`, where a byte has one step or
/// the fields of several; padding is zero.
pub fn pack(gemm: &Gemm, target: &Target, product: &Product) -> Packed {
    let layout = gemm.layout(target);
    let unit = gemm.unit(target);
    let offset = match gemm.pairs {
        Some(_) => unsigned_offset(product.elem),
        None => offset(target, product.elem),
    };
    let group = product.bias.len() / gemm.groups;
    let (runs, bytes) = (layout.runs.count(), layout.bytes);
    let (steps, parts) = (gemm.form.steps(), gemm.form.parts());
    let mut weights = Vec::with_capacity(gemm.groups * layout.padded * layout.depth);
    let channel = |g: usize, lane: usize| (lane < group).then_some(g * group + lane);
    for g in 0..gemm.groups {
        for lanes in layout.tiles(unit.lanes) {
            for (run, byte) in (0..runs).flat_map(|run| (0..bytes).map(move |byte| (run, byte))) {
                let (part, run) = (run / (runs / parts), run % (runs / parts));
                let first = run * layout.runs.len;
                let end = first + layout.runs.len;
                for lane in lanes.clone() {
                    weights.extend((0..unit.k).map(|k| {
                        let at = (byte * steps..(byte + 1) * steps)
                            .map(|step| first + step * unit.k + k);
                        let at = at.map(|k| (k < end).then_some(k));
                        product.byte(channel(g, lane), at, part)
                    }));
                }
            }
        }
    }
    let mut padded = layout.padded;
    if gemm.copied {
        weights = gemm.copied_weights(target, product);
        padded = padded.next_multiple_of(2);
    }
    let raise = |bytes: Vec<u8>, raised: bool| match raised && unit.raised {
        true => bytes.iter().map(|byte| byte ^ RAISED).collect(),
        false => bytes,
    };
    let bytes = matches!(gemm.form, Form::Bytes { .. });
    let channels = || (0..gemm.groups).flat_map(|g| (0..padded).map(move |lane| channel(g, lane)));
    let (scales, shifts) = product.scale_words(channels());
    Packed {
        weights: raise(weights, bytes),
        lows: raise(product.lows(channels(), unit.lanes, unit.k), true),
        bias: each(channels(), |c| match gemm.capacity {
            None => product.start(c, offset) as i32,
            Some(_) => (product.start(c, offset) & 0xffff) as i32,
        }),
        high: match gemm.capacity {
            None => vec![],
            Some(_) => each(channels(), |c| (product.start(c, offset) >> 16) as i32),
        },
        scales,
        shifts,
        places: product.places(),
    }
}

/// A word for each channel, 0 for those that fill up a vector.
pub(crate) fn each(
    channels: impl Iterator<Item = Option<usize>>,
    word: impl Fn(usize) -> i32,
) -> Vec<u8> {
    channels
        .flat_map(|c| c.map_or(0, &word).to_le_bytes())
        .collect()
}
