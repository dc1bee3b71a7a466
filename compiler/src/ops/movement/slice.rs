//! Slice and Split.

use super::grid::picked;
use super::{ints_of, one};
use crate::ir::{Array, TensorId, Type};
use crate::ops::export::{Exporter, Operand, named};
use crate::ops::import::operand;
use crate::ops::{Importer, Operator, SourceNode};
use crate::{Result, bail};

/// A regular part of `x`. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// First index along each axis.
    pub starts: Vec<usize>,
    /// Distance of indices along each axis; may be negative, never 0.
    pub steps: Vec<isize>,
    /// Shape of the result.
    pub shape: Vec<usize>,
}

impl Slice {
    /// All of a tensor.
    pub(super) fn whole(shape: &[usize]) -> Slice {
        Slice {
            starts: vec![0; shape.len()],
            steps: vec![1; shape.len()],
            shape: shape.to_vec(),
        }
    }

    /// The index that the slice takes along an axis.
    fn index(&self, axis: usize, i: usize) -> isize {
        self.starts[axis] as isize + self.steps[axis] * i as isize
    }
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let rank = x.shape.len();
        if [self.starts.len(), self.steps.len(), self.shape.len()] != [rank; 3] {
            bail!(
                "a slice of {} axes of shape {:?}",
                self.shape.len(),
                x.shape
            );
        }
        for axis in 0..rank {
            let Some(last) = self.shape[axis].checked_sub(1) else {
                continue;
            };
            let ends = [self.index(axis, 0), self.index(axis, last)];
            let inside = |i: isize| (0..x.shape[axis] as isize).contains(&i);
            if !ends.into_iter().all(inside) {
                bail!("indices {ends:?} lie outside axis {axis} of {:?}", x.shape);
            }
        }
        Ok(Type {
            shape: self.shape.clone(),
            elem: x.elem.clone(),
        })
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let indices = |axis| (0..self.shape[axis]).map(move |i| self.index(axis, i) as usize);
        let picks = (0..self.shape.len()).map(|axis| indices(axis).collect());
        picked(x, picks.collect())
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let rank = self.shape.len();
        let starts = to.ints("starts", self.starts.iter().map(|start| *start as i64));
        let end = |axis: usize| match self.index(axis, self.shape[axis]) as i64 {
            // Before the first element: -1 would be the last one.
            end if end < 0 => i64::MIN / 2,
            end => end,
        };
        let ends = to.ints("ends", (0..rank).map(end));
        let axes = to.ints("axes", 0..rank as i64);
        let steps = to.ints("steps", self.steps.iter().map(|step| *step as i64));
        to.node(
            "Slice",
            &[named(operands, 0), &starts, &ends, &axes, &steps],
            vec![],
        )
    }
}

pub(super) fn slice(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let bounds = |name, operand| match ints_of(node, importer, name, operand)? {
        Some(values) => Ok(values),
        None => {
            bail!("`{name}` is missing"; hint: "the file breaks the ONNX specification of Slice")
        }
    };
    let (starts, ends) = (bounds("starts", 1)?, bounds("ends", 2)?);
    let axes = ints_of(node, importer, "axes", 3)?;
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = match node.optional(4) {
        Some(id) => importer.known_ints(id, "steps")?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        bail!("starts, ends, axes and steps have different lengths");
    }
    let own = importer.shape(x);
    let mut slice = Slice::whole(own);
    let mut seen = vec![false; own.len()];
    for i in 0..starts.len() {
        let axis = node.axis(axes[i], own.len())?;
        if std::mem::replace(&mut seen[axis], true) {
            bail!("axis {axis} is listed twice in {axes:?}");
        }
        let (start, count) = clamped(starts[i], ends[i], steps[i], own[axis])?;
        slice.starts[axis] = start;
        slice.shape[axis] = count;
        // A step beyond the axis takes one element, whatever its size.
        let most = own[axis].max(1) as i64;
        slice.steps[axis] = steps[i].clamp(-most, most) as isize;
    }
    if slice == Slice::whole(own) {
        return one(x);
    }
    one(importer.apply(slice, &[x])?)
}

/// First index and number of elements of `start:end:step` along an axis, as in NumPy.
fn clamped(start: i64, end: i64, step: i64, extent: usize) -> Result<(usize, usize)> {
    let n = extent as i64;
    let from_start = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    // Where a bound may lie: one past the end, or one before the start when walking backwards.
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (start, end) = (
        from_start(start).clamp(low, high),
        from_start(end).clamp(low, high),
    );
    let span = match step {
        0 => bail!("a slice has the step 0"),
        1.. => end - start,
        _ => start - end,
    };
    let count = span.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as usize;
    // An empty slice begins nowhere; 0 is as good as any index.
    Ok((if count == 0 { 0 } else { start as usize }, count))
}

