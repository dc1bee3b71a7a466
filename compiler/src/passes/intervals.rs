//! Ranges that follow from other ranges, and from BatchNorm statistics: an output of batch normalisation with
//! shift β and scale γ has mean β and deviation |γ|, so that β ± 6|γ| holds nearly all of it.

use super::rewrite::reals;
use crate::Result;
use crate::ir::{Array, Clamp, Data, Model, Node, Range, TensorId};
use crate::ops::{Binary, BinaryFunction, Op, Reduction};

/// Deviations on each side of the mean.
const DEVIATIONS: f32 = 6.0;

/// Notes the ranges that can be told from batch normalisations, limits and ranges already known.
pub(super) fn note(model: &mut Model) -> Result<usize> {
    let mut notes = 0;
    for position in 0..model.nodes.len() {
        let node = &model.nodes[position];
        let output = node.output;
        if model[output].range.is_some() {
            continue;
        }
        model[output].range = of_result(model, node);
        notes += usize::from(model[output].range.is_some());
    }
    Ok(notes)
}

/// Notes ranges as [`note`] does, and estimates those of sums of products from their weights.
pub(super) fn estimate(model: &mut Model) {
    for position in 0..model.nodes.len() {
        let node = &model.nodes[position];
        let output = node.output;
        if model[output].range.is_none() {
            model[output].range = of_result(model, node).or_else(|| of_sum(model, node));
        }
    }
}

/// The range of a constant, or the range that was noted.
fn of_tensor(model: &Model, id: TensorId) -> Option<Range> {
    match &model[id].value {
        Some(array) => of_array(array),
        None => model[id].range,
    }
}

/// The smallest range that holds all reals of an array; `None` where one is not finite or none is there.
pub(super) fn of_array(array: &Array) -> Option<Range> {
    let reals = match &array.data {
        Data::F32(reals) => reals,
        _ => return None,
    };
    // Folding with comparisons alone would skip NaN.
    let sound = reals.iter().all(|x| x.is_finite());
    let range = reals.iter().map(|x| Range { min: *x, max: *x });
    range.reduce(Range::union).filter(|_| sound)
}

fn of_result(model: &Model, node: &Node) -> Option<Range> {
    let operand = |i: usize| of_tensor(model, node.inputs.get(i).copied().flatten()?);
    let with_zero = |range: Range| range.union(Range { min: 0.0, max: 0.0 });
    match &node.op {
        Op::BatchNorm(_) => of_batch_norm(model, node),
        Op::Unary(op) => Some(sampled(operand(0)?, |x| op.function.apply(x))),
        Op::Binary(op) => of_binary(op, operand(0)?, operand(1)?),
        Op::PRelu(_) => {
            let (x, slope) = (operand(0)?, operand(1)?);
            let positive = clamped(x, Clamp::RELU);
            let negative = Range {
                min: x.min.min(0.0),
                max: x.max.min(0.0),
            };
            Some(positive.union(products(negative, slope)))
        }
        Op::Softmax(_) => Some(Range { min: 0.0, max: 1.0 }),
        Op::Pool(_) | Op::Pad(_) => operand(0).map(with_zero),
        Op::Reduce(op) if op.reduction == Reduction::Sum => {
            let shape = &model.operand_type(node, 0)?.shape;
            let count: usize = op.axes.iter().map(|axis| shape[*axis]).product();
            let count = count as f32;
            Some(products(
                operand(0)?,
                Range {
                    min: count,
                    max: count,
                },
            ))
        }
        Op::Reduce(op) if op.reduction == Reduction::Prod => None,
        Op::Reduce(_) | Op::Resize(_) | Op::Reshape(_) => operand(0),
        Op::Transpose(_) | Op::Slice(_) | Op::Gather(_) => operand(0),
        Op::Concat(_) => {
            let ranges: Option<Vec<Range>> = (0..node.inputs.len()).map(operand).collect();
            ranges?.into_iter().reduce(Range::union)
        }
        _ => None,
    }
}

fn of_batch_norm(model: &Model, node: &Node) -> Option<Range> {
    let (gamma, beta) = (reals(model, node, 1)?, reals(model, node, 2)?);
    let channels = gamma.reals().iter().zip(beta.reals());
    let ranges = channels.map(|(gamma, beta)| Range {
        min: beta - DEVIATIONS * gamma.abs(),
        max: beta + DEVIATIONS * gamma.abs(),
    });
    ranges.reduce(Range::union)
}

fn of_binary(op: &Binary, a: Range, b: Range) -> Option<Range> {
    let range = match op.function {
        BinaryFunction::Add => Range {
            min: a.min + b.min,
            max: a.max + b.max,
        },
        BinaryFunction::Sub => Range {
            min: a.min - b.max,
            max: a.max - b.min,
        },
        BinaryFunction::Mul => products(a, b),
        BinaryFunction::Max => Range {
            min: a.min.max(b.min),
            max: a.max.max(b.max),
        },
        BinaryFunction::Min => Range {
            min: a.min.min(b.min),
            max: a.max.min(b.max),
        },
        BinaryFunction::Div | BinaryFunction::Pow => return None,
    };
    Some(clamped(range, op.activation))
}

fn clamped(range: Range, clamp: Clamp) -> Range {
    Range {
        min: clamp.apply(range.min),
        max: clamp.apply(range.max),
    }
}

