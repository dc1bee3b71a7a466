//! Tensors that may lie over each other although one is made from the other.
//!
//! A kernel that walks its operand from front to back needs the rows behind it no more. Its result may be written
//! over them, if it begins far enough before the operand. How far is read off the addresses, turn by turn of the
//! outer loops: what is written up to and in a turn must lie before what is read in it and after it
//! (arXiv 2010.01668 shows how much memory that saves).

use crate::kernel::{Kernel, Program, simplified};
use crate::target::Target;
use crate::{Result, bail};

use super::sites::sites;

/// Loops whose turns are told apart: rows and pixels of an image.
const DEPTH: usize = 2;

/// One of the calls while both tensors live.
pub struct Step<'a> {
    /// What is called.
    pub kernel: &'a Kernel,
    /// The buffers that lie in the operand's memory, and their first byte there.
    pub read: Vec<(&'a str, i64)>,
    /// The buffers that lie in the result's memory, and their first byte there.
    pub written: Vec<(&'a str, i64)>,
}

/// What happens at the same time: a statement, or the same turn of the outer loops.
type Time = [(usize, i64); DEPTH + 1];

/// The least number of bytes by which a result must begin before its operand so that nothing is read after it was
/// written over; fails where that is not known, or where the operand changes.
pub fn lead(program: &Program, steps: &[Step], target: &Target) -> Result<i64> {
    let mut reads: Vec<(Time, i64)> = vec![];
    let mut writes: Vec<(Time, i64)> = vec![];
    for (call, step) in steps.iter().enumerate() {
        for site in sites(&simplified(step.kernel), program, target)? {
            let find = |all: &[(&str, i64)]| all.iter().find(|b| b.0 == site.buffer).map(|b| b.1);
            let (read, written) = (find(&step.read), find(&step.written));
            let (first, found) = match (read, written, site.writes) {
                (Some(first), None, false) => (first, &mut reads),
                (None, Some(first), true) => (first, &mut writes),
                (None, Some(_), false) | (None, None, _) => continue,
                _ => bail!("`{}` is written over what is read", site.buffer),
            };
            let Some(index) = &site.index else {
                bail!("an address of `{}` is not known", site.buffer);
            };
            let buffers = &step.kernel.buffers;
            let elem = buffers.iter().find(|b| b.name == site.buffer);
            let bytes = elem.map_or(1, |b| b.elem.bytes() as i64);
            index.each_interval(DEPTH, |counters, (low, high)| {
                let mut time = [(0, 0); DEPTH + 1];
                time[0] = (call, 0);
                let loops = site.loops.iter().copied().zip(counters.iter().copied());
                let statement = (site.statement, 0);
                for (at, turn) in time[1..].iter_mut().zip(loops.chain([statement])) {
                    *at = turn;
                }
                let byte = match site.writes {
                    true => high * bytes + site.bytes as i64,
                    false => low * bytes,
                };
                found.push((time, first + byte));
            });
        }
    }
    Ok(most(reads, writes))
}

/// The most by which an end of a write lies behind the start of a read at the same time or later.
fn most(mut reads: Vec<(Time, i64)>, mut writes: Vec<(Time, i64)>) -> i64 {
    reads.sort_unstable();
    writes.sort_unstable();
    let mut lead = i64::MIN;
    let mut first = i64::MAX;
    // From the end: the first byte that is read from here on.
    while let Some((time, end)) = writes.pop() {
        while let Some((_, start)) = reads.pop_if(|read| read.0 >= time) {
            first = first.min(start);
        }
        if first < i64::MAX {
            lead = lead.max(end - first);
        }
    }
    lead.max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Buffer, Expr, Scalar, Stmt, at, int, op, var};
    use proptest::prelude::*;

    /// An index: what each counter is times, and a number.
    type Index = ([i64; 3], i64);

    const NAMES: [&str; 3] = ["h", "w", "c"];

    fn index((factors, number): Index) -> Expr {
        let terms = NAMES.iter().zip(factors);
        terms.fold(int(number), |sum, (name, factor)| sum + var(*name) * factor)
    }

    /// Three loops around `y[write] = x[reads[0]] + x[reads[1]]`.
    fn kernel(extents: [i64; 3], reads: [Index; 2], write: Index) -> Kernel {
        let [a, b] = reads.map(|read| op("read_u8", [at("x", index(read))]));
        let value = op("add", [a, b]);
        let mut body = vec![Stmt::Do(op("write_byte", [at("y", index(write)), value]))];
        for (name, extent) in NAMES.iter().zip(extents).rev() {
            body = vec![Stmt::For {
                var: name.to_string(),
                start: int(0),
                end: int(extent),
                step: 1,
                body,
            }];
        }
        let buffer = |name: &str, mutable| Buffer {
            name: name.to_string(),
            elem: Scalar::U8,
            mutable,
        };
        Kernel {
            name: "moved".into(),
            comment: vec![],
            buffers: vec![buffer("x", false), buffer("y", true)],
            constants: vec![],
            body,
        }
    }

    fn lead_of(kernels: &[&Kernel]) -> Result<i64> {
        let program = Program {
            name: "program".into(),
            inputs: vec![],
            outputs: vec![],
            arena_bytes: 0,
            align: 1,
            kernels: vec![],
            constants: vec![],
            calls: vec![],
            threads: 0,
        };
        let steps = kernels.iter().map(|kernel| Step {
            kernel,
            read: vec![("x", 0)],
            written: vec![("y", 0)],
        });
        let steps: Vec<_> = steps.collect();
        lead(&program, &steps, &Target::load("generic")?)
    }

    #[test]
    fn rows_that_are_read_no_more_are_written_over() {
        // Windows of three rows of an image of 6 × 6, and its 4 × 4 results.
        let reads = [([6, 1, 0], 0), ([6, 1, 0], 14)];
        let forwards = kernel([4, 4, 1], reads, ([4, 1, 0], 0));
        assert_eq!(lead_of(&[&forwards]).unwrap(), 1);
        // The last result first: it lies beyond what is read then.
        let backwards = kernel([4, 4, 1], reads, ([-4, -1, 0], 15));
        assert_eq!(lead_of(&[&backwards]).unwrap(), 16);
        // What a later call reads from the first byte on must not be written over.
        assert_eq!(lead_of(&[&forwards, &forwards]).unwrap(), 16);
    }

    proptest! {
        #[test]
        fn nothing_is_read_that_was_written_over(
            extents in [1..5i64, 1..5, 1..5],
            reads in [([0..20i64, 0..8, 0..4], 0..30i64), ([0..20i64, 0..8, 0..4], 0..30i64)],
            write in ([0..20i64, 0..8, 0..4], 0..30i64),
        ) {
            let kernel = kernel(extents, reads, write);
            let lead = lead_of(&[&kernel]).unwrap();
            let value = |(factors, number): Index, at: [i64; 3]| {
                number + factors.iter().zip(at).map(|(f, i)| f * i).sum::<i64>()
            };
            let mut over = std::collections::BTreeSet::new();
            for h in 0..extents[0] {
                for w in 0..extents[1] {
                    for c in 0..extents[2] {
                        for read in reads {
                            prop_assert!(!over.contains(&(lead + value(read, [h, w, c]))));
                        }
                        over.insert(value(write, [h, w, c]));
                    }
                }
            }
        }
    }
}
