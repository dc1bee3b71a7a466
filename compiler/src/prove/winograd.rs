//! Winograd's convolution computes four times the sums by way of larger numbers.

use crate::kernels::{Product, Scale};

/// The largest magnitude that any 32-bit number of [`crate::kernels::Winograd`] can reach, if everything fits:
/// transformed filters and tiles 16 bits, their products and the results of these 32. The product's depth is
/// 3×3 taps.
pub fn winograd(product: &Product) -> Option<i64> {
    let reaches = reaches(product);
    let fits = |value: i64| value <= i64::from(i16::MAX);
    if !reaches.iter().flatten().all(|reach| fits(*reach)) {
        return None;
    }
    let mut largest = 0;
    for (channel, scale) in product.scales.iter().enumerate() {
        let row = product.row(channel);
        let depth = row.len() / 9;
        let mut sum = 4 * product.start(channel, 0).abs();
        for c in 0..depth {
            let filter = transformed(|r, s| row[(3 * r + s) * depth + c].into());
            // What the transformation passes through on its way is no larger than this.
            let rows =
                (0..3).map(|r| 4 * (0..3).map(|s| magnitude(row, depth, r, s, c)).sum::<i64>());
            if !fits(rows.sum()) {
                return None;
            }
            let elements = filter.iter().flatten().zip(reaches.iter().flatten());
            sum += elements.map(|(u, v)| u.abs() * v).sum::<i64>();
        }
        // A quarter of the scale must be exact.
        let exact = match scale {
            Scale::Real(scale) => scale / 4.0 * 4.0 == *scale,
            Scale::Twice(_) | Scale::Once(_) | Scale::Even(_) => true,
            Scale::Shared(..) | Scale::Near(..) => false,
        };
        if sum > i64::from(i32::MAX) || !exact {
            return None;
        }
        largest = largest.max(sum);
    }
    Some(largest)
}

fn magnitude(row: &[i32], depth: usize, r: usize, s: usize, c: usize) -> i64 {
    row[(3 * r + s) * depth + c].abs().into()
}

/// Largest magnitudes of `Bᵀ d B` over all activations: a row of `Bᵀ` adds two of them or subtracts them.
fn reaches(product: &Product) -> [[i64; 4]; 4] {
    let (low, high) = product.range;
    let [low, high] = [low.min(product.zero_point), high.max(product.zero_point)].map(i64::from);
    let adds = |row: usize| row == 1;
    let reach = |r, s| match adds(r) && adds(s) {
        true => 4 * low.abs().max(high.abs()),
        false => 2 * (high - low),
    };
    [0, 1, 2, 3].map(|r| [0, 1, 2, 3].map(|s| reach(r, s)))
}

/// `2G g (2G)ᵀ`.
fn transformed(filter: impl Fn(usize, usize) -> i64) -> [[i64; 4]; 4] {
    let doubled = |[a, b, c]: [i64; 3]| [2 * a, a + b + c, a - b + c, 2 * c];
    let columns = [0, 1, 2].map(|s| doubled([0, 1, 2].map(|r| filter(r, s))));
    [0, 1, 2, 3].map(|r| doubled([0, 1, 2].map(|s| columns[s][r])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Scalar;

    fn product(depth: usize, weight: i32) -> Product {
        Product {
            weights: vec![weight; 9 * depth],
            bias: vec![-3],
            scales: vec![1e-3.into()],
            zero_point: 0,
            range: (0, 255),
            elem: Scalar::U8,
            fields: None,
        }
    }

    #[test]
    fn a_bound_is_that_of_every_element() {
        // Rows of 2G sum to 2, 3, 1 and 2: the element (1, 1) meets 4·255, the others 2·255.
        let elements = (2 + 3 + 1 + 2) * (2 + 3 + 1 + 2) * 510 + 9 * 510;
        assert_eq!(winograd(&product(5, -7)), Some(5 * 7 * elements + 4 * 3));
    }

    #[test]
    fn numbers_beyond_32_bits_are_refused() {
        let one = 127 * (64 + 9) * 510;
        let deep = (i32::MAX as usize - 12) / one;
        assert!(winograd(&product(deep, 127)).is_some());
        assert!(winograd(&product(deep + 1, 127)).is_none());
    }

    #[test]
    fn numbers_beyond_16_bits_are_refused() {
        assert!(winograd(&product(1, 910)).is_some());
        assert!(winograd(&product(1, 911)).is_none());
        let wide = Product {
            range: (0, 8192),
            ..product(1, 1)
        };
        assert!(winograd(&wide).is_none());
    }

    #[test]
    fn a_scale_without_a_quarter_is_refused() {
        let tiny = Product {
            scales: vec![f32::from_bits(1).into()],
            ..product(1, 1)
        };
        assert!(winograd(&tiny).is_none());
    }
}