fn products(a: Range, b: Range) -> Range {
    let corners = [a.min * b.min, a.min * b.max, a.max * b.min, a.max * b.max];
    Range {
        min: corners.iter().copied().fold(f32::INFINITY, f32::min),
        max: corners.iter().copied().fold(f32::NEG_INFINITY, f32::max),
    }
}

/// The range of a function over an interval, from 1025 equally spaced points of it.
fn sampled(x: Range, f: impl Fn(f32) -> f32) -> Range {
    let point = |i: u16| x.min + (x.max - x.min) * (f32::from(i) / 1024.0);
    let values = (0..=1024).map(|i| f(point(i))).filter(|y| y.is_finite());
    let ranges = values.map(|y| Range { min: y, max: y });
    ranges.reduce(Range::union).unwrap_or(x)
}

/// The range of a sum of products whose inputs are independent and spread over their range, which is taken to
/// hold 6 deviations on each side: mean and variance add up over the weights.
fn of_sum(model: &Model, node: &Node) -> Option<Range> {
    let x = of_tensor(model, node.inputs[0]?)?;
    let clamp = super::activation::activation(&node.op)?;
    let weights = reals(model, node, 1)?;
    // What a ReLU leaves of a normal distribution around 0 has its mean at 0.4 deviations.
    let (mean, deviation) = if x.min >= 0.0 {
        (0.4 * x.max / DEVIATIONS, 0.6 * x.max / DEVIATIONS)
    } else {
        ((x.min + x.max) / 2.0, (x.max - x.min) / (2.0 * DEVIATIONS))
    };
    let channels = Channels::of(node, &weights.shape)?;
    let mut sums = vec![(0.0f32, 0.0f32); channels.count];
    for (i, w) in weights.reals().iter().enumerate() {
        let (sum, squares) = &mut sums[channels.of_weight(i)];
        *sum += w * mean;
        *squares += w * w;
    }
    let bias = reals(model, node, 2);
    let ranges = sums.iter().enumerate().map(|(c, (sum, squares))| {
        let middle = sum + bias.map_or(0.0, |b| b.reals()[c]);
        let reach = DEVIATIONS * deviation * squares.sqrt();
        Range {
            min: middle - reach,
            max: middle + reach,
        }
    });
    let mut range = ranges.reduce(Range::union)?;
    if let Some(Some(residual)) = node.inputs.get(3) {
        let residual = of_tensor(model, *residual)?;
        range = Range {
            min: range.min + residual.min,
            max: range.max + residual.max,
        };
    }
    Some(clamped(range, clamp))
}

/// Output channels of the weights of Conv and MatMul.
struct Channels {
    count: usize,
    run: usize,
}

impl Channels {
    fn of(node: &Node, shape: &[usize]) -> Option<Channels> {
        match node.op {
            Op::Conv(_) => Some(Channels {
                count: shape[0],
                run: shape[1..].iter().product(),
            }),
            Op::MatMul(_) => Some(Channels {
                count: *shape.last()?,
                run: 1,
            }),
            Op::ConvTranspose(ref op) if op.groups == 1 => Some(Channels {
                count: shape[1],
                run: shape[2..].iter().product(),
            }),
            _ => None,
        }
    }

    fn of_weight(&self, i: usize) -> usize {
        i / self.run % self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::Sketch;

    #[test]
    fn ranges_follow_from_batch_norm() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 2, 2]);
        let [gamma, beta] = [("gamma", [1.0, -0.5]), ("beta", [0.0, 4.0])]
            .map(|(name, data)| sketch.constant(name, &[2], &data));
        let op = crate::ops::BatchNorm { epsilon: 0.0 };
        let y = sketch.node("y", op, &[x, gamma, beta, beta, gamma]);
        let z = sketch.relu("z", y);
        let sum = sketch.add("sum", y, z);
        let mut model = sketch.model(&[sum]);
        assert_eq!(note(&mut model).unwrap(), 3);
        let range = |id: TensorId| model[id].range.map(|r| (r.min, r.max));
        assert_eq!(range(y), Some((-6.0, 7.0)));
        assert_eq!(range(z), Some((0.0, 7.0)));
        assert_eq!(range(sum), Some((-6.0, 14.0)));
    }

    #[test]
    fn products_and_slopes_span_their_corners() {
        let range = |min, max| Range { min, max };
        assert_eq!(
            products(range(-1.0, 2.0), range(-3.0, 1.0)),
            range(-6.0, 3.0)
        );
        let swish = sampled(range(-4.0, 4.0), |x| {
            crate::ops::Function::HardSwish.apply(x)
        });
        assert!((swish.min + 0.375).abs() < 1e-3 && swish.max == 4.0);
    }

    #[test]
    fn a_sum_of_many_is_estimated_by_its_deviation() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 100]);
        let w = sketch.constant("w", &[100, 1], &[0.5; 100]);
        let activation = Clamp::NONE;
        let y = sketch.node("y", crate::ops::MatMul { activation }, &[x, w]);
        let mut model = sketch.model(&[y]);
        model[x].range = Some(Range {
            min: -6.0,
            max: 6.0,
        });
        estimate(&mut model);
        // 100 terms of deviation 0.5: deviation 5, six on each side.
        assert_eq!(model[y].range.map(|r| (r.min, r.max)), Some((-30.0, 30.0)));
    }
}
