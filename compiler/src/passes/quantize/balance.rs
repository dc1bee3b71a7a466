//! Rounding without samples: all that is known of activations is that neighbours resemble each other and that most
//! have one sign, so that errors of one sign add up in every sum (SQuant, arXiv 2202.07471).
//!
//! The errors of each kernel, the weights of one input channel in one sum, and then those of the whole sum add up to
//! half a step at most: weights next to the middle between two integers take the other one.

use super::rounding::{Grid, Lines};

/// Changes `integers`, the nearest to `weights`, so that errors cancel. `kernel` weights in a row share an input.
pub(super) fn balance(
    lines: &Lines,
    kernel: usize,
    weights: &[f32],
    grids: &[Grid],
    integers: &mut [i32],
) {
    for line in lines.all(weights.len()) {
        let Some(grid) = line.first().map(|i| &grids[lines.output(*i)]) else {
            continue;
        };
        let rounded = line
            .iter()
            .map(|i| Rounded::of(grid, weights[*i], integers[*i]));
        let mut rounded: Vec<Rounded> = rounded.collect();
        for kernel in rounded.chunks_mut(kernel) {
            settle(grid, kernel);
        }
        settle(grid, &mut rounded);
        for (i, rounded) in line.into_iter().zip(rounded) {
            integers[i] = rounded.integer;
        }
    }
}

/// A weight on its grid.
struct Rounded {
    integer: i32,
    /// The integer less the weight, in steps.
    error: f64,
}

impl Rounded {
    fn of(grid: &Grid, weight: f32, integer: i32) -> Rounded {
        let steps = f64::from(weight) / f64::from(grid.scale);
        Rounded {
            integer,
            error: f64::from(integer - grid.zero_point) - steps,
        }
    }
}

/// Moves weights, the one with the largest error first and each by one step, until the errors add up to half a step
/// at most, or all that may move have moved.
fn settle(grid: &Grid, weights: &mut [Rounded]) {
    let sum: f64 = weights.iter().map(|w| w.error).sum();
    let step = if sum > 0.0 { 1 } else { -1 };
    let along = |w: &Rounded| w.error * f64::from(step);
    // What has moved already errs the other way.
    let in_use = |w: &Rounded| (grid.low..=grid.high).contains(&(w.integer - step));
    let mut movable: Vec<usize> = (0..weights.len())
        .filter(|i| along(&weights[*i]) > 0.0 && in_use(&weights[*i]))
        .collect();
    // Stable: equal errors keep their order.
    movable.sort_by(|a, b| along(&weights[*b]).total_cmp(&along(&weights[*a])));
    for i in movable.into_iter().take(sum.abs().round() as usize) {
        weights[i].integer -= step;
        weights[i].error -= f64::from(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid {
        scale: 0.5,
        zero_point: 0,
        low: -7,
        high: 7,
    };

    fn balanced(kernel: usize, weights: &[f32]) -> Vec<i32> {
        let mut integers: Vec<i32> = weights.iter().map(|w| GRID.nearest(*w)).collect();
        let lines = Lines::rows(weights.len(), 1);
        balance(&lines, kernel, weights, &[GRID], &mut integers);
        integers
    }

    #[test]
    fn errors_of_one_sign_cancel() {
        // Each 0.4 steps below an integer: rounded up all four err by 1.6 steps.
        assert_eq!(balanced(4, &[0.8, 0.8, 0.8, 0.8]), [1, 1, 2, 2]);
        // The one nearest to the middle moves first.
        assert_eq!(balanced(4, &[0.8, 0.76, 0.85, 0.9]), [2, 1, 2, 2]);
        // Errors that cancel stay.
        assert_eq!(balanced(4, &[0.8, 0.7, 0.8, 0.7]), [2, 1, 2, 1]);
    }

    #[test]
    fn kernels_come_before_the_sum() {
        // The first kernel errs by +0.8 steps, the second by -0.8: together by nothing.
        assert_eq!(balanced(2, &[0.8, 0.8, 0.7, 0.7]), [1, 2, 2, 1]);
        assert_eq!(balanced(4, &[0.8, 0.8, 0.7, 0.7]), [2, 2, 1, 1]);
        // Kernels of one weight are never off by more than half a step; their sum is.
        assert_eq!(balanced(1, &[0.8, 0.8, 0.8, 0.8]), [1, 1, 2, 2]);
    }

    #[test]
    fn no_integer_leaves_its_grid() {
        // The largest magnitude rounds down and cannot move up.
        assert_eq!(balanced(2, &[3.7, 3.7]), [7, 7]);
        assert_eq!(balanced(2, &[-3.7, -3.7]), [-7, -7]);
    }
}
