//! Rounding that learns from samples: weights are rounded one after the other, and the error of each is made good
//! by those after it, as far as the moments `H = Σ x·xᵀ` of their inputs allow (GPTQ, arXiv 2210.17323).
//!
//! With `H = Uᵀ·U`, `U` upper triangular, the error of a sum over the samples is `‖U·(q − w)‖²`. Row `i` of `U` sees
//! the weights from `i` on, so the last weight is rounded first; each one then to the integer that keeps its own
//! row small, given the errors behind it. Weights of powerful inputs go first.

use rayon::prelude::*;

use super::rounding::{Grid, Lines};
use crate::ir::Moments;

/// This share of the mean power is added to that of each input, so that inputs that always move together do not
/// take each other's errors beyond reason; more where few windows were seen.
const DAMPING: f64 = 0.01;

/// Changes integers where that lessens the error over the samples.
pub(super) fn learn(
    moments: &Moments,
    lines: &Lines,
    weights: &[f32],
    grids: &[Grid],
    integers: &mut [i32],
) {
    let taps = moments.taps;
    let groups = moments.products.par_chunks_exact(taps * taps).enumerate();
    let learned: Vec<_> = groups
        .map(|(group, products)| {
            let factor = Factor::of(products, taps, moments.windows);
            let each = (0..lines.count).into_par_iter();
            let line = |line: usize| {
                let at = |tap: usize| lines.weight(group, line, tap);
                let w: Vec<f32> = (0..taps).map(|tap| weights[at(tap)]).collect();
                let nearest: Vec<i32> = (0..taps).map(|tap| integers[at(tap)]).collect();
                let grid = &grids[lines.output(at(0))];
                (group, line, factor.round(&w, nearest, grid))
            };
            each.map(line).collect::<Vec<_>>()
        })
        .collect();
    for (group, line, rounded) in learned.into_iter().flatten() {
        for (tap, q) in rounded.into_iter().enumerate() {
            integers[lines.weight(group, line, tap)] = q;
        }
    }
}

/// `U` with `Uᵀ·U = H`, and the order of the inputs in it.
struct Factor {
    order: Vec<usize>,
    /// Row-major; nothing below the diagonal is used.
    rows: Vec<f64>,
}

impl Factor {
    fn of(products: &[f32], taps: usize, windows: u64) -> Factor {
        let power = |tap: usize| products[tap * taps + tap];
        let mut order: Vec<usize> = (0..taps).collect();
        // Stable: equal powers keep their order.
        order.sort_by(|a, b| power(*a).total_cmp(&power(*b)));
        let mean = (0..taps).map(|tap| f64::from(power(tap))).sum::<f64>() / taps as f64;
        let seen = taps as f64 / windows.max(1) as f64;
        let damping = mean * DAMPING * (1.0 + seen);
        let mut rows: Vec<f64> = order
            .iter()
            .flat_map(|i| order.iter().map(move |j| f64::from(products[i * taps + j])))
            .collect();
        for i in 0..taps {
            // Inputs that are always 0 have no say, and no influence.
            rows[i * taps + i] += if damping > 0.0 { damping } else { 1.0 };
        }
        factorise(&mut rows, taps);
        Factor { order, rows }
    }

    /// The integers of one line of weights: those learned, or the nearest where these have the smaller error.
    fn round(&self, weights: &[f32], nearest: Vec<i32>, grid: &Grid) -> Vec<i32> {
        let taps = weights.len();
        let mut learned = vec![0; taps];
        let mut errors = vec![0.0f64; taps];
        let mut squares = 0.0;
        for i in (0..taps).rev() {
            let tap = self.order[i];
            let row = &self.rows[i * taps..(i + 1) * taps];
            let behind = dot(&row[i + 1..], &errors[i + 1..]);
            let wanted = f64::from(weights[tap]) - behind / row[i];
            learned[tap] = grid.nearest(wanted as f32);
            errors[i] = f64::from(grid.real(learned[tap])) - f64::from(weights[tap]);
            squares += (behind + row[i] * errors[i]).powi(2);
        }
        let own = |i: usize| {
            let tap = self.order[i];
            f64::from(grid.real(nearest[tap])) - f64::from(weights[tap])
        };
        let plain: Vec<f64> = (0..taps).map(own).collect();
        match self.square(&plain) <= squares {
            true => nearest,
            false => learned,
        }
    }

    /// `‖U·e‖²`.
    fn square(&self, errors: &[f64]) -> f64 {
        let taps = errors.len();
        let row = |i: usize| dot(&self.rows[i * taps + i..(i + 1) * taps], &errors[i..]).powi(2);
        (0..taps).map(row).sum()
    }
}

/// Sums with four parts, so that a processor can add them at a time; always the same ones.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut parts = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4
        .remainder()
        .iter()
        .zip(b4.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a4.zip(b4) {
        for i in 0..4 {
            parts[i] += a[i] * b[i];
        }
    }
    rest + parts.iter().sum::<f64>()
}

