//! Reshape, Flatten, Squeeze and Unsqueeze.

use super::{ints_of, one};
use crate::ir::{Array, TensorId, Type};
use crate::ops::export::{Exporter, Operand, int, named};
use crate::ops::import::operand;
use crate::ops::{Importer, Operator, SourceNode, check};
use crate::{Result, bail};

/// The same elements in row-major order under another shape. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// The new shape, of the same size.
    pub shape: Vec<usize>,
}

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        if check::size(&self.shape)? != x.len() {
            bail!(
                "shape {:?} has {} elements and cannot become {:?}", x.shape, x.len(), self.shape;
                hint: "check the sizes given with --batch and --dim against those that the model was exported with"
            );
        }
        Ok(Type {
            shape: self.shape.clone(),
            elem: x.elem.clone(),
        })
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        x.clone().reshaped(self.shape.clone())
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let shape = to.ints("shape", self.shape.iter().map(|extent| *extent as i64));
        // An extent of 0 is 0, not the operand's.
        to.node(
            "Reshape",
            &[named(operands, 0), &shape],
            vec![("allowzero", int(1))],
        )
    }
}

/// A Reshape, or the operand itself where it has the shape already.
fn reshaped(importer: &mut Importer, x: TensorId, shape: Vec<usize>) -> Result<Vec<TensorId>> {
    if importer.shape(x) == shape {
        return one(x);
    }
    one(importer.apply(Reshape { shape }, &[x])?)
}

pub(super) fn reshape(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let target = importer.known_ints(node.input(1)?, "shape")?;
    let copy_zeros = node.int("allowzero", 0)? == 0;
    let shape = resolve(importer.shape(x), &target, copy_zeros)?;
    reshaped(importer, x, shape)
}

/// The shape that Reshape's operand means: 0 copies an extent, one −1 takes what is left.
fn resolve(own: &[usize], target: &[i64], copy_zeros: bool) -> Result<Vec<usize>> {
    let mut unknown = None;
    let mut extents = Vec::with_capacity(target.len());
    for (axis, &extent) in target.iter().enumerate() {
        extents.push(match extent {
            -1 if unknown.is_some() => bail!("shape {target:?} has more than one −1"),
            -1 => {
                unknown = Some(axis);
                1
            }
            0 if copy_zeros => match own.get(axis) {
                Some(&extent) => extent as i64,
                None => {
                    bail!("shape {target:?} copies axis {axis} of {own:?}, which does not exist")
                }
            },
            extent => extent,
        });
    }
    let mut shape = check::shape(&extents)?;
    if let Some(axis) = unknown {
        let (size, rest) = (
            own.iter().product::<usize>(),
            shape.iter().product::<usize>(),
        );
        if rest == 0 || !size.is_multiple_of(rest) {
            bail!(
                "shape {own:?} cannot become {target:?}: {size} elements do not divide by {rest}";
                hint: "check the sizes given with --batch and --dim against those that the model was exported with"
            );
        }
        shape[axis] = size / rest;
    }
    Ok(shape)
}

pub(super) fn flatten(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let own = importer.shape(x);
    // The axis may be the rank itself: everything goes to the first extent.
    let axis = match node.int("axis", 1)? {
        axis if axis == own.len() as i64 => own.len(),
        axis => node.axis(axis, own.len())?,
    };
    let (lead, rest) = own.split_at(axis);
    let shape = vec![lead.iter().product(), rest.iter().product()];
    reshaped(importer, x, shape)
}

pub(super) fn squeeze(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let own = importer.shape(x).to_vec();
    let dropped = match ints_of(node, importer, "axes", 1)? {
        Some(axes) => marked(node, &axes, own.len())?,
        None => own.iter().map(|extent| *extent == 1).collect(),
    };
    let mut shape = vec![];
    for (axis, (&extent, dropped)) in own.iter().zip(dropped).enumerate() {
        match dropped {
            true if extent != 1 => bail!("axis {axis} of {own:?} has not the extent 1"),
            true => {}
            false => shape.push(extent),
        }
    }
    reshaped(importer, x, shape)
}

