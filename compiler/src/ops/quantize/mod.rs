//! QuantizeLinear and DequantizeLinear (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>), and the
//! operators that are short for them: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger,
//! DynamicQuantizeLinear, and ONNX Runtime's QLinearAdd and its like.
//!
//! Their integers are plain ones until `passes::typing` makes quantization a part of the tensors' types.
//! Scales are one number, one an index along an axis, or one a block of an axis. Refused: 8-bit floats.

mod dynamic;
mod import;
mod qlinear;
#[cfg(test)]
mod tests;

pub use dynamic::{Dynamic, STEPS};

use crate::ir::{Array, Data, Elem, IntType, Type};
use crate::ops::export::{Exporter, Operand, named};
use crate::ops::import::operand;
use crate::ops::{Operator, check};
use crate::{Result, bail};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, super::Import)] = &[
    ("QuantizeLinear", import::quantize),
    ("DequantizeLinear", import::dequantize),
    ("DynamicQuantizeLinear", import::dynamic_quantize),
    ("QLinearConv", qlinear::conv),
    ("QLinearMatMul", qlinear::matmul),
    ("ConvInteger", qlinear::conv_integer),
    ("MatMulInteger", qlinear::matmul_integer),
    ("finn.custom_op.general::Quant", import::quant),
    ("qonnx.custom_op.general::Quant", import::quant),
    ("com.microsoft::QuantizeLinear", import::quantize),
    ("com.microsoft::DequantizeLinear", import::dequantize),
    ("com.microsoft::QGemm", qlinear::gemm),
    ("com.microsoft::QLinearAdd", qlinear::binary),
    ("com.microsoft::QLinearMul", qlinear::binary),
    ("com.microsoft::QLinearConcat", qlinear::concat),
    ("com.microsoft::QLinearSigmoid", qlinear::unary),
    ("com.microsoft::QLinearLeakyRelu", qlinear::unary),
    ("com.microsoft::QLinearSoftmax", qlinear::softmax),
    ("com.microsoft::QLinearAveragePool", qlinear::unary),
    (
        "com.microsoft::QLinearGlobalAveragePool",
        qlinear::global_average_pool,
    ),
];

/// `saturate(round(x / scale) + zero_point)`, ties to even. Operands: `x`, `scale`, optional `zero_point`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantize {
    /// Type of the integers.
    pub int: IntType,
    /// Which elements share a scale.
    pub scales: Scales,
}

/// `(x − zero_point) · scale`. Operands: `x`, `scale`, optional `zero_point`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dequantize {
    /// Which elements share a scale.
    pub scales: Scales,
}

/// Which elements share a scale and a zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// All of them.
    One,
    /// Those with the same index along an axis.
    Axis(usize),
    /// Those whose index along an axis is the same after division by the size of a block.
    Blocks {
        /// The axis.
        axis: usize,
        /// Elements of a block.
        size: usize,
    },
}

impl Scales {
    /// Checks the shape of scales or zero points against a tensor's.
    fn check(self, shape: &[usize], scale: &Type, what: &str) -> Result<()> {
        if let Scales::Axis(axis) | Scales::Blocks { axis, .. } = self
            && axis >= shape.len()
        {
            bail!("axis {axis} of the {what} does not exist in shape {shape:?}");
        }
        let expected: Vec<usize> = match self {
            Scales::One if scale.len() == 1 => return Ok(()),
            Scales::One => vec![],
            Scales::Axis(axis) => vec![shape[axis]],
            Scales::Blocks { axis, size } => {
                let mut blocks = shape.to_vec();
                blocks[axis] = shape[axis].div_ceil(size);
                blocks
            }
        };
        if scale.shape != expected {
            bail!(
                "the {what} of a tensor of shape {shape:?} has shape {:?}, not {expected:?}", scale.shape;
                hint: "the file breaks the ONNX specification"
            );
        }
        Ok(())
    }

    /// For each element of a tensor, the flat index of its scale.
    fn indices(self, shape: &[usize]) -> impl Iterator<Item = usize> {
        let (outer, extent, inner) = match self {
            Scales::One => (1, 1, shape.iter().product()),
            Scales::Axis(axis) | Scales::Blocks { axis, .. } => (
                shape[..axis].iter().product(),
                shape[axis],
                shape[axis + 1..].iter().product(),
            ),
        };
        (0..outer).flat_map(move |o: usize| {
            (0..extent).flat_map(move |i| {
                (0..inner).map(move |k| match self {
                    Scales::One => 0,
                    Scales::Axis(_) => i,
                    Scales::Blocks { size, .. } => {
                        (o * extent.div_ceil(size) + i / size) * inner + k
                    }
                })
            })
        })
    }
}

impl Operator for Quantize {
    fn name(&self) -> &'static str {
        "QuantizeLinear"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = check::real(operands, 0)?;
        self.scales
            .check(&x.shape, check::real(operands, 1)?, "scale")?;
        if let Some(zero_point) = operands.get(2).copied().flatten() {
            self.scales.check(&x.shape, zero_point, "zero point")?;
            if zero_point.elem != Elem::Int(self.int) {
                bail!("the zero point has another type than the result");
            }
        }
        check::typed(x.shape.clone(), Elem::Int(self.int))
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let [Some(x), Some(scale), ref zero_point @ ..] = operands[..] else {
            unreachable!("infer demands the operand and its scale")
        };
        let zero_points = zero_point.first().copied().flatten().map(Array::ints);
        let (low, high) = (self.int.min(), self.int.max());
        let elements = x.reals().iter().zip(self.scales.indices(&x.shape));
        let quantize = |(x, i): (&f32, usize)| {
            // Saturated before the cast, so that infinities and large reals stay ordered.
            let nearest = (x / scale.reals()[i]).round_ties_even().clamp(-4e18, 4e18) as i64;
            (nearest + zero_points.map_or(0, |z| z[i])).clamp(low, high)
        };
        Array::i64(x.shape.clone(), elements.map(quantize).collect())
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        // The exporter of the graph writes it wherever a tensor is quantized.
        let _ = to;
        named(operands, 0).to_string()
    }
}

impl Operator for Dequantize {
    fn name(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        if !matches!(x.elem, Elem::Int(_) | Elem::Quantized(_)) {
            bail!(
                "operand 0 holds {}, integers are needed",
                check::kind(&x.elem)
            );
        }
        self.scales
            .check(&x.shape, check::real(operands, 1)?, "scale")?;
        if let Some(zero_point) = operands.get(2).copied().flatten() {
            self.scales.check(&x.shape, zero_point, "zero point")?;
            if !matches!(zero_point.elem, Elem::Int(_)) {
                bail!("the zero point is no integer"; hint: "the file breaks the ONNX specification");
            }
        }
        check::reals(x.shape.clone())
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let [Some(x), Some(scale), ref zero_point @ ..] = operands[..] else {
            unreachable!("infer demands the operand and its scale")
        };
        let zero_points = zero_point.first().copied().flatten().map(Array::ints);
        let elements = integers(x).into_iter().zip(self.scales.indices(&x.shape));
        let dequantize =
            |(q, i): (i64, usize)| (q - zero_points.map_or(0, |z| z[i])) as f32 * scale.reals()[i];
        Array::f32(x.shape.clone(), elements.map(dequantize).collect())
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        // The exporter of the graph writes it wherever a tensor is quantized.
        let _ = to;
        named(operands, 0).to_string()
    }
}

fn integers(x: &Array) -> Vec<i64> {
    match &x.data {
        Data::I32(v) => v.iter().map(|q| i64::from(*q)).collect(),
        _ => x.ints().to_vec(),
    }
}
