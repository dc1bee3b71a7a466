//! Reductions over axes, ArgMax and ArgMin (<https://onnx.ai/onnx/operators/onnx__ReduceMean.html>).
//!
//! ReduceMean over the two image axes is imported as an average Pool, ArgMin as ArgMax of the negated operand.

use crate::Result;
use crate::bail;
use crate::ir::{Array, Data, Elem, IntType, TensorId, Type};
use crate::ops::export::{Exporter, Operand, int, named};
use crate::ops::import::operand;
use crate::ops::{
    Function, Import, Importer, Operator, Pool, PoolKind, Reshape, SourceNode, Unary, check,
};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[
    ("ReduceMean", |n, i| reduce(n, i, Reduction::Mean)),
    ("ReduceSum", |n, i| reduce(n, i, Reduction::Sum)),
    ("ReduceMax", |n, i| reduce(n, i, Reduction::Max)),
    ("ReduceMin", |n, i| reduce(n, i, Reduction::Min)),
    ("ReduceProd", |n, i| reduce(n, i, Reduction::Prod)),
    ("ArgMax", arg_max),
    ("ArgMin", arg_min),
];

/// Reduces some axes. Operand: `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// How.
    pub reduction: Reduction,
    /// Which axes, ascending.
    pub axes: Vec<usize>,
    /// Whether reduced axes stay, with extent 1.
    pub keep_axes: bool,
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
    Prod,
}

/// Index of the largest element along an axis. Operand: `x`; the result is i64.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgMax {
    /// Which axis.
    pub axis: usize,
    /// Whether the axis stays, with extent 1.
    pub keep_axis: bool,
    /// Which of equal elements wins: the last one, or the first.
    pub last: bool,
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        match self.reduction {
            Reduction::Mean => "ReduceMean",
            Reduction::Sum => "ReduceSum",
            Reduction::Max => "ReduceMax",
            Reduction::Min => "ReduceMin",
            Reduction::Prod => "ReduceProd",
        }
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let elem = match x.elem {
            Elem::Float | Elem::Quantized(_) => Elem::Float,
            Elem::Int(int) => Elem::Int(int),
            Elem::Bool => bail!("{} of truth values has no meaning", self.name()),
        };
        if let Some(axis) = self.axes.iter().find(|axis| **axis >= x.shape.len()) {
            bail!(
                "axis {axis} does not exist in a tensor of rank {}",
                x.shape.len()
            )
        }
        check::typed(self.reduced(&x.shape), elem)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let shape = self.reduced(&x.shape);
        if let Data::I64(v) = &x.data {
            return Array::i64(shape, self.integers(&x.shape, v));
        }
        let wide = x.reals().iter().map(|x| f64::from(*x)).collect();
        let mut y = match self.reduction {
            Reduction::Mean | Reduction::Sum => self.fold(&x.shape, wide, 0.0, |a, b| a + b),
            Reduction::Max => self.fold(&x.shape, wide, f64::NEG_INFINITY, f64::max),
            Reduction::Min => self.fold(&x.shape, wide, f64::INFINITY, f64::min),
            Reduction::Prod => self.fold(&x.shape, wide, 1.0, |a, b| a * b),
        };
        if self.reduction == Reduction::Mean {
            let count = self.count(&x.shape) as f64;
            y.iter_mut().for_each(|y| *y /= count);
        }
        Array::f32(shape, y.into_iter().map(|y| y as f32).collect())
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let axes = to.ints("axes", self.axes.iter().map(|axis| *axis as i64));
        let keep = ("keepdims", int(usize::from(self.keep_axes)));
        to.node(self.name(), &[named(operands, 0), &axes], vec![keep])
    }
}

impl Reduce {
    fn reduced(&self, shape: &[usize]) -> Vec<usize> {
        let axes = shape.iter().enumerate();
        axes.filter(|(axis, _)| self.keep_axes || !self.axes.contains(axis))
            .map(|(axis, extent)| {
                if self.axes.contains(&axis) {
                    1
                } else {
                    *extent
                }
            })
            .collect()
    }

    /// Elements that become one.
    fn count(&self, shape: &[usize]) -> usize {
        self.axes.iter().map(|axis| shape[*axis]).product()
    }

    fn integers(&self, shape: &[usize], x: &[i64]) -> Vec<i64> {
        let x = x.to_vec();
        match self.reduction {
            Reduction::Sum => self.fold(shape, x, 0, i64::wrapping_add),
            Reduction::Max => self.fold(shape, x, i64::MIN, i64::max),
            Reduction::Min => self.fold(shape, x, i64::MAX, i64::min),
            Reduction::Prod => self.fold(shape, x, 1, i64::wrapping_mul),
            Reduction::Mean => {
                let sums = self.fold(shape, x, 0, i64::wrapping_add);
                let count = self.count(shape).max(1) as i64;
                sums.into_iter().map(|sum| sum / count).collect()
            }
        }
    }

