//! Reduce, ArgMax and Softmax.

use crate::integer::{shares, tflite};
use crate::ir::{Node, Numerics, TensorId};
use crate::kernel::Scalar;
use crate::kernels::Scale;
use crate::kernels::reduce::{Lines, Numerators, SoftmaxTables, Sum};
use crate::kernels::softmax::FixedTables;
use crate::lower::elementwise::{prove_fits, widest};
use crate::lower::{Lowering, Place};
use crate::ops::{ArgMax, Reduce, Reduction, Softmax};
use crate::{Result, bail};

/// Strides of a reduction's operand and result, by what becomes of an axis.
struct Split {
    places: [Place; 2],
    kept: Vec<usize>,
    kept_from: Vec<usize>,
    kept_to: Vec<usize>,
    gone: Vec<usize>,
    gone_from: Vec<usize>,
    gone_to: Vec<usize>,
}

/// Splits the axes of `x`; those that go are axes of `y` too if `keeps`.
fn split(cx: &Lowering, x: TensorId, y: TensorId, axes: &[usize], keeps: bool) -> Split {
    let ((x_place, from), (y_place, to)) = (cx.strided(x), cx.strided(y));
    let shape = cx.shape(x);
    let (gone, kept): (Vec<_>, Vec<_>) = (0..shape.len()).partition(|axis| axes.contains(axis));
    let pick = |axes: &[usize], of: &[usize]| axes.iter().map(|a| of[*a]).collect::<Vec<_>>();
    let of_result = |axis: &usize| {
        let before = if keeps {
            0
        } else {
            axes.iter().filter(|a| *a < axis).count()
        };
        to[axis - before]
    };
    Split {
        places: [x_place, y_place],
        kept: pick(&kept, shape),
        kept_from: pick(&kept, &from),
        kept_to: kept.iter().map(of_result).collect(),
        gone: pick(&gone, shape),
        gone_from: pick(&gone, &from),
        gone_to: if keeps { pick(&gone, &to) } else { vec![] },
    }
}

impl Split {
    fn lines<'a>(&'a self, cx: &Lowering<'a>, x: TensorId) -> Lines<'a> {
        Lines {
            elem: cx.scalar(x),
            kept: &self.kept,
            kept_from: &self.kept_from,
            kept_to: &self.kept_to,
            gone: &self.gone,
            gone_from: &self.gone_from,
            target: cx.target,
        }
    }
}

/// Mean, sum, maximum or minimum over some axes.
pub(super) fn reduce(cx: &mut Lowering, node: &Node, op: &Reduce) -> Result<()> {
    let (x, y) = (node.inputs[0].expect("x"), node.output);
    let split = split(cx, x, y, &op.axes, op.keep_axes);
    let lines = split.lines(cx, x);
    let mut kernel = match op.reduction {
        Reduction::Mean => {
            let sum = sum(cx, x, y, &split, true)?;
            lines.sum(&cx.name("mean"), &sum)
        }
        Reduction::Sum => {
            let sum = sum(cx, x, y, &split, false)?;
            lines.sum(&cx.name("sum"), &sum)
        }
        Reduction::Max => lines.extreme(&cx.name("max"), "max"),
        Reduction::Min => lines.extreme(&cx.name("min"), "min"),
        Reduction::Prod => bail!("a product has no integer form"),
    };
    kernel.comment = vec![format!("{:?} over axes {:?}.", cx.shape(x), op.axes)];
    cx.call(kernel, &split.places, 0);
    Ok(())
}

fn sum(cx: &Lowering, x: TensorId, y: TensorId, split: &Split, mean: bool) -> Result<Sum> {
    let ((s_x, z_x), (s_y, _)) = (cx.quant(x), cx.quant(y));
    let (from, to) = (cx.params(x), cx.params(y));
    let elements: usize = split.gone.iter().product();
    let count = if mean { elements } else { 1 };
    let factor = (s_x / s_y) / count as f32;
    let largest = widest(from) * elements as f64;
    prove_fits(largest * f64::from(factor).max(1.0))?;
    let scale = match cx.model.numerics {
        Numerics::Onnx => Scale::Real(factor),
        Numerics::Tflite => Scale::Twice(tflite::ratio(from, to).over(elements as u32)),
    };
    Ok(Sum {
        zero: z_x * elements as i32,
        scale,
        limits: cx.limits(y, (to.low, to.high)),
    })
}

