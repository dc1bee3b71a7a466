//! Pool: the halo stands for padding, so that windows need no border tests. Also Resize.

use std::collections::{BTreeMap, BTreeSet};

use crate::integer::{linear_taps, tflite};
use crate::ir::{Model, Node, Numerics, TensorId};
use crate::kernel::Scalar;
use crate::kernels::Scale;
use crate::kernels::pool::{Mean, Windows};
use crate::kernels::resize::{Bilinear, Taps};
use crate::lower::elementwise::{prove_fits, reach, widest};
use crate::lower::{Lowering, Needs, movement, product};
use crate::ops::{Nearest, Pads, Pool, PoolKind, Resize, ResizeMode};
use crate::{Result, bail, prove};

/// What a pool asks of the memory of its operand.
pub(super) fn needs(model: &Model, node: &Node, op: &Pool) -> Needs {
    let shape = model.operand_type(node, 0).map(|ty| ty.shape.as_slice());
    Needs {
        pads: shape.map_or(op.pads, |shape| pads(op, shape)),
        slack: false,
    }
}

/// The halo that the windows reach, which may be more or less than the operator's padding.
pub(super) fn pads(op: &Pool, x: &[usize]) -> Pads {
    let after = |axis: usize, before: usize| {
        let reach = (op.output[axis] - 1) * op.strides[axis]
            + (op.kernel[axis] - 1) * op.dilations[axis]
            + 1;
        reach.saturating_sub(before + x[2 + axis])
    };
    Pads {
        top: op.pads.top,
        left: op.pads.left,
        bottom: after(0, op.pads.top),
        right: after(1, op.pads.left),
    }
}

/// Lowers a pool.
pub(super) fn lower(cx: &mut Lowering, node: &Node, op: &Pool) -> Result<()> {
    let (x, y) = (node.inputs[0].expect("x"), node.output);
    // Padding never wins a maximum: it is the smallest integer in use.
    let fill = match op.kind {
        PoolKind::Max => cx.reached(x).0,
        PoolKind::Average { .. } => cx.quant(x).1,
    };
    let (x_place, x_view) = product::image_with(cx, x, pads(op, cx.shape(x)), fill);
    let (y_place, y_view) = product::result(cx, y);
    let windows = Windows {
        x: x_view,
        y: y_view,
        elems: [x, y].map(|id| cx.scalar(id)),
        kernel: op.kernel,
        strides: op.strides,
        dilations: op.dilations,
        target: cx.target,
    };
    let [kh, kw] = op.kernel;
    let mut kernel = match op.kind {
        PoolKind::Max => windows.max(&cx.name("max")),
        PoolKind::Average { count_include_pad } => {
            let counts = [0, 1].map(|axis| counts(op, axis, cx.shape(x), count_include_pad));
            let mean = mean(cx, [x, y], kh * kw, counts)?;
            windows.mean(&cx.name("mean"), &mean)
        }
    };
    kernel.comment = vec![format!(
        "{:?} to {:?}: windows of {kh}×{kw}, strides {:?}.",
        cx.shape(x),
        cx.shape(y),
        op.strides
    )];
    cx.call(kernel, &[x_place, y_place], 0);
    product::deliver(cx, y, y_place);
    Ok(())
}

/// How sums of `taps` elements, those in the halo among them, become means of those that count.
fn mean(
    cx: &Lowering,
    [x, y]: [TensorId; 2],
    taps: usize,
    counts: [Vec<usize>; 2],
) -> Result<Mean> {
    let (from, to) = (cx.params(x), cx.params(y));
    let ((s_x, zero_point), (s_y, _)) = (cx.quant(x), cx.quant(y));
    let ratio = s_x / s_y;
    prove_fits(widest(from) * f64::from(ratio).max(taps as f64))?;
    let mut limits = cx.limits(y, (to.low, to.high));
    let mut sums = BTreeMap::new();
    let products = counts[0]
        .iter()
        .flat_map(|h| counts[1].iter().map(move |w| h * w));
    for count in products.collect::<BTreeSet<usize>>() {
        let (zeros, scale) = match cx.model.numerics {
            Numerics::Onnx => (taps, Scale::Real(ratio / count as f32)),
            Numerics::Tflite => match tflite::Mean::of_window(from, to, count) {
                tflite::Mean::Scaled { factor, .. } => (taps, Scale::Twice(factor)),
                tflite::Mean::Average { .. } => {
                    limits.zero_point = 0;
                    (taps - count, average(count, (from.low, from.high))?)
                }
            },
        };
        sums.insert(count, (zero_point * zeros as i32, scale));
    }
    Ok(Mean {
        sums,
        limits,
        counts,
    })
}

