//! Inputs made from weights: activations at the ends of their interval that bring the sums of products as far as
//! they go.
//!
//! A sum grows most where each activation is at the end of its interval that its weight asks for. Every part of the
//! sum then grows most as well, whichever products a kernel brings together: no chain comes nearer to the end of
//! 16 bits.

use std::cmp::Reverse;

use qcc_compiler::ir::{Array, Elem, Model, Node, QuantParams, TensorId, Type};
use qcc_compiler::ops::{Conv, Op, Quantize, Scales};

use crate::graph::Random;

/// The products by constants of a model, each with weights and parameters as they are and inputs of its own: reals,
/// quantized to what the network's layers let through, or integers where the layer reads the network's input.
pub fn products(model: &Model) -> Model {
    let mut cut = Model {
        nodes: vec![],
        inputs: vec![],
        outputs: vec![],
        ..model.clone()
    };
    for node in model.nodes.iter().filter(|node| is_product(model, node)) {
        let mut node = node.clone();
        for place in [0, 3] {
            let operand = node.inputs.get_mut(place).and_then(Option::as_mut);
            if let Some(id) = operand.filter(|id| model[**id].value.is_none()) {
                *id = fed(&mut cut, model.inputs.contains(id), *id);
            }
        }
        cut.outputs.push(node.output);
        cut.nodes.push(node);
    }
    cut.remove_unused_tensors();
    cut
}

/// Whether a node multiplies integers by constant weights.
fn is_product(model: &Model, node: &Node) -> bool {
    let integers = |id: TensorId| matches!(model[id].ty.elem, Elem::Quantized(_));
    matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_))
        && model.constant(node, 1).is_some()
        && node.operands().chain([node.output]).all(integers)
}

/// A tensor like another one, computed from an input of the model, or an input itself.
fn fed(model: &mut Model, direct: bool, id: TensorId) -> TensorId {
    let ty = model[id].ty.clone();
    let params = params(&model[id].ty).clone();
    let x = model.add_tensor("x", ty.clone(), None);
    if direct {
        model.inputs.push(x);
        return x;
    }
    let (scale, zero_point) = params.uniform();
    let reals = model.add_tensor("x", Type::float(ty.shape), None);
    model.inputs.push(reals);
    let scale = model.add_tensor("s", Type::float([]), Some(Array::f32([], vec![scale])));
    let ty = Type {
        shape: vec![],
        elem: Elem::Int(params.int),
    };
    let zero_point = Array::i64([], vec![zero_point.into()]);
    let zero_point = model.add_tensor("z", ty, Some(zero_point));
    let op = Quantize {
        int: params.int,
        scales: Scales::One,
    };
    model.nodes.push(Node {
        name: model[x].name.clone(),
        op: op.into(),
        inputs: vec![Some(reals), Some(scale), Some(zero_point)],
        output: x,
    });
    x
}

/// Inputs for the products of a model that reads nothing else, of which sample after sample brings the sums of
/// further channels to their largest and their smallest; those of the heaviest weights first.
/// Activations that no such sum reads, and all of the last sample, are at random ends.
pub fn samples(model: &Model, seed: u64, count: usize) -> Vec<Vec<Array>> {
    let mut random = Random(seed);
    let mut sample = |turn: usize| -> Vec<Array> {
        let inputs = model.inputs.iter();
        inputs
            .map(|input| {
                let quantize = model.nodes.iter().find(|node| {
                    matches!(node.op, Op::Quantize(_)) && node.inputs[0] == Some(*input)
                });
                let x = quantize.map_or(*input, |node| node.output);
                let params = params(&model[x].ty);
                let ends = reached(params, quantize.is_none());
                let shape = model[x].ty.shape.clone();
                let len = model[x].ty.len();
                let mut data: Vec<i32> = (0..len).map(|_| ends[random.below(2)]).collect();
                let reader = model.nodes.iter().find(|node| node.inputs[0] == Some(x));
                if let Some(node) =
                    reader.filter(|node| turn + 1 < count && is_product(model, node))
                {
                    bend(model, node, turn, ends, &mut data);
                }
                match quantize {
                    Some(_) => {
                        let reals = data.iter().map(|q| params.dequantize(*q));
                        Array::f32(shape, reals.collect())
                    }
                    None => Array::i32(shape, data),
                }
            })
            .collect()
    };
    (0..count).map(&mut sample).collect()
}

/// The ends of what a tensor holds: a caller may pass all that 8 bits hold.
fn reached(params: &QuantParams, direct: bool) -> [i32; 2] {
    match direct && params.int.bits <= 8 {
        true => [params.int.min() as i32, params.int.max() as i32],
        false => [params.low, params.high],
    }
}

fn params(ty: &Type) -> &QuantParams {
    match &ty.elem {
        Elem::Quantized(params) => params,
        other => panic!("not quantized: {other:?}"),
    }
}

/// Gives activations the ends that the weights of a product ask for.
fn bend(model: &Model, node: &Node, turn: usize, ends: [i32; 2], x: &mut [i32]) {
    let id = node.inputs[0].expect("a product has activations");
    let shape = &model[id].ty.shape;
    match &node.op {
        Op::Conv(conv) => bend_windows(conv, shape, &weights(model, node), turn, ends, x),
        Op::MatMul(_) => bend_rows(shape, &weights(model, node), turn, ends, x),
        _ => {}
    }
}

/// `w − z_w` of each output channel, in the order of what it is multiplied with.
struct Weights {
    shape: Vec<usize>,
    channels: Vec<Vec<i32>>,
    /// The heaviest first.
    order: Vec<usize>,
}

