//! Regions of memory: what lives in them, for how long, and where in the arena they go.

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

/// Offsets at which no two regions that live at the same time overlap, and the size of it all.
///
/// Greedy by size: the largest region first, each in the smallest gap that its living neighbours leave
/// (arXiv 2001.03288, "greedy by size").
pub(crate) fn allocate(lifetimes: &[Lifetime], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(lifetimes[*i].bytes), *i));
    let mut offsets = vec![0; lifetimes.len()];
    let mut placed: Vec<usize> = vec![];
    let mut total = 0;
    for i in order {
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|j| lifetimes[**j].overlaps(&lifetimes[i]))
            .map(|j| (offsets[*j], offsets[*j] + lifetimes[*j].bytes))
            .collect();
        taken.sort_unstable();
        offsets[i] = smallest_gap(&taken, lifetimes[i].bytes, align);
        total = total.max(offsets[i] + lifetimes[i].bytes);
        placed.push(i);
    }
    (offsets, total)
}

/// Start of the smallest gap between taken intervals (sorted) that holds `bytes`; the end if none does.
fn smallest_gap(taken: &[(usize, usize)], bytes: usize, align: usize) -> usize {
    let mut best: Option<(usize, usize)> = None;
    let mut free_from = 0usize;
    for (start, end) in taken {
        if free_from + bytes <= *start {
            let gap = start - free_from;
            if best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, free_from));
            }
        }
        free_from = free_from.max(end.next_multiple_of(align));
    }
    best.map_or(free_from, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn regions_alive_together_do_not_overlap(
            regions in prop::collection::vec((0usize..20, 0usize..6, 1usize..400), 1..30)
        ) {
            let lifetimes: Vec<_> = regions
                .iter()
                .map(|(first, length, bytes)| Lifetime { first: *first, last: first + length, bytes: *bytes })
                .collect();
            let (offsets, total) = allocate(&lifetimes, 32);
            for time in 0..26 {
                let alive = |i: &usize| lifetimes[*i].first <= time && time <= lifetimes[*i].last;
                let mut owner = vec![None; total];
                for i in (0..lifetimes.len()).filter(alive) {
                    prop_assert_eq!(offsets[i] % 32, 0);
                    for slot in &mut owner[offsets[i]..offsets[i] + lifetimes[i].bytes] {
                        prop_assert_eq!(slot.replace(i), None);
                    }
                }
            }
        }
    }

    #[test]
    fn memory_is_used_again() {
        let life = |first, last, bytes| Lifetime { first, last, bytes };
        let chain = [life(0, 1, 100), life(1, 2, 50), life(2, 3, 100)];
        let (_, total) = allocate(&chain, 32);
        assert_eq!(total, 128 + 50);
    }
}
