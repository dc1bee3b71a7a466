//! Reduce, ArgMax and Softmax: elements along the axes that go are combined in row-major order.

use crate::Result;
use crate::ir::{Node, TensorId};
use crate::kernel::{Scalar, op};
use crate::kernels::fold::{Axis, Combine, Finish, Operand, Output, Step};
use crate::lower::real::{Folding, NOTHING, REALS, constant, memory};
use crate::lower::{Lowering, Place};
use crate::ops::{ArgMax, Reduce, Reduction, Softmax};
use qcc_runtime_support::functions::{self, Arithmetic};

/// A tensor as a kernel follows it: its place, and a step along each axis of the operand's shape.
#[derive(Clone)]
struct Strided {
    place: Place,
    steps: Vec<usize>,
}

/// The operand of a reduction and the axes that go.
struct Lines<'a> {
    shape: &'a [usize],
    x: Strided,
    gone: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(cx: &Lowering<'a>, x: TensorId, gone: &[usize]) -> Lines<'a> {
        let (place, steps) = cx.strided(x);
        Lines {
            shape: cx.shape(x),
            x: Strided { place, steps },
            gone: gone.to_vec(),
        }
    }

    /// The result of a node with an element for each line; `keeps` if axes that go stay with extent 1.
    fn result(&self, cx: &Lowering, y: TensorId, keeps: bool) -> Strided {
        let (place, own) = cx.strided(y);
        let step = |axis: usize| {
            let before = self.gone.iter().filter(|gone| **gone < axis).count();
            match self.gone.contains(&axis) {
                true => 0,
                false => own[axis - if keeps { 0 } else { before }],
            }
        };
        Strided {
            place,
            steps: (0..self.shape.len()).map(step).collect(),
        }
    }

    /// Memory for a number of each line.
    fn scratch(&self, cx: &mut Lowering) -> Strided {
        let mut steps = vec![0; self.shape.len()];
        let mut count = 1;
        // In the order of the operand's memory.
        let mut order: Vec<usize> = (0..self.shape.len()).collect();
        order.sort_by_key(|axis| self.x.steps[*axis]);
        for axis in order.into_iter().filter(|axis| !self.gone.contains(axis)) {
            steps[axis] = count;
            count *= self.shape[axis];
        }
        Strided {
            place: cx.scratch(Scalar::F32, count),
            steps,
        }
    }

    /// The axes of a kernel, those that stay in the order of the result's memory; then those that go.
    fn axes(&self, buffers: &[&Strided]) -> (Vec<Axis>, Vec<Axis>) {
        let along = |axis: &usize| Axis {
            extent: self.shape[*axis],
            steps: buffers.iter().map(|b| Step::By(b.steps[*axis])).collect(),
        };
        let (gone, mut kept): (Vec<usize>, Vec<usize>) =
            (0..self.shape.len()).partition(|axis| self.gone.contains(axis));
        let result = buffers.last().expect("a result");
        kept.sort_by_key(|axis| std::cmp::Reverse(result.steps[*axis]));
        (
            kept.iter().map(along).collect(),
            gone.iter().map(along).collect(),
        )
    }

    /// Combines the elements of each line.
    fn fold(
        &self,
        cx: &mut Lowering,
        (what, comment): (&str, &str),
        others: &[(&Strided, Operand)],
        (y, output): (&Strided, Output),
        (start, combine, finish): (f32, Combine, Finish),
    ) {
        let mut buffers = vec![&self.x];
        buffers.extend(others.iter().map(|(strided, _)| *strided));
        buffers.push(y);
        let (axes, combined) = self.axes(&buffers);
        let mut operands = vec![memory("x", Scalar::F32, true)];
        operands.extend(others.iter().map(|(_, operand)| operand.clone()));
        let in_memory = others.iter().filter(|(_, operand)| !operand.constant);
        let mut places = vec![self.x.place];
        places.extend(in_memory.map(|(strided, _)| strided.place));
        places.push(y.place);
        let folding = Folding {
            what,
            comment: vec![comment.to_string()],
            axes,
            combined: if combined.is_empty() {
                vec![once(operands.len())]
            } else {
                combined
            },
            operands,
            output,
            start,
            macs: 0,
        };
        folding.call(cx, &places, combine, finish);
    }

    /// The largest element of each line, into `y`.
    fn largest(&self, cx: &mut Lowering, y: &Strided) {
        let comment = format!(
            "The largest of {:?} along axes {:?}.",
            self.shape, self.gone
        );
        let combine: Combine = &|_, acc, v| op("max_f32", [v[0].clone(), acc]);
        let finish: Finish = &|_, acc, _| acc.expect("a line is combined");
        self.fold(
            cx,
            ("max", &comment),
            &[],
            (y, REALS),
            (f32::NEG_INFINITY, combine, finish),
        );
    }

    /// A function of each element and of the number of its line, into `y`.
    fn each(&self, cx: &mut Lowering, what: &str, of_line: &Strided, y: &Strided, f: Finish) {
        let same = y.place == self.x.place && y.steps == self.x.steps;
        let buffers = [&self.x, of_line, y];
        let whole = Lines {
            shape: self.shape,
            x: self.x.clone(),
            gone: vec![],
        };
        let (axes, _) = whole.axes(&buffers);
        let name = if same { "y" } else { "x" };
        let operands = vec![
            memory(name, Scalar::F32, false),
            memory("a", Scalar::F32, false),
        ];
        let mut places = vec![of_line.place, y.place];
        if !same {
            places.insert(0, self.x.place);
        }
        let folding = Folding {
            what,
            comment: vec![format!(
                "Each of {:?}, by its line along axes {:?}.",
                self.shape, self.gone
            )],
            axes,
            combined: vec![],
            operands,
            output: REALS,
            start: 0.0,
            macs: 0,
        };
        folding.call(cx, &places, NOTHING, f);
    }
}

