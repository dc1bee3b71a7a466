//! Conv and ConvTranspose (<https://onnx.ai/onnx/operators/onnx__Conv.html>).
//!
//! 1-D convolutions are imported as 2-D ones of height 1 between two reshapes. 3-D ones are refused.

mod eval;
mod export;
mod import;
#[cfg(test)]
mod tests;

use crate::Result;
use crate::bail;
use crate::ir::{Array, Clamp, Type};
use crate::ops::export::{Exporter, Operand};
use crate::ops::{Operator, check, window};

pub(super) use import::IMPORTS;

/// Rows and columns added around an image, or cut from a transposed convolution's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pads {
    /// Rows above.
    pub top: usize,
    /// Columns before.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns after.
    pub right: usize,
}

/// 2-D convolution.
///
/// Operands: `x [N, C, H, W]`, `w [M, C/groups, kh, kw]`, optional `bias [M]`,
/// optional `residual [N, M, H', W']`, added before the activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Rows and columns from one window to the next.
    pub strides: [usize; 2],
    /// Zeros around `x`.
    pub pads: Pads,
    /// Distance of neighbouring taps.
    pub dilations: [usize; 2],
    /// Channel groups.
    pub groups: usize,
    /// What the result saturates to.
    pub activation: Clamp,
}

/// 2-D transposed convolution.
///
/// Operands: `x [N, C, H, W]`, `w [C, M/groups, kh, kw]`, optional `bias [M]`.
/// Output extent: `stride·(in − 1) + dilation·(k − 1) + 1 + output_padding − pads`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// Distance in the result of neighbouring input pixels.
    pub strides: [usize; 2],
    /// Cut from the result.
    pub pads: Pads,
    /// Distance of neighbouring taps.
    pub dilations: [usize; 2],
    /// Channel groups.
    pub groups: usize,
    /// Rows below and columns after that no tap may reach.
    pub output_padding: [usize; 2],
    /// What the result saturates to.
    pub activation: Clamp,
}

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let [n, c, h, w] = check::image(operands, 0)?;
        let [m, per_group, kh, kw] = check::image(operands, 1)?;
        window::check([kh, kw], self.strides, self.dilations)?;
        if self.groups == 0 || m % self.groups != 0 || per_group.checked_mul(self.groups) != Some(c)
        {
            bail!(
                "weights [{m}, {per_group}, {kh}, {kw}] do not fit {c} channels in {} groups", self.groups;
                hint: "the weights' second axis counts the channels of one group"
            )
        }
        bias(operands, m)?;
        let mut shape = vec![n, m];
        for (axis, (input, kernel)) in [(h, kh), (w, kw)].into_iter().enumerate() {
            let padded = input + self.pads.total()[axis];
            let span = window::span(kernel, self.dilations[axis]);
            if span > padded {
                bail!(
                    "kernel {kh}×{kw} is wider than the padded input {}×{}",
                    h + self.pads.total()[0], w + self.pads.total()[1];
                    hint: "check the model's dynamic axes"
                )
            }
            shape.push((padded - span) / self.strides[axis] + 1);
        }
        if let Some(residual) = operands.get(3).copied().flatten()
            && residual.shape != shape
        {
            bail!(
                "the residual has shape {:?}, the result {shape:?}",
                residual.shape
            )
        }
        check::reals(shape)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        eval::conv(self, operands)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        self.to_onnx(operands, to)
    }
}

impl Operator for ConvTranspose {
    fn name(&self) -> &'static str {
        "ConvTranspose"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let [n, c, h, w] = check::image(operands, 0)?;
        let [rows, per_group, kh, kw] = check::image(operands, 1)?;
        window::check([kh, kw], self.strides, self.dilations)?;
        if self.groups == 0 || rows != c || c % self.groups != 0 {
            bail!(
                "weights [{rows}, {per_group}, {kh}, {kw}] do not fit {c} channels in {} groups", self.groups;
                hint: "the weights' first axis counts the operand's channels"
            )
        }
        let m = per_group.saturating_mul(self.groups);
        bias(operands, m)?;
        let mut shape = vec![n, m];
        for (axis, (input, kernel)) in [(h, kh), (w, kw)].into_iter().enumerate() {
            let reach = match input {
                0 => 0,
                _ => self.strides[axis] * (input - 1) + window::span(kernel, self.dilations[axis]),
            };
            let full = reach + self.output_padding[axis];
            let pads = self.pads.total()[axis];
            if full <= pads {
                bail!("pads {pads} cut away the whole result of extent {full}")
            }
            shape.push(full - pads);
        }
        check::reals(shape)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        eval::conv_transpose(self, operands)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        self.to_onnx(operands, to)
    }
}

fn bias(operands: &[Option<&Type>], channels: usize) -> Result<()> {
    match operands.get(2).copied().flatten() {
        Some(bias) if bias.shape != [channels] => bail!(
            "the bias has shape {:?}, one number for each of {channels} channels is needed",
            bias.shape
        ),
        _ => Ok(()),
    }
}
