//! Bounds, computed from the constants, that license the arithmetic of kernels.

mod address;
mod chains;
mod lead;
mod links;
mod parts;
mod scale;
mod settled;
mod sites;
mod winograd;

use crate::kernels::{Product, Scale};
use crate::{Result, bail};

pub use chains::{Reach, chains, pairs};
pub use lead::{Step, lead};
pub use links::{Link, added, linked, tap_chains};
pub use parts::{extent, parts};
pub use scale::{average, even, once, shared};
pub use settled::settled;
pub use winograd::winograd;

/// Largest magnitudes over all channels and all inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Of an exact sum.
    pub sum: i64,
    /// Of a sum times its scale.
    pub scaled: f64,
}

/// Shows that every sum of a product, also while it grows from activations read as `x + offset`, fits i32,
/// and that its scaled value can be rounded to i32.
pub fn sums(product: &Product, offset: i32) -> Result<Bounds> {
    let mut all = Bounds {
        sum: 0,
        scaled: 0.0,
    };
    for (channel, scale) in product.scales.iter().enumerate() {
        let what = format!("output channel {channel}");
        let sum = largest(
            product,
            channel,
            product.zero_point,
            product.bias[channel].into(),
        );
        let growing = largest(product, channel, -offset, product.start(channel, offset));
        let bounds = fits(sum, scale.real(), &what)?;
        fits(growing, 0.0, &what)?;
        if let Scale::Twice(_) = scale
            && bounds.scaled > MOST_SHIFTED
        {
            bail!(
                "a result of {what} can be {:.0} steps of the output's scale", bounds.scaled;
                hint: "quantize the layer with a larger output scale"
            );
        }
        all.sum = all.sum.max(bounds.sum);
        all.scaled = all.scaled.max(bounds.scaled);
    }
    Ok(all)
}

/// The same for activations of 16 bits, whose sums may be wider: then also of how many products each sum fits i32.
pub fn sums_or_capacity(product: &Product, offset: i32) -> Result<(Bounds, Option<usize>)> {
    let narrow = sums(product, offset);
    let error = match narrow {
        Ok(bounds) => return Ok((bounds, None)),
        Err(error) if product.elem.bytes() == 1 => return Err(error),
        Err(error) => error,
    };
    let mut all = Bounds {
        sum: 0,
        scaled: 0.0,
    };
    for (channel, scale) in product.scales.iter().enumerate() {
        let bias = i64::from(product.bias[channel]);
        let sum = largest(product, channel, product.zero_point, bias);
        let growing = largest(product, channel, -offset, product.start(channel, offset));
        let scaled = sum as f64 * scale.real();
        if sum.max(growing) >= WIDEST || scaled > MOST_SCALED {
            return Err(error);
        }
        all.sum = all.sum.max(sum);
        all.scaled = all.scaled.max(scaled);
    }
    let weight = product.weights.iter().map(|w| i64::from(w.abs())).max();
    let most = reach(product.range, -offset) * weight.unwrap_or(0).max(1);
    Ok((all, Some((i64::from(i32::MAX) / most) as usize)))
}

/// Sums of two parts, of which one is in units of 2¹⁶, are below this.
const WIDEST: i64 = 1 << 45;

/// Largest scaled sum; the margin covers the roundings of the sum and of the product to f32, and the zero point.
const MOST_SCALED: f64 = i32::MAX as f64 - 132_096.0;

/// Largest scaled sum in fixed point: a sum that is multiplied by a power of two before, which is up to twice that,
/// fits i32 too.
const MOST_SHIFTED: f64 = (1 << 30) as f64 - 132_096.0;

fn fits(sum: i64, scale: f64, what: &str) -> Result<Bounds> {
    let scaled = sum as f64 * scale;
    if sum > i64::from(i32::MAX) {
        bail!(
            "a sum of {what} can reach {sum}, which does not fit 32 bits";
            hint: "split the layer along its input channels"
        );
    }
    if scaled > MOST_SCALED {
        bail!(
            "a result of {what} can be {scaled:.0} steps of the output's scale, which does not fit 32 bits";
            hint: "calibrate with samples that exercise this layer, its output range is too narrow"
        );
    }
    Ok(Bounds { sum, scaled })
}

/// Largest `|x − z|` over a range.
fn reach((low, high): (i32, i32), z: i32) -> i64 {
    i64::from((low - z).abs().max((high - z).abs()))
}

/// The same for `bias + Σ (a − z_a)·(b − z_b)` over `depth` pairs of activations within `ranges`.
pub fn products(
    zero_points: [i32; 2],
    ranges: [(i32, i32); 2],
    depth: usize,
    bias: Option<&[i32]>,
    scale: f32,
) -> Result<Bounds> {
    let reach = |i: usize| reach(ranges[i], zero_points[i]);
    let bias = bias.unwrap_or(&[]).iter().map(|b| i64::from(b.abs()));
    let sum = bias.max().unwrap_or(0) + reach(0) * reach(1) * depth as i64;
    fits(sum, scale.into(), "the product")
}

