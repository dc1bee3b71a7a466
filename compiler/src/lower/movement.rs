//! Reshape, Transpose, Slice, Gather, Pad, Concat and nearest Resize: integers move.

use crate::Result;
use crate::ir::{Node, TensorId};
use crate::kernel::Scalar;
use crate::kernels::copy;
use crate::kernels::elementwise::{Elementwise, Source};
use crate::kernels::gather::{self, GatherAxis};
use crate::lower::elementwise::integers;
use crate::lower::layout::{self, same_strides};
use crate::lower::{Lowering, Place};
use crate::ops::{Concat, Gather, Pad, PadMode, Pads, Slice, Transpose};

/// The same elements under another shape.
pub(super) fn reshape(cx: &mut Lowering, node: &Node) -> Result<()> {
    let (x, y) = ends(node);
    let (from, to) = (cx.strided(x), cx.strided(y));
    let (x_shape, y_shape) = (cx.shape(x), cx.shape(y));
    let x_rows = layout::dense(x_shape, false, Pads::default()).strides;
    let y_rows = layout::dense(y_shape, false, Pads::default()).strides;
    let scalar = cx.scalar(x);
    let straight_in = same_strides(x_shape, &from.1, &x_rows);
    let straight_out = same_strides(y_shape, &to.1, &y_rows);
    if straight_in && straight_out {
        if from.0 != to.0 {
            cx.copy(scalar, y_shape, (from.0, &y_rows), (to.0, &y_rows));
        }
        return Ok(());
    }
    let mut at = from.0;
    if !straight_in {
        at = if straight_out {
            to.0
        } else {
            cx.scratch(scalar, x_rows.first().map_or(1, |s| s * x_shape[0]))
        };
        cx.copy(scalar, x_shape, (from.0, &from.1), (at, &x_rows));
    }
    if !straight_out {
        cx.copy(scalar, y_shape, (at, &y_rows), (to.0, &to.1));
    }
    Ok(())
}

fn ends(node: &Node) -> (TensorId, TensorId) {
    (node.inputs[0].expect("the operand is there"), node.output)
}

/// The axes in another order.
pub(super) fn transpose(cx: &mut Lowering, node: &Node, op: &Transpose) -> Result<()> {
    let (x, y) = ends(node);
    let (from, strides) = cx.strided(x);
    let strides: Vec<usize> = op.perm.iter().map(|axis| strides[*axis]).collect();
    move_elements(cx, y, from, &strides);
    Ok(())
}

/// Copies into `y` what lies elsewhere with strides along `y`'s axes, unless it lies there already.
fn move_elements(cx: &mut Lowering, y: TensorId, from: Place, strides: &[usize]) {
    let (to, own) = cx.strided(y);
    let shape = cx.shape(y);
    if from == to && same_strides(shape, strides, &own) {
        return;
    }
    cx.copy(cx.scalar(y), shape, (from, strides), (to, &own));
}

/// A regular part of the operand.
pub(super) fn slice(cx: &mut Lowering, node: &Node, op: &Slice) -> Result<()> {
    let (x, y) = ends(node);
    let (from, strides) = cx.strided(x);
    if op.steps.iter().all(|step| *step > 0) {
        let start = op.starts.iter().zip(&strides).map(|(i, s)| i * s).sum();
        let steps = strides.iter().zip(&op.steps);
        let steps: Vec<usize> = steps.map(|(s, step)| s * step.unsigned_abs()).collect();
        move_elements(cx, y, from.plus(start), &steps);
        return Ok(());
    }
    let indices = |axis: usize| {
        let (start, step) = (op.starts[axis] as isize, op.steps[axis]);
        (0..op.shape[axis]).map(move |i| (start + i as isize * step) as usize)
    };
    let tables = (0..op.shape.len()).map(|axis| Some(indices(axis).collect()));
    let tables: Vec<_> = tables.collect();
    pick(cx, x, y, &tables);
    Ok(())
}

