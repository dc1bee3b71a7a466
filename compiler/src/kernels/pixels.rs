//! The pixels of a result as loops, joined where every tensor involved allows it.

use crate::kernel::{Expr, Stmt, int, var};
use crate::kernels::View;

/// A loop over pixels; `strides` has one entry for each view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) var: &'static str,
    pub(crate) extent: usize,
    pub(crate) strides: Vec<usize>,
}

/// Loops over images, rows and pixels of a row, outermost first; the last one always exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) axes: Vec<Axis>,
}

impl Pixels {
    /// Over the pixels of `extent`; each view steps `scale` of its pixels (rows, columns) for one of them.
    pub(crate) fn new(extent: [usize; 4], views: &[(View, [usize; 2])]) -> Pixels {
        let [n, h, w, _] = extent;
        let axis = |var, extent, axis: usize| Axis {
            var,
            extent,
            strides: views
                .iter()
                .map(|(view, scale)| {
                    view.strides[axis] * if axis == 0 { 1 } else { scale[axis - 1] }
                })
                .collect(),
        };
        let mut axes: Vec<Axis> = vec![axis("n", n, 0), axis("h", h, 1), axis("w", w, 2)];
        let mut inner = axes.pop().expect("three axes");
        let mut joined = vec![];
        while let Some(outer) = axes.pop() {
            let follows = |(o, i): (&usize, &usize)| *o == i * inner.extent;
            if outer.extent == 1 {
                continue;
            }
            let joins = inner.extent == 1 || outer.strides.iter().zip(&inner.strides).all(follows);
            if joins && joined.is_empty() {
                let strides = if inner.extent == 1 {
                    outer.strides
                } else {
                    inner.strides
                };
                inner = Axis {
                    var: "w",
                    extent: outer.extent * inner.extent,
                    strides,
                };
            } else {
                joined.insert(0, outer);
            }
        }
        joined.push(inner);
        Pixels { axes: joined }
    }

    /// The loop that tiles cut.
    pub(crate) fn row(&self) -> &Axis {
        self.axes.last().expect("the last axis always exists")
    }

    /// The index of the loops' pixel in a view.
    pub(crate) fn index(&self, view: usize) -> Expr {
        let terms = self
            .axes
            .iter()
            .map(|axis| var(axis.var) * axis.strides[view] as i64);
        terms
            .reduce(|a, b| a + b)
            .expect("the last axis always exists")
    }

    /// `body` inside all loops but that of the row.
    pub(crate) fn outer(&self, mut body: Vec<Stmt>) -> Vec<Stmt> {
        for axis in self.axes.iter().rev().skip(1) {
            body = vec![counted(axis.var, 0, axis.extent, 1, body)];
        }
        body
    }
}

/// A loop.
pub(crate) fn counted(var: &str, start: usize, end: usize, step: usize, body: Vec<Stmt>) -> Stmt {
    Stmt::For {
        var: var.to_string(),
        start: int(start as i64),
        end: int(end as i64),
        step: step as i64,
        body,
    }
}

/// A number as an index.
pub(crate) fn size(value: usize) -> Expr {
    int(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_images_are_one_row() {
        let view = View::dense([2, 3, 5, 8]);
        let pixels = Pixels::new([2, 3, 5, 8], &[(view, [1, 1]), (view, [1, 1])]);
        assert_eq!(pixels.axes.len(), 1);
        assert_eq!(
            (pixels.row().extent, &pixels.row().strides),
            (30, &vec![8, 8])
        );
    }

    #[test]
    fn a_halo_separates_rows() {
        let padded = View {
            extent: [1, 3, 5, 8],
            strides: [5 * 7 * 8, 7 * 8, 8, 1],
        };
        let views = [(View::dense([1, 3, 5, 8]), [1, 1]), (padded, [1, 1])];
        let pixels = Pixels::new([1, 3, 5, 8], &views);
        let extents: Vec<_> = pixels.axes.iter().map(|a| a.extent).collect();
        assert_eq!(extents, [3, 5]);
    }

    #[test]
    fn a_column_is_a_row() {
        let views = [
            (View::dense([1, 6, 1, 8]), [2, 1]),
            (View::dense([1, 3, 1, 8]), [1, 1]),
        ];
        let pixels = Pixels::new([1, 3, 1, 8], &views);
        assert_eq!(
            (pixels.row().extent, &pixels.row().strides),
            (3, &vec![16, 8])
        );
    }
}
