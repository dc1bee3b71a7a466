//! Operands of element-wise kernels: computed tensors and constants, broadcast to the result's shape.

use crate::ir::TensorId;
use crate::kernel::Scalar;
use crate::kernels::elementwise::{Elementwise, Limits, Source};
use crate::lower::memory::Place;
use crate::lower::{Lowering, layout};
use crate::ops::Pads;

/// The operands and the result of one element-wise kernel.
pub(crate) struct Sources<'a> {
    /// What the kernel's builder sees.
    pub(crate) space: Elementwise<'a>,
    /// The arguments of a call.
    pub(crate) places: Vec<Place>,
}

impl<'a> Lowering<'a> {
    /// Operands, in order, and the result of an element-wise node. An operand that the result
    /// overwrites has the result's buffer.
    pub(crate) fn sources(&mut self, operands: &[TensorId], y: TensorId) -> Sources<'a> {
        let shape = self.shape(y);
        let (to, strides) = self.strided(y);
        let result = Source {
            name: "y".to_string(),
            constant: false,
            scalar: self.scalar(y),
            strides,
        };
        let mut places: Vec<Place> = vec![];
        let mut sources: Vec<Source> = vec![];
        for (i, id) in operands.iter().enumerate() {
            let earlier = operands[..i].iter().position(|other| other == id);
            let source = if let Some(earlier) = earlier {
                sources[earlier].clone()
            } else if self.model[*id].value.is_some() {
                let bytes = self.bytes(*id);
                self.constant_source(self.scalar(*id), self.shape(*id), bytes, (y, shape))
            } else {
                let (from, strides) = self.strided(*id);
                let strides = broadcast(self.shape(*id), &strides, shape);
                let over = from == to && strides == result.strides;
                if !over {
                    places.push(from);
                }
                Source {
                    name: if over { "y" } else { ["a", "b"][i] }.to_string(),
                    constant: false,
                    scalar: self.scalar(*id),
                    strides,
                }
            };
            sources.push(source);
        }
        places.push(to);
        let target = self.target;
        Sources {
            space: Elementwise {
                extents: shape,
                operands: sources,
                result,
                target,
            },
            places,
        }
    }

    /// A constant given row-major, laid out in the order of the axes of `y`, and broadcast to `result`.
    pub(crate) fn constant_source(
        &mut self,
        scalar: Scalar,
        shape: &[usize],
        bytes: Vec<u8>,
        (y, result): (TensorId, &[usize]),
    ) -> Source {
        let aligned = align(shape, result.len());
        let last = self.channels_last(y);
        let own = layout::dense(&aligned, last, Pads::default());
        let row_major = layout::dense(&aligned, false, Pads::default());
        let mut laid = vec![0; bytes.len()];
        let size = scalar.bytes();
        for i in 0..own.elements {
            let at = |axis: usize| i / row_major.strides[axis] % aligned[axis];
            let to: usize = (0..aligned.len()).map(|a| at(a) * own.strides[a]).sum();
            laid[to * size..][..size].copy_from_slice(&bytes[i * size..][..size]);
        }
        if scalar == Scalar::F32 {
            laid.resize(laid.len() + self.target.lanes * size, 0);
        }
        Source {
            name: self.constant("operand", scalar, laid),
            constant: true,
            scalar,
            strides: broadcast(&aligned, &own.strides, result),
        }
    }

    /// What becomes of a result of `y` before it is stored.
    pub(crate) fn limits(&self, y: TensorId, (low, high): (i32, i32)) -> Limits {
        Limits {
            zero_point: self.quant(y).1,
            low,
            high,
            elem: self.scalar(y),
        }
    }
}

/// A shape with extents of 1 in front.
fn align(shape: &[usize], rank: usize) -> Vec<usize> {
    let mut aligned = vec![1; rank - shape.len()];
    aligned.extend(shape);
    aligned
}

/// Strides of an operand along the axes of the result that it is broadcast to.
fn broadcast(shape: &[usize], strides: &[usize], result: &[usize]) -> Vec<usize> {
    let missing = result.len() - shape.len();
    let stride = |axis: usize| match axis.checked_sub(missing) {
        Some(own) if shape[own] == result[axis] => strides[own],
        _ => 0,
    };
    (0..result.len()).map(stride).collect()
}