fn average(count: usize, range: (i32, i32)) -> Result<Scale> {
    let Some(scale) = prove::average(count, range) else {
        bail!(
            "no factor in f32 averages {count} integers as a division does";
            hint: "compile the network without --numerics tflite"
        );
    };
    Ok(scale)
}

/// For each row (axis 0) or column (1) of the result, how many of its window's count: those of the image,
/// or of the padded image. At least 1, so that a window without any has a mean, of nothing but zeros.
fn counts(op: &Pool, axis: usize, x: &[usize], with_pads: bool) -> Vec<usize> {
    let (before, after) = [(op.pads.top, op.pads.bottom), (op.pads.left, op.pads.right)][axis];
    let extent = x[2 + axis];
    let counted = if with_pads {
        0..before + extent + after
    } else {
        before..before + extent
    };
    let count = |index: usize| {
        let taps = (0..op.kernel[axis])
            .map(|k| index * op.strides[axis] + k * op.dilations[axis])
            .filter(|at| counted.contains(at));
        taps.count().max(1)
    };
    (0..op.output[axis]).map(count).collect()
}

/// Lowers a resize: nearest pixels are a copy, linear ones a mean of four.
pub(super) fn resize(cx: &mut Lowering, node: &Node, op: &Resize) -> Result<()> {
    match op.mode {
        ResizeMode::Nearest(nearest) => {
            nearest_pixels(cx, node, op, nearest);
            Ok(())
        }
        ResizeMode::Linear => linear(cx, node, op),
    }
}

fn nearest_pixels(cx: &mut Lowering, node: &Node, op: &Resize, nearest: Nearest) {
    let (x, y) = (node.inputs[0].expect("x"), node.output);
    let shape = cx.shape(x);
    let table = |axis: usize| Some(op.pixels(nearest, axis, shape[2 + axis]));
    movement::pick(cx, x, y, &[None, None, table(0), table(1)]);
}

fn linear(cx: &mut Lowering, node: &Node, op: &Resize) -> Result<()> {
    let (x, y) = (node.inputs[0].expect("x"), node.output);
    let ((s_x, z_x), (s_y, _)) = (cx.quant(x), cx.quant(y));
    let (from, to) = (cx.params(x), cx.params(y));
    let factor = (s_x / s_y) * (1.0 / 4_194_304.0);
    prove_fits(reach(from) * f64::from(s_x / s_y))?;
    let (x_place, x_view) = product::image(cx, x, Pads::default());
    let (y_place, y_view) = product::result(cx, y);
    let taps = [0, 1].map(|axis| {
        let extent = cx.shape(x)[2 + axis];
        taps(cx, op, axis, (extent, x_view.strides[1 + axis]))
    });
    let bilinear = Bilinear {
        x: x_view,
        y: y_view,
        elem: cx.scalar(x),
        zero_point: z_x,
        factor,
        limits: cx.limits(y, (to.low, to.high)),
        taps,
    };
    let name = cx.name("linear");
    let mut kernel = bilinear.kernel(&name, cx.target);
    kernel.comment = vec![format!("{:?} to {:?}, bilinear.", cx.shape(x), cx.shape(y))];
    cx.call(kernel, &[x_place, y_place], 0);
    product::deliver(cx, y, y_place);
    Ok(())
}

/// For each row (axis 0) or column (1) of the result, the two that it mixes.
fn taps(cx: &mut Lowering, op: &Resize, axis: usize, (extent, stride): (usize, usize)) -> Taps {
    let taps: Vec<_> = (0..op.output[axis])
        .map(|i| linear_taps(op, axis, i, extent))
        .collect();
    let mut constant = |what: &str, numbers: Vec<i32>| {
        let bytes = numbers.into_iter().flat_map(i32::to_le_bytes).collect();
        cx.constant(what, Scalar::I32, bytes)
    };
    let places = |side: usize| taps.iter().map(|t| (t[side].0 * stride) as i32).collect();
    let shares = |side: usize| taps.iter().map(|t| t[side].1).collect();
    Taps {
        places: [
            constant("offsets", places(0)),
            constant("offsets", places(1)),
        ],
        shares: [constant("shares", shares(0)), constant("shares", shares(1))],
    }
}
