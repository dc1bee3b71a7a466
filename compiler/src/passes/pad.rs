//! A Pad becomes the padding of the convolution or pool after it.

use super::activation::activation;
use super::rewrite::{self, own_consumer, subject};
use crate::Result;
use crate::ir::{Model, TensorId};
use crate::ops::{Op, Pad, PadMode, Pads, Pool, PoolKind};

/// Folds pads of image axes into Conv and Pool.
pub(super) fn fold(model: &mut Model) -> Result<usize> {
    rewrite::each(model, |model, position| Ok(fold_node(model, position)))
}

fn fold_node(model: &mut Model, position: usize) -> bool {
    let node = &model.nodes[position];
    let Op::Pad(pad) = &node.op else {
        return false;
    };
    let (Some(pads), PadMode::Constant(value)) = (image_pads(pad), pad.mode) else {
        return false;
    };
    let x = subject(node);
    let Some(consumer) = own_consumer(model, node.output) else {
        return false;
    };
    let widened = match &model.nodes[consumer].op {
        Op::Conv(op) if value == 0.0 && model.nodes[consumer].inputs[0] == Some(node.output) => {
            let mut op = op.clone();
            op.pads = sum(op.pads, pads);
            Op::Conv(op)
        }
        Op::Pool(op) => match pool(model, op, pads, value, x) {
            Some(op) => Op::Pool(op),
            None => return false,
        },
        _ => return false,
    };
    model.nodes[consumer].op = widened;
    model.nodes[consumer].inputs[0] = Some(x);
    true
}

/// The pool that reads the image without the Pad, if padding means the same to it.
fn pool(model: &Model, op: &Pool, pads: Pads, value: f32, x: TensorId) -> Option<Pool> {
    let own = op.pads != Pads::default();
    let mut op = op.clone();
    op.pads = sum(op.pads, pads);
    match op.kind {
        PoolKind::Average { count_include_pad } => {
            if value != 0.0 || (own && !count_include_pad) {
                return None;
            }
            op.kind = PoolKind::Average {
                count_include_pad: true,
            };
        }
        PoolKind::Max => {
            // Padding never wins a maximum; a zero among numbers that are not negative does not either,
            // as long as each window holds one of them.
            let reach = |axis: usize| (op.kernel[axis] - 1) * op.dilations[axis];
            let Pads {
                top,
                left,
                bottom,
                right,
            } = op.pads;
            let meets = top.max(bottom) <= reach(0) && left.max(right) <= reach(1);
            let dense = op.dilations == [1, 1];
            let harmless = value == f32::NEG_INFINITY || value == 0.0 && is_positive(model, x);
            if !(meets && dense && harmless) {
                return None;
            }
        }
    }
    Some(op)
}

/// Whether a tensor is known to hold no negative number.
fn is_positive(model: &Model, x: TensorId) -> bool {
    let Some(producer) = model.producer(x) else {
        return false;
    };
    activation(&model.nodes[producer].op).is_some_and(|clamp| clamp.min >= 0.0)
}

/// Rows and columns added, if nothing else is.
fn image_pads(pad: &Pad) -> Option<Pads> {
    match (&pad.before[..], &pad.after[..]) {
        ([0, 0, top, left], [0, 0, bottom, right]) => Some(Pads {
            top: *top,
            left: *left,
            bottom: *bottom,
            right: *right,
        }),
        _ => None,
    }
}

fn sum(a: Pads, b: Pads) -> Pads {
    Pads {
        top: a.top + b.top,
        left: a.left + b.left,
        bottom: a.bottom + b.bottom,
        right: a.right + b.right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv;
    use crate::passes::testing::{Sketch, conv, pads, rewritten};

    fn one_around(value: f32) -> Pad {
        Pad {
            before: vec![0, 0, 1, 0],
            after: vec![0, 0, 1, 1],
            mode: PadMode::Constant(value),
        }
    }

    #[test]
    fn zeros_join_the_padding_of_a_convolution() {
        for (value, left) in [(0.0, &["Conv"][..]), (1.0, &["Pad", "Conv"])] {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[1, 2, 4, 4]);
            let padded = sketch.node("pad", one_around(value), &[x]);
            let op = Conv {
                pads: pads(1),
                strides: [2, 1],
                ..conv()
            };
            let y = sketch.conv("conv", padded, 2, 3, op);
            let mut model = sketch.model(&[y]);
            assert_eq!(rewritten(&mut model, fold), left);
        }
    }

    #[test]
    fn pools_take_what_they_would_not_notice() {
        let average = |count_include_pad| PoolKind::Average { count_include_pad };
        let cases = [
            (average(false), 0, false, "AveragePool"),
            (average(true), 1, false, "AveragePool"),
            (average(false), 1, false, "Pad"),
            (PoolKind::Max, 0, true, "MaxPool"),
            (PoolKind::Max, 0, false, "Pad"),
        ];
        for (kind, own, positive, second) in cases {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[1, 2, 4, 4]);
            let x = match positive {
                true => sketch.relu("first", x),
                false => sketch.unary("first", crate::ops::Function::Neg, x),
            };
            let padded = sketch.node("pad", one_around(0.0), &[x]);
            let pool = Pool {
                kind,
                kernel: [3, 3],
                strides: [1, 1],
                pads: pads(own),
                dilations: [1, 1],
                output: [4 + 2 * own, 3 + 2 * own],
            };
            let y = sketch.node("pool", pool, &[padded]);
            let mut model = sketch.model(&[y]);
            let left = rewritten(&mut model, fold);
            assert_eq!(left[1], second, "{kind:?} {own} {positive}");
        }
    }
}
