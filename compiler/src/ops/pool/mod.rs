//! MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool
//! (<https://onnx.ai/onnx/operators/onnx__AveragePool.html>).
//!
//! 1-D pools are imported as 2-D ones of height 1. The indices output of MaxPool is refused.

mod eval;
mod import;
#[cfg(test)]
mod tests;

use crate::Result;
use crate::bail;
use crate::ir::{Array, Elem, Type};
use crate::ops::export::{Exporter, Operand, int, ints};
use crate::ops::import::operand;
use crate::ops::{Operator, Pads, check, window};

pub(super) use import::IMPORTS;

/// A window that slides over each channel. Operand: `x [N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What is taken of a window.
    pub kind: PoolKind,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub strides: [usize; 2],
    /// Around `x`.
    pub pads: Pads,
    /// Distance of neighbouring elements of a window.
    pub dilations: [usize; 2],
    /// Rows and columns of the result (`ceil_mode` ends here). Windows may reach past the padded image;
    /// what lies outside it is never counted.
    pub output: [usize; 2],
}

/// What is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest element of the image; padding never wins.
    Max,
    /// The mean over the elements of the image, or of the padded image where padding counts.
    Average {
        /// Whether padding counts, as zeros.
        count_include_pad: bool,
    },
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "MaxPool",
            PoolKind::Average { .. } => "AveragePool",
        }
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let plain = matches!((&x.elem, self.kind), (Elem::Int(_), PoolKind::Max));
        let [n, c, h, w] = match x.shape[..] {
            [n, c, h, w] if plain => [n, c, h, w],
            _ => check::image(operands, 0)?,
        };
        window::check(self.kernel, self.strides, self.dilations)?;
        if self.output.contains(&0) {
            bail!("an image of {h}×{w} has no window"; hint: "check the model's dynamic axes")
        }
        let elem = if plain { x.elem.clone() } else { Elem::Float };
        let ty = check::typed(vec![n, c, self.output[0], self.output[1]], elem)?;
        for (axis, extent) in [h, w].into_iter().enumerate() {
            if (0..self.output[axis]).any(|place| self.seen(axis, extent, place) == 0) {
                bail!(
                    "a window of {}×{} lies wholly in the padding of an image of {h}×{w}",
                    self.kernel[0], self.kernel[1];
                    hint: "check the model's dynamic axes; padding must be smaller than the window"
                )
            }
        }
        Ok(ty)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        eval::pool(self, operands[0].expect("infer demands the operand"))
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let x = operands[0].expect("infer demands the operand");
        let floor = |axis: usize| {
            let padded = x.ty.shape[2 + axis] + self.pads.total()[axis];
            let span = window::span(self.kernel[axis], self.dilations[axis]);
            padded.saturating_sub(span) / self.strides[axis] + 1
        };
        let mut attributes = vec![
            ("kernel_shape", ints(self.kernel)),
            ("strides", ints(self.strides)),
            ("pads", self.pads.to_onnx()),
            (
                "ceil_mode",
                int(usize::from([0, 1].map(floor) != self.output)),
            ),
        ];
        // ONNX Runtime copies attributes to its QLinearAveragePool, which knows no dilations.
        if self.dilations != [1, 1] {
            attributes.push(("dilations", ints(self.dilations)));
        }
        if let PoolKind::Average { count_include_pad } = self.kind {
            attributes.push(("count_include_pad", int(usize::from(count_include_pad))));
        }
        to.node(self.name(), &[x.name], attributes)
    }
}

impl Pool {
    /// One window over a whole image of `[rows, columns]`.
    pub fn whole(kind: PoolKind, image: [usize; 2]) -> Pool {
        Pool {
            kind,
            kernel: image,
            strides: [1, 1],
            pads: Pads::default(),
            dilations: [1, 1],
            output: [1, 1],
        }
    }

    /// Elements of the image, along one axis, that the window at a place sees.
    fn seen(&self, axis: usize, image: usize, place: usize) -> usize {
        let offset = (place * self.strides[axis]) as isize - self.pads.begin()[axis] as isize;
        window::inside(self.kernel[axis], image, self.dilations[axis], offset).len()
    }

    /// Elements that the mean over the window at `[row, column]` counts, for an image of `[rows, columns]`.
    pub fn counted(&self, image: [usize; 2], place: [usize; 2]) -> usize {
        let pads = matches!(
            self.kind,
            PoolKind::Average {
                count_include_pad: true
            }
        );
        let along = |axis: usize| match pads {
            false => self.seen(axis, image[axis], place[axis]),
            true => {
                let padded = image[axis] + self.pads.total()[axis];
                let offset = (place[axis] * self.strides[axis]) as isize;
                window::inside(self.kernel[axis], padded, self.dilations[axis], offset).len()
            }
        };
        along(0) * along(1)
    }
}