/// Copies to index `i` along each axis of `y` index `tables[axis][i]` of `x`, of the same rank; without a
/// table, index `i`.
pub(super) fn pick(cx: &mut Lowering, x: TensorId, y: TensorId, tables: &[Option<Vec<usize>>]) {
    let (from, strides) = cx.strided(x);
    let (to, own) = cx.strided(y);
    let axes: Vec<GatherAxis> = (0..own.len())
        .map(|axis| {
            let table = tables[axis].as_ref().and_then(|table| {
                let moves = table.iter().enumerate().any(|(i, index)| i != *index);
                moves.then(|| offsets(cx, table, strides[axis]))
            });
            GatherAxis {
                extent: cx.shape(y)[axis],
                from: strides[axis],
                to: own[axis],
                table,
            }
        })
        .collect();
    let name = cx.name("gather");
    let mut kernel = gather::gather(&name, cx.scalar(x), &axes, cx.target);
    kernel.comment = vec![format!("{:?} from {:?}.", cx.shape(y), cx.shape(x))];
    cx.call(kernel, &[from, to], 0);
}

/// Positions of indices as a constant.
fn offsets(cx: &mut Lowering, indices: &[usize], stride: usize) -> String {
    let offsets = indices.iter().map(|index| (index * stride) as i32);
    let bytes = offsets.flat_map(i32::to_le_bytes).collect();
    cx.constant("offsets", Scalar::I32, bytes)
}

/// Parts at known indices along an axis.
pub(super) fn gather(cx: &mut Lowering, node: &Node, op: &Gather) -> Result<()> {
    let (x, y) = ends(node);
    let (from, strides) = cx.strided(x);
    let (to, own) = cx.strided(y);
    let shape = cx.shape(x);
    let after = op.axis + op.index_shape.len();
    let mut axes = vec![];
    for axis in (0..shape.len()).filter(|axis| *axis != op.axis) {
        let of_result = if axis < op.axis {
            axis
        } else {
            axis - 1 + op.index_shape.len()
        };
        axes.push(GatherAxis {
            extent: shape[axis],
            from: strides[axis],
            to: own[of_result],
            table: None,
        });
    }
    let rows = op.index_shape.iter().product::<usize>();
    // Index axes of the result that are not one run in memory are gathered one row of indices at a time.
    let run = op.index_shape.last().copied().unwrap_or(1);
    let pace = if op.index_shape.is_empty() {
        0
    } else {
        own[after - 1]
    };
    for first in (0..rows).step_by(run.max(1)) {
        let table = offsets(cx, &op.indices[first..first + run], strides[op.axis]);
        let start = index_start(&op.index_shape, first, &own[op.axis..after]);
        let mut axes: Vec<GatherAxis> = axes.iter().map(GatherAxis::clone).collect();
        axes.push(GatherAxis {
            extent: run,
            from: 0,
            to: pace,
            table: Some(table),
        });
        let name = cx.name("gather");
        let mut kernel = gather::gather(&name, cx.scalar(x), &axes, cx.target);
        kernel.comment = vec![format!("{:?} from {:?}.", cx.shape(y), shape)];
        cx.call(kernel, &[from, to.plus(start)], 0);
    }
    Ok(())
}

/// Where in memory the row-major index `flat` of `shape` lies.
fn index_start(shape: &[usize], flat: usize, strides: &[usize]) -> usize {
    let mut rest = flat;
    let mut start = 0;
    for (extent, stride) in shape.iter().zip(strides).rev() {
        start += rest % extent * stride;
        rest /= extent;
    }
    start
}

/// The type of as many bits without sign.
pub(super) fn unsigned(scalar: Scalar) -> Scalar {
    match (scalar, scalar.bytes()) {
        (Scalar::F32, _) => scalar,
        (_, 1) => Scalar::U8,
        _ => Scalar::U16,
    }
}

/// Elements around the operand.
pub(super) fn pad(cx: &mut Lowering, node: &Node, op: &Pad) -> Result<()> {
    let (x, y) = ends(node);
    if let PadMode::Constant(value) = op.mode {
        let stored = cx.stored(y, value);
        let (to, own) = cx.strided(y);
        let (name, scalar) = (cx.name("fill"), unsigned(cx.scalar(y)));
        let mut kernel = gather::fill(&name, scalar, cx.shape(y), &own, stored, cx.target);
        kernel.comment = vec![format!(
            "{:?}, filled with {}.",
            cx.shape(y),
            cx.described(y, stored)
        )];
        cx.call(kernel, &[to], 0);
        let inside: usize = op.before.iter().zip(&own).map(|(n, s)| n * s).sum();
        let (from, strides) = cx.strided(x);
        let ends = (
            (from, strides.as_slice()),
            (to.plus(inside), own.as_slice()),
        );
        cx.copy(cx.scalar(x), cx.shape(x), ends.0, ends.1);
        return Ok(());
    }
    let shape = cx.shape(x);
    let tables: Vec<_> = (0..shape.len())
        .map(|axis| {
            let count = op.before[axis] + shape[axis] + op.after[axis];
            let before = op.before[axis] as isize;
            let index = |i: usize| outside(op.mode, i as isize - before, shape[axis] as isize);
            Some((0..count).map(index).collect())
        })
        .collect();
    pick(cx, x, y, &tables);
    Ok(())
}

