//! Sums of two tensors by whole factors, where these give the results of all pairs of bytes.

use crate::kernel::{Expr, int, op};

/// `(a·m_a + b·m_b + added) >> right` of integers as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeSum {
    factors: [i32; 2],
    added: i32,
    right: u32,
}

/// What a sum of two tensors means: `z_y + (a − z_a)·m_a + (b − z_b)·m_b`, rounded and clamped.
pub(super) struct Meaning<'a> {
    /// `m_a` and `m_b`.
    pub(super) factors: [f64; 2],
    /// The integers of each operand.
    pub(super) integers: [&'a [i32]; 2],
    /// `z_a` and `z_b`.
    pub(super) zero_points: [i32; 2],
    /// `z_y`.
    pub(super) zero_point: i32,
    /// The least and the largest result.
    pub(super) limits: (i32, i32),
    /// The results of all pairs, those of the first `a` first.
    pub(super) images: &'a [i32],
}

/// How far a factor may be from the nearest.
const NEARBY: i32 = 2;

/// How far what is added may be from the nearest, in powers of two.
const NUDGES: i32 = 10;

impl WholeSum {
    /// The sum with that meaning, if there is one.
    pub(super) fn find(meaning: &Meaning) -> Option<WholeSum> {
        let Meaning {
            factors, integers, ..
        } = meaning;
        let largest = |i: usize| integers[i].iter().map(|q| q.abs()).max().unwrap_or(0);
        let of = |i: usize, q: i32| factors[i] * f64::from(q);
        let [z_a, z_b] = [0, 1].map(|i| of(i, meaning.zero_points[i]));
        let constant = f64::from(meaning.zero_point) + 0.5 - z_a - z_b;
        // No sum on the way is larger.
        let most = of(0, largest(0)).abs() + of(1, largest(1)).abs() + constant.abs() + 1.0;
        let right = (f64::powi(2.0, 31) / most).log2().floor().min(30.0);
        if !right.is_finite() || right < 8.0 {
            return None;
        }
        let near = factors.map(|m| (m * right.exp2()).round() as i32);
        let nudges = (2..NUDGES).flat_map(|bit| [1 << bit, -(1 << bit)]);
        let steps = || -NEARBY..=NEARBY;
        let mut candidates = std::iter::once(0).chain(nudges).flat_map(|nudge| {
            let pairs = steps().flat_map(move |i| steps().map(move |j| [i, j]));
            pairs.map(move |step| (nudge, step))
        });
        candidates.find_map(|(nudge, [i, j])| {
            let sum = WholeSum {
                factors: [near[0] + i, near[1] + j],
                added: (constant * right.exp2()).round() as i32 + nudge,
                right: right as u32,
            };
            sum.means(meaning).then_some(sum)
        })
    }

    fn means(&self, meaning: &Meaning) -> bool {
        let (low, high) = meaning.limits;
        let [a, b] = meaning.integers;
        let mut images = meaning.images.iter();
        a.iter().all(|a| {
            b.iter().all(|b| {
                let y = self.of_pair(*a, *b).map(|y| y.clamp(low, high));
                images.next() == y.as_ref()
            })
        })
    }

    /// Its result for a pair, if 32 bits hold all on the way.
    fn of_pair(&self, a: i32, b: i32) -> Option<i32> {
        let first = a.checked_mul(self.factors[0])?;
        let second = b.checked_mul(self.factors[1])?;
        let sum = first.checked_add(self.added)?.checked_add(second)?;
        Some(sum >> self.right)
    }

    /// The same of vectors.
    pub(super) fn of(&self, [a, b]: [Expr; 2]) -> Expr {
        let number = |n: i32| op("splat_i32", [int(n.into())]);
        let [first, second] =
            [(a, 0), (b, 1)].map(|(v, i)| op("mul_i32", [v, number(self.factors[i])]));
        let sum = op(
            "add_i32",
            [op("add_i32", [first, number(self.added)]), second],
        );
        op("shift_i32", [sum, int(self.right.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qcc_runtime_support::scale_add_round;

    #[test]
    fn a_sum_that_is_found_has_every_result() {
        let (m_a, m_b) = (0.773_246_3_f32, 2.045_217_f32);
        let bytes: Vec<i32> = (-128..128).collect();
        let meant =
            |a: i32, b: i32| (scale_add_round(a + 128, m_a, b - 4, m_b) - 20).clamp(-128, 127);
        let images: Vec<i32> = bytes
            .iter()
            .flat_map(|a| bytes.iter().map(|b| meant(*a, *b)))
            .collect();
        let sum = WholeSum::find(&Meaning {
            factors: [m_a, m_b].map(f64::from),
            integers: [&bytes, &bytes],
            zero_points: [-128, 4],
            zero_point: -20,
            limits: (-128, 127),
            images: &images,
        });
        let sum = sum.expect("there is one");
        let found = |a: i32, b: i32| sum.of_pair(a, b).unwrap().clamp(-128, 127);
        for (a, b) in [(-128, -128), (127, 127), (-77, 3), (5, -100)] {
            assert_eq!(found(a, b), meant(a, b), "{a}, {b}");
        }
    }

    #[test]
    fn no_sum_is_found_for_what_none_means() {
        let bytes = [0, 1];
        let meaning = Meaning {
            factors: [1.0, 1.0],
            integers: [&bytes, &bytes],
            zero_points: [0, 0],
            zero_point: 0,
            limits: (-128, 127),
            images: &[0, 1, 1, 3],
        };
        assert!(WholeSum::find(&meaning).is_none());
    }
}
