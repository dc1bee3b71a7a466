//! How integers stand for reals.
//!
//! Everything follows from one law, `real = scale · (integer − zero_point)`, and one demand: real zero
//! is exactly representable (gemmlowp `doc/quantization.md`; whitepaper arXiv 1806.08342 §2.1).

use super::Array;

/// The element type of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Elem {
    /// Reals, evaluated in f32.
    Float,
    /// Plain integers (indices, shapes).
    Int(IntType),
    /// Truth values, stored as 0 and 1.
    Bool,
    /// Integers that stand for reals.
    Quantized(QuantParams),
}

/// A two's complement or unsigned integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntType {
    /// Width: 2, 4, 8, 16, 32 or 64.
    pub bits: u8,
    /// Whether negative values exist.
    pub signed: bool,
}

impl IntType {
    /// Signed 8 bits.
    pub const I8: IntType = IntType {
        bits: 8,
        signed: true,
    };
    /// Unsigned 8 bits.
    pub const U8: IntType = IntType {
        bits: 8,
        signed: false,
    };
    /// Signed 16 bits.
    pub const I16: IntType = IntType {
        bits: 16,
        signed: true,
    };
    /// Signed 32 bits: sums of products, biases.
    pub const I32: IntType = IntType {
        bits: 32,
        signed: true,
    };
    /// Signed 64 bits: ONNX shapes and indices.
    pub const I64: IntType = IntType {
        bits: 64,
        signed: true,
    };

    /// The smallest value.
    pub fn min(self) -> i64 {
        if self.signed {
            -1 << (self.bits - 1)
        } else {
            0
        }
    }

    /// The largest value (of u64: the largest that an i64 holds).
    pub fn max(self) -> i64 {
        match (self.bits, self.signed) {
            (64, _) => i64::MAX,
            (bits, true) => (1 << (bits - 1)) - 1,
            (bits, false) => (1 << bits) - 1,
        }
    }
}

/// How integers stand for reals: `real = scale · (integer − zero_point)`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantParams {
    /// Storage type.
    pub int: IntType,
    /// Smallest integer in use: the type's, or more where the range is restricted (−127 for weights).
    pub low: i32,
    /// Largest integer in use.
    pub high: i32,
    /// One map for the whole tensor or one for each index along an axis.
    pub map: Granularity,
}

/// Which elements share a scale and a zero point.
#[derive(Clone, Debug, PartialEq)]
pub enum Granularity {
    /// All of them.
    PerTensor {
        /// Real distance of two neighbouring integers; positive and finite.
        scale: f32,
        /// The integer that stands for 0.0; within `low..=high`.
        zero_point: i32,
    },
    /// Those with the same index along `axis`.
    PerChannel {
        /// The axis.
        axis: usize,
        /// One scale for each index along the axis.
        scales: Vec<f32>,
        /// One zero point for each index along the axis.
        zero_points: Vec<i32>,
    },
    /// Those whose other indices are the same, and whose index along `axis` is after division by `size`.
    Blocks {
        /// The axis.
        axis: usize,
        /// Elements of a block; the last one may have fewer.
        size: usize,
        /// One scale for each block, row-major in the tensor's shape with blocks for elements along the axis.
        scales: Vec<f32>,
        /// One zero point for each block.
        zero_points: Vec<i32>,
    },
}

