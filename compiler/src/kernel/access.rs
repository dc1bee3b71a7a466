//! Which memory an operation touches: what `targets/README.md` says of its addresses, in bytes.

use crate::kernel::Expr;
use crate::target::Target;

/// Memory that an operation touches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Access<'a> {
    /// The first byte's address: an [`Expr::At`].
    pub address: &'a Expr,
    /// How many bytes follow from there.
    pub bytes: usize,
    /// Whether they are written, not read.
    pub writes: bool,
}

/// What an operation touches at each of its addresses; nothing where one has an address and is not known.
pub fn accesses<'a>(name: &str, args: &'a [Expr], target: &Target) -> Option<Vec<Access<'a>>> {
    let addresses = args.iter().filter(|arg| matches!(arg, Expr::At(..)));
    let addresses: Vec<&Expr> = addresses.collect();
    if addresses.is_empty() {
        return Some(vec![]);
    }
    let part = match (name.strip_suffix("_part"), args.last()) {
        (None, _) => None,
        (Some(_), Some(Expr::Int(count))) => Some(*count as usize),
        (Some(_), _) => return None,
    };
    let (elements, bytes) = width(name.strip_suffix("_part").unwrap_or(name), target)?;
    let access = |address| Access {
        address,
        bytes: part.unwrap_or(elements) * bytes,
        writes: name.starts_with("store_") || name.starts_with("write_"),
    };
    Some(addresses.into_iter().map(access).collect())
}

/// Elements that a whole operation touches at an address, and bytes of an element.
fn width(name: &str, target: &Target) -> Option<(usize, usize)> {
    let (lanes, taps) = (target.lanes, target.depthwise.taps);
    Some(match name {
        "load_u8" | "load_i8" | "store_u8" | "store_i8" => (lanes, 1),
        "load_u16" | "load_i16" | "store_u16" | "store_i16" | "load_f16" => (lanes, 2),
        "load_i32" | "load_f32" | "store_i32" | "store_f32" => (lanes, 4),
        "load_bytes" | "store_bytes" => (target.bytes, 1),
        "load_a_u8" | "load_a_i8" | "load_a_aligned_u8" | "load_a_aligned_i8"
        | "load_unsigned_u8" | "load_unsigned_i8" => (target.dot.k, 1),
        "load_b" | "load_fields" => (target.dot.lanes * target.dot.k, 1),
        "taps_u8" | "taps_i8" => (lanes, 1),
        "taps_u16" | "taps_i16" => (lanes, 2),
        "tap_weights" | "widen_u8" => (lanes * taps, 1),
        "load_taps" | "store_taps" => (lanes * taps, 2),
        "splat_i16" | "splat_u16" => (taps, 2),
        "store_spread" | "load_spread" | "load_two" => (4, 2),
        "lookup" => (256, 1),
        "repeat_f32" | "read_i32" | "write_i32" => (1, 4),
        "read_u16" | "read_i16" | "write_half" => (1, 2),
        "read_u8" | "read_i8" | "write_byte" => (1, 1),
        _ => return None,
    })
}
