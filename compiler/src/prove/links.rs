//! Pairs of products that may be added in 16 bits.

use crate::{Result, bail};

/// Pairs of weights, one a channel, each multiplied by the same two activations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of the pair of activations.
    pub pair: usize,
    /// The weights of each channel.
    pub weights: Vec<[i32; 2]>,
}

/// Distributes pairs of weights over an even number of chains, so that no sum of a chain leaves 16 bits, neither on
/// the way nor at its end, for activations from 0 to `largest`. Weights that are too large for a chain of their own
/// become the sum of two links. `pairs` has the weights of each channel, at most 127 each, and `largest` is at most
/// 255.
pub fn linked(pairs: &[Vec<[i32; 2]>], largest: i32) -> Vec<Vec<Link>> {
    let mut links = vec![];
    for (pair, weights) in pairs.iter().enumerate() {
        let weights = weights.clone();
        let link = Link { pair, weights };
        match fits(&[&link], largest) {
            true => links.push(link),
            false => links.extend(halves(link)),
        }
    }
    let mut chains: Vec<Vec<Link>> = vec![];
    for link in links {
        let room = chains.iter_mut().find(|chain| {
            let all: Vec<_> = chain.iter().chain([&link]).collect();
            fits(&all, largest)
        });
        match room {
            Some(chain) => chain.push(link),
            None => chains.push(vec![link]),
        }
    }
    if chains.len() % 2 == 1 {
        let more = shorten(&mut chains);
        chains.push(more);
    }
    chains
}

/// Distributes taps over chains, so that no sum of a chain's products leaves 16 bits, neither on the way nor at its
/// end, for activations from `low` to `high`. `taps` has the weights of each channel; a product of its own fits.
pub fn tap_chains(taps: &[Vec<i32>], (low, high): (i32, i32)) -> Vec<Vec<usize>> {
    let channels = taps.first().map_or(0, Vec::len);
    let fits = |chain: &[usize]| {
        (0..channels).all(|channel| {
            let ends = chain.iter().map(|tap| {
                let weight = taps[*tap][channel];
                [weight * low, weight * high]
            });
            let ends = ends.map(|[a, b]| (a.min(b).min(0), a.max(b).max(0)));
            let (low, high) = ends.fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1));
            low >= i16::MIN.into() && high <= i16::MAX.into()
        })
    };
    let mut chains: Vec<Vec<usize>> = vec![];
    for tap in 0..taps.len() {
        let longer = |chain: &&mut Vec<usize>| fits(&[&chain[..], &[tap]].concat());
        match chains.iter_mut().find(longer) {
            Some(chain) => chain.push(tap),
            None => chains.push(vec![tap]),
        }
    }
    chains
}

/// Recomputes, from the bytes that a kernel reads, that no sum of a chain leaves 16 bits, for activations from `low` to
/// `high`. `weights` has blocks, each with the rows of all chains one after the other, `lengths` rows to a chain; a row
/// is `row` bytes long, and has the `each` weights beside each other whose products are added to the same sum.
///
/// # Errors
///
/// Such a sum.
pub fn added(
    weights: &[u8],
    [row, each]: [usize; 2],
    lengths: &[usize],
    (low, high): (i32, i32),
) -> Result<()> {
    let block = row * lengths.iter().sum::<usize>();
    for rows in weights.chunks(block) {
        let mut rows = rows.chunks(row);
        for (chain, length) in lengths.iter().enumerate() {
            let mut ends = vec![(0, 0); row / each];
            for (i, w) in rows
                .by_ref()
                .take(*length)
                .flat_map(|row| row.iter().enumerate())
            {
                let (a, b) = (i32::from(*w as i8) * low, i32::from(*w as i8) * high);
                ends[i / each].0 += a.min(b).min(0);
                ends[i / each].1 += a.max(b).max(0);
            }
            let leaves =
                |(low, high): &(i32, i32)| *low < i16::MIN.into() || *high > i16::MAX.into();
            if let Some(sum) = ends.iter().position(leaves) {
                bail!("sum {sum} of chain {chain} leaves 16 bits");
            }
        }
    }
    Ok(())
}

/// Takes from the longest chain what becomes another one.
fn shorten(chains: &mut [Vec<Link>]) -> Vec<Link> {
    let longest = chains.iter_mut().max_by_key(|chain| chain.len());
    let longest = longest.expect("there are chains");
    if longest.len() > 1 {
        return longest.split_off(longest.len().div_ceil(2));
    }
    let [first, second] = halves(longest.remove(0));
    longest.push(first);
    vec![second]
}

/// Two links whose sum is the one given; their weights are at most 64.
fn halves(link: Link) -> [Link; 2] {
    let part = |half: fn(i32) -> i32| Link {
        pair: link.pair,
        weights: link.weights.iter().map(|pair| pair.map(half)).collect(),
    };
    [part(|w| w / 2), part(|w| w - w / 2)]
}