/// How sums of products of two activations are kept within 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moves {
    /// After so many products they are moved to wider ones.
    pub capacity: usize,
    /// Whether the left activation is multiplied in two parts, the lower one of 8 bits.
    pub halves: bool,
}

/// [`products()`], whose sums may be wider if an activation has 16 bits.
pub fn products_or_moves(
    zero_points: [i32; 2],
    ranges: [(i32, i32); 2],
    depth: usize,
    bias: Option<&[i32]>,
    scale: f32,
) -> Result<(Bounds, Option<Moves>)> {
    let error = match products(zero_points, ranges, depth, bias, scale) {
        Ok(bounds) => return Ok((bounds, None)),
        Err(error) => error,
    };
    let [a, b] = [0, 1].map(|i| reach(ranges[i], zero_points[i]));
    let bias = bias.unwrap_or(&[]).iter().map(|b| i64::from(b.abs()));
    let sum = bias.max().unwrap_or(0) + a * b * depth as i64;
    let scaled = sum as f64 * f64::from(scale);
    if a.max(b) < 1 << 8 || sum >= WIDEST || scaled > MOST_SCALED {
        return Err(error);
    }
    let halves = a * b > i64::from(i32::MAX) >> 6;
    let most = if halves { 256 * b } else { a * b };
    let capacity = (i64::from(i32::MAX) / most) as usize;
    Ok((Bounds { sum, scaled }, Some(Moves { capacity, halves })))
}

/// The least and the largest sum of a channel over every activation in range; none where 32 bits do not hold them.
pub fn reached(product: &Product, channel: usize) -> Option<[i32; 2]> {
    let z = product.zero_point;
    // Borders hold the zero point.
    let [low, high] = [product.range.0.min(z) - z, product.range.1.max(z) - z].map(i64::from);
    let mut sums = [i64::from(product.bias[channel]); 2];
    for weight in product.row(channel).iter().map(|w| i64::from(*w)) {
        sums[0] += (weight * low).min(weight * high);
        sums[1] += (weight * low).max(weight * high);
    }
    let [least, most] = sums.map(|sum| i32::try_from(sum).ok());
    Some([least?, most?])
}

/// Sums of so many products whose weights are stored plus 128, and what is too much in them, fit 32 bits.
pub fn raised(product: &Product, offset: i32, depth: usize) -> Result<()> {
    let reach = reach(product.range, -offset).max(128);
    let start = (0..product.bias.len()).map(|c| product.start(c, offset).abs());
    fits(
        start.max().unwrap_or(0) + 255 * reach * depth as i64,
        0.0,
        "a channel",
    )
    .map(|_| ())
}

/// Bound of `|start| + Σ |w|·|x − z|` over every activation in range.
fn largest(product: &Product, channel: usize, z: i32, start: i64) -> i64 {
    let reach = reach(product.range, z);
    let weights = product.row(channel).iter().map(|w| i64::from(w.abs()));
    start.abs() + weights.sum::<i64>() * reach
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Scalar;

    fn product(depth: usize, weight: i32, scale: f32) -> Product {
        Product {
            weights: vec![weight; depth],
            bias: vec![10],
            scales: vec![scale.into()],
            zero_point: 0,
            range: (0, 255),
            elem: Scalar::U8,
            fields: None,
        }
    }

    #[test]
    fn a_bound_is_the_worst_input() {
        let bounds = sums(&product(3, -127, 0.5), 0).unwrap();
        assert_eq!(bounds.sum, 10 + 3 * 127 * 255);
    }

    #[test]
    fn sums_reach_from_the_worst_input_to_the_best() {
        let mixed = Product {
            weights: vec![3, -2],
            zero_point: 5,
            ..product(2, 0, 0.5)
        };
        assert_eq!(
            reached(&mixed, 0),
            Some([10 - 3 * 5 - 2 * 250, 10 + 3 * 250 + 2 * 5])
        );
        let deep = i32::MAX as usize / (127 * 255) + 1;
        assert_eq!(reached(&product(deep, 127, 1e-6), 0), None);
    }

    #[test]
    fn a_sum_beyond_32_bits_is_refused() {
        let deep = i32::MAX as usize / (127 * 255) + 1;
        assert!(sums(&product(deep, 127, 1e-6), 0).is_err());
        assert!(sums(&product(deep - 2, 127, 1e-6), 0).is_ok());
    }

    #[test]
    fn raised_weights_have_room_or_are_refused() {
        let few = product(3, 1, 1e-6);
        let most = (i32::MAX as usize - 10 - 3 * 128) / (255 * 128);
        assert!(raised(&few, -128, most).is_ok());
        assert!(raised(&few, -128, most + 2).is_err());
    }

    #[test]
    fn a_scale_beyond_32_bits_is_refused() {
        assert!(sums(&product(1, 127, 1e6), 0).is_err());
    }
}
