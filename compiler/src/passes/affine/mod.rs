//! `y = scale·x + shift` with one number for the tensor or one for each index along an axis: batch
//! normalisation, and Add, Sub and Mul with constants.
//!
//! `fold` merges it into the sum of products before it (whitepaper eq. 20–21) or after it. `lower` turns what
//! is left into a table (one number) or a depthwise 1×1 convolution (one a channel), whose weights keep a
//! scale for each channel.

mod fold;
mod lower;

use super::rewrite::{reals, subject};
use crate::ir::{Array, Clamp, Model, Node, TensorId};
use crate::ops::{BinaryFunction, Function, Op, Unary};

pub(super) use fold::{Sum, fold, set_sum};
pub(super) use lower::lower;

/// An affine map of a tensor.
#[derive(Clone, Debug, PartialEq)]
struct Affine {
    /// What is mapped.
    x: TensorId,
    /// Along which axis the numbers differ; `None` for one number.
    axis: Option<usize>,
    /// One for each index along the axis, or one.
    scale: Vec<f64>,
    /// As many as scales.
    shift: Vec<f64>,
}

impl Affine {
    /// The affine map that a node computes.
    fn of(model: &Model, node: &Node) -> Option<Affine> {
        match &node.op {
            Op::BatchNorm(op) => Affine::of_batch_norm(model, node, f64::from(op.epsilon)),
            Op::Binary(op) if op.activation == Clamp::NONE => {
                Affine::of_binary(model, node, op.function)
            }
            Op::Unary(Unary {
                function: Function::Affine { scale, offset },
            }) => Some(Affine {
                x: subject(node),
                axis: None,
                scale: vec![f64::from(*scale)],
                shift: vec![f64::from(*offset)],
            }),
            _ => None,
        }
    }

    fn of_batch_norm(model: &Model, node: &Node, epsilon: f64) -> Option<Affine> {
        let numbers = |operand: usize| {
            let array = reals(model, node, operand)?;
            Some(array.reals().iter().map(|x| f64::from(*x)))
        };
        let (gamma, beta) = (numbers(1)?, numbers(2)?);
        let (mean, variance) = (numbers(3)?, numbers(4)?);
        let scale: Vec<f64> = gamma
            .zip(variance)
            .map(|(gamma, variance)| gamma / (variance + epsilon).sqrt())
            .collect();
        let shift = beta.zip(mean).zip(&scale);
        let shift = shift.map(|((beta, mean), scale)| beta - mean * scale);
        Some(Affine {
            x: subject(node),
            axis: Some(1),
            shift: shift.collect(),
            scale,
        })
    }

    fn of_binary(model: &Model, node: &Node, function: BinaryFunction) -> Option<Affine> {
        // `canonicalise` has put the constant second, if one operand is constant.
        let constant = reals(model, node, 1)?;
        let x = subject(node);
        let shape = &model[x].ty.shape;
        if model[x].value.is_some() || model[node.output].ty.shape != *shape {
            return None;
        }
        let axis = varying_axis(constant, shape.len())?;
        let numbers: Vec<f64> = constant.reals().iter().map(|c| f64::from(*c)).collect();
        let (scale, shift) = match function {
            BinaryFunction::Add => (vec![1.0; numbers.len()], numbers),
            BinaryFunction::Mul => (numbers.clone(), vec![0.0; numbers.len()]),
            _ => return None,
        };
        Some(Affine {
            x,
            axis,
            scale,
            shift,
        })
    }

    /// Scale and shift at an index along the axis.
    fn at(&self, index: usize) -> (f64, f64) {
        let index = if self.axis.is_some() { index } else { 0 };
        (self.scale[index], self.shift[index])
    }

    /// Whether zero stays zero.
    fn keeps_zero(&self) -> bool {
        self.shift.iter().all(|shift| *shift == 0.0)
    }
}

/// The only axis of a tensor of rank `rank` along which a constant that broadcasts to it has several
/// elements: `Some(None)` where it has one element, `None` where there are several such axes.
fn varying_axis(constant: &Array, rank: usize) -> Option<Option<usize>> {
    let missing = rank.checked_sub(constant.shape.len())?;
    let mut varying = (0..constant.shape.len()).filter(|axis| constant.shape[*axis] != 1);
    let first = varying.next();
    match varying.next() {
        None => Some(first.map(|axis| axis + missing)),
        Some(_) => None,
    }
}