pub(super) fn split(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let own = importer.shape(x).to_vec();
    let axis = node.axis(node.int("axis", 0)?, own.len())?;
    let sizes = match ints_of(node, importer, "split", 1)? {
        Some(sizes) => sizes,
        None => equal_parts(node, own[axis])?,
    };
    let total: i128 = sizes.iter().map(|size| i128::from(*size)).sum();
    if total != own[axis] as i128 || sizes.iter().any(|size| *size < 0) {
        bail!("parts {sizes:?} do not make up axis {axis} of {own:?}");
    }
    if sizes.len() < node.outputs.len() {
        bail!("{} parts for {} outputs", sizes.len(), node.outputs.len());
    }
    let mut parts = vec![];
    let mut start = 0;
    for (index, &size) in sizes.iter().enumerate().take(node.outputs.len()) {
        let mut slice = Slice::whole(&own);
        slice.starts[axis] = start;
        slice.shape[axis] = size as usize;
        start += size as usize;
        parts.push(match () {
            // Nothing reads the part; any tensor may stand in its place.
            () if !node.has_output(index) => x,
            () if size as usize == own[axis] => x,
            () => importer.apply(slice, &[x])?,
        });
    }
    Ok(parts)
}

/// Equal parts, the last one smaller where `num_outputs` does not divide the axis.
fn equal_parts(node: &SourceNode, extent: usize) -> Result<Vec<i64>> {
    let outputs = node.outputs.len();
    let parts = node.int("num_outputs", outputs as i64)?;
    if parts != outputs as i64 || outputs == 0 {
        bail!("{parts} parts for {outputs} outputs");
    }
    let size = extent.div_ceil(outputs);
    let start = |part: usize| (part * size).min(extent);
    Ok((0..outputs)
        .map(|part| (start(part + 1) - start(part)) as i64)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    fn ints(values: &[i64]) -> Array {
        Array::i64([values.len()], values.to_vec())
    }

    fn sliced(extent: usize, start: i64, end: i64, step: i64) -> Vec<f32> {
        let node = OneNode::new("Slice", 13).operand(counting(&[extent]));
        let node = node.operand(ints(&[start])).operand(ints(&[end]));
        let node = node.operand(ints(&[0])).operand(ints(&[step]));
        node.folded().unwrap().reals().to_vec()
    }

    #[test]
    fn bounds_saturate_as_in_numpy() {
        assert_eq!(sliced(5, 1, i64::MAX, 2), [2.0, 4.0]);
        assert_eq!(sliced(5, -2, 5, 1), [4.0, 5.0]);
        assert_eq!(sliced(5, -1, i64::MIN, -2), [5.0, 3.0, 1.0]);
        assert_eq!(sliced(5, 9, 0, -1), [5.0, 4.0, 3.0, 2.0]);
        assert_eq!(sliced(5, 3, 1, 1), [0.0f32; 0]);
        assert_eq!(sliced(5, 1, 5, i64::MAX), [2.0]);
        assert_eq!(sliced(5, -1, i64::MIN, i64::MIN), [5.0]);
    }

    #[test]
    fn early_opsets_have_attributes() {
        let node = OneNode::new("Slice", 9).operand(counting(&[2, 3]));
        let node = node.ints("starts", &[1]).ints("ends", &[2]);
        let y = node.ints("axes", &[-1]).folded().unwrap();
        assert_eq!(y, Array::f32([2, 1], vec![2.0, 5.0]));
    }

    #[test]
    fn splits_become_slices() {
        let outputs = |node: OneNode| -> Vec<Vec<f32>> {
            let (model, ids) = node.import().unwrap();
            let value = |id: &TensorId| model[*id].value.clone().unwrap();
            ids.iter().map(|id| value(id).reals().to_vec()).collect()
        };
        let node = OneNode::new("Split", 18).operand(counting(&[5]));
        let node = node.outputs(&["a", "b"]).int("num_outputs", 2);
        assert_eq!(outputs(node), [vec![1.0, 2.0, 3.0], vec![4.0, 5.0]]);
        let node = OneNode::new("Split", 11).operand(counting(&[5]));
        let node = node.outputs(&["a", "b"]).ints("split", &[1, 4]);
        assert_eq!(outputs(node), [vec![1.0], vec![2.0, 3.0, 4.0, 5.0]]);
        let node = OneNode::new("Split", 13).operand(counting(&[5]));
        let node = node.operand(ints(&[2, 2])).outputs(&["a", "b"]);
        assert_eq!(node.refusal(), "parts [2, 2] do not make up axis 0 of [5]");
    }
}