/// Cholesky: the upper triangle of a positive definite matrix becomes `U` with `Uᵀ·U` equal to it.
fn factorise(rows: &mut [f64], taps: usize) {
    for i in 0..taps {
        let (above, below) = rows.split_at_mut((i + 1) * taps);
        let row = &mut above[i * taps..];
        // Rounding must not make a positive number negative.
        let pivot = row[i].max(f64::MIN_POSITIVE).sqrt();
        row[i..].iter_mut().for_each(|x| *x /= pivot);
        let row = &*row;
        let eliminate = |(k, other): (usize, &mut [f64])| {
            let factor = row[i + 1 + k];
            let (other, row) = (&mut other[i + 1 + k..], &row[i + 1 + k..]);
            other
                .iter_mut()
                .zip(row)
                .for_each(|(x, u)| *x -= factor * u);
        };
        match taps < 256 {
            true => below.chunks_exact_mut(taps).enumerate().for_each(eliminate),
            false => below
                .par_chunks_exact_mut(taps)
                .enumerate()
                .for_each(eliminate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::noise;

    /// `Σ x·xᵀ` of windows whose neighbours are alike.
    fn moments(taps: usize, windows: usize) -> (Moments, Vec<Vec<f32>>) {
        let raw = noise(7, taps * windows);
        let smooth = |line: &[f32]| (0..taps).map(|i| line[i] + 2.0 * line[i / 3 * 3]).collect();
        let windows: Vec<Vec<f32>> = raw.chunks_exact(taps).map(smooth).collect();
        let product = |i: usize| windows.iter().map(|w| w[i / taps] * w[i % taps]).sum();
        let moments = Moments {
            taps,
            plane: 1,
            windows: windows.len() as u64,
            sums: (0..taps)
                .map(|i| windows.iter().map(|w| w[i]).sum())
                .collect(),
            products: (0..taps * taps).map(product).collect(),
        };
        (moments, windows)
    }

    #[test]
    fn factors_multiply_to_the_moments() {
        let taps = 13;
        let (moments, _) = moments(taps, 40);
        let factor = Factor::of(&moments.products, taps, 40);
        let mean = (0..taps)
            .map(|i| moments.products[i * taps + i])
            .sum::<f32>()
            / taps as f32;
        let damping = mean * DAMPING as f32 * (1.0 + 13.0 / 40.0);
        for i in 0..taps {
            for j in 0..taps {
                let product: f64 = (0..=i.min(j))
                    .map(|k| factor.rows[k * taps + i] * factor.rows[k * taps + j])
                    .sum();
                let own = moments.products[factor.order[i] * taps + factor.order[j]];
                let expected = own + if i == j { damping } else { 0.0 };
                assert!(
                    (product - f64::from(expected)).abs() < 1e-3 * f64::from(mean),
                    "{i} {j}"
                );
            }
        }
    }

    #[test]
    fn sums_over_the_samples_come_closer() {
        let taps = 30;
        let (moments, windows) = moments(taps, 200);
        let weights = noise(3, 4 * taps);
        let grid = Grid {
            scale: 0.3,
            zero_point: 0,
            low: -7,
            high: 7,
        };
        let nearest: Vec<i32> = weights.iter().map(|w| grid.nearest(*w)).collect();
        let mut learned = nearest.clone();
        let lines = Lines::rows(taps, 4);
        learn(&moments, &lines, &weights, &[grid; 4], &mut learned);
        let error = |integers: &[i32]| -> f64 {
            let lines = integers.chunks_exact(taps).zip(weights.chunks_exact(taps));
            let of_line = |(q, w): (&[i32], &[f32])| -> f64 {
                let of_window = |x: &Vec<f32>| {
                    let terms = (0..taps).map(|i| f64::from((grid.real(q[i]) - w[i]) * x[i]));
                    terms.sum::<f64>().powi(2)
                };
                windows.iter().map(of_window).sum()
            };
            lines.map(of_line).sum()
        };
        assert!(learned.iter().all(|q| (-7..=7).contains(q)));
        assert!(
            error(&learned) < 0.5 * error(&nearest),
            "{} {}",
            error(&learned),
            error(&nearest)
        );
    }

    #[test]
    fn independent_inputs_leave_the_nearest_integers() {
        let taps = 5;
        let mut products = vec![0.0; taps * taps];
        (0..taps).for_each(|i| products[i * taps + i] = i as f32);
        let moments = Moments {
            taps,
            plane: 1,
            windows: 10,
            sums: vec![0.0; taps],
            products,
        };
        let weights = noise(9, taps);
        let grid = Grid {
            scale: 0.25,
            zero_point: 1,
            low: -8,
            high: 7,
        };
        let nearest: Vec<i32> = weights.iter().map(|w| grid.nearest(*w)).collect();
        let mut learned = nearest.clone();
        learn(
            &moments,
            &Lines::rows(taps, 1),
            &weights,
            &[grid],
            &mut learned,
        );
        assert_eq!(learned, nearest);
    }
}
