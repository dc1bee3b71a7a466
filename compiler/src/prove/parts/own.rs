//! Scratch memory of which each part has its own.
//!
//! Parts never meet there, but each must find what it would find without the others: every byte that a turn reads
//! was written before in the same turn.

use crate::prove::sites::Site;
use crate::{Result, bail};

/// Shows this of all places that touch a buffer with elements of so many bytes; how many elements a part needs.
pub(super) fn own(sites: &[Site], bytes: i64) -> Result<i64> {
    let Some(first) = sites.first() else {
        return Ok(0);
    };
    let name = &first.buffer;
    let mut end = 0;
    for site in sites {
        let Some(index) = &site.index else {
            bail!("an address of `{name}` is not known");
        };
        let (low, high) = index.interval();
        if low < 0 || site.stride != first.stride || site.shared.is_none() {
            bail!("parts do not have a `{name}` of their own");
        }
        end = end.max(high + (site.bytes as i64 + bytes - 1) / bytes);
    }
    for read in sites.iter().filter(|site| !site.writes) {
        let mut written = vec![false; (end * bytes) as usize];
        for write in sites.iter().filter(|site| site.writes) {
            if precedes(write, read) {
                each(
                    write,
                    bytes,
                    |byte| {
                        *byte = true;
                        true
                    },
                    &mut written,
                );
            }
        }
        if !each(read, bytes, |byte| *byte, &mut written) {
            bail!("a turn reads of `{name}` what it has not written");
        }
    }
    Ok(end)
}

/// Whether a write touches all of its bytes before a read in the same turn, whichever it is.
fn precedes(write: &Site, read: &Site) -> bool {
    let (Some(index), Some(found)) = (&write.index, &read.index) else {
        return false;
    };
    let pairs = write.loops.iter().zip(&read.loops);
    let common = pairs.take_while(|(a, b)| a == b).count();
    write.statement < read.statement
        && write.shared == read.shared
        && index.repeats(common)
        && found.repeats(common)
}

/// Asks whether something holds of every byte that a place touches.
fn each(
    site: &Site,
    bytes: i64,
    mut holds: impl FnMut(&mut bool) -> bool,
    memory: &mut [bool],
) -> bool {
    let Some(index) = &site.index else {
        return false;
    };
    site.each(index, |_, index| {
        let touched = &mut memory[(index * bytes) as usize..][..site.bytes];
        touched.iter_mut().all(&mut holds)
    })
}