    /// Combines along one axis after the other.
    fn fold<T: Copy>(&self, shape: &[usize], x: Vec<T>, first: T, f: impl Fn(T, T) -> T) -> Vec<T> {
        let mut shape = shape.to_vec();
        self.axes.iter().rev().fold(x, |x, axis| {
            let inner: usize = shape[axis + 1..].iter().product();
            let extent = std::mem::replace(&mut shape[*axis], 1);
            if inner == 1 && extent > 0 {
                let rows = x.chunks_exact(extent);
                return rows
                    .map(|row| row.iter().fold(first, |y, x| f(y, *x)))
                    .collect();
            }
            let mut y = vec![first; shape.iter().product()];
            for (index, row) in x.chunks_exact(inner.max(1)).enumerate() {
                let start = index / extent * inner;
                let line = &mut y[start..][..inner];
                line.iter_mut().zip(row).for_each(|(y, x)| *y = f(*y, *x));
            }
            y
        })
    }
}

impl Operator for ArgMax {
    fn name(&self) -> &'static str {
        "ArgMax"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let mut shape = x.shape.clone();
        match shape.get_mut(self.axis) {
            None => bail!(
                "axis {} does not exist in a tensor of rank {}",
                self.axis,
                shape.len()
            ),
            Some(0) => bail!("axis {} has no element to choose from", self.axis),
            Some(extent) => *extent = 1,
        }
        if !self.keep_axis {
            shape.remove(self.axis);
        }
        check::typed(shape, Elem::Int(IntType::I64))
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        let indices = match &x.data {
            Data::I64(v) => self.best(&x.shape, v),
            _ => self.best(&x.shape, x.reals()),
        };
        let mut shape = x.shape.clone();
        shape[self.axis] = 1;
        if !self.keep_axis {
            shape.remove(self.axis);
        }
        Array::i64(shape, indices)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let attributes = vec![
            ("axis", int(self.axis)),
            ("keepdims", int(usize::from(self.keep_axis))),
            ("select_last_index", int(usize::from(self.last))),
        ];
        to.node("ArgMax", &[named(operands, 0)], attributes)
    }
}

impl ArgMax {
    fn best<T: PartialOrd>(&self, shape: &[usize], x: &[T]) -> Vec<i64> {
        let extent = shape[self.axis];
        let inner: usize = shape[self.axis + 1..].iter().product();
        let beats = |x: &T, best: &T| x > best || (self.last && x == best);
        let mut indices = vec![];
        for block in x.chunks_exact((extent * inner).max(1)) {
            for column in 0..inner {
                let at = |i: usize| &block[i * inner + column];
                let best =
                    (1..extent).fold(0, |best, i| if beats(at(i), at(best)) { i } else { best });
                indices.push(best as i64);
            }
        }
        indices
    }
}

fn reduce(
    node: &SourceNode,
    importer: &mut Importer,
    reduction: Reduction,
) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let Some(axes) = axes(node, importer)? else {
        return Ok(vec![x]);
    };
    let keep_axes = node.int("keepdims", 1)? != 0;
    let op = Reduce {
        reduction,
        axes,
        keep_axes,
    };
    if reduction != Reduction::Mean || !is_image_mean(&op.axes, importer.ty(x)) {
        return Ok(vec![importer.apply(op, &[x])?]);
    }
    let shape = importer.shape(x).to_vec();
    let mean = PoolKind::Average {
        count_include_pad: false,
    };
    let y = importer.apply(Pool::whole(mean, [shape[2], shape[3]]), &[x])?;
    if keep_axes {
        return Ok(vec![y]);
    }
    let shape = op.reduced(&shape);
    Ok(vec![importer.apply(Reshape { shape }, &[y])?])
}

/// The axes in ascending order, all of them where none are stated; `None` where that means no reduction.
fn axes(node: &SourceNode, importer: &Importer) -> Result<Option<Vec<usize>>> {
    let rank = importer.shape(node.input(0)?).len();
    // Axes became an operand in opset 13 for ReduceSum, in opset 18 for the others.
    let stated = match node.optional(1) {
        Some(id) => Some(importer.known_ints(id, "axes")?),
        None => node.ints("axes")?.map(<[i64]>::to_vec),
    };
    let Some(stated) = stated.filter(|axes| !axes.is_empty()) else {
        let nothing = node.int("noop_with_empty_axes", 0)? != 0;
        return Ok((!nothing).then(|| (0..rank).collect()));
    };
    let axes = stated.iter().map(|axis| node.axis(*axis, rank));
    let mut axes = axes.collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(Some(axes))
}