pub(super) fn unsqueeze(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let Some(axes) = ints_of(node, importer, "axes", 1)? else {
        bail!("`axes` is missing"; hint: "the file breaks the ONNX specification of Unsqueeze")
    };
    let mut own = importer.shape(x).to_vec().into_iter();
    let added = marked(node, &axes, own.len() + axes.len())?;
    let shape = added.iter().map(|added| match added {
        true => 1,
        false => own.next().expect("marked counts each axis once"),
    });
    let shape = shape.collect();
    reshaped(importer, x, shape)
}

/// Which of `rank` axes are listed; each at most once.
fn marked(node: &SourceNode, axes: &[i64], rank: usize) -> Result<Vec<bool>> {
    check::rank(rank)?;
    let mut marked = vec![false; rank];
    for &axis in axes {
        let axis = node.axis(axis, rank)?;
        if std::mem::replace(&mut marked[axis], true) {
            bail!("axis {axis} is listed twice in {axes:?}");
        }
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    fn ints(values: &[i64]) -> Array {
        Array::i64([values.len()], values.to_vec())
    }

    fn shape_of(node: OneNode) -> Vec<usize> {
        node.folded().expect("the import succeeds").shape
    }

    #[test]
    fn zeros_copy_and_minus_one_takes_the_rest() {
        let node = |shape: &[i64]| {
            let node = OneNode::new("Reshape", 14).operand(counting(&[2, 3, 4]));
            node.operand(ints(shape))
        };
        assert_eq!(shape_of(node(&[0, -1])), [2, 12]);
        assert_eq!(shape_of(node(&[4, 0, -1])), [4, 3, 2]);
        assert_eq!(shape_of(node(&[24])), [24]);
        assert_eq!(
            node(&[-1, -1]).refusal(),
            "shape [-1, -1] has more than one −1"
        );
        assert_eq!(
            node(&[5, -1]).refusal(),
            "shape [2, 3, 4] cannot become [5, -1]: 24 elements do not divide by 5"
        );
        assert_eq!(
            node(&[7]).refusal(),
            "shape [2, 3, 4] has 24 elements and cannot become [7]"
        );
        assert_eq!(
            node(&[-3, 8]).refusal(),
            "shape [-3, 8] has a negative extent"
        );
    }

    #[test]
    fn allowzero_makes_zeros_extents() {
        let node = OneNode::new("Reshape", 14).int("allowzero", 1);
        let node = node.operand(Array::f32([0, 3], vec![]));
        assert_eq!(shape_of(node.operand(ints(&[3, 0]))), [3, 0]);
    }

    #[test]
    fn a_shape_that_depends_on_inputs_is_refused() {
        let node = OneNode::new("Reshape", 14).operand(counting(&[2]));
        let message = node.inputs().operand(ints(&[2])).refusal();
        assert_eq!(message, "`operand_1` (shape) depends on the input's values");
    }

    #[test]
    fn flatten_splits_at_an_axis() {
        let node = || OneNode::new("Flatten", 13).operand(counting(&[2, 3, 4]));
        assert_eq!(shape_of(node()), [2, 12]);
        assert_eq!(shape_of(node().int("axis", 0)), [1, 24]);
        assert_eq!(shape_of(node().int("axis", 3)), [24, 1]);
        assert_eq!(shape_of(node().int("axis", -1)), [6, 4]);
    }

    #[test]
    fn axes_of_extent_one_come_and_go() {
        let x = || counting(&[1, 3, 1]);
        assert_eq!(shape_of(OneNode::new("Squeeze", 11).operand(x())), [3]);
        let node = OneNode::new("Squeeze", 11).operand(x());
        assert_eq!(shape_of(node.ints("axes", &[-1])), [1, 3]);
        let node = OneNode::new("Squeeze", 13).operand(x()).operand(ints(&[1]));
        assert_eq!(node.refusal(), "axis 1 of [1, 3, 1] has not the extent 1");
        let node = OneNode::new("Unsqueeze", 13).operand(counting(&[3]));
        assert_eq!(shape_of(node.operand(ints(&[0, -1]))), [1, 3, 1]);
        let node = OneNode::new("Unsqueeze", 11).operand(counting(&[3]));
        assert_eq!(
            node.ints("axes", &[1, -2]).refusal(),
            "axis 1 is listed twice in [1, -2]"
        );
    }
}
