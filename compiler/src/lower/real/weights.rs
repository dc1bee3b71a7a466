//! Weights of a product in floating point, as they are kept: integers, halves, or reals.

use crate::ir::{Array, Data, Elem, Node};
use crate::kernel::Scalar;
use crate::kernels::fold::Operand;
use crate::lower::Lowering;
use crate::{Result, bail};

/// The second operand of a node, a constant.
pub(super) struct Weights<'a> {
    pub(super) array: &'a Array,
    scalar: Scalar,
    /// For each output channel, what its sums are multiplied with, where the weights are integers.
    pub(super) scales: Option<Vec<f32>>,
    /// For each output channel, what is taken from its weights, unless that is 0 everywhere.
    pub(super) zero_points: Option<Vec<f32>>,
}

impl<'a> Weights<'a> {
    /// Of a node whose result has so many channels.
    pub(super) fn of(cx: &Lowering<'a>, node: &Node, channels: usize) -> Result<Weights<'a>> {
        let id = node.inputs[1].expect("`infer` demands weights");
        let Some(array) = cx.model[id].value.as_ref() else {
            bail!("the weights are not constant"; hint: "fold them into an initializer before export");
        };
        let Elem::Quantized(params) = &cx.model[id].ty.elem else {
            return Ok(Weights {
                array,
                scalar: if halves(array.reals()) {
                    Scalar::U16
                } else {
                    Scalar::F32
                },
                scales: None,
                zero_points: None,
            });
        };
        let zero_points = params.zero_points(channels);
        let any = zero_points.iter().any(|z| *z != 0);
        Ok(Weights {
            array,
            scalar: cx.scalar(id),
            scales: Some(params.scales(channels)),
            zero_points: any.then(|| zero_points.iter().map(|z| *z as f32).collect()),
        })
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
