//! Parts of a kernel that may run at the same time.
//!
//! Where a kernel runs in parts, some of its loops give each part a share of their turns. Any cut is allowed when
//! the turns themselves are independent: what one writes no other reads or writes. That is shown for the addresses
//! of one call, because only these tell which buffers lie in the same memory:
//!
//! - Every write is in a loop that is shared. Its addresses are followed through all turns, table for table and
//!   byte for byte, and each byte belongs to the turn that writes it.
//! - A read of memory in which something is written must find bytes of its own turn, or of none.
//! - A value that a turn changes is one that the turn defined.
//! - Scratch memory may be each part's own: then every turn must write what it reads.
//!
//! What cannot be followed is refused.

mod own;

use std::collections::BTreeMap;

use crate::kernel::{Call, Kernel, Program, Slot};
use crate::target::Target;
use crate::{Result, bail};

use super::address::Resolved;
use super::sites::{Site, sites};

/// Memory that buffers may share: the arena, or an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Region {
    Arena,
    Output(usize),
}

/// A place in a tensor: the region, the byte of the tensor's first element there, and bytes of an element.
type Placed = (Region, i64, i64, Site);

/// The turns that own the bytes of a region, from the first that is written.
struct Owners {
    first: i64,
    turns: Vec<Option<(usize, i64)>>,
}

/// Elements of a buffer that a kernel's addresses reach, from the first on.
pub fn extent(program: &Program, kernel: &Kernel, buffer: &str, target: &Target) -> Result<i64> {
    let found = kernel.buffers.iter().find(|b| b.name == buffer);
    let bytes = found.map_or(1, |b| b.elem.bytes() as i64);
    let mut end = 0;
    for site in sites(kernel, program, target)? {
        if site.buffer == buffer {
            let Some(index) = &site.index else {
                bail!("an address of `{buffer}` is not known");
            };
            end = end.max(index.interval().1 + (site.bytes as i64 + bytes - 1) / bytes);
        }
    }
    Ok(end)
}

/// Shows that the turns of the shared loops of a call's kernel are independent.
pub fn parts(program: &Program, call: usize, target: &Target) -> Result<()> {
    let call = &program.calls[call];
    let kernel = &program.kernels[call.kernel];
    let mut reads = vec![];
    let mut writes = vec![];
    let mut scratch: BTreeMap<usize, Vec<Site>> = BTreeMap::new();
    let all = sites(kernel, program, target)?;
    let own: Vec<String> = all
        .iter()
        .filter(|s| s.stride != 0)
        .map(|s| s.buffer.clone())
        .collect();
    for site in all {
        let Some(buffer) = kernel.buffers.iter().position(|b| b.name == site.buffer) else {
            // A constant, which nothing writes.
            continue;
        };
        if own.contains(&site.buffer) {
            scratch.entry(buffer).or_default().push(site);
            continue;
        }
        let bytes = kernel.buffers[buffer].elem.bytes();
        let (region, base) = match call.args[buffer] {
            Slot::Arena(byte) => (Region::Arena, byte),
            Slot::Output(index, element) => (Region::Output(index), element * bytes),
            Slot::Input(..) if !site.writes => continue,
            Slot::Input(..) => bail!("an input is written"),
        };
        let side = if site.writes { &mut writes } else { &mut reads };
        side.push((region, base as i64, bytes as i64, site));
    }
    apart(program, call, &scratch, reads.iter().chain(&writes))?;
    let mut owners = owners(&writes)?;
    for (region, base, bytes, site) in &writes {
        let Some(index) = &site.index else {
            bail!("an address of `{}` is not known", site.buffer);
        };
        let owned = owners.get_mut(region).expect("it was found by its writes");
        let independent = site.each(index, |turn, index| {
            let from = base + index * bytes - owned.first;
            let mut bytes = owned.turns[from as usize..][..site.bytes].iter_mut();
            bytes.all(|owner| *owner.get_or_insert(turn) == turn)
        });
        if !independent {
            bail!("turns write the same bytes of `{}`", site.buffer);
        }
    }
    for (region, base, bytes, site) in &reads {
        if let Some(owned) = owners.get(region) {
            read(site, *base, *bytes, owned)?;
        }
    }
    Ok(())
}

/// Shows that each part has scratch memory of its own, in which no tensor lies.
fn apart<'a>(
    program: &Program,
    call: &Call,
    scratch: &BTreeMap<usize, Vec<Site>>,
    tensors: impl Iterator<Item = &'a Placed>,
) -> Result<()> {
    let mut taken = vec![];
    for (buffer, sites) in scratch {
        let bytes = program.kernels[call.kernel].buffers[*buffer].elem.bytes() as i64;
        let Slot::Arena(first) = call.args[*buffer] else {
            bail!("scratch memory lies outside the arena");
        };
        let stride = sites[0].stride;
        if own::own(sites, bytes)? > stride {
            bail!("a part leaves its own memory");
        }
        let end = first as i64 + program.threads as i64 * stride * bytes;
        taken.push((first as i64, end));
    }
    for (region, base, bytes, site) in tensors {
        let Some((low, high)) = site.index.as_ref().map(Resolved::interval) else {
            bail!("an address of `{}` is not known", site.buffer);
        };
        if *region == Region::Arena {
            let end = base + high * bytes + site.bytes as i64;
            taken.push((base + low * bytes, end));
        }
    }
    // Tensors, which come last in the list, may share memory with each other.
    for (i, (low, high)) in taken.iter().enumerate().take(scratch.len()) {
        let mut others = taken[i + 1..].iter();
        if others.any(|(from, to)| low < to && from < high) {
            bail!("a part's own memory is also another's");
        }
    }
    Ok(())
}

/// The memory in which something is written, owned by no turn yet.
fn owners(writes: &[Placed]) -> Result<BTreeMap<Region, Owners>> {
    let mut written: BTreeMap<Region, (i64, i64)> = BTreeMap::new();
    for (region, base, bytes, site) in writes {
        if site.shared.is_none() {
            bail!("`{}` is written by all parts", site.buffer);
        }
        let Some((low, high)) = site.index.as_ref().map(Resolved::interval) else {
            bail!("an address of `{}` is not known", site.buffer);
        };
        let (low, high) = (base + low * bytes, base + high * bytes + site.bytes as i64);
        let reach = written.entry(*region).or_insert((low, high));
        *reach = (reach.0.min(low), reach.1.max(high));
    }
    let owners = written.into_iter().map(|(region, (first, end))| {
        let turns = vec![None; (end - first) as usize];
        (region, Owners { first, turns })
    });
    Ok(owners.collect())
}

/// Shows that a read finds no byte that another turn writes.
fn read(site: &Site, base: i64, bytes: i64, owned: &Owners) -> Result<()> {
    let Some(index) = &site.index else {
        bail!("an address of `{}` is not known", site.buffer);
    };
    let (low, high) = index.interval();
    let end = owned.first + owned.turns.len() as i64;
    if base + low * bytes >= end || base + high * bytes + site.bytes as i64 <= owned.first {
        return Ok(());
    }
    let independent = site.each(index, |turn, index| {
        let from = base + index * bytes;
        let touched = from.max(owned.first)..(from + site.bytes as i64).min(end);
        touched.into_iter().all(|byte| {
            let owner = owned.turns[(byte - owned.first) as usize];
            owner.is_none_or(|owner| site.shared.is_some() && owner == turn)
        })
    });
    if !independent {
        bail!("turns read of `{}` what others write", site.buffer);
    }
    Ok(())
}
