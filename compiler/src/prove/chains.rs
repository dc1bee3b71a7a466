//! Sums of pairs of products that 16 bits hold, however many steps of a product they run over.
//!
//! A machine multiplies `k` activations by the weights of each lane and adds the products of two neighbours in
//! 16 bits. The weights are constants, so the smallest and the largest of such a sum are known: every activation
//! contributes one end of its interval or the other. Where no sum of a chain of steps can leave 16 bits, the chain
//! is widened once, at its end.

use crate::kernels::{Chained, Product};
use crate::{Result, bail};

/// The smallest and the largest sum of each pair of products, never above and never below 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Negative or 0.
    pub low: Vec<i32>,
    /// Positive or 0.
    pub high: Vec<i32>,
}

impl Reach {
    /// Of one step, whose weights have the `k` of a lane beside each other, over activations from `low` to `high`.
    pub fn of(weights: &[i8], (low, high): (i32, i32)) -> Reach {
        let ends = weights.chunks(2).map(|pair| {
            let ends = pair.iter().map(|w| {
                let (a, b) = (i32::from(*w) * low, i32::from(*w) * high);
                (a.min(b), a.max(b))
            });
            ends.fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1))
        });
        let (low, high) = ends.map(|(low, high)| (low.min(0), high.max(0))).unzip();
        Reach { low, high }
    }

    /// Whether 16 bits hold the sums of both, also while they grow.
    pub fn fits_with(&self, other: &Reach) -> bool {
        let lows = self.low.iter().zip(&other.low);
        let highs = self.high.iter().zip(&other.high);
        highs.fold(true, |fits, (a, b)| fits & (a + b <= i16::MAX.into()))
            && lows.fold(true, |fits, (a, b)| fits & (a + b >= i16::MIN.into()))
    }

    /// Whether 16 bits hold the sums.
    pub fn fits(&self) -> bool {
        let (low, high) = (self.low.iter().min(), self.high.iter().max());
        low >= Some(&i16::MIN.into()) && high <= Some(&i16::MAX.into())
    }

    /// How much of 16 bits the sums take, over all pairs.
    pub fn size(&self) -> i32 {
        self.high.iter().sum::<i32>() - self.low.iter().sum::<i32>()
    }

    /// Both steps.
    pub fn extend(&mut self, other: &Reach) {
        self.low
            .iter_mut()
            .zip(&other.low)
            .for_each(|(a, b)| *a += b);
        self.high
            .iter_mut()
            .zip(&other.high)
            .for_each(|(a, b)| *a += b);
    }
}

/// How many steps of `k` products 16 bits hold the sums of pairs of, whichever weights come together; none if it is
/// but one.
pub fn pairs(product: &Product, (low, high): (i32, i32)) -> Option<usize> {
    let ends = product
        .weights
        .iter()
        .map(|w| (w * low).abs().max((w * high).abs()));
    let most = 2 * ends.max().unwrap_or(0).max(1);
    let steps = (i32::from(i16::MAX) / most) as usize;
    (steps > 1).then_some(steps)
}

/// Recomputes, from the tables and the bytes that a kernel reads, that no chain leaves 16 bits, and that the chains
/// of each channel hold its weights and nothing else.
///
/// `ranges` are those of activations in unsigned and in signed chains, and `depth` tells which weight of a channel
/// belongs to an element of the window.
///
/// # Errors
///
/// The first channels of which that is not so.
pub fn chains(
    chained: &Chained,
    product: &Product,
    ranges: [(i32, i32); 2],
    depth: impl Fn(usize) -> Option<usize>,
) -> Result<()> {
    for (entry, channels) in &chained.lanes {
        let table = |i: usize| chained.tiles[entry + i] as usize;
        let block = channels.len() * chained.k;
        let mut found = vec![vec![0; product.row(0).len()]; channels.len()];
        for chain in table(0)..table(2) {
            let range = ranges[usize::from(chain >= table(1))];
            let mut ends = vec![(0i64, 0i64); block / 2];
            for step in chained.starts[chain]..chained.starts[chain + 1] {
                let first = chained.offsets[table(4) + step as usize] as usize;
                let weights = &chained.weights[table(3) + step as usize * block..][..block];
                for (i, w) in weights.iter().map(|w| i64::from(*w as i8)).enumerate() {
                    let (a, b) = (w * i64::from(range.0), w * i64::from(range.1));
                    ends[i / 2].0 += a.min(b);
                    ends[i / 2].1 += a.max(b);
                    match depth(first + i % chained.k) {
                        _ if w == 0 => {}
                        Some(depth) => found[i / chained.k][depth] += w as i32,
                        None => bail!("a weight of channels {channels:?} is outside the window"),
                    }
                }
            }
            if ends
                .iter()
                .any(|(low, high)| *low < i16::MIN.into() || *high > i16::MAX.into())
            {
                bail!("a chain of channels {channels:?} leaves 16 bits");
            }
        }
        for (channel, found) in channels.iter().zip(found) {
            let wrong = channel.is_some_and(|channel| found != product.row(channel));
            if wrong {
                bail!("the chains of channel {channel:?} are not its weights");
            }
        }
    }
    Ok(())
}
