//! Loops over an index space that several buffers share, each with strides of its own.

use crate::kernel::{Expr, Stmt, int, var};
use crate::target::Target;

/// An index space, reduced to as few and as long axes as the strides allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nest {
    /// Outermost first; none has extent 1.
    axes: Vec<Axis>,
    operands: usize,
}

/// One axis of an index space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// How many indices.
    pub(crate) extent: usize,
    /// Elements from one index to the next, for each buffer; 0 where the buffer is broadcast.
    pub(crate) strides: Vec<usize>,
}

impl Nest {
    /// The space `extents`, walked in the order in which the last buffer lies in memory.
    pub(crate) fn new(extents: &[usize], strides: &[&[usize]]) -> Nest {
        let mut axes: Vec<Axis> = extents
            .iter()
            .enumerate()
            .filter(|(_, extent)| **extent != 1)
            .map(|(axis, extent)| Axis {
                extent: *extent,
                strides: strides.iter().map(|s| s[axis]).collect(),
            })
            .collect();
        axes.sort_by_key(|axis| std::cmp::Reverse(axis.strides.last().copied()));
        let mut merged: Vec<Axis> = vec![];
        for axis in axes {
            match merged.last_mut() {
                Some(outer) if outer.continues(&axis) => {
                    outer.extent *= axis.extent;
                    outer.strides = axis.strides;
                }
                _ => merged.push(axis),
            }
        }
        Nest {
            axes: merged,
            operands: strides.len(),
        }
    }

    /// The innermost axis, and loops over the others; of extent 1 if there is no axis.
    pub(crate) fn split_inner(mut self) -> (Nest, Axis) {
        let inner = self.axes.pop().unwrap_or_else(|| Axis {
            extent: 1,
            strides: vec![1; self.operands],
        });
        (self, inner)
    }

    /// Loops around `body`, which is given the position in each buffer.
    pub(crate) fn wrap(&self, body: impl FnOnce(&[Expr]) -> Vec<Stmt>) -> Vec<Stmt> {
        let mut positions = vec![int(0); self.operands];
        for (depth, axis) in self.axes.iter().enumerate() {
            for (position, stride) in positions.iter_mut().zip(&axis.strides) {
                *position = position.clone() + var(counter(depth)) * *stride as i64;
            }
        }
        let mut body = body(&positions);
        for (depth, axis) in self.axes.iter().enumerate().rev() {
            body = vec![Stmt::For {
                var: counter(depth),
                start: int(0),
                end: int(axis.extent as i64),
                step: 1,
                body,
            }];
        }
        body
    }
}

/// Extents up to this are unrolled, so that the channels of a picture need no loop.
const UNROLLED: usize = 4;

impl Axis {
    /// Steps for each index; `body` is given the position in each buffer, which starts at `positions`.
    pub(crate) fn each(
        &self,
        positions: &[Expr],
        body: impl Fn(&[Expr]) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        let step = |i: Expr| {
            let each = positions.iter().zip(&self.strides);
            let each: Vec<_> = each
                .map(|(position, stride)| position.clone() + i.clone() * *stride as i64)
                .collect();
            body(&each)
        };
        if self.extent <= UNROLLED {
            return (0..self.extent).flat_map(|i| step(int(i as i64))).collect();
        }
        vec![Stmt::For {
            var: "j".to_string(),
            start: int(0),
            end: int(self.extent as i64),
            step: 1,
            body: step(var("j")),
        }]
    }

    /// Whether an axis inside this one makes both together one axis.
    fn continues(&self, inner: &Axis) -> bool {
        let mut pairs = self.strides.iter().zip(&inner.strides);
        pairs.all(|(outer, stride)| *outer == stride * inner.extent)
    }
}

fn counter(depth: usize) -> String {
    format!("i{depth}")
}

/// One step of a [`sweep`].
pub(crate) struct Piece {
    /// Index of the first element.
    pub(crate) at: Expr,
    /// How many elements, where that is less than the full width.
    pub(crate) part: Option<usize>,
}

impl Piece {
    /// A name that the other step's `let` in the same scope does not have.
    pub(crate) fn name(&self, name: &str) -> String {
        match self.part {
            None => name.to_string(),
            Some(_) => format!("{name}_tail"),
        }
    }

    /// The operation `name`, or its variant for less than a vector.
    pub(crate) fn op(
        &self,
        whole: &'static str,
        part: &'static str,
        args: impl Into<Vec<Expr>>,
    ) -> Expr {
        let mut args = args.into();
        match self.part {
            None => crate::kernel::op(whole, args),
            Some(n) => {
                args.push(int(n as i64));
                crate::kernel::op(part, args)
            }
        }
    }
}

/// Visits `count` elements in byte vectors by `wide`, and those that fill none in vectors of i32 by `narrow`,
/// the last in a smaller piece: a part of a byte vector is slow to load.
pub(crate) fn sweep_bytes(
    count: usize,
    target: &Target,
    wide: impl Fn(&Piece) -> Vec<Stmt>,
    narrow: impl Fn(&Piece) -> Vec<Stmt>,
) -> Vec<Stmt> {
    let whole = count / target.bytes * target.bytes;
    let mut steps = sweep("j", whole, target.bytes, wide);
    for at in (whole..count).step_by(target.lanes) {
        let part = (count - at < target.lanes).then_some(count - at);
        let at = int(at as i64);
        steps.extend(narrow(&Piece { at, part }));
    }
    steps
}

/// Visits `count` elements, `width` at a time, and the rest in a last smaller piece.
pub(crate) fn sweep(
    counter: &str,
    count: usize,
    width: usize,
    body: impl Fn(&Piece) -> Vec<Stmt>,
) -> Vec<Stmt> {
    let whole = count / width * width;
    let mut steps = vec![];
    if whole == width {
        let at = int(0);
        steps.extend(body(&Piece { at, part: None }));
    } else if whole > 0 {
        let at = var(counter);
        steps.push(Stmt::For {
            var: counter.to_string(),
            start: int(0),
            end: int(whole as i64),
            step: width as i64,
            body: body(&Piece { at, part: None }),
        });
    }
    if whole < count {
        let at = int(whole as i64);
        let part = Some(count - whole);
        steps.extend(body(&Piece { at, part }));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_buffers_are_one_axis() {
        let nest = Nest::new(&[2, 3, 4], &[&[12, 4, 1], &[12, 4, 1]]);
        let (outer, inner) = nest.split_inner();
        assert_eq!((outer.axes.len(), inner.extent), (0, 24));
    }

    #[test]
    fn a_transpose_keeps_the_order_of_the_result() {
        // [H·W, C] of channels-last memory from [C, H, W].
        let nest = Nest::new(&[3, 4, 5], &[&[20, 5, 1], &[1, 15, 3]]);
        assert_eq!(
            nest.axes,
            [
                Axis {
                    extent: 20,
                    strides: vec![1, 3]
                },
                Axis {
                    extent: 3,
                    strides: vec![20, 1]
                }
            ]
        );
    }
}