/// An axis of one index, where nothing goes.
fn once(operands: usize) -> Axis {
    Axis {
        extent: 1,
        steps: vec![Step::By(0); operands],
    }
}

/// Mean, sum, product, maximum or minimum over some axes.
pub(super) fn reduce(cx: &mut Lowering, node: &Node, reduce: &Reduce) -> Result<()> {
    let x = node.inputs[0].expect("`infer` demands the operand");
    let lines = Lines::new(cx, x, &reduce.axes);
    let y = lines.result(cx, node.output, reduce.keep_axes);
    let count: usize = reduce.axes.iter().map(|axis| lines.shape[*axis]).product();
    let comment = format!("{:?} over axes {:?}.", lines.shape, reduce.axes);
    let (what, start, step) = match reduce.reduction {
        Reduction::Mean => ("mean", 0.0, "add_f32"),
        Reduction::Sum => ("sum", 0.0, "add_f32"),
        Reduction::Prod => ("product", 1.0, "mul_f32"),
        Reduction::Max => {
            lines.largest(cx, &y);
            return Ok(());
        }
        Reduction::Min => ("min", f32::INFINITY, "min_f32"),
    };
    let mean = reduce.reduction == Reduction::Mean;
    // Of a smaller element and the one so far the first is taken where it is less.
    let turned = reduce.reduction == Reduction::Min;
    let combine: Combine = &|_, acc, v| match turned {
        true => op(step, [v[0].clone(), acc]),
        false => op(step, [acc, v[0].clone()]),
    };
    let finish: Finish = &|m, acc, _| {
        let sum = acc.expect("a line is combined");
        if !mean {
            return sum;
        }
        let count = m.number(count as f32);
        m.div(&sum, &count)
    };
    lines.fold(
        cx,
        (what, &comment),
        &[],
        (&y, REALS),
        (start, combine, finish),
    );
    Ok(())
}

/// The index of the largest element along an axis: the first or the last that no element exceeds.
pub(super) fn arg_max(cx: &mut Lowering, node: &Node, arg_max: &ArgMax) -> Result<()> {
    let x = node.inputs[0].expect("`infer` demands the operand");
    let lines = Lines::new(cx, x, &[arg_max.axis]);
    let largest = lines.scratch(cx);
    lines.largest(cx, &largest);
    let y = lines.result(cx, node.output, arg_max.keep_axis);
    let extent = lines.shape[arg_max.axis];
    let indices: Vec<f32> = (0..extent).map(|i| i as f32).collect();
    let mut steps = vec![0; lines.shape.len()];
    steps[arg_max.axis] = 1;
    let index = Strided {
        place: y.place,
        steps,
    };
    let others = [
        (&largest, memory("a", Scalar::F32, true)),
        (&index, constant(cx, "indices", &indices, true)),
    ];
    let (start, step) = match arg_max.last {
        true => (0.0, "max_f32"),
        false => ((extent - 1) as f32, "min_f32"),
    };
    let combine: Combine = &|_, acc, v| {
        let index = op(step, [v[2].clone(), acc.clone()]);
        op("select_less_f32", [v[0].clone(), v[1].clone(), acc, index])
    };
    let finish: Finish = &|_, acc, _| acc.expect("a line is combined");
    let output = Output {
        scalar: Scalar::I32,
        zero_point: 0,
    };
    let comment = format!(
        "Where the largest of {:?} along axis {} lies.",
        lines.shape, arg_max.axis
    );
    lines.fold(
        cx,
        ("arg_max", &comment),
        &others,
        (&y, output),
        (start, combine, finish),
    );
    Ok(())
}

/// `e = exp(x − max)`, then `e / Σ e`.
pub(super) fn softmax(cx: &mut Lowering, node: &Node, softmax: &Softmax) -> Result<()> {
    let x = node.inputs[0].expect("`infer` demands the operand");
    let lines = Lines::new(cx, x, &[softmax.axis]);
    let of_line = lines.scratch(cx);
    lines.largest(cx, &of_line);
    let (place, steps) = cx.strided(node.output);
    let y = Strided { place, steps };
    lines.each(cx, "exp", &of_line, &y, &|m, _, v| {
        let below = m.sub(&v[0], &v[1]);
        functions::exp(m, &below)
    });
    let exponentials = Lines {
        x: y.clone(),
        ..lines
    };
    let comment = format!(
        "Sums of {:?} along axis {}.",
        exponentials.shape, softmax.axis
    );
    let combine: Combine = &|_, acc, v| op("add_f32", [acc, v[0].clone()]);
    let finish: Finish = &|_, acc, _| acc.expect("a line is combined");
    exponentials.fold(
        cx,
        ("sum", &comment),
        &[],
        (&of_line, REALS),
        (0.0, combine, finish),
    );
    exponentials.each(cx, "shares", &of_line, &y, &|m, _, v| m.div(&v[0], &v[1]));
    Ok(())
}