/// Whether sums of the links' products fit i16, whichever of them come first.
fn fits(links: &[&Link], largest: i32) -> bool {
    let channels = links.first().map_or(0, |link| link.weights.len());
    (0..channels).all(|channel| {
        let weights = || links.iter().flat_map(|link| link.weights[channel]);
        let up: i32 = weights().map(|w| w.max(0)).sum();
        let down: i32 = weights().map(|w| w.min(0)).sum();
        up * largest <= i16::MAX.into() && down * largest >= i16::MIN.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_that_leave_16_bits_are_refused() {
        // Two blocks of two chains, of two rows and of one; two sums.
        let weights =
            |last: i8| [127, 0, 1, 127, 1, 1, -127, 5, -1, 5, 5, last].map(|w: i8| w as u8);
        let check = |last, high| added(&weights(last), [2, 1], &[2, 1], (0, high));
        assert!(check(127, 255).is_ok());
        // 128 · 255 fits, 128 · 256 does not, neither does the sum of two that fit.
        assert!(check(127, 256).is_err());
        assert!(added(&weights(127), [2, 2], &[2, 1], (0, 255)).is_err());
        assert!(added(&weights(127), [2, 1], &[2, 1], (-259, 0)).is_err());
    }

    /// The sums of a chain, one after the other, for activations that are `largest` where the weight has the sign.
    fn walk(chain: &[Link], channel: usize, largest: i32, sign: i32) -> Vec<i32> {
        let mut sum = 0;
        let products = chain.iter().map(|link| {
            let counted = link.weights[channel].iter().filter(|w| *w * sign > 0);
            sum += counted.sum::<i32>() * largest;
            sum
        });
        products.collect()
    }

    fn weight() -> impl Strategy<Value = i32> {
        prop_oneof![-127i32..=127, Just(127), Just(-127), -20i32..=20]
    }

    proptest! {
        #[test]
        fn the_worst_activations_stay_in_16_bits(
            (channels, pairs) in (1usize..4, 1usize..14).prop_flat_map(|(channels, pairs)| {
                let channel = prop::collection::vec([weight(), weight()], channels);
                (Just(channels), prop::collection::vec(channel, pairs))
            }),
            largest in prop_oneof![Just(255), Just(127), 1i32..=255],
        ) {
            let chains = linked(&pairs, largest);
            prop_assert_eq!(chains.len() % 2, 0);
            for channel in 0..channels {
                for (chain, sign) in chains.iter().flat_map(|chain| [(chain, 1), (chain, -1)]) {
                    let sums = walk(chain, channel, largest, sign);
                    prop_assert!(sums.iter().all(|sum| i16::try_from(*sum).is_ok()), "{sums:?}");
                }
                for (pair, weights) in pairs.iter().enumerate() {
                    let links = chains.iter().flatten().filter(|link| link.pair == pair);
                    let sum = links.fold([0, 0], |[a, b], link| {
                        let [x, y] = link.weights[channel];
                        [a + x, b + y]
                    });
                    prop_assert_eq!(sum, weights[channel]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_worst_activations_of_single_products_stay_in_16_bits(
            taps in (1usize..4).prop_flat_map(|channels| {
                prop::collection::vec(prop::collection::vec(weight(), channels), 1..26)
            }),
            (low, high) in prop_oneof![Just((-128, 127)), Just((0, 127)), (-128i32..=0, 0i32..=127)],
        ) {
            let chains = tap_chains(&taps, (low, high));
            let mut seen: Vec<usize> = chains.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..taps.len()).collect::<Vec<_>>());
            for (chain, channel) in chains.iter().flat_map(|c| (0..taps[0].len()).map(move |i| (c, i))) {
                for worst in [i32::max, i32::min] {
                    let mut sum = 0;
                    for tap in chain {
                        let weight = taps[*tap][channel];
                        sum += worst(weight * low, weight * high);
                        prop_assert!(i16::try_from(sum).is_ok(), "{chain:?}: {sum}");
                    }
                }
            }
        }
    }

    #[test]
    fn any_two_products_share_a_chain_and_small_weights_all_do() {
        let lengths = |weight: i32| {
            let chains = tap_chains(&vec![vec![weight]; 9], (-128, 127));
            chains.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(127), [2, 2, 2, 2, 1]);
        assert_eq!(lengths(28), [9]);
    }

    #[test]
    fn small_weights_share_two_chains_and_large_ones_take_two_links() {
        let lengths = |weights: [i32; 2]| {
            let chains = linked(&vec![vec![weights]; 4], 255);
            chains.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths([10, -10]), [2, 2]);
        assert_eq!(lengths([64, 64]), [1, 1, 1, 1]);
        assert_eq!(lengths([66, 66]), [1; 8]);
    }
}
