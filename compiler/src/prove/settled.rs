//! Channels whose results no activation changes.

use crate::kernels::{Product, Scale};

/// The product with other numbers in channels that have one result only, as training leaves them: no weights, and a
/// bias that has that result by a scale like those of the other channels, which bounds of sums then tell.
///
/// A channel stays as it is where no bias does that.
pub fn settled(product: &Product, zero_point: i32, [low, high]: [i32; 2]) -> Product {
    let result = |sum: i64, scale: Scale| {
        let sum = i32::try_from(sum).ok()?;
        Some((scale.of_sum(sum) + zero_point).clamp(low, high))
    };
    let only = |channel: usize| {
        let scale = product.scales[channel];
        let [least, most] = ends(product, channel).map(|sum| result(sum, scale));
        least.filter(|_| least == most)
    };
    let only: Vec<Option<i32>> = (0..product.bias.len()).map(only).collect();
    let scales = product.scales.iter().zip(&only);
    let living = scales.filter(|(_, only)| only.is_none());
    let Some(scale) = living
        .map(|(scale, _)| *scale)
        .max_by(|a, b| a.real().total_cmp(&b.real()))
    else {
        return product.clone();
    };
    let mut settled = product.clone();
    let depth = product.weights.len() / product.bias.len();
    for (channel, y) in only.iter().enumerate() {
        let Some(y) = y else { continue };
        let bias = (f64::from(y - zero_point) / scale.real()).round() as i32;
        if result(bias.into(), scale) == Some(*y) {
            settled.weights[channel * depth..][..depth].fill(0);
            settled.bias[channel] = bias;
            settled.scales[channel] = scale;
        }
    }
    settled
}

/// The least and the largest sum of a channel.
fn ends(product: &Product, channel: usize) -> [i64; 2] {
    let z = product.zero_point;
    let [least, most] = [product.range.0 - z, product.range.1 - z].map(i64::from);
    let weights = || product.row(channel).iter().map(|w| i64::from(*w));
    let bias = i64::from(product.bias[channel]);
    [
        bias + weights().map(|w| (w * least).min(w * most)).sum::<i64>(),
        bias + weights().map(|w| (w * least).max(w * most)).sum::<i64>(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Scalar;

    #[test]
    fn a_dead_channel_gets_a_small_bias_and_a_living_one_stays() {
        let product = Product {
            weights: vec![100, -100, 7, 8],
            bias: vec![-(1 << 30), 50],
            scales: vec![3e-9.into(), 0.004.into()],
            zero_point: -128,
            range: (-128, 127),
            elem: Scalar::I8,
            fields: None,
        };
        let found = settled(&product, -128, [-128, 127]);
        assert_eq!(found.weights, [0, 0, 7, 8]);
        assert_eq!(found.bias, [0, 50]);
        assert_eq!(found.scales[1], product.scales[1]);
        // Without a clamp at zero its result is -3.
        let found = settled(&product, 0, [-128, 127]);
        let y = found.scales[0].of_sum(found.bias[0]);
        assert_eq!((y, found.weights[0]), (-3, 0));
    }
}
