//! Products that are drawn at random, and the numbers that fill them.

use proptest::prelude::*;

use crate::kernel::Scalar;
use crate::kernels::{Fields, Product, Requantize, Residual, Scale, View, Window};
use crate::prove;
use qcc_runtime_support::fixed::Fixed;

/// A convolution over an input that is padded already.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) images: usize,
    /// Rows and columns of the result.
    pub(super) size: [usize; 2],
    pub(super) window: Window,
    pub(super) groups: usize,
    /// Input and output channels of a group.
    pub(super) channels: [usize; 2],
    /// Of the input and of the result.
    pub(super) elems: [Scalar; 2],
    pub(super) residual: bool,
    pub(super) slack: bool,
    /// Width of the clamp.
    pub(super) clamp: i32,
    /// Every activation and weight at its limit.
    pub(super) extreme: bool,
    pub(super) weights: Weights,
    pub(super) seed: u64,
}

/// What weights there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Weights {
    /// Up to ±127.
    Bytes,
    /// Up to a smaller limit.
    Small(i32),
    /// Up to ±255, as those with a zero point are.
    Asymmetric,
    /// Of 2 or 4 bits, with one smallest weight.
    Narrow(usize),
    /// Of 2 or 4 bits, with a zero point for each channel.
    NarrowAsymmetric(usize),
}

impl Weights {
    pub(super) fn fields(self, channels: usize, random: &mut Random) -> Option<Fields> {
        let (bits, each) = match self {
            Weights::Narrow(bits) => (bits, false),
            Weights::NarrowAsymmetric(bits) => (bits, true),
            _ => return None,
        };
        let most = (1 << bits) - 1;
        let first = -random.within(0, most);
        let lows = (0..channels).map(|_| if each { -random.within(0, most) } else { first });
        let lows = lows.collect();
        Some(Fields { bits, lows })
    }

    pub(super) fn limits(self, fields: Option<&Fields>, channel: usize) -> (i32, i32) {
        match (self, fields) {
            (_, Some(Fields { bits, lows })) => {
                let low = lows[channel];
                (low, low + (1 << bits) - 1)
            }
            (Weights::Asymmetric, _) => (-255, 255),
            (Weights::Small(most), _) => (-most, most),
            _ => (-127, 127),
        }
    }
}

pub(super) fn weights() -> impl Strategy<Value = Weights> {
    let bits = || prop_oneof![Just(2usize), Just(4)];
    prop_oneof![
        Just(Weights::Bytes),
        Just(Weights::Asymmetric),
        (1..=100).prop_map(Weights::Small),
        bits().prop_map(Weights::Narrow),
        bits().prop_map(Weights::NarrowAsymmetric),
    ]
}

pub(super) fn axis() -> impl Strategy<Value = (usize, usize, usize, usize)> {
    (1usize..=6, 1usize..=4, 1usize..=2, 1usize..=3)
}

pub(super) fn case(depthwise: bool) -> impl Strategy<Value = Case> {
    let channels = if depthwise {
        let many = prop_oneof![Just(32), Just(64), 41usize..=80];
        let channels = prop_oneof![1usize..=40, many, Just(8), Just(16)];
        (channels, Just([1, 1])).boxed()
    } else {
        let few = (1usize..=3, (1usize..=11, 1usize..=19));
        let many = (Just(1), (1usize..=40, 1usize..=75));
        prop_oneof![few, many]
            .prop_map(|(g, (c, m))| (g, [c, m]))
            .boxed()
    };
    let elem = || {
        prop_oneof![
            Just(Scalar::U8),
            Just(Scalar::I8),
            Just(Scalar::U16),
            Just(Scalar::I16)
        ]
    };
    let flags = (any::<[bool; 3]>(), [elem(), elem()]);
    (
        1usize..=2,
        axis(),
        axis(),
        channels,
        flags,
        weights(),
        0i32..256,
        any::<u64>(),
    )
        .prop_map(
            |(images, y, x, (groups, channels), (flags, elems), weights, clamp, seed)| Case {
                images,
                size: [y.0, x.0],
                window: Window {
                    extent: [y.1, x.1],
                    steps: [y.2, x.2],
                    strides: [y.3, x.3],
                },
                groups,
                channels,
                elems,
                residual: flags[0],
                // Activations of 16 bits always lie where more may be read.
                slack: flags[1] || elems[0].bytes() > 1,
                extreme: flags[2],
                weights,
                clamp,
                seed,
            },
        )
}

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 29)
    }

    pub(super) fn within(&mut self, low: i32, high: i32) -> i32 {
        low + (self.next() % (high - low + 1) as u64) as i32
    }
}