/// The block, in the order of [`Granularity::Blocks`], of each element of a tensor.
pub fn blocks(shape: &[usize], axis: usize, size: usize) -> impl Fn(usize) -> usize + use<> {
    let (extent, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let count = extent.div_ceil(size);
    move |i| (i / inner / extent * count + i / inner % extent / size) * inner + i % inner
}

impl QuantParams {
    /// Parameters over a type's whole range, one map for the tensor.
    pub fn per_tensor(int: IntType, scale: f32, zero_point: i32) -> QuantParams {
        let (low, high) = (int.min() as i32, int.max() as i32);
        QuantParams {
            int,
            low,
            high,
            map: Granularity::PerTensor { scale, zero_point },
        }
    }

    /// Symmetric parameters with one scale for each index along `axis`; an 8-bit type uses −127..=127.
    pub fn symmetric_per_channel(int: IntType, axis: usize, scales: Vec<f32>) -> QuantParams {
        let high = int.max() as i32;
        let zero_points = vec![0; scales.len()];
        QuantParams {
            int,
            low: -high,
            high,
            map: Granularity::PerChannel {
                axis,
                scales,
                zero_points,
            },
        }
    }

    /// Scale and zero point of a tensor that has one of each.
    /// Panics on parameters with several scales, which `verify` allows on constants only.
    pub fn uniform(&self) -> (f32, i32) {
        match &self.map {
            Granularity::PerTensor { scale, zero_point } => (*scale, *zero_point),
            _ => panic!("activations have one scale"),
        }
    }

    /// Whether there is one scale for the whole tensor.
    pub fn is_uniform(&self) -> bool {
        matches!(self.map, Granularity::PerTensor { .. })
    }

    /// Whether there is a scale for each block.
    pub fn has_blocks(&self) -> bool {
        matches!(self.map, Granularity::Blocks { .. })
    }

    /// The scale of each of `channels` indices along the axis of the channels; groups of channels repeat them.
    /// Panics on scales of blocks, which `integer::check` allows beside activations of reals only.
    pub fn scales(&self, channels: usize) -> Vec<f32> {
        match &self.map {
            Granularity::PerTensor { scale, .. } => vec![*scale; channels],
            Granularity::PerChannel { scales, .. } => repeated(scales, channels),
            Granularity::Blocks { .. } => panic!("blocks have scales of their own"),
        }
    }

    /// The zero point of each of `channels` indices along the axis of the channels.
    pub fn zero_points(&self, channels: usize) -> Vec<i32> {
        match &self.map {
            Granularity::PerTensor { zero_point, .. } => vec![*zero_point; channels],
            Granularity::PerChannel { zero_points, .. } => repeated(zero_points, channels),
            Granularity::Blocks { .. } => panic!("blocks have zero points of their own"),
        }
    }

    /// The integer nearest to a real (ties to even), saturated to `low..=high`:
    /// `clamp(round(real / scale) + zero_point)`, ONNX QuantizeLinear.
    pub fn quantize(&self, real: f32) -> i32 {
        let (scale, zero_point) = self.uniform();
        let nearest = (real / scale).round_ties_even();
        // Saturate before the cast, so that infinities and large reals stay ordered.
        let nearest = nearest.clamp(-2e9, 2e9) as i64 + i64::from(zero_point);
        nearest.clamp(i64::from(self.low), i64::from(self.high)) as i32
    }

    /// The real that an integer stands for.
    pub fn dequantize(&self, integer: i32) -> f32 {
        let (scale, zero_point) = self.uniform();
        (integer - zero_point) as f32 * scale
    }

    /// The reals that the integers of a tensor stand for. Of the weights of a grouped transposed convolution each
    /// group may have scales of its own: there are then more of them than the axis is long.
    pub fn reals(&self, integers: &Array) -> Array {
        let real = |q: &i32, scale: f32, zero_point: i32| (q - zero_point) as f32 * scale;
        let elements = integers.quantized().iter();
        let reals = match &self.map {
            Granularity::PerTensor { scale, zero_point } => {
                elements.map(|q| real(q, *scale, *zero_point)).collect()
            }
            Granularity::PerChannel {
                axis,
                scales,
                zero_points,
            } => {
                let extent = integers.shape[*axis];
                let run: usize = integers.shape[axis + 1..].iter().product();
                let group = (integers.len() * extent / scales.len().max(1)).max(1);
                let channel = |i: usize| i / group * extent + i / run % extent;
                let each = elements.enumerate();
                each.map(|(i, q)| real(q, scales[channel(i)], zero_points[channel(i)]))
                    .collect()
            }
            Granularity::Blocks {
                axis,
                size,
                scales,
                zero_points,
            } => {
                let block = blocks(&integers.shape, *axis, *size);
                let each = elements.enumerate().map(|(i, q)| (q, block(i)));
                each.map(|(q, b)| real(q, scales[b], zero_points[b]))
                    .collect()
            }
        };
        Array::f32(integers.shape.clone(), reals)
    }
}

fn repeated<T: Copy>(of_axis: &[T], channels: usize) -> Vec<T> {
    of_axis.iter().copied().cycle().take(channels).collect()
}

/// An interval of reals that a fused activation saturates to; ReLU is `[0, ∞]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Smallest result; may be −∞.
    pub min: f32,
    /// Largest result; may be +∞.
    pub max: f32,
}

