//! Resize and Upsample, nearest and linear (<https://onnx.ai/onnx/operators/onnx__Resize.html>).
//!
//! Refused: cubic, antialiasing, tf_crop_and_resize, and resizing the batch or channel axis.

mod import;
#[cfg(test)]
mod tests;

use crate::Result;
use crate::bail;
use crate::ir::{Array, Elem, Type};
use crate::ops::export::{Constant, Exporter, Operand, text};
use crate::ops::import::operand;
use crate::ops::{Operator, check};

pub(super) use import::IMPORTS;

/// Resizes the two image axes. Operand: `x [N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How a pixel of the result is found.
    pub mode: ResizeMode,
    /// Which point of `x` a pixel of the result stands for.
    pub coordinates: Coordinates,
    /// Output extent over input extent, rows then columns, as the node states it.
    pub scales: [f32; 2],
    /// Rows and columns of the result.
    pub output: [usize; 2],
}

/// How a pixel of the result is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeMode {
    /// One pixel of `x`.
    Nearest(Nearest),
    /// Weighted mean of the four around the point; bilinear.
    Linear,
}

/// How a fractional coordinate becomes a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// Which point of the operand a pixel of the result stands for (`coordinate_transformation_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

impl Nearest {
    fn to_onnx(self) -> &'static str {
        match self {
            Nearest::RoundPreferFloor => "round_prefer_floor",
            Nearest::RoundPreferCeil => "round_prefer_ceil",
            Nearest::Floor => "floor",
            Nearest::Ceil => "ceil",
        }
    }
}

impl Coordinates {
    fn to_onnx(self) -> &'static str {
        match self {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
        }
    }
}

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let [n, c, h, w] = match (&x.shape[..], self.mode) {
            (&[n, c, h, w], ResizeMode::Nearest(_)) => [n, c, h, w],
            _ => check::image(operands, 0)?,
        };
        if h == 0 || w == 0 || self.output.contains(&0) {
            bail!(
                "an image of {h}×{w} is resized to {}×{}",
                self.output[0],
                self.output[1]
            )
        }
        if !self
            .scales
            .iter()
            .all(|scale| scale.is_finite() && *scale > 0.0)
        {
            bail!(
                "scales {} and {} are not positive",
                self.scales[0],
                self.scales[1]
            )
        }
        let elem = match &x.elem {
            Elem::Quantized(_) => Elem::Float,
            elem => elem.clone(),
        };
        check::typed(vec![n, c, self.output[0], self.output[1]], elem)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let [h, w] = [x.shape[2], x.shape[3]];
        let shape = vec![x.shape[0], x.shape[1], self.output[0], self.output[1]];
        match self.mode {
            ResizeMode::Nearest(nearest) => {
                let (rows, columns) = (self.pixels(nearest, 0, h), self.pixels(nearest, 1, w));
                let planes = x.shape[0] * x.shape[1];
                let lines = (0..planes).flat_map(|plane| rows.iter().map(move |y| plane * h + y));
                x.pick(
                    shape,
                    lines.flat_map(|line| columns.iter().map(move |x| line * w + x)),
                )
            }
            ResizeMode::Linear => {
                let (rows, columns) = (self.neighbours(0, h), self.neighbours(1, w));
                let mut out = Vec::with_capacity(shape.iter().product());
                for plane in x.reals().chunks_exact(h * w) {
                    for &(top, bottom, down) in &rows {
                        let [top, bottom] = [top, bottom].map(|y| &plane[y * w..][..w]);
                        out.extend(columns.iter().map(|&(left, right, along)| {
                            let above = blend(top[left], top[right], along);
                            blend(above, blend(bottom[left], bottom[right], along), down)
                        }));
                    }
                }
                Array::f32(shape, out)
            }
        }
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let x = operands[0].expect("infer demands the operand");
        let (mode, nearest) = match self.mode {
            ResizeMode::Linear => ("linear", Nearest::Floor),
            ResizeMode::Nearest(nearest) => ("nearest", nearest),
        };
        let attributes = vec![
            ("mode", text(mode)),
            ("nearest_mode", text(nearest.to_onnx())),
            (
                "coordinate_transformation_mode",
                text(self.coordinates.to_onnx()),
            ),
        ];
        let scales = vec![1.0, 1.0, self.scales[0], self.scales[1]];
        let scaled = |axis: usize| (x.ty.shape[2 + axis] as f32 * self.scales[axis]) as usize;
        if [0, 1].map(scaled) == self.output {
            let scales = to.constant("scales", Constant::Reals(scales));
            return to.node("Resize", &[x.name, "", &scales], attributes);
        }
        let sizes = x.ty.shape[..2].iter().chain(&self.output);
        let sizes = to.ints("sizes", sizes.map(|extent| *extent as i64));
        to.node("Resize", &[x.name, "", "", &sizes], attributes)
    }
}

fn blend(a: f32, b: f32, share: f32) -> f32 {
    a * (1.0 - share) + b * share
}

impl Resize {
    /// The pixel of an axis (0: rows, 1: columns) of extent `input` that each pixel of the result repeats.
    pub fn pixels(&self, nearest: Nearest, axis: usize, input: usize) -> Vec<usize> {
        let pixel = |point: f64| match nearest {
            Nearest::RoundPreferFloor => (point - 0.5).ceil(),
            Nearest::RoundPreferCeil => (point + 0.5).floor(),
            Nearest::Floor => point.floor(),
            Nearest::Ceil => point.ceil(),
        };
        let inside = |pixel: f64| pixel.clamp(0.0, (input - 1) as f64) as usize;
        self.points(axis, input)
            .map(|point| inside(pixel(point)))
            .collect()
    }

    /// The two pixels of an axis (0: rows, 1: columns) of extent `input` that each pixel of the result lies
    /// between, and the share of the second one, in `0.0..1.0`.
    pub fn neighbours(&self, axis: usize, input: usize) -> Vec<(usize, usize, f32)> {
        let last = input - 1;
        let between = |point: f64| {
            let point = point.clamp(0.0, last as f64);
            let first = point as usize;
            (first, (first + 1).min(last), point.fract() as f32)
        };
        self.points(axis, input).map(between).collect()
    }

    fn points(&self, axis: usize, input: usize) -> impl Iterator<Item = f64> {
        (0..self.output[axis]).map(move |index| self.point(axis, index, input))
    }

    /// The point of an axis (0: rows, 1: columns) of extent `input` that pixel `index` of the result stands for.
    pub fn point(&self, axis: usize, index: usize, input: usize) -> f64 {
        let (x, input, output) = (index as f64, input as f64, self.output[axis] as f64);
        let stated = f64::from(self.scales[axis]) * input;
        // A stated scale has 24 bits: where it means this output exactly, it is taken to be the quotient.
        let length = if (stated - output).abs() < 1e-3 {
            output
        } else {
            stated
        };
        let half = (x + 0.5) * input / length - 0.5;
        match self.coordinates {
            Coordinates::HalfPixel => half,
            Coordinates::HalfPixelSymmetric => input / 2.0 * (1.0 - output / length) + half,
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if output == 1.0 => 0.0,
            Coordinates::PytorchHalfPixel => half,
            Coordinates::AlignCorners => x * (input - 1.0) / (length - 1.0),
            Coordinates::Asymmetric => x * input / length,
        }
    }
}
