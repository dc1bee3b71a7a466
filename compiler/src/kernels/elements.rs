//! How the elements of activations are read and written.

use crate::kernel::{Expr, Stmt};
use crate::kernel::{Scalar, int, op};

/// The operations for one type of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elements {
    /// A vector of them, widened; and a part of one.
    pub(crate) load: [&'static str; 2],
    /// A vector of them from integers, saturated; and a part of one.
    pub(crate) store: [&'static str; 2],
    /// One of them.
    pub(crate) read: &'static str,
    /// One of them, its bits taken as those of an unsigned integer.
    pub(crate) bits: &'static str,
    /// One of them, from the low bits of an integer.
    pub(crate) write: &'static str,
    /// As many as one product of 8 bits takes; and a part of them.
    pub(crate) activations: [&'static str; 2],
    /// Neighbours that one product of 16 bits takes.
    pub(crate) neighbours: &'static str,
    /// Those at the taps of a depthwise convolution; and a part of them.
    pub(crate) taps: [&'static str; 2],
    /// The smallest and the largest that the type holds.
    pub(crate) limits: (i32, i32),
}

/// The operations on u8, i8, u16 or i16.
pub(crate) fn elements(scalar: Scalar) -> Elements {
    match scalar {
        Scalar::U8 => Elements {
            load: ["load_u8", "load_u8_part"],
            store: ["store_u8", "store_u8_part"],
            read: "read_u8",
            bits: "read_u8",
            write: "write_byte",
            activations: ["load_a_u8", "load_a_u8_part"],
            neighbours: "",
            taps: ["taps_u8", "taps_u8_part"],
            limits: (0, 255),
        },
        Scalar::I8 => Elements {
            load: ["load_i8", "load_i8_part"],
            store: ["store_i8", "store_i8_part"],
            read: "read_i8",
            activations: ["load_a_i8", "load_a_i8_part"],
            taps: ["taps_i8", "taps_i8_part"],
            limits: (-128, 127),
            ..elements(Scalar::U8)
        },
        Scalar::U16 => Elements {
            load: ["load_u16", "load_u16_part"],
            store: ["store_u16", "store_u16_part"],
            read: "read_u16",
            bits: "read_u16",
            write: "write_half",
            activations: ["", ""],
            neighbours: "splat_u16",
            taps: ["taps_u16", "taps_u16_part"],
            limits: (0, 65535),
        },
        Scalar::I16 => Elements {
            load: ["load_i16", "load_i16_part"],
            store: ["store_i16", "store_i16_part"],
            read: "read_i16",
            neighbours: "splat_i16",
            taps: ["taps_i16", "taps_i16_part"],
            limits: (-32768, 32767),
            ..elements(Scalar::U16)
        },
        other => panic!("activations are not {other:?}"),
    }
}

impl Elements {
    /// Stores a vector of integers, or its first `part` lanes.
    pub(crate) fn put(&self, address: Expr, vector: Expr, part: Option<usize>) -> Stmt {
        Stmt::Do(match part {
            None => op(self.store[0], [address, vector]),
            Some(n) => op(self.store[1], [address, vector, int(n as i64)]),
        })
    }

    /// A vector of integers, or one whose first `part` lanes matter.
    pub(crate) fn get(&self, address: Expr, part: Option<usize>) -> Expr {
        match part {
            None => op(self.load[0], [address]),
            Some(n) => op(self.load[1], [address, int(n as i64)]),
        }
    }
}