impl Clamp {
    /// No activation.
    pub const NONE: Clamp = Clamp {
        min: f32::NEG_INFINITY,
        max: f32::INFINITY,
    };
    /// max(0, x).
    pub const RELU: Clamp = Clamp {
        min: 0.0,
        max: f32::INFINITY,
    };

    /// Saturates one value.
    pub fn apply(self, x: f32) -> f32 {
        // Not f32::clamp: a NaN limit or input must not panic.
        if x < self.min {
            self.min
        } else if x > self.max {
            self.max
        } else {
            x
        }
    }

    /// First `self`, then `next`.
    pub fn then(self, next: Clamp) -> Clamp {
        Clamp {
            min: next.apply(self.min),
            max: next.apply(self.max),
        }
    }

    /// The integers that the limits become: `low..=high` of `params`, narrowed by the clamp.
    pub fn quantized(self, params: &QuantParams) -> (i32, i32) {
        let low = if self.min == f32::NEG_INFINITY {
            params.low
        } else {
            params.quantize(self.min)
        };
        let high = if self.max == f32::INFINITY {
            params.high
        } else {
            params.quantize(self.max)
        };
        (low, high)
    }
}

/// An interval of reals that a tensor's values were seen, or are known, to lie in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

impl Range {
    /// The smallest range that holds both.
    pub fn union(self, other: Range) -> Range {
        Range {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_its_scale() {
        // Blocks of 2 along the middle axis of [2, 3, 2]: two in each line, the second of one element.
        let scales: Vec<f32> = (0..8).map(|b| 10f32.powi(b)).collect();
        let mut params = QuantParams::per_tensor(IntType::I8, 1.0, 0);
        params.map = Granularity::Blocks {
            axis: 1,
            size: 2,
            scales,
            zero_points: vec![0, 1, 0, 1, 0, 1, 0, 1],
        };
        let reals = params.reals(&Array::i32([2, 3, 2], vec![3; 12]));
        let expected = [3e0, 2e1, 3e0, 2e1, 3e2, 2e3, 3e4, 2e5, 3e4, 2e5, 3e6, 2e7];
        assert_eq!(reals.reals(), expected);
    }

    #[test]
    fn each_group_of_a_transposed_convolution_has_its_scales() {
        // [C, M/groups, kh, kw] = [4, 3, 1, 2] in two groups: channels 0 1 2 for inputs 0 and 1, then 3 4 5.
        let scales: Vec<f32> = (0..6).map(|c| 2f32.powi(c)).collect();
        let params = QuantParams::symmetric_per_channel(IntType::I8, 1, scales);
        let reals = params.reals(&Array::i32([4, 3, 1, 2], vec![1; 24]));
        let channels: Vec<f32> = reals.reals().iter().step_by(2).copied().collect();
        let expected = [1, 2, 4, 1, 2, 4, 8, 16, 32, 8, 16, 32].map(|x| x as f32);
        assert_eq!(channels, expected);
    }
}
