//! Weights of few bits, several to a byte.
//!
//! A weight is its channel's smallest plus a field of 2 or 4 bits. A byte has the fields of steps that follow
//! each other, so that one load brings the weights of several steps, each a shift and a mask away:
//!
//! ```text
//!  4 bits:  step 1 | step 0                        2 bits:  step 3 | step 2 | step 1 | step 0
//! ```

use crate::kernel::{Expr, Stmt, int, op, var};
use crate::kernels::requantize::define;

/// Weights of few bits, as the model knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Of a field: 2 or 4.
    pub bits: usize,
    /// The smallest weight of each channel, zero point subtracted; at most 0.
    pub lows: Vec<i32>,
}

/// How a kernel finds the weights in its constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A byte a weight.
    Bytes {
        /// Addends of a weight ([`Product::parts`](crate::kernels::Product::parts)).
        parts: usize,
    },
    /// Fields.
    Fields {
        /// Of a field: 2 or 4.
        bits: usize,
        /// Whether each channel has a smallest weight of its own; otherwise all have the same.
        each: bool,
    },
}

impl Fields {
    /// Weights between limits, with a zero point for each channel; none where a byte holds but one of them.
    pub fn new((low, high): (i32, i32), zero_points: &[i32]) -> Option<Fields> {
        let bits = match high - low {
            ..4 => 2,
            4..16 => 4,
            _ => return None,
        };
        let lows = zero_points.iter().map(|z| low - z).collect();
        Some(Fields { bits, lows })
    }
}

impl Fields {
    /// What is added to the fields of lanes without a channel.
    pub(crate) fn spare(&self) -> i32 {
        match self.is_uniform() {
            true => self.lows[0],
            false => 0,
        }
    }

    /// Whether all channels have the same smallest weight.
    pub(crate) fn is_uniform(&self) -> bool {
        self.lows.iter().all(|low| *low == self.lows[0])
    }
}

impl Form {
    /// Steps whose weights share a byte.
    pub(crate) fn steps(self) -> usize {
        match self {
            Form::Bytes { .. } => 1,
            Form::Fields { bits, .. } => 8 / bits,
        }
    }

    /// Bits of a weight in memory.
    pub fn bits(self) -> usize {
        8 / self.steps()
    }

    /// How often a kernel reads its window.
    pub(crate) fn parts(self) -> usize {
        match self {
            Form::Bytes { parts } => parts,
            Form::Fields { .. } => 1,
        }
    }

    /// The first `count` weights of `packed`, a value of type `ty`, named by `name`.
    pub(crate) fn unpack(
        self,
        packed: &str,
        ty: &'static str,
        count: usize,
        low: Expr,
        name: impl Fn(usize) -> String,
    ) -> Vec<Stmt> {
        let bits = self.bits();
        let mask = int((1 << bits) - 1);
        let field = |i: usize| {
            let (packed, shift) = (var(packed), int((i * bits) as i64));
            match (ty, i) {
                ("vt", _) => op("tap_field", [packed, shift, mask.clone()]),
                (_, 0) => op("first_field", [packed, mask.clone()]),
                _ => op("field", [packed, shift, mask.clone()]),
            }
        };
        let add = if ty == "vt" { "add_i16" } else { "add_weights" };
        let weight = |i| define(&name(i), ty, op(add, [field(i), low.clone()]));
        (0..count).map(weight).collect()
    }
}

/// What tells the values of the steps of a byte apart.
pub(crate) fn tag(step: usize) -> String {
    match step {
        0 => String::new(),
        step => format!("_{step}"),
    }
}