/// The index within `0..extent` that an index outside repeats.
fn outside(mode: PadMode, index: isize, extent: isize) -> usize {
    let inside = match mode {
        PadMode::Edge => index.clamp(0, extent - 1),
        PadMode::Wrap => index.rem_euclid(extent),
        _ if extent == 1 => 0,
        _ => {
            let period = 2 * (extent - 1);
            let at = index.rem_euclid(period);
            at.min(period - at)
        }
    };
    inside as usize
}

/// Joins the operands that do not lie in the result already.
pub(super) fn concat(cx: &mut Lowering, node: &Node, op: &Concat) -> Result<()> {
    let (to, own) = cx.strided(node.output);
    let mut start = 0;
    for id in node.operands() {
        let part = to.plus(start * own[op.axis]);
        start += cx.shape(id)[op.axis];
        join(cx, id, node.output, part, &own);
    }
    Ok(())
}

/// Writes one operand of a concatenation into its part of the result.
fn join(cx: &mut Lowering, id: TensorId, whole: TensorId, part: Place, strides: &[usize]) {
    let shape = cx.shape(id);
    if cx.scalar(whole) == Scalar::F32 {
        return join_reals(cx, id, part, strides);
    }
    let (from, to) = (cx.params(id), cx.params(whole));
    let requantized = from != to;
    let image = |q: i32| match requantized {
        true => to.quantize(from.dequantize(q)),
        false => q,
    };
    let constant = cx.model[id].value.is_some();
    if !constant && !requantized && cx.strided(id).0 == part {
        return;
    }
    if constant || requantized {
        let table = cx.table(whole, integers(from).map(image));
        join_by_table(cx, id, (part, strides), whole, &table);
        return;
    }
    let (place, own) = cx.strided(id);
    cx.copy(cx.scalar(id), shape, (place, &own), (part, strides));
}

/// Writes an operand of reals into its part.
fn join_reals(cx: &mut Lowering, id: TensorId, part: Place, strides: &[usize]) {
    let shape = cx.shape(id);
    if cx.model[id].value.is_none() {
        let (place, own) = cx.strided(id);
        if place != part {
            cx.copy(Scalar::F32, shape, (place, &own), (part, strides));
        }
        return;
    }
    let own = layout::dense(shape, false, Pads::default()).strides;
    let value = cx.constant("value", Scalar::F32, cx.bytes(id));
    let name = cx.name("join");
    let kernel = copy::copy_from_constant(&name, &value, shape, &own, strides, cx.target);
    cx.call(kernel, &[part], 0);
}

/// Writes a constant operand, or one with other parameters than the result's, into its part.
fn join_by_table(
    cx: &mut Lowering,
    id: TensorId,
    (part, strides): (Place, &[usize]),
    whole: TensorId,
    table: &str,
) {
    let name = cx.name("join");
    let constant = cx.model[id].value.is_some();
    let mut places = vec![part];
    let operand = if constant {
        let bytes = cx.bytes(id);
        cx.constant_source(
            unsigned(cx.scalar(id)),
            cx.shape(id),
            bytes,
            (whole, cx.shape(id)),
        )
    } else {
        let (place, strides) = cx.strided(id);
        places.insert(0, place);
        Source {
            name: "x".to_string(),
            constant,
            scalar: cx.scalar(id),
            strides,
        }
    };
    let space = Elementwise {
        extents: cx.shape(id),
        operands: vec![operand],
        result: Source {
            name: "y".to_string(),
            constant: false,
            scalar: cx.scalar(whole),
            strides: strides.to_vec(),
        },
        target: cx.target,
    };
    let mut kernel = space.table(&name, table);
    kernel.comment = vec![format!(
        "{:?} in the parameters of {:?}.",
        cx.shape(id),
        cx.shape(whole)
    )];
    cx.call(kernel, &places, 0);
}
