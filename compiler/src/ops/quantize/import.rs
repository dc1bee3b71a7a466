//! How QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear are read.

use super::{Dequantize, Dynamic, Quantize, Scales};
use crate::ir::{Array, Clamp, Elem, IntType, TensorId};
use crate::ops::constant::elem;
use crate::ops::{Binary, BinaryFunction, Function, Importer, SourceNode, Unary};
use crate::{Result, bail};

pub(super) fn quantize(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let int = match (node.optional(2), node.int("output_dtype", 0)?) {
        (Some(zero_point), _) => integer_type(&importer.ty(zero_point).elem)?,
        (None, 0) => IntType::U8,
        (None, number) => integer_type(&elem(number)?)?,
    };
    let op = Quantize {
        int,
        scales: scales(node, importer, x, scale)?,
    };
    Ok(vec![
        importer.push(op, &[Some(x), Some(scale), node.optional(2)])?,
    ])
}

pub(super) fn dequantize(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let op = Dequantize {
        scales: scales(node, importer, x, scale)?,
    };
    Ok(vec![
        importer.push(op, &[Some(x), Some(scale), node.optional(2)])?,
    ])
}

/// The type that integers are stored in.
pub(super) fn integer_type(elem: &Elem) -> Result<IntType> {
    match elem {
        Elem::Int(int) => Ok(*int),
        _ => {
            bail!("the zero point is not an integer"; hint: "the file breaks the ONNX specification")
        }
    }
}

/// Which elements of `x` share one of the scales.
pub(super) fn scales(
    node: &SourceNode,
    importer: &Importer,
    x: TensorId,
    scale: TensorId,
) -> Result<Scales> {
    let (x, scale) = (importer.shape(x), importer.shape(scale));
    let axis = || node.axis(node.int("axis", 1)?, x.len());
    match (node.int("block_size", 0)?, scale) {
        (1.., _) if x.is_empty() => bail!("a number has no blocks"),
        (size @ 1.., _) => Ok(Scales::Blocks {
            axis: axis()?,
            size: size as usize,
        }),
        (_, []) => Ok(Scales::One),
        // One scale for a vector of one, or for everything: old exporters write a shape of [1].
        (_, [1]) => Ok(Scales::One),
        _ => Ok(Scales::Axis(axis()?)),
    }
}

/// QONNX's `Quant(x, scale, zero_point, bits)`: reals of at most 8 bits.
pub(super) fn quant(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let numbers = |index: usize, what: &str| {
        let id = node.input(index)?;
        match importer.ty(id).elem {
            Elem::Float => importer.known_reals(id, what),
            _ => {
                let integers = importer.known_ints(id, what)?;
                Ok(integers.iter().map(|x| *x as f32).collect())
            }
        }
    };
    let (zero_points, bits) = (numbers(2, "zero point")?, numbers(3, "number of bits")?);
    let (signed, narrow) = (node.int("signed", 1)? != 0, node.int("narrow", 0)? != 0);
    let rounding = node.string("rounding_mode", "ROUND")?;
    let ([bits], true) = (&bits[..], rounding == "ROUND") else {
        bail!("one number of bits and rounding to the nearest are supported, not `{rounding}`");
    };
    if !(2.0..=8.0).contains(bits) || *bits != bits.trunc() {
        bail!("a quantization to {bits} bits"; hint: "2 to 8 bits are supported");
    }
    let int = IntType {
        bits: *bits as u8,
        signed,
    };
    if importer.ty(scale).len() > 1 || zero_points.len() > 1 {
        bail!("a Quant has several scales"; hint: "export the network with QuantizeLinear");
    }
    let zero = zero_points.first().map_or(0, |z| *z as i64);
    let zero_point = importer.constant("zero_point", Array::i64([], vec![zero]), Elem::Int(int));
    let (one, scales) = ([Some(scale), Some(zero_point)], Scales::One);
    let mut q = importer.push(Quantize { int, scales }, &[Some(x), one[0], one[1]])?;
    if narrow {
        let (min, max) = match signed {
            true => (int.min() + 1, int.max()),
            false => (int.min(), int.max() - 1),
        };
        let function = Function::Clamp(Clamp {
            min: min as f32,
            max: max as f32,
        });
        q = importer.apply(Unary { function }, &[q])?;
    }
    Ok(vec![
        importer.push(Dequantize { scales }, &[Some(q), one[0], one[1]])?,
    ])
}

/// Scale and zero point of all elements, as the operator's page computes them.
pub(super) fn dynamic_quantize(
    node: &SourceNode,
    importer: &mut Importer,
) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let scale = importer.apply(Dynamic::Scale, &[x])?;
    let zero_point = importer.apply(Dynamic::ZeroPoint, &[x, scale])?;
    let quantize = Quantize {
        int: IntType::U8,
        scales: Scales::One,
    };
    let y = importer.apply(quantize, &[x, scale, zero_point])?;
    Ok(vec![y, scale, zero_point])
}

pub(super) fn binary(function: BinaryFunction) -> Binary {
    Binary {
        function,
        activation: Clamp::NONE,
    }
}