/// The index of the largest element along an axis.
pub(super) fn arg_max(cx: &mut Lowering, node: &Node, op: &ArgMax) -> Result<()> {
    let (x, y) = (node.inputs[0].expect("x"), node.output);
    let split = split(cx, x, y, &[op.axis], op.keep_axis);
    let mut kernel = split.lines(cx, x).arg_max(&cx.name("arg_max"), op.last);
    kernel.comment = vec![format!("{:?} along axis {}.", cx.shape(x), op.axis)];
    cx.call(kernel, &split.places, 0);
    Ok(())
}

/// Shares of 256 along an axis.
pub(super) fn softmax(cx: &mut Lowering, node: &Node, op: &Softmax) -> Result<()> {
    let (x, y) = (node.inputs[0].expect("x"), node.output);
    let split = split(cx, x, y, &[op.axis], true);
    if cx.model.numerics == Numerics::Tflite {
        fixed_softmax(cx, [x, y], &split);
        return Ok(());
    }
    let (scale, _) = cx.quant(x);
    let to = cx.params(y);
    let Some(shares) = shares(cx.params(x), to, cx.shape(x)[op.axis]) else {
        bail!("the softmax does not fit 32 bits");
    };
    let bits = match &shares.fine {
        None => shares.exponentials[0].ilog2(),
        Some((_, unit)) => 30 - unit.ilog2(),
    };
    let mut table = |what: &str, numbers: &[u32]| {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes());
        cx.constant(what, Scalar::I32, bytes.collect())
    };
    let tables = SoftmaxTables {
        exponentials: table("exponentials", &shares.exponentials),
        fine: shares
            .fine
            .as_ref()
            .map(|(fine, unit)| (table("fine", fine), *unit)),
        numerators: match shares.unit {
            Some(unit) => Numerators::Times(unit),
            None => Numerators::Table(table("numerators", &shares.numerators)),
        },
    };
    let (zero_point, high) = (cx.quant(y).1, to.high);
    let elem = cx.scalar(y);
    let lines = split.lines(cx, x);
    let name = cx.name("softmax");
    let mut kernel = lines.softmax(&name, &tables, split.gone_to[0], (elem, zero_point, high));
    kernel.comment = vec![
        format!("{:?} along axis {}.", cx.shape(x), op.axis),
        format!(
            "The table tells exp(-{scale} d) in units of 2^-{bits} for distances d from the largest."
        ),
    ];
    cx.call(kernel, &split.places, 0);
    Ok(())
}

/// TFLite's softmax.
fn fixed_softmax(cx: &mut Lowering, [x, y]: [TensorId; 2], split: &Split) {
    let tables = tflite::Exponentials::new(cx.params(x));
    let mut table = |what: &str, numbers: &[i32]| {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes());
        cx.constant(what, Scalar::I32, bytes.collect())
    };
    let tables = FixedTables {
        exponentials: table("exponentials", &tables.exponentials),
        summands: table("summands", &tables.summands),
    };
    let elem = cx.scalar(y);
    let lines = split.lines(cx, x);
    let name = cx.name("softmax");
    let mut kernel = lines.fixed_softmax(&name, &tables, split.gone_to[0], elem);
    let (scale, _) = cx.quant(x);
    kernel.comment = vec![
        format!("{:?} along the last axis, in fixed point.", cx.shape(x)),
        format!(
            "The tables tell exp(-{scale} d) in units of 2^-31 and 2^-19 for distances d from the largest."
        ),
    ];
    cx.call(kernel, &split.places, 0);
}