fn is_image_mean(axes: &[usize], x: &Type) -> bool {
    axes == [2, 3] && x.shape.len() == 4 && x.elem == Elem::Float && !x.is_empty()
}

fn arg_max(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    pick(node, importer, x)
}

/// The smallest element is the largest of the negated ones.
fn arg_min(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let negate = Unary {
        function: Function::Neg,
    };
    let x = importer.apply(negate, &[node.input(0)?])?;
    pick(node, importer, x)
}

fn pick(node: &SourceNode, importer: &mut Importer, x: TensorId) -> Result<Vec<TensorId>> {
    let op = ArgMax {
        axis: node.axis(node.int("axis", 0)?, importer.shape(x).len())?,
        keep_axis: node.int("keepdims", 1)? != 0,
        last: node.int("select_last_index", 0)? != 0,
    };
    Ok(vec![importer.apply(op, &[x])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    #[test]
    fn several_axes_at_once() {
        let cases = [
            ("ReduceMean", [4.5, 6.5]),
            ("ReduceSum", [18.0, 26.0]),
            ("ReduceMax", [8.0, 10.0]),
            ("ReduceMin", [1.0, 3.0]),
            (
                "ReduceProd",
                [1.0 * 2.0 * 7.0 * 8.0, 3.0 * 4.0 * 9.0 * 10.0],
            ),
        ];
        let x = Array::f32([2, 2, 2], vec![1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 9.0, 10.0]);
        for (name, expected) in cases {
            let node = |opset| OneNode::new(name, opset).operand(x.clone());
            let attribute = node(11).ints("axes", &[-1, 0]).int("keepdims", 0);
            assert_eq!(
                attribute.folded().unwrap(),
                Array::f32([2], expected.to_vec()),
                "{name}"
            );
            let operand = node(18).operand(Array::i64([2], vec![0, 2]));
            assert_eq!(
                operand.folded().unwrap(),
                Array::f32([1, 2, 1], expected.to_vec()),
                "{name}"
            );
        }
    }

    #[test]
    fn no_axes_are_all_or_none() {
        let node = || OneNode::new("ReduceSum", 13).operand(Array::i64([2, 2], vec![1, 2, 3, 4]));
        assert_eq!(node().folded().unwrap(), Array::i64([1, 1], vec![10]));
        let same = node().int("noop_with_empty_axes", 1).folded().unwrap();
        assert_eq!(same, Array::i64([2, 2], vec![1, 2, 3, 4]));
    }

    #[test]
    fn empty_tensors_have_neutral_sums() {
        let x = Array::f32([2, 0], vec![]);
        let y = OneNode::new("ReduceSum", 11)
            .ints("axes", &[1])
            .operand(x)
            .folded()
            .unwrap();
        assert_eq!(y, Array::f32([2, 1], vec![0.0, 0.0]));
    }

    #[test]
    fn the_mean_of_an_image_is_a_pool() {
        let (model, outputs) = OneNode::new("ReduceMean", 11)
            .ints("axes", &[-2, -1])
            .int("keepdims", 0)
            .inputs()
            .operand(counting(&[1, 3, 4, 5]))
            .import()
            .unwrap();
        let names: Vec<_> = model.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["AveragePool", "Reshape"]);
        assert_eq!(model[outputs[0]].ty.shape, [1, 3]);
    }

    #[test]
    fn the_first_or_last_of_equals_wins() {
        let x = Array::f32([2, 3], vec![1.0, 5.0, 5.0, 0.0, -1.0, -1.0]);
        let node = |name, last| {
            let node = OneNode::new(name, 13)
                .int("axis", -1)
                .int("select_last_index", last);
            node.int("keepdims", 0).operand(x.clone()).folded().unwrap()
        };
        assert_eq!(node("ArgMax", 0), Array::i64([2], vec![1, 0]));
        assert_eq!(node("ArgMax", 1), Array::i64([2], vec![2, 0]));
        assert_eq!(node("ArgMin", 0), Array::i64([2], vec![0, 1]));
        assert_eq!(node("ArgMin", 1), Array::i64([2], vec![0, 2]));
        let rows = OneNode::new("ArgMax", 13)
            .operand(x.clone())
            .folded()
            .unwrap();
        assert_eq!(rows, Array::i64([1, 3], vec![0, 0, 0]));
    }
}