/// The weights of a convolution, or of a product of matrices: of several matrices the first.
fn weights(model: &Model, node: &Node) -> Weights {
    let id = node.inputs[1].expect("a product has weights");
    let shape = model[id].ty.shape.clone();
    let conv = matches!(node.op, Op::Conv(_));
    let (count, size) = match conv {
        true => (shape[0], model[id].ty.len()),
        false => (
            shape[shape.len() - 1],
            shape[shape.len() - 2..].iter().product(),
        ),
    };
    let zero_points = params(&model[id].ty).zero_points(count);
    let values = model[id].value.as_ref().expect("weights are constant");
    let mut channels = vec![vec![]; count];
    for (i, w) in values.quantized()[..size].iter().enumerate() {
        let channel = if conv { i / (size / count) } else { i % count };
        channels[channel].push(w - zero_points[channel]);
    }
    let weight = |c: &usize| channels[*c].iter().map(|w| w.abs()).sum::<i32>();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|c| Reverse(weight(c)));
    Weights {
        shape,
        channels,
        order,
    }
}

/// The end that a weight asks for, of the largest sum or of the smallest.
fn end([low, high]: [i32; 2], w: i32, largest: bool) -> i32 {
    if (w > 0) == largest { high } else { low }
}

/// Windows that have no element in common take channels in turn, each its largest and its smallest sum.
fn bend_windows(
    conv: &Conv,
    shape: &[usize],
    weights: &Weights,
    turn: usize,
    ends: [i32; 2],
    x: &mut [i32],
) {
    let [_, per_group, kh, kw] = weights.shape[..] else {
        panic!("weights of a convolution have four axes")
    };
    let spans = [
        (kh - 1) * conv.dilations[0] + 1,
        (kw - 1) * conv.dilations[1] + 1,
    ];
    let corners = |axis: usize| {
        let before = [conv.pads.top, conv.pads.left][axis];
        let (stride, span, extent) = (conv.strides[axis], spans[axis], shape[2 + axis]);
        let steps = span.div_ceil(stride) * stride;
        // The first window that the border does not cut, if there is one.
        let first = (before.div_ceil(stride) * stride) as isize - before as isize;
        let corners = (first as usize..).step_by(steps);
        let mut corners: Vec<isize> = corners
            .take_while(|c| c + span <= extent)
            .map(|c| c as isize)
            .collect();
        if corners.is_empty() {
            corners.push(-(before as isize));
        }
        corners
    };
    let [ys, xs] = [corners(0), corners(1)];
    let of_group = weights.channels.len() / conv.groups;
    let windows = shape[0] * ys.len() * xs.len();
    for group in 0..conv.groups {
        let order = weights.order.iter().filter(|c| **c / of_group == group);
        let order: Vec<usize> = order.copied().collect();
        for window in 0..windows {
            let at = turn * windows + window;
            let weights = &weights.channels[order[at / 2 % order.len()]];
            let image = window / (ys.len() * xs.len());
            let corner = [ys[window / xs.len() % ys.len()], xs[window % xs.len()]];
            for (i, w) in weights.iter().enumerate() {
                let tap = [i / kw % kh, i % kw];
                let place = [0, 1].map(|a| corner[a] + (tap[a] * conv.dilations[a]) as isize);
                let inside = |a: usize| (0..shape[2 + a] as isize).contains(&place[a]);
                if inside(0) && inside(1) {
                    let channel = image * shape[1] + group * per_group + i / (kh * kw);
                    let row = channel * shape[2] + place[0] as usize;
                    x[row * shape[3] + place[1] as usize] = end(ends, *w, at.is_multiple_of(2));
                }
            }
        }
    }
}

/// Rows take channels in turn, each its largest and its smallest sum.
fn bend_rows(shape: &[usize], weights: &Weights, turn: usize, ends: [i32; 2], x: &mut [i32]) {
    let depth = shape[shape.len() - 1];
    let rows = x.len() / depth.max(1);
    for (row, x) in x.chunks_mut(depth.max(1)).enumerate() {
        let at = turn * rows + row;
        let weights = &weights.channels[weights.order[at / 2 % weights.order.len()]];
        for (x, w) in x.iter_mut().zip(weights) {
            *x = end(ends, *w, at.is_multiple_of(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use qcc_compiler::integer;
    use qcc_compiler::ir::{Clamp, IntType};
    use qcc_compiler::ops::Pads;

    #[test]
    fn sums_reach_their_bounds() {
        // w = [3, -2] and [-5, 1] over activations of 0..=255 that stand for themselves.
        let mut graph = Graph::new(1);
        let unit = QuantParams::per_tensor(IntType::U8, 1.0, 0);
        let x = graph.input(&[1, 2, 1, 2], unit);
        let w = QuantParams::symmetric_per_channel(IntType::I8, 0, vec![1.0, 1.0]);
        let w = graph.constant(&[2, 2, 1, 1], w);
        graph.model[w].value = Some(Array::i32([2, 2, 1, 1], vec![3, -2, -5, 1]));
        let wide = IntType {
            bits: 16,
            signed: true,
        };
        let conv = Conv {
            strides: [1, 1],
            pads: Pads::default(),
            dilations: [1, 1],
            groups: 1,
            activation: Clamp::NONE,
        };
        let y = graph.node(conv, &[x, w], QuantParams::per_tensor(wide, 1.0, 0));
        let model = graph.finish(&[y]);
        let inputs = samples(&model, 1, 3);
        let sums = |i: usize| {
            integer::run(&model, &inputs[i]).unwrap()[0]
                .quantized()
                .to_vec()
        };
        // Channel 1 is heavier: pixel 0 has its largest sum, pixel 1 its smallest; channel 0 follows.
        assert_eq!(sums(0)[2..], [255, -5 * 255]);
        assert_eq!(sums(1)[..2], [3 * 255, -2 * 255]);
    }
}
