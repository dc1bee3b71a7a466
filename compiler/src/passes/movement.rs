//! Fewer and simpler movements: what does nothing goes, two in a row become one, and what is a plain Reshape
//! or Slice becomes one.

use super::rewrite::{self, bypass, own_producer, subject};
use crate::Result;
use crate::ir::Model;
use crate::ops::{Gather, Op, Pool, Reduction, Reshape, Slice, Transpose};

/// Simplifies Reshape, Transpose, Slice, Gather, Pad, Concat and pools or resizes of one pixel.
pub(super) fn simplify(model: &mut Model) -> Result<usize> {
    rewrite::each(model, |model, position| {
        if does_nothing(model, position) {
            return Ok(bypass(model, position));
        }
        Ok(to_simpler(model, position) || merge(model, position))
    })
}

/// Whether a node's result is its operand, element by element.
fn does_nothing(model: &Model, position: usize) -> bool {
    let node = &model.nodes[position];
    // The bits of integers may have another meaning behind a Reshape.
    if model[subject(node)].ty.elem != model[node.output].ty.elem {
        return false;
    }
    let same_shape = || model[subject(node)].ty.shape == model[node.output].ty.shape;
    match &node.op {
        Op::Reshape(_) | Op::Resize(_) => same_shape(),
        Op::Transpose(op) => op.perm.iter().enumerate().all(|(i, axis)| i == *axis),
        Op::Slice(op) => same_shape() && op.steps.iter().all(|step| *step > 0),
        Op::Gather(op) => same_shape() && op.indices.iter().enumerate().all(|(i, at)| i == *at),
        Op::Pad(op) => op.before.iter().chain(&op.after).all(|n| *n == 0),
        Op::Concat(_) => node.inputs.len() == 1,
        Op::Pool(op) => *op == unit_pool(op) && same_shape(),
        _ => false,
    }
}

/// The pool of one element with the kind and size of another.
fn unit_pool(op: &Pool) -> Pool {
    Pool {
        kernel: [1, 1],
        strides: [1, 1],
        pads: Default::default(),
        ..op.clone()
    }
}

/// Rewrites a node to a movement that is known to be cheaper.
fn to_simpler(model: &mut Model, position: usize) -> bool {
    let node = &model.nodes[position];
    let shape = model[subject(node)].ty.shape.clone();
    let result = model[node.output].ty.shape.clone();
    let simpler: Op = match &node.op {
        Op::Transpose(op) if keeps_order(op, &shape) => Reshape { shape: result }.into(),
        Op::Reduce(op)
            if op.axes.iter().all(|axis| shape[*axis] == 1) && op.reduction != Reduction::Prod =>
        {
            Reshape { shape: result }.into()
        }
        Op::Gather(op) => match regular(op, &shape) {
            Some(slice) if slice.shape == result => slice.into(),
            _ => return false,
        },
        _ => return false,
    };
    model.nodes[position].op = simpler;
    true
}

/// Whether only axes of extent 1 change places with others.
fn keeps_order(op: &Transpose, shape: &[usize]) -> bool {
    let moved: Vec<usize> = op.perm.iter().copied().filter(|a| shape[*a] != 1).collect();
    moved.is_sorted()
}

/// The Slice that a Gather of equally spaced indices is.
fn regular(op: &Gather, shape: &[usize]) -> Option<Slice> {
    let (first, step) = match op.indices[..] {
        [first] => (first, 1),
        [first, second, ..] => (first, second as isize - first as isize),
        [] => return None,
    };
    let expected = |i: usize| first as isize + i as isize * step;
    let is_regular = (0..op.indices.len()).all(|i| expected(i) == op.indices[i] as isize);
    if step == 0 || !is_regular {
        return None;
    }
    let mut slice = Slice {
        starts: vec![0; shape.len()],
        steps: vec![1; shape.len()],
        shape: shape.to_vec(),
    };
    slice.starts[op.axis] = first;
    slice.steps[op.axis] = step;
    slice.shape[op.axis] = op.indices.len();
    Some(slice)
}

/// Joins a node with the movement of the same kind before it.
fn merge(model: &mut Model, position: usize) -> bool {
    let node = &model.nodes[position];
    let Some(x) = node.inputs.first().copied().flatten() else {
        return false;
    };
    let Some(producer) = model.producer(x) else {
        return false;
    };
    let first = &model.nodes[producer];
    let merged: Op = match (&first.op, &node.op) {
        (Op::Reshape(_), Op::Reshape(second)) => second.clone().into(),
        (Op::Transpose(first), Op::Transpose(second)) => {
            let perm = second.perm.iter().map(|axis| first.perm[*axis]);
            let perm = perm.collect();
            Transpose { perm }.into()
        }
        (Op::Slice(_), Op::Slice(_)) if own_producer(model, first.output).is_none() => {
            return false;
        }
        (Op::Slice(first), Op::Slice(second)) => sliced(first, second).into(),
        _ => return false,
    };
    let x = subject(first);
    let node = &mut model.nodes[position];
    node.op = merged;
    node.inputs = vec![Some(x)];
    true
}

fn sliced(first: &Slice, second: &Slice) -> Slice {
    let axes = 0..first.starts.len();
    let start = |axis: usize| {
        let inner = second.starts[axis] as isize * first.steps[axis];
        (first.starts[axis] as isize + inner) as usize
    };
    Slice {
        starts: axes.clone().map(start).collect(),
        steps: axes.map(|a| first.steps[a] * second.steps[a]).collect(),
        shape: second.shape.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::TensorId;
    use crate::passes::testing::{Sketch, rewritten};

    fn transpose(sketch: &mut Sketch, name: &str, x: TensorId, perm: &[usize]) -> TensorId {
        let perm = perm.to_vec();
        sketch.node(name, Transpose { perm }, &[x])
    }

    #[test]
    fn transposes_cancel() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 3, 4]);
        let nhwc = transpose(&mut sketch, "nhwc", x, &[0, 2, 3, 1]);
        let nchw = transpose(&mut sketch, "nchw", nhwc, &[0, 3, 1, 2]);
        let y = sketch.relu("y", nchw);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, simplify), ["Relu"]);
    }

    #[test]
    fn a_transpose_of_one_channel_is_a_reshape_and_reshapes_merge() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 5, 4, 1]);
        let nchw = transpose(&mut sketch, "nchw", x, &[0, 3, 1, 2]);
        let y = sketch.reshape("y", &[5, 4], nchw);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, simplify), ["Reshape"]);
    }

    #[test]
    fn an_output_keeps_its_name() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2, 3]);
        let positive = sketch.relu("positive", x);
        let y = sketch.reshape("y", &[2, 3], positive);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, simplify), ["Relu"]);
        assert_eq!(model.nodes[0].output, y);
    }

    #[test]
    fn a_regular_gather_is_a_slice_and_slices_merge() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[2, 7]);
        let odd = Gather {
            axis: 1,
            indices: vec![1, 3, 5],
            index_shape: vec![3],
        };
        let odd = sketch.node("odd", odd, &[x]);
        let last = Slice {
            starts: vec![0, 2],
            steps: vec![1, -2],
            shape: vec![2, 2],
        };
        let y = sketch.node("y", last, &[odd]);
        let mut model = sketch.model(&[y]);
        assert_eq!(rewritten(&mut model, simplify), ["Slice"]);
    }
}
