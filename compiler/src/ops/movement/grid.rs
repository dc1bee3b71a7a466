//! Walking over positions of an array in row-major order of another shape.

use crate::ir::{Array, strides};
use crate::ops::broadcast;

/// Flat positions that are a sum of one term an axis, in row-major order.
pub(super) struct Grid {
    /// For each axis, what each index adds.
    terms: Vec<Vec<usize>>,
    index: Vec<usize>,
    /// The sum over all axes but the last.
    base: usize,
    left: usize,
}

impl Grid {
    /// The positions of an array of shape `shape` when axis `i` of the walk takes the indices `picks[i]`
    /// of the array's axis `i`.
    pub(super) fn picks(shape: &[usize], picks: impl IntoIterator<Item = Vec<usize>>) -> Grid {
        let terms = picks.into_iter().zip(strides(shape));
        Grid::new(
            terms
                .map(|(pick, stride)| pick.into_iter().map(|i| i * stride).collect())
                .collect(),
        )
    }

    /// Positions from the terms of each axis.
    pub(super) fn new(mut terms: Vec<Vec<usize>>) -> Grid {
        if terms.is_empty() {
            terms.push(vec![0]);
        }
        let left = terms.iter().map(Vec::len).product();
        let mut grid = Grid {
            index: vec![0; terms.len()],
            terms,
            base: 0,
            left,
        };
        if left > 0 {
            grid.base = grid.outer();
        }
        grid
    }

    fn outer(&self) -> usize {
        let axes = self.terms.iter().zip(&self.index);
        axes.take(self.terms.len() - 1).map(|(t, i)| t[*i]).sum()
    }

    /// Moves to the next row: the last axis starts over, the others count up.
    fn carry(&mut self) {
        for axis in (0..self.index.len()).rev() {
            self.index[axis] += 1;
            if self.index[axis] < self.terms[axis].len() {
                break;
            }
            self.index[axis] = 0;
        }
        self.base = self.outer();
    }
}

impl Iterator for Grid {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let last = self.terms.len() - 1;
        let position = self.base + self.terms[last][self.index[last]];
        if self.index[last] + 1 < self.terms[last].len() {
            self.index[last] += 1;
        } else if self.left > 0 {
            self.carry();
        }
        Some(position)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The elements whose index along each axis is among that axis's picks.
pub(super) fn picked(x: &Array, picks: Vec<Vec<usize>>) -> Array {
    let shape: Vec<usize> = picks.iter().map(Vec::len).collect();
    x.pick(shape, Grid::picks(&x.shape, picks))
}

/// The array repeated to a shape that it broadcasts to.
pub(in crate::ops) fn repeated(x: &Array, shape: &[usize]) -> Array {
    let strides = broadcast::repeated_strides(&x.shape, shape);
    let terms = shape.iter().zip(strides);
    let terms = terms.map(|(&extent, stride)| (0..extent).map(|i| i * stride).collect());
    x.pick(shape, Grid::new(terms.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_row_by_row() {
        let grid = Grid::picks(&[2, 3], [vec![1, 0], vec![0, 2, 2]]);
        assert_eq!(grid.collect::<Vec<_>>(), [3, 5, 5, 0, 2, 2]);
        let cube = Grid::picks(&[2, 2, 2], [vec![0, 1], vec![1], vec![0, 1]]);
        assert_eq!(cube.collect::<Vec<_>>(), [2, 3, 6, 7]);
    }

    #[test]
    fn a_scalar_has_one_position_and_an_empty_axis_none() {
        assert_eq!(Grid::picks(&[], []).collect::<Vec<_>>(), [0]);
        assert_eq!(Grid::picks(&[2, 3], [vec![], vec![0]]).count(), 0);
        assert_eq!(Grid::picks(&[2, 3], [vec![0], vec![]]).count(), 0);
    }
}
