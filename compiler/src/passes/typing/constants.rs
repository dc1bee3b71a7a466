//! Scales and zero points from the constants of Q and DQ, and how they follow a movement.

use crate::ir::{Array, Data, Elem, Granularity, IntType, Model, Node, QuantParams, blocks};
use crate::ops::{Op, Operator, Scales};
use crate::{Result, bail};

/// What a Q makes of reals, if scale and zero point are one known number each.
pub(super) fn of_quantize(model: &Model, node: &Node) -> Result<Option<QuantParams>> {
    let Op::Quantize(op) = &node.op else {
        return Ok(None);
    };
    match op.scales {
        Scales::One => params(model, node, op.int, op.scales),
        _ => bail!(
            "an activation has a scale for each channel or block";
            hint: "quantize activations per tensor; only weights may have several scales"
        ),
    }
}

/// What a DQ takes integers for, if scales and zero points are known.
pub(super) fn of_dequantize(model: &Model, node: &Node) -> Result<Option<QuantParams>> {
    let (Op::Dequantize(op), Some(x)) = (&node.op, model.operand_type(node, 0)) else {
        return Ok(None);
    };
    let (int, range) = match &x.elem {
        Elem::Int(int) => (*int, None),
        Elem::Quantized(params) => (params.int, Some((params.low, params.high))),
        _ => return Ok(None),
    };
    let known = model.constant(node, 0).is_some();
    match op.scales {
        Scales::One => {}
        Scales::Axis(_) | Scales::Blocks { .. } if known => {}
        _ => bail!(
            "an activation has a scale for each channel or block";
            hint: "quantize activations per tensor; only weights may have several scales"
        ),
    }
    let found = params(model, node, int, op.scales)?;
    // Integers keep the range that they were written with.
    Ok(found.map(|found| match range {
        Some((low, high)) => QuantParams { low, high, ..found },
        None => found,
    }))
}

fn params(model: &Model, node: &Node, int: IntType, scales: Scales) -> Result<Option<QuantParams>> {
    let Some(scale) = model.constant(node, 1) else {
        return Ok(None);
    };
    let zero_points = match (
        node.inputs.get(2).copied().flatten(),
        model.constant(node, 2),
    ) {
        (None, _) => vec![0; scale.len()],
        (Some(_), Some(zero_points)) => integers(zero_points),
        (Some(_), None) => return Ok(None),
    };
    let scales_found = scale.reals();
    // A constant's integers can take the sign over.
    let known = model.constant(node, 0).is_some();
    let sound = |s: &f32| s.is_finite() && (*s > 0.0 || known && *s < 0.0);
    if let Some(wrong) = scales_found.iter().find(|s| !sound(s)) {
        bail!("a scale is {wrong}"; hint: "scales are positive and finite");
    }
    if int.bits > 32 {
        bail!("integers of {} bits stand for reals", int.bits; hint: "use 8 bits");
    }
    let map = match scales {
        Scales::Axis(axis) if scale.len() > 1 => Granularity::PerChannel {
            axis,
            scales: scales_found.to_vec(),
            zero_points,
        },
        Scales::Blocks { axis, size } => Granularity::Blocks {
            axis,
            size,
            scales: scales_found.to_vec(),
            zero_points,
        },
        _ => Granularity::PerTensor {
            scale: scales_found[0],
            zero_point: zero_points[0],
        },
    };
    Ok(Some(QuantParams {
        int: stored(int),
        low: int.min() as i32,
        high: int.max() as i32,
        map,
    }))
}

/// Integers narrower than a byte are bytes whose range is narrower.
fn stored(int: IntType) -> IntType {
    let bits = int.bits.max(8);
    IntType { bits, ..int }
}

/// A constant's integers under scales that are all positive: `s·(q − z) = −s·(−q + z)`.
pub(super) fn positive(array: &Array, mut params: QuantParams) -> (Vec<i32>, QuantParams) {
    let mut integers = integers(array);
    let flip = |scale: &mut f32, zero_point: &mut i32| {
        let negative = *scale < 0.0;
        if negative {
            (*scale, *zero_point) = (-*scale, -*zero_point);
        }
        negative
    };
    match &mut params.map {
        Granularity::PerTensor { scale, zero_point } => {
            if flip(scale, zero_point) {
                integers.iter_mut().for_each(|q| *q = -*q);
            }
        }
        Granularity::PerChannel {
            axis,
            scales,
            zero_points,
        } => {
            let pairs = scales.iter_mut().zip(zero_points);
            let flipped: Vec<bool> = pairs.map(|(s, z)| flip(s, z)).collect();
            let run: usize = array.shape[*axis + 1..].iter().product();
            for (i, q) in integers.iter_mut().enumerate() {
                if flipped[i / run % flipped.len()] {
                    *q = -*q;
                }
            }
        }
        Granularity::Blocks {
            axis,
            size,
            scales,
            zero_points,
        } => {
            let pairs = scales.iter_mut().zip(zero_points);
            let flipped: Vec<bool> = pairs.map(|(s, z)| flip(s, z)).collect();
            let block = blocks(&array.shape, *axis, *size);
            let negative = integers.iter_mut().enumerate();
            negative
                .filter(|(i, _)| flipped[block(*i)])
                .for_each(|(_, q)| *q = -*q);
        }
    }
    (integers, params)
}

/// The elements of a constant as 32-bit integers.
fn integers(array: &Array) -> Vec<i32> {
    match &array.data {
        Data::I32(v) => v.clone(),
        _ => array.ints().iter().map(|q| *q as i32).collect(),
    }
}

/// The parameters behind a movement: the same, but that the axis of several scales may be another.
pub(super) fn moved(
    params: &QuantParams,
    op: &Op,
    from: &[usize],
    to: &[usize],
) -> Option<QuantParams> {
    let mut params = params.clone();
    if let Granularity::PerChannel { axis, .. } = &mut params.map {
        let before: usize = from[..*axis].iter().product();
        *axis = match op {
            Op::Transpose(op) => op.perm.iter().position(|a| a == axis)?,
            Op::Reshape(_) => (0..to.len())
                .find(|a| to[*a] == from[*axis] && to[..*a].iter().product::<usize>() == before)?,
            _ => return None,
        };
    }
    if let Granularity::Blocks {
        axis,
        size,
        scales,
        zero_points,
    } = &mut params.map
    {
        // Scales and zero points move as the tensor does.
        let Op::Transpose(op) = op else { return None };
        let mut shape = from.to_vec();
        shape[*axis] = shape[*axis].div_ceil(*size);
        let moved = op.eval(&[Some(&Array::f32(shape.clone(), scales.clone()))]);
        *scales = moved.reals().to_vec();
        let wide = zero_points.iter().map(|z| i64::from(*z)).collect();
        let moved = op.eval(&[Some(&Array::i64(shape, wide))]);
        *zero_points = moved.ints().iter().map(|z| *z as i32).collect();
        *axis = op.perm.iter().position(|a| a == axis)?;
    }
    Some(params)
}
