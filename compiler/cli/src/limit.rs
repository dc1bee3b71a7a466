//! What most of a layer's operations are for.

use qcc_compiler::kernel::{Call, Program, Work};
use qcc_compiler::target::Target;

/// Calls of a layer, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Their operations.
    pub(crate) work: Work,
    /// Their multiply-accumulates.
    pub(crate) macs: u64,
    /// Bytes of constants that they read.
    pub(crate) constants: u64,
}

/// Constants larger than this many bytes do not stay in the nearest cache.
const NEAR_CACHE: u64 = 32 << 10;

/// Constants each of whose bytes is multiplied less often than this are read as fast as they are used up.
const OFTEN: u64 = 4;

/// A processor that waits for nothing executes more operations in a cycle.
const WAITING: f64 = 2.0;

impl Counted {
    /// One call.
    pub(crate) fn of(call: &Call, program: &Program, target: &Target) -> Counted {
        let names = &program.kernels[call.kernel].constants;
        let constants = program.constants.iter().filter(|c| names.contains(&c.name));
        Counted {
            work: Work::of(call, program, target),
            macs: call.macs,
            constants: constants.map(|c| c.bytes.len() as u64).sum(),
        }
    }

    /// Both.
    pub(crate) fn and(self, other: Counted) -> Counted {
        Counted {
            work: self.work.and(other.work),
            macs: self.macs + other.macs,
            constants: self.constants + other.constants,
        }
    }

    /// What the largest part of the operations is for, in a word, and that part; memory, where constants are read from
    /// beyond the nearest cache, are hardly used again, and the processor executes few operations a cycle meanwhile.
    pub(crate) fn limit(&self, rate: Option<f64>) -> (&'static str, f64) {
        let total = self.work.total().max(1) as f64;
        let streamed = self.constants > NEAR_CACHE && self.macs < OFTEN * self.constants;
        if self.macs > 0 && streamed && rate.is_some_and(|rate| rate < WAITING) {
            return ("memory", 1.0);
        }
        let multiplied = self.work.multiplied.max(1) as f64;
        // Winograd's products, and chains without steps of zeros, are fewer than the layer's.
        let used = (self.macs as f64 / multiplied).min(1.0);
        let products = (self.work.products + self.work.sums - self.work.unsafe_pairs) as f64;
        let rest = match self.macs {
            0 => "arithmetic",
            _ => "rescaling",
        };
        let parts = [
            ("products", products * used),
            ("padding", products * (1.0 - used)),
            ("unsafe pairs", self.work.unsafe_pairs as f64),
            ("operands", self.work.operands as f64),
            ("tables", self.work.tables as f64),
            ("moves", self.work.moves as f64),
            (rest, self.work.rest as f64),
        ];
        let largest = parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (word, part) = largest.expect("there are parts");
        (word, part / total)
    }

    /// The limit with its part, and how sums of products grow.
    pub(crate) fn text(&self, rate: Option<f64>) -> String {
        match self.limit(rate) {
            ("memory", _) => format!("memory: {} KiB of constants", self.constants >> 10),
            (word @ ("products" | "operands"), part) if self.work.ends > 0 => {
                let length = self.work.steps as f64 / self.work.ends as f64;
                format!("{word} {:.0} %, chains of {length:.1}", 100.0 * part)
            }
            (word, part) => format!("{word} {:.0} %", 100.0 * part),
        }
    }

    /// Multiply-accumulates of an operation if there were only products: what the form of a layer's sums allows.
    pub(crate) fn peak(&self) -> Option<f64> {
        let products = self.work.products + self.work.sums;
        (self.work.multiplied > 0 && products > 0)
            .then(|| self.work.multiplied as f64 / products as f64)
    }
}
