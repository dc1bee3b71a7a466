//! From reals to integers: every tensor of an annotated model gets its quantization parameters.
//!
//! - Activations: 8 bits, asymmetric, one scale a tensor (whitepaper arXiv 1806.08342 §2.1); the range is
//!   widened to include 0, which is exactly representable.
//! - Weights: i8, symmetric in −127..=127, one scale an output channel (§2.2, §3.1.2).
//! - Biases: i32 with scale `s_x·s_w`.
//!
//! Tensors that an operator only moves share their parameters (`groups`).

mod groups;
mod weights;

use crate::ir::{Array, Elem, IntType, Model, QuantParams, Range, TensorId, verify};
use crate::ops::Op;
use crate::passes::calibrate::range_of;
use crate::{Error, Result, integer};

use groups::Groups;

/// Choices of the quantizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Type of activations: u8 or i8.
    pub activations: IntType,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            activations: IntType::U8,
        }
    }
}

/// Quantizes a model whose ranges are annotated. All tensors without a range, and all nodes without an
/// integer meaning, are reported at once.
pub fn quantize(model: &mut Model, options: &Options) -> Result<()> {
    let params = activation_params(model, options.activations)?;
    for (tensor, params) in model.tensors.iter_mut().zip(&params) {
        if let Some(params) = params {
            tensor.ty.elem = Elem::Quantized(params.clone());
            tensor.value = tensor
                .value
                .take()
                .map(|value| quantize_array(&value, params));
        }
    }
    weights::quantize(model);
    integer::check(model)?;
    verify(model)
}

/// The integers nearest to an array's reals.
pub fn quantize_array(array: &Array, params: &QuantParams) -> Array {
    let integers = array.reals().iter().map(|x| params.quantize(*x)).collect();
    Array::i32(array.shape.clone(), integers)
}

/// Parameters that cover a range, widened to include 0: the zero point is the integer nearest to where 0
/// falls, so zero is exact.
pub fn cover(range: Range, int: IntType) -> QuantParams {
    let (min, max) = (f64::from(range.min.min(0.0)), f64::from(range.max.max(0.0)));
    let (low, high) = (int.min() as f64, int.max() as f64);
    let width = max - min;
    // A tensor of zeros has any scale.
    let scale = if width > 0.0 {
        (width / (high - low)) as f32
    } else {
        1.0
    };
    // A range of denormals has no useful scale; its integers are all zero points.
    let scale = scale.max(f32::MIN_POSITIVE * 1e9);
    let zero_point = (low - min / f64::from(scale))
        .round_ties_even()
        .clamp(low, high) as i32;
    QuantParams::per_tensor(int, scale, zero_point)
}

/// Parameters of every tensor of reals that stands for itself: computed ones, inputs, and constants that are
/// no weights.
fn activation_params(model: &Model, int: IntType) -> Result<Vec<Option<QuantParams>>> {
    let mut groups = Groups::new(model);
    let mut ranges: Vec<Option<Range>> = vec![None; model.tensors.len()];
    let mut missing = vec![];
    for id in activations(model) {
        let tensor = &model[id];
        let Some(range) = tensor.value.as_ref().map_or(tensor.range, range_of) else {
            missing.push(no_range(&tensor.name));
            continue;
        };
        let group = &mut ranges[groups.of(id)];
        *group = Some(group.map_or(range, |known| known.union(range)));
    }
    Error::collect(missing)?;
    let mut params = vec![None; model.tensors.len()];
    for id in activations(model) {
        let group = groups.of(id);
        params[id.0 as usize] = if groups.is_probability(group) {
            Some(QuantParams::per_tensor(int, 1.0 / 256.0, int.min() as i32))
        } else {
            ranges[group].map(|range| cover(range, int))
        };
    }
    Ok(params)
}

fn no_range(name: &str) -> Error {
    Error::new(format!("the range of tensor `{name}` is not known"))
        .hint("pass samples that the network is made for, with --calibrate")
}

/// Tensors of reals that nodes read or write as activations.
fn activations(model: &Model) -> Vec<TensorId> {
    let mut all: Vec<TensorId> = model.inputs.clone();
    for node in &model.nodes {
        for (operand, id) in node.inputs.iter().enumerate() {
            all.extend(id.filter(|_| !is_parameter(&node.op, operand, model, *id)));
        }
        all.push(node.output);
    }
    all.extend(&model.outputs);
    all.sort_unstable();
    all.dedup();
    all.retain(|id| model[*id].ty.elem == Elem::Float);
    all
}

/// Whether an operand is a weight, a bias or a slope, which has a scale of its own or stays real.
fn is_parameter(op: &Op, operand: usize, model: &Model, id: Option<TensorId>) -> bool {
    let constant = id.is_some_and(|id| model[id].value.is_some());
    match op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) => {
            constant && (operand == 1 || operand == 2)
        }
        Op::PRelu(_) => operand == 1,
        Op::BatchNorm(_) => operand > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_both_ends_are_covered() {
        for (min, max) in [
            (-1.0, 2.0),
            (0.3, 4.0),
            (-7.0, -2.0),
            (0.0, 6.0),
            (-1e-3, 1e3),
        ] {
            let params = cover(Range { min, max }, IntType::U8);
            let (scale, zero_point) = params.uniform();
            assert_eq!(params.dequantize(zero_point), 0.0);
            for x in [min, max] {
                let error = (params.dequantize(params.quantize(x)) - x).abs();
                assert!(error <= scale, "{x} of {min}..{max} is off by {error}");
            }
        }
    }

    #[test]
    fn zeros_have_a_scale() {
        let params = cover(Range { min: 0.0, max: 0.0 }, IntType::I8);
        assert_eq!(params.uniform(), (1.0, -128));
    }
}
