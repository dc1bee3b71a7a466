//! How many steps the range of an activation may have, so that no sum of products leaves 32 bits.
//!
//! Of 8 bits that is never a question; 16 bits leave a sum of a thousand products of 8-bit weights few bits to
//! spare.

use super::rounding::{Rounded, outputs_of};
use super::{Activations, IntegerWeights, Options, Weights};
use crate::ir::{Array, Elem, Model, Node, Range, TensorId};
use crate::ops::Op;
use crate::passes::rewrite::subject;

/// What the products of a sum may add up to; the bias takes as much.
pub(super) const LARGEST_SUM: f64 = 0.99 * (1u32 << 30) as f64;

/// The largest number of steps for which the products of every sum that reads a tensor stay below [`LARGEST_SUM`].
pub(super) fn most(model: &Model, options: &Options, id: TensorId, range: Range) -> i32 {
    let (max, min) = (f64::from(range.max.max(0.0)), f64::from(range.min.min(0.0)));
    // The share of the range that the largest magnitude takes, which counts from the zero point.
    let share = match max - min > 0.0 {
        true => max.max(-min) / (max - min),
        false => 1.0,
    };
    let reaches = model
        .consumers(id)
        .into_iter()
        .map(|reader| reach(model, options, &model.nodes[reader], id));
    let reach = reaches.fold(f64::INFINITY, f64::min);
    // Less one, for the zero point is rounded.
    (reach / share - 1.0).clamp(1.0, f64::from(u16::MAX)) as i32
}

/// The largest distance from the zero point with which the sums of a node stay small.
fn reach(model: &Model, options: &Options, node: &Node, id: TensorId) -> f64 {
    let wide = matches!(
        options.scheme(node).activations,
        Activations::Integers { bits: 16 }
    );
    if !wide || !matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_)) {
        return f64::INFINITY;
    }
    match model.constant(node, 1) {
        Some(w) if subject(node) == id => LARGEST_SUM / largest_sum(model, options, node, w),
        // The residual is no factor.
        Some(_) => f64::INFINITY,
        None => f64::from(most_of_factor(model, node)),
    }
}

/// The largest distance from the zero point with which the products of two computed tensors of one kind stay small.
pub(super) fn most_of_factor(model: &Model, node: &Node) -> i32 {
    match (&node.op, model.operand_type(node, 1)) {
        (Op::MatMul(_), Some(ty)) => {
            let terms = ty.shape[ty.shape.len() - 2];
            (LARGEST_SUM / terms as f64).sqrt() as i32
        }
        _ => i32::MAX,
    }
}

/// The largest sum of magnitudes of the weights of one output, in steps of their scale.
fn largest_sum(model: &Model, options: &Options, node: &Node, w: &Array) -> f64 {
    let own = node.inputs[1].map(|id| &model[id].ty.elem);
    let (outputs, count) = outputs_of(&node.op, &w.shape);
    let mut sums = vec![0.0; count];
    let mut add = |i: usize, steps: f64| sums[outputs(i)] += steps.abs();
    match (own, options.scheme(node).weights) {
        // Their layer is in floating point.
        (Some(Elem::Quantized(params)), _) if params.has_blocks() => {}
        (Some(Elem::Quantized(params)), _) => {
            let scales = params.scales(count);
            let reals = params.reals(w);
            let reals = reals.reals().iter().enumerate();
            let all = reals.map(|(i, real)| (i, f64::from(*real) / f64::from(scales[outputs(i)])));
            all.for_each(|(i, steps)| add(i, steps));
        }
        (_, Weights::Integers(form)) => {
            // Weights of 16 bits make do with what their activations leave.
            let bits = form.bits.min(8);
            let form = IntegerWeights { bits, ..form };
            let rounded = Rounded::of(&node.op, w, form, |_| 0.0);
            for (i, q) in rounded.integers.iter().enumerate() {
                let zero_point = rounded.grids[outputs(i)].zero_point;
                add(i, f64::from(q - zero_point));
            }
        }
        (_, Weights::F16 | Weights::F32) => {}
    }
    sums.into_iter().fold(1.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::MatMul;
    use crate::passes::quantize::Scheme;
    use crate::passes::testing::{Sketch, conv};

    fn options(precision: &str) -> Options {
        Options {
            scheme: Scheme::default().with(precision).unwrap(),
            ..Options::default()
        }
    }

    /// A sum of 4096 products with weights of 1 and -1: 127 steps each.
    fn model() -> (Model, TensorId) {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 4096, 1, 1]);
        let signs: Vec<f32> = (0..4096).map(|i| [1.0, -1.0][i % 2]).collect();
        let w = sketch.constant("w", &[1, 4096, 1, 1], &signs);
        let y = sketch.node("y", conv(), &[x, w]);
        (sketch.model(&[y]), x)
    }

    #[test]
    fn sums_of_16_bits_have_room() {
        let (model, x) = model();
        let whole = Range {
            min: -1.0,
            max: 1.0,
        };
        let positive = Range { min: 0.0, ..whole };
        let most = |precision, range| most(&model, &options(precision), x, range);
        // Products of the largest integers fill the room; a range about zero has twice as many steps.
        let room = |high: f64| (0.99 * f64::from(1 << 30) / (4096.0 * high)) as i32;
        assert_eq!(most("w8a16", positive), room(127.0) - 1);
        assert!((2 * room(127.0) - 1..=2 * room(127.0)).contains(&most("w8a16", whole)));
        assert_eq!(most("w4a16", positive), room(7.0) - 1);
        // 8-bit activations are never too many.
        assert_eq!(most("w8a8", positive), 65_535);
    }

    #[test]
    fn factors_of_one_product_share_the_room() {
        let mut sketch = Sketch::new();
        let a = sketch.input("a", &[2, 64]);
        let b = sketch.input("b", &[64, 3]);
        let op = MatMul {
            activation: crate::ir::Clamp::NONE,
        };
        let y = sketch.node("y", op, &[a, b]);
        let model = sketch.model(&[y]);
        let range = Range { min: 0.0, max: 1.0 };
        for id in [a, b] {
            let steps = f64::from(most(&model, &options("w8a16"), id, range));
            assert!(64.0 * steps * steps < f64::from(1 << 30), "{steps}");
            assert!(64.0 * steps * steps > 0.97 * f64::from(1 << 30), "{steps}");
        }
    }
}