pub(super) fn limits(elem: Scalar) -> (i32, i32) {
    crate::kernels::elements::elements(elem).limits
}

pub(super) fn stored(values: &[i32], elem: Scalar) -> Vec<u8> {
    let bytes = values.iter().map(|v| v.to_le_bytes());
    bytes
        .flat_map(|b| b.into_iter().take(elem.bytes()))
        .collect()
}

/// The case with numbers filled in.
pub(super) struct Filled {
    pub(super) case: Case,
    pub(super) input: View,
    pub(super) output: View,
    pub(super) x: Vec<i32>,
    pub(super) r: Vec<i32>,
    pub(super) product: Product,
    /// The factors that those of the product stand for.
    pub(super) meant: Vec<Scale>,
    pub(super) requantize: Requantize,
}

pub(super) fn fill(case: &Case) -> Filled {
    let mut random = Random(case.seed);
    let [cg, mg] = case.channels;
    let window = &case.window;
    let padded = |axis: usize| {
        (case.size[axis] - 1) * window.strides[axis]
            + (window.extent[axis] - 1) * window.steps[axis]
            + 1
    };
    let input = View::dense([case.images, padded(0), padded(1), case.groups * cg]);
    let output = View::dense([case.images, case.size[0], case.size[1], case.groups * mg]);
    let depth = window.taps() * cg;
    let (low, high) = limits(case.elems[0]);
    let x = |random: &mut Random| match case.extreme {
        true => [low, high, high][random.within(0, 2) as usize],
        false => random.within(low, high),
    };
    let m = case.groups * mg;
    let fields = case.weights.fields(m, &mut random);
    let w = |random: &mut Random, i: usize| {
        let (low, high) = case.weights.limits(fields.as_ref(), i / depth);
        match case.extreme {
            true => [low, high][random.within(0, 1) as usize],
            false => random.within(low, high),
        }
    };
    let mut product = Product {
        weights: (0..m * depth).map(|i| w(&mut random, i)).collect(),
        bias: (0..m).map(|_| random.within(-5000, 5000)).collect(),
        scales: scales(m, case, &mut random),
        zero_point: random.within(low, high),
        range: (low, high),
        elem: case.elems[0],
        fields,
    };
    let (low, high) = limits(case.elems[1]);
    let lowest = random.within(low, (high - case.clamp).max(low));
    let clamp = [lowest, (lowest + case.clamp).min(high)];
    let zero_point = random.within(low, high);
    let meant = product.scales.clone();
    if case.elems[1].bytes() == 1 && !case.residual && random.within(0, 1) == 0 {
        let bounds = prove::sums(&product, 0).ok();
        let shared = bounds.and_then(|b| prove::shared(&product.scales, b, zero_point, clamp));
        product.scales = shared.unwrap_or(product.scales);
    }
    let residual = case.residual.then_some(Residual {
        view: output,
        elem: case.elems[0],
        zero_point: product.zero_point,
        ratio: 0.37,
    });
    let (rlow, rhigh) = limits(case.elems[0]);
    Filled {
        x: (0..input.extent.iter().product())
            .map(|_| x(&mut random))
            .collect(),
        r: (0..output.extent.iter().product())
            .map(|_| random.within(rlow, rhigh))
            .collect(),
        requantize: Requantize {
            zero_point,
            low: clamp[0],
            high: clamp[1],
            elem: case.elems[1],
            residual,
            scaling: product.scaling(),
        },
        case: case.clone(),
        input,
        output,
        product,
        meant,
    }
}

/// Factors in f32; where nothing is added to sums of 8-bit products, sometimes in fixed point, some above 1.
pub(super) fn scales(m: usize, case: &Case, random: &mut Random) -> Vec<Scale> {
    let real = |random: &mut Random| random.within(1, 1000) as f32 * 3e-6;
    let plain = !case.residual && case.elems[0].bytes() == 1;
    let fixed = |random: &mut Random| {
        let large = random.within(0, 4) == 0;
        Fixed::new(f64::from(real(random)) * if large { 1000.0 } else { 1.0 })
    };
    match random.within(0, 5) {
        0 | 1 if plain => (0..m).map(|_| Scale::Twice(fixed(random))).collect(),
        2 if plain => (0..m).map(|_| Scale::Once(fixed(random))).collect(),
        _ => (0..m).map(|_| Scale::Real(real(random))).collect(),
    }
}
