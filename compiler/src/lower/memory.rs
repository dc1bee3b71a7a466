//! Regions of memory: what lives in them, for how long, and where in the arena they go.

use std::collections::BTreeMap;

use crate::kernels::copy::Frame;

/// Bytes at the end of the arena that kernels may read past a buffer's end.
pub(crate) const SLACK: usize = 64;

/// Memory that tensors share; addresses are given once all calls are known.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// Whose memory it is.
    pub(crate) memory: Memory,
    /// Its size.
    pub(crate) bytes: usize,
    /// The image and its halo, if it has one.
    pub(crate) frame: Option<Frame>,
}

/// Whose memory a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The program's own.
    Arena,
    /// The caller's, only read.
    Input(usize),
    /// The caller's.
    Output(usize),
}

/// A position in a region: an argument of a call before addresses are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) region: usize,
    /// In elements of the buffer that the place is given to.
    pub(crate) offset: usize,
}

impl Place {
    /// The place some elements further on.
    pub fn plus(self, elements: usize) -> Place {
        Place {
            offset: self.offset + elements,
            ..self
        }
    }
}

/// A region's calls, first and last, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) bytes: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// How far from the start of one region another one of higher addresses must begin, in place of the size of the
/// first, by the indices of both.
pub(crate) type Leads = BTreeMap<(usize, usize), usize>;

/// Orders that are tried to save memory, for each region.
const ORDERS: usize = 128;

/// Pairs of regions that are looked at, at most: the search ends after some hundredths of a second.
const PAIRS: usize = 1 << 25;

/// Offsets at which regions that live at the same time do not overlap more than they may, and the size of it all.
///
/// Greedy by size: the largest region first, each in the smallest gap that its living neighbours leave
/// (arXiv 2001.03288, "greedy by size"). Then orders in which a region that reaches the end, or some other
/// one, comes earlier are tried, as long as there is time, and kept if they need no more.
pub(crate) fn allocate(lifetimes: &[Lifetime], leads: &Leads, align: usize) -> (Vec<usize>, usize) {
    let count = lifetimes.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(lifetimes[*i].bytes), *i));
    let end = |offsets: &[usize], i: &usize| offsets[*i] + lifetimes[*i].bytes;
    let mut offsets = place(&order, lifetimes, leads, align);
    let Some(mut last) = (0..count).max_by_key(|i| end(&offsets, i)) else {
        return (offsets, 0);
    };
    let largest = lifetimes.iter().map(|life| life.bytes).max();
    let mut random = Random(1);
    for _ in 0..(ORDERS * count).min(PAIRS / (count * count)) {
        if Some(end(&offsets, &last)) == largest {
            break;
        }
        let beside = |i: &usize| lifetimes[*i].overlaps(&lifetimes[last]);
        let beside: Vec<usize> = (0..count).filter(beside).collect();
        let moved = match random.below(4) {
            0 => random.below(count),
            1 => last,
            _ => beside[random.below(beside.len())],
        };
        let from = order.iter().position(|i| *i == moved).unwrap_or(0);
        let to = random.below(from + 1);
        let mut other = order.clone();
        other[to..=from].rotate_right(1);
        let found = place(&other, lifetimes, leads, align);
        let highest = (0..count).max_by_key(|i| end(&found, i)).unwrap_or(last);
        if end(&found, &highest) <= end(&offsets, &last) {
            (order, offsets, last) = (other, found, highest);
        }
    }
    let total = end(&offsets, &last);
    (offsets, total)
}

/// The same numbers in every run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        let (factor, more) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.0 = self.0.wrapping_mul(factor).wrapping_add(more);
        (self.0 >> 33) as usize % end
    }
}

/// Places regions in this order.
fn place(order: &[usize], lifetimes: &[Lifetime], leads: &Leads, align: usize) -> Vec<usize> {
    let apart = |low: usize, high: usize| {
        let lead = leads.get(&(low, high)).copied();
        lead.unwrap_or(lifetimes[low].bytes)
    };
    let mut offsets = vec![0usize; lifetimes.len()];
    for (at, i) in order.iter().enumerate() {
        let neighbours = order[..at].iter();
        let neighbours = neighbours.filter(|j| lifetimes[**j].overlaps(&lifetimes[*i]));
        // The last offset below each neighbour, if there is one, and the first one above.
        let mut taken: Vec<_> = neighbours
            .map(|j| {
                (
                    offsets[*j].checked_sub(apart(*i, *j)),
                    offsets[*j] + apart(*j, *i),
                )
            })
            .collect();
        taken.sort_unstable();
        offsets[*i] = smallest_gap(&taken, align);
    }
    offsets
}

/// Start of the smallest gap: the first offset above some neighbours, if it is not beyond the last one below the
/// next; that above all if there is none.
fn smallest_gap(taken: &[(Option<usize>, usize)], align: usize) -> usize {
    let mut best: Option<(usize, usize)> = None;
    let mut free_from = 0usize;
    for (below, above) in taken {
        if let Some(gap) = below.and_then(|below| below.checked_sub(free_from))
            && best.is_none_or(|(smallest, _)| gap < smallest)
        {
            best = Some((gap, free_from));
        }
        free_from = free_from.max(above.next_multiple_of(align));
    }
    best.map_or(free_from, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn regions_alive_together_overlap_no_more_than_they_may(
            regions in prop::collection::vec((0usize..20, 0usize..6, 1usize..400), 1..30),
            leads in prop::collection::btree_map((0usize..30, 0usize..30), 0usize..300, 0..40),
        ) {
            let lifetimes: Vec<_> = regions
                .iter()
                .map(|(first, length, bytes)| Lifetime { first: *first, last: first + length, bytes: *bytes })
                .collect();
            let (offsets, total) = allocate(&lifetimes, &leads, 32);
            for (i, life) in lifetimes.iter().enumerate() {
                prop_assert_eq!(offsets[i] % 32, 0);
                prop_assert!(offsets[i] + life.bytes <= total);
                for (j, other) in lifetimes.iter().enumerate().filter(|(j, _)| *j != i) {
                    let (low, high) = (offsets[i], offsets[j]);
                    let lead = leads.get(&(i, j)).copied().unwrap_or(life.bytes);
                    if life.overlaps(other) && low <= high {
                        let below = leads.get(&(j, i)).copied().unwrap_or(other.bytes);
                        prop_assert!(low + lead <= high || (low == high && below == 0));
                    }
                }
            }
        }
    }

    #[test]
    fn memory_is_used_again() {
        let life = |first, last, bytes| Lifetime { first, last, bytes };
        let chain = [life(0, 1, 100), life(1, 2, 50), life(2, 3, 100)];
        let (_, total) = allocate(&chain, &Leads::new(), 32);
        // The second one lies before the others, which never live together.
        assert_eq!(total, 64 + 100);
    }

    #[test]
    fn a_result_lies_over_its_operand() {
        let life = |first, last, bytes| Lifetime { first, last, bytes };
        let chain = [life(0, 1, 100), life(1, 2, 100)];
        let (offsets, total) = allocate(&chain, &Leads::from([((1, 0), 20)]), 8);
        assert_eq!((offsets, total), (vec![24, 0], 124));
    }
}
