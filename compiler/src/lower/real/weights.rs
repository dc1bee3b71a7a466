//! Weights of a product in floating point, as they are kept: integers, halves, or reals.

use std::borrow::Cow;

use crate::ir::{Array, Data, Elem, Granularity, Node, QuantParams, blocks};
use crate::kernel::Scalar;
use crate::kernels::fold::Operand;
use crate::lower::Lowering;
use crate::lower::real::constant;
use crate::ops::Op;
use crate::{Result, bail};

/// The second operand of a node, a constant.
pub(super) struct Weights<'a> {
    pub(super) array: Cow<'a, Array>,
    scalar: Scalar,
    /// For each output channel, what its sums are multiplied with, where the weights are integers.
    pub(super) scales: Option<Vec<f32>>,
    /// For each output channel, what is taken from its weights, unless that is 0 everywhere.
    pub(super) zero_points: Option<Vec<f32>>,
    /// What a weight is multiplied with after its zero point is taken, where each block has its own.
    pub(super) blocks: Option<Blocks<'a>>,
}

/// Scales of blocks along the axis of the sums' input channels.
pub(super) struct Blocks<'a> {
    /// Input channels of a block.
    pub(super) size: usize,
    scales: &'a [f32],
    zero_points: &'a [i32],
    /// The block of each weight.
    index: Box<dyn Fn(usize) -> usize>,
}

impl<'a> Blocks<'a> {
    /// Where whole blocks lie along the axis that products are summed over.
    fn of(node: &Node, params: &'a QuantParams, shape: &[usize]) -> Option<Blocks<'a>> {
        let Granularity::Blocks {
            axis,
            size,
            scales,
            zero_points,
        } = &params.map
        else {
            return None;
        };
        let summed = match node.op {
            Op::Conv(_) => 1,
            Op::MatMul(_) => shape.len() - 2,
            _ => return None,
        };
        let whole = *axis == summed && shape[summed].is_multiple_of(*size);
        whole.then(|| Blocks {
            size: *size,
            scales,
            zero_points,
            index: Box::new(blocks(shape, *axis, *size)),
        })
    }

    /// Constants of the scales and, unless they are all 0, of the zero points of the blocks of these weights.
    pub(super) fn pack(&self, cx: &mut Lowering, order: &[Option<usize>]) -> Vec<Operand> {
        let number = |of: &dyn Fn(usize) -> f32| -> Vec<f32> {
            let numbers = order.iter().map(|i| i.map_or(0.0, |i| of((self.index)(i))));
            numbers.collect()
        };
        let scales = number(&|block| self.scales[block]);
        let mut operands = vec![constant(cx, "block_scales", &scales, true)];
        if self.has_zero_points() {
            let zero_points = number(&|block| self.zero_points[block] as f32);
            operands.push(constant(cx, "block_zero_points", &zero_points, true));
        }
        operands
    }

    pub(super) fn has_zero_points(&self) -> bool {
        self.zero_points.iter().any(|z| *z != 0)
    }
}

impl<'a> Weights<'a> {
    /// Of a node whose result has so many channels.
    pub(super) fn of(cx: &Lowering<'a>, node: &Node, channels: usize) -> Result<Weights<'a>> {
        let id = node.inputs[1].expect("`infer` demands weights");
        let Some(array) = cx.model[id].value.as_ref() else {
            bail!("the weights are not constant"; hint: "fold them into an initializer before export");
        };
        let Elem::Quantized(params) = &cx.model[id].ty.elem else {
            return Ok(Weights::reals(Cow::Borrowed(array)));
        };
        if params.has_blocks() {
            let Some(blocks) = Blocks::of(node, params, &array.shape) else {
                return Ok(Weights::reals(Cow::Owned(params.reals(array))));
            };
            return Ok(Weights {
                array: Cow::Borrowed(array),
                scalar: cx.scalar(id),
                scales: None,
                zero_points: None,
                blocks: Some(blocks),
            });
        }
        let zero_points = params.zero_points(channels);
        let any = zero_points.iter().any(|z| *z != 0);
        Ok(Weights {
            array: Cow::Borrowed(array),
            scalar: cx.scalar(id),
            blocks: None,
            scales: Some(params.scales(channels)),
            zero_points: any.then(|| zero_points.iter().map(|z| *z as f32).collect()),
        })
    }

    fn reals(array: Cow<'a, Array>) -> Weights<'a> {
        let scalar = match halves(array.reals()) {
            true => Scalar::U16,
            false => Scalar::F32,
        };
        Weights {
            array,
            scalar,
            scales: None,
            zero_points: None,
            blocks: None,
        }
    }

    /// What the comment of a kernel says of them.
    pub(super) fn described(&self) -> &'static str {
        match self.scalar {
            Scalar::F32 => "f32",
            Scalar::U16 => "half-precision",
            Scalar::I16 => "16-bit",
            _ => "integer",
        }
    }

    /// The constant that holds the weights of these flat indices; 0 where there is none.
    pub(super) fn pack(&self, cx: &mut Lowering, order: &[Option<usize>]) -> Operand {
        let lanes = cx.target.lanes;
        let mut bytes: Vec<u8> = match (&self.array.data, self.scalar) {
            (Data::F32(reals), Scalar::U16) => {
                let half = |i: &Option<usize>| i.map_or(0, |i| half_bits(reals[i]));
                order.iter().flat_map(|i| half(i).to_le_bytes()).collect()
            }
            (Data::F32(reals), _) => {
                let real = |i: &Option<usize>| i.map_or(0.0, |i| reals[i]);
                order.iter().flat_map(|i| real(i).to_le_bytes()).collect()
            }
            (data, _) => {
                let Data::I32(integers) = data else {
                    unreachable!("`verify` demands integers of a quantized constant")
                };
                let size = self.scalar.bytes();
                let integer = |i: &Option<usize>| i.map_or(0, |i| integers[i]).to_le_bytes();
                let all = order.iter().map(integer);
                all.flat_map(|bytes| bytes.into_iter().take(size)).collect()
            }
        };
        bytes.resize(bytes.len() + lanes * self.scalar.bytes(), 0);
        let wide = self.scalar.bytes() > 1;
        let elem = if wide { Scalar::U8 } else { self.scalar };
        Operand {
            name: cx.constant("weights", elem, bytes),
            constant: true,
            scalar: self.scalar,
            bytes: wide,
            inside: true,
        }
    }
}

/// Whether all reals are halves exactly.
fn halves(reals: &[f32]) -> bool {
    let exact = |x: &f32| {
        x.is_finite() && qcc_runtime_support::half(half_bits(*x)).to_bits() == x.to_bits()
    };
    reals.iter().all(exact)
}

/// The bits of a real as a half where it is one; else of another number.
fn half_bits(x: f32) -> u16 {
    qcc_runtime_support::to_half(x)
}
