//! Transpose, and the two shuffles between channels and pixels.

use super::grid::Grid;
use super::{Reshape, one};
use crate::ir::{Array, TensorId, Type};
use crate::ops::export::{Exporter, Operand, ints, named};
use crate::ops::import::operand;
use crate::ops::{Importer, Operator, SourceNode};
use crate::{Result, bail};

/// Axis `i` of the result is axis `perm[i]` of the operand `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transpose {
    /// A permutation of the axes.
    pub perm: Vec<usize>,
}

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let mut axes = self.perm.clone();
        axes.sort_unstable();
        if !axes.into_iter().eq(0..x.shape.len()) {
            bail!(
                "{:?} is no permutation of the axes of {:?}",
                self.perm,
                x.shape
            );
        }
        Ok(Type {
            shape: self.perm.iter().map(|axis| x.shape[*axis]).collect(),
            elem: x.elem.clone(),
        })
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let strides = x.strides();
        let shape: Vec<usize> = self.perm.iter().map(|axis| x.shape[*axis]).collect();
        let terms = self.perm.iter().zip(&shape);
        let terms = terms.map(|(axis, extent)| (0..*extent).map(|i| i * strides[*axis]).collect());
        x.pick(shape.clone(), Grid::new(terms.collect()))
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let perm = ints(self.perm.iter().copied());
        to.node("Transpose", &[named(operands, 0)], vec![("perm", perm)])
    }
}

pub(super) fn transpose(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let rank = importer.shape(x).len();
    let perm = match node.ints("perm")? {
        Some(perm) => perm
            .iter()
            .map(|axis| node.axis(*axis, rank))
            .collect::<Result<_>>()?,
        None => (0..rank).rev().collect(),
    };
    one(importer.apply(Transpose { perm }, &[x])?)
}

pub(super) fn depth_to_space(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let ([n, c, h, w], block) = blocks(node, importer.shape(x))?;
    if c % (block * block) != 0 {
        bail!("{c} channels do not divide into blocks of {block} × {block}");
    }
    let c = c / (block * block);
    let (split, perm) = match node.string("mode", "DCR")? {
        "DCR" => ([n, block, block, c, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, c, block, block, h, w], [0, 1, 4, 2, 5, 3]),
        other => bail!("mode `{other}` is unknown"; hint: "`DCR` and `CRD` are known"),
    };
    shuffle(importer, x, split, perm, [n, c, h * block, w * block])
}

pub(super) fn space_to_depth(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let ([n, c, h, w], block) = blocks(node, importer.shape(x))?;
    if h % block != 0 || w % block != 0 {
        bail!("an image of {h} × {w} does not divide into blocks of {block} × {block}");
    }
    let (h, w) = (h / block, w / block);
    let split = [n, c, h, block, w, block];
    shuffle(
        importer,
        x,
        split,
        [0, 3, 5, 1, 2, 4],
        [n, c * block * block, h, w],
    )
}

fn blocks(node: &SourceNode, shape: &[usize]) -> Result<([usize; 4], usize)> {
    let block = node.int("blocksize", 0)?;
    match (shape, block) {
        (&[n, c, h, w], 1..=65536) => Ok(([n, c, h, w], block as usize)),
        _ => bail!("blocks of {block} in a tensor of shape {shape:?} have no meaning"),
    }
}

fn shuffle(
    importer: &mut Importer,
    x: TensorId,
    split: [usize; 6],
    perm: [usize; 6],
    joined: [usize; 4],
) -> Result<Vec<TensorId>> {
    let shape = split.to_vec();
    let x = importer.apply(Reshape { shape }, &[x])?;
    let perm = perm.to_vec();
    let x = importer.apply(Transpose { perm }, &[x])?;
    let shape = joined.to_vec();
    one(importer.apply(Reshape { shape }, &[x])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    #[test]
    fn axes_are_permuted() {
        let node = || OneNode::new("Transpose", 13).operand(counting(&[2, 3]));
        let turned = Array::f32([3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(node().folded().unwrap(), turned);
        assert_eq!(node().ints("perm", &[1, 0]).folded().unwrap(), turned);
        assert_eq!(
            node().ints("perm", &[1, 1]).refusal(),
            "[1, 1] is no permutation of the axes of [2, 3]"
        );
    }

    #[test]
    fn three_axes_turn() {
        let perm = vec![2, 0, 1];
        let x = Array::i64([2, 1, 3], (0..6).collect());
        let y = Transpose { perm }.eval(&[Some(&x)]);
        assert_eq!(y, Array::i64([3, 2, 1], vec![0, 3, 1, 4, 2, 5]));
    }

    #[test]
    fn channels_become_pixels_and_return() {
        // The example of the ONNX page: each channel of four is one corner of every 2 × 2 block.
        let corners = Array::f32([1, 4, 1, 2], vec![0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        let node = OneNode::new("DepthToSpace", 13).int("blocksize", 2);
        let image = node.operand(corners.clone()).folded().unwrap();
        let pixels = vec![0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0];
        assert_eq!(image, Array::f32([1, 1, 2, 4], pixels));
        let node = OneNode::new("SpaceToDepth", 13).int("blocksize", 2);
        assert_eq!(node.operand(image).folded().unwrap(), corners);
    }
}
