//! Gather with known indices; Expand and Tile, which repeat elements and are Gathers along each axis.

use super::grid::picked;
use super::{Reshape, one};
use crate::ir::{Array, TensorId, Type};
use crate::ops::export::{Constant, Exporter, Operand, int, named};
use crate::ops::import::operand;
use crate::ops::{Importer, Operator, SourceNode, broadcast, check};
use crate::{Result, bail};

/// The parts of `x` at known indices along an axis. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    /// Which axis.
    pub axis: usize,
    /// Row-major, each below the axis's extent.
    pub indices: Vec<usize>,
    /// Their shape, which replaces the axis; empty for a scalar.
    pub index_shape: Vec<usize>,
}

impl Gather {
    fn shape(&self, x: &[usize]) -> Vec<usize> {
        let (lead, rest) = (&x[..self.axis], &x[self.axis + 1..]);
        [lead, &self.index_shape[..], rest].concat()
    }
}

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let Some(&extent) = x.shape.get(self.axis) else {
            bail!("axis {} does not exist in shape {:?}", self.axis, x.shape);
        };
        if let Some(index) = self.indices.iter().find(|index| **index >= extent) {
            bail!(
                "index {index} lies outside axis {} of {:?}",
                self.axis,
                x.shape
            );
        }
        if check::size(&self.index_shape)? != self.indices.len() {
            bail!(
                "{} indices of shape {:?}",
                self.indices.len(),
                self.index_shape
            );
        }
        check::typed(self.shape(&x.shape), x.elem.clone())
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let mut picks: Vec<Vec<usize>> = x
            .shape
            .iter()
            .map(|extent| (0..*extent).collect())
            .collect();
        picks[self.axis] = self.indices.clone();
        picked(x, picks).reshaped(self.shape(&x.shape))
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let indices = self.indices.iter().map(|index| *index as i64).collect();
        let indices = Constant::Ints(self.index_shape.clone(), indices);
        let indices = to.constant("indices", indices);
        to.node(
            "Gather",
            &[named(operands, 0), &indices],
            vec![("axis", int(self.axis))],
        )
    }
}

pub(super) fn gather(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let (x, index) = (node.input(0)?, node.input(1)?);
    let rank = importer.shape(x).len();
    let axis = node.axis(node.int("axis", 0)?, rank)?;
    let extent = importer.shape(x)[axis];
    let position = |index: i64| {
        let from_start = if index < 0 {
            index.saturating_add(extent as i64)
        } else {
            index
        };
        match usize::try_from(from_start) {
            Ok(position) if position < extent => Ok(position),
            _ => bail!("index {index} lies outside an axis of {extent}"),
        }
    };
    importer.charge(importer.ty(index).len())?;
    let indices = importer.known_ints(index, "indices")?;
    let indices = indices.into_iter().map(position).collect::<Result<_>>()?;
    let index_shape = importer.shape(index).to_vec();
    let gather = Gather {
        axis,
        indices,
        index_shape,
    };
    one(importer.apply(gather, &[x])?)
}

pub(super) fn expand(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let target = check::shape(&importer.known_ints(node.input(1)?, "shape")?)?;
    let shape = broadcast::shape(importer.shape(x), &target)?;
    one(expand_to(importer, x, &shape)?)
}

/// `x` repeated to a shape that it broadcasts to.
pub(in crate::ops) fn expand_to(
    importer: &mut Importer,
    x: TensorId,
    shape: &[usize],
) -> Result<TensorId> {
    check::size(shape)?;
    let lead = shape.len() - importer.shape(x).len();
    let mut result = x;
    if lead > 0 {
        let shape = [&vec![1; lead], importer.shape(x)].concat();
        result = importer.apply(Reshape { shape }, &[x])?;
    }
    for (axis, &extent) in shape.iter().enumerate() {
        if importer.shape(result)[axis] != extent {
            result = along(importer, result, axis, extent, |_| 0)?;
        }
    }
    Ok(result)
}

pub(super) fn tile(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let mut result = node.input(0)?;
    let repeats = importer.known_ints(node.input(1)?, "repeats")?;
    let own = importer.shape(result).to_vec();
    if repeats.len() != own.len() {
        bail!(
            "{} repeats for a tensor of {} axes",
            repeats.len(),
            own.len()
        );
    }
    let extents = own.iter().zip(&repeats);
    let shape: Vec<i64> = extents
        .map(|(e, r)| (*e as i64).saturating_mul(*r))
        .collect();
    for (axis, extent) in check::shape(&shape)?.into_iter().enumerate() {
        if own[axis] != extent {
            result = along(importer, result, axis, extent, |i| i % own[axis])?;
        }
    }
    one(result)
}

/// An axis of `extent` indices, each taken from another one of the operand's.
fn along(
    importer: &mut Importer,
    x: TensorId,
    axis: usize,
    extent: usize,
    index: impl Fn(usize) -> usize,
) -> Result<TensorId> {
    importer.charge(extent)?;
    let gather = Gather {
        axis,
        indices: (0..extent).map(index).collect(),
        index_shape: vec![extent],
    };
    importer.apply(gather, &[x])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    fn ints(values: &[i64]) -> Array {
        Array::i64([values.len()], values.to_vec())
    }

    #[test]
    fn indices_replace_their_axis() {
        let node = || {
            OneNode::new("Gather", 13)
                .operand(counting(&[2, 3]))
                .int("axis", 1)
        };
        let y = node()
            .operand(Array::i64([1, 2], vec![-1, 0]))
            .folded()
            .unwrap();
        assert_eq!(y, Array::f32([2, 1, 2], vec![3.0, 1.0, 6.0, 4.0]));
        let y = node().operand(Array::i64([], vec![1])).folded().unwrap();
        assert_eq!(y, Array::f32([2], vec![2.0, 5.0]));
        let message = node().operand(ints(&[3])).refusal();
        assert_eq!(message, "index 3 lies outside an axis of 3");
        let message = node().operand(ints(&[i64::MIN])).refusal();
        assert_eq!(
            message,
            format!("index {} lies outside an axis of 3", i64::MIN)
        );
    }

    #[test]
    fn expansion_repeats_along_axes_of_one() {
        let node = |shape: &[i64]| {
            let node = OneNode::new("Expand", 13).operand(counting(&[2, 1]));
            node.operand(ints(shape))
        };
        let y = node(&[3]).folded().unwrap();
        assert_eq!(y, Array::f32([2, 3], vec![1.0, 1.0, 1.0, 2.0, 2.0, 2.0]));
        assert_eq!(node(&[2, 1, 1]).folded().unwrap().shape, [2, 2, 1]);
        assert_eq!(node(&[0]).folded().unwrap().shape, [2, 0]);
        assert_eq!(
            node(&[1 << 40]).refusal(),
            "a tensor of shape [1099511627776] has more than 2^31 elements"
        );
    }

    #[test]
    fn tiles_repeat_whole_axes() {
        let node = |repeats: &[i64]| {
            let node = OneNode::new("Tile", 13).operand(counting(&[1, 2]));
            node.operand(ints(repeats))
        };
        let y = node(&[2, 2]).folded().unwrap();
        assert_eq!(
            y,
            Array::f32([2, 4], vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0])
        );
        assert_eq!(
            node(&[1, -1]).refusal(),
            "shape [1, -2] has a negative extent"
        );
        assert_eq!(node(&[1]).refusal(), "1 repeats for a tensor of 2 axes");
    }
}
