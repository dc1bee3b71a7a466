//! Which arithmetic the operators of a quantized model are taken to mean.

use super::{Clamp, QuantParams};
use crate::{Error, Result};

/// What operators on integers compute from the same scales and zero points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numerics {
    /// ONNX's pages: reals in f32, the nearest integer, of two the even one.
    #[default]
    Onnx,
    /// The reference kernels of TFLite: factors in fixed point, averages by integer division.
    Tflite,
}

impl Numerics {
    /// The integers that an activation saturates to, within those of `params`.
    pub fn limits(self, clamp: Clamp, params: &QuantParams) -> (i32, i32) {
        if self == Numerics::Onnx {
            return clamp.quantized(params);
        }
        // Halves away from zero.
        let (scale, zero_point) = params.uniform();
        let limit = |real: f32| {
            let steps = (real / scale).round().clamp(-2e9, 2e9) as i64;
            let integer = steps + i64::from(zero_point);
            integer.clamp(params.low.into(), params.high.into()) as i32
        };
        let low = match clamp.min == f32::NEG_INFINITY {
            true => params.low,
            false => limit(clamp.min),
        };
        let high = match clamp.max == f32::INFINITY {
            true => params.high,
            false => limit(clamp.max),
        };
        (low, high)
    }
}

impl std::str::FromStr for Numerics {
    type Err = Error;
    fn from_str(text: &str) -> Result<Numerics> {
        match text {
            "onnx" => Ok(Numerics::Onnx),
            "tflite" => Ok(Numerics::Tflite),
            _ => Err(Error::new(format!("no numerics are called `{text}`"))
                .hint("there are onnx and tflite")),
        }
    }
}

impl std::fmt::Display for Numerics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Numerics::Onnx => "onnx",
            Numerics::Tflite => "tflite",
        })
    }
}
