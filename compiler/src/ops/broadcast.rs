//! NumPy's broadcasting of two arrays.

use crate::ir::strides;
use crate::{Result, bail};

/// The shape that two shapes broadcast to.
pub(crate) fn shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |s: &[usize], axis: usize| match (axis + s.len()).checked_sub(rank) {
        Some(own) => s[own],
        None => 1,
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        match (extent(a, axis), extent(b, axis)) {
            (m, n) if m == n => shape.push(m),
            (1, n) => shape.push(n),
            (m, 1) => shape.push(m),
            _ => bail!("shapes {a:?} and {b:?} do not broadcast"),
        }
    }
    Ok(shape)
}

/// Strides of an operand seen under the shape it broadcasts to: 0 along axes that repeat.
pub(crate) fn repeated_strides(own: &[usize], shape: &[usize]) -> Vec<usize> {
    let lead = shape.len() - own.len();
    let dense = strides(own);
    let stride = |axis: usize| match axis.checked_sub(lead) {
        Some(axis) if own[axis] != 1 => dense[axis],
        _ => 0,
    };
    (0..shape.len()).map(stride).collect()
}

/// `f(a, b)` over the shape that both broadcast to.
pub(crate) fn zip<T: Copy>(
    shape: &[usize],
    (a_shape, a): (&[usize], &[T]),
    (b_shape, b): (&[usize], &[T]),
    f: impl Fn(T, T) -> T,
) -> Vec<T> {
    if a_shape == b_shape {
        return a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
    }
    let size = shape.iter().product();
    let mut out = Vec::with_capacity(size);
    if size == 0 {
        return out;
    }
    let axes = merged(shape, a_shape, b_shape);
    let (&inner, outer) = axes.split_last().expect("merged keeps an axis");
    let mut index = vec![0; outer.len()];
    loop {
        let start = |operand: usize| -> usize {
            let steps = index.iter().zip(outer);
            steps.map(|(i, axis)| i * axis.strides[operand]).sum()
        };
        let (a, b) = (&a[start(0)..], &b[start(1)..]);
        let n = inner.extent;
        match inner.strides {
            [0, 0] => out.extend(std::iter::repeat_n(f(a[0], b[0]), n)),
            [0, _] => out.extend(b[..n].iter().map(|b| f(a[0], *b))),
            [_, 0] => out.extend(a[..n].iter().map(|a| f(*a, b[0]))),
            _ => out.extend(a[..n].iter().zip(&b[..n]).map(|(a, b)| f(*a, *b))),
        }
        // Count up the outer axes, the last one fastest.
        let Some(axis) = (0..outer.len()).rfind(|&i| index[i] + 1 < outer[i].extent) else {
            return out;
        };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// An axis of the result and how far each operand moves along it.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    strides: [usize; 2],
}

/// The axes of the result, neighbours joined where both operands walk through them in one stride.
/// Never empty; along the last axis every stride is 0 or 1.
fn merged(shape: &[usize], a: &[usize], b: &[usize]) -> Vec<Axis> {
    let (a, b) = (repeated_strides(a, shape), repeated_strides(b, shape));
    let mut axes: Vec<Axis> = vec![];
    for (i, &extent) in shape.iter().enumerate().filter(|(_, e)| **e != 1) {
        let strides = [a[i], b[i]];
        match axes.last_mut() {
            Some(last) if (0..2).all(|o| last.strides[o] == strides[o] * extent) => {
                last.extent *= extent;
                last.strides = strides;
            }
            _ => axes.push(Axis { extent, strides }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis {
            extent: 1,
            strides: [0, 0],
        });
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_align_at_the_last_axis() {
        assert_eq!(shape(&[2, 1, 4], &[3, 1]).unwrap(), [2, 3, 4]);
        assert_eq!(shape(&[], &[5]).unwrap(), [5]);
        assert_eq!(
            shape(&[2, 3], &[2]).unwrap_err().to_string(),
            "shapes [2, 3] and [2] do not broadcast"
        );
    }

    #[test]
    fn every_pairing_of_axes_is_walked() {
        let add = |a: i64, b: i64| a + b;
        let (a, b) = ([1, 2], [10, 20, 30]);
        let channel = zip(&[2, 3], (&[2, 1], &a), (&[3], &b), add);
        assert_eq!(channel, [11, 21, 31, 12, 22, 32]);
        let scalar = zip(&[3], (&[3], &b), (&[], &[7]), add);
        assert_eq!(scalar, [17, 27, 37]);
        let image: Vec<i64> = (0..8).collect();
        let middle = zip(
            &[2, 2, 2],
            (&[2, 2, 2], &image),
            (&[2, 1], &[100, 200]),
            add,
        );
        assert_eq!(middle, [100, 101, 202, 203, 104, 105, 206, 207]);
        let ones = zip(&[1, 1], (&[1], &[1]), (&[1, 1], &[2]), add);
        assert_eq!(ones, [3]);
    }
}
