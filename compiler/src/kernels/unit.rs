//! The product that a machine makes of activations of a type.

use crate::kernel::Scalar;
use crate::kernels::elements::elements;
use crate::target::{Block, Target};

/// `sums[lane] += Σ a[k] · w[lane][k]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) lanes: usize,
    pub(crate) k: usize,
    /// The operation.
    pub(crate) dot: &'static str,
    /// Type of the activations, and what loads them: `k`, or less.
    pub(crate) activations: (&'static str, [&'static str; 2]),
    /// Type of the weights, and what loads them: those of i8, and bytes of fields.
    pub(crate) weights: (&'static str, [&'static str; 2]),
    /// Whether weights are stored plus 128.
    pub(crate) raised: bool,
    /// Where activations are loaded a byte vector at a time.
    pub(crate) joint: Option<Joint>,
}

/// Products that share a byte vector of activations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joint {
    /// What makes the vector one of numbers that the product takes.
    pub(crate) shift: Option<&'static str>,
    /// How its parts are multiplied.
    pub(crate) way: Way,
}

/// How parts of a byte vector of activations are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The same `k` activations in each lane (`dot_part`).
    Parts,
    /// Those of several pixels, or several parts of a sum (`dot_block`).
    Block(Block),
}

impl Unit {
    pub(crate) fn new(target: &Target, elem: Scalar) -> Unit {
        let load = elements(elem);
        match elem.bytes() {
            1 => Unit {
                lanes: target.dot.lanes,
                k: target.dot.k,
                dot: of_elem(target, elem, ["dot", "dot_u8"]),
                activations: ("va", load.activations),
                weights: ("vw", ["load_b", "load_fields"]),
                raised: target.dot.raised,
                joint: None,
            },
            _ => Unit {
                lanes: target.lanes,
                k: target.depthwise.taps,
                dot: "dot_taps",
                activations: ("vt", [load.neighbours; 2]),
                weights: ("vt", ["tap_weights", "widen_u8"]),
                raised: false,
                joint: None,
            },
        }
    }

    /// The same with activations of 8 bits loaded a byte vector at a time, where the machine can; `blocks` if a
    /// product may be one of blocks.
    pub(crate) fn joint(self, target: &Target, elem: Scalar, blocks: bool) -> Unit {
        let shift = match elem {
            Scalar::U8 if target.dot.offset_u8 != 0 => Some("shift_u8"),
            Scalar::U8 => None,
            // What i8 are shifted by for `dot` is no matter of byte vectors.
            _ if target.dot.offset_i8 != 0 => return self,
            _ => None,
        };
        match target.dot.block {
            Some(block) if blocks => Unit {
                k: block.k,
                dot: of_elem(target, elem, ["dot_block", "dot_block_u8"]),
                joint: Some(Joint {
                    shift,
                    way: Way::Block(block),
                }),
                ..self
            },
            _ if target.has("dot_part") => Unit {
                dot: of_elem(target, elem, ["dot_part", "dot_part_u8"]),
                joint: Some(Joint {
                    shift,
                    way: Way::Parts,
                }),
                ..self
            },
            _ => self,
        }
    }
}

impl Unit {
    /// The blocks that it multiplies, if it does.
    pub(crate) fn block(&self) -> Option<Block> {
        match self.joint?.way {
            Way::Block(block) => Some(block),
            Way::Parts => None,
        }
    }
}

/// A product of i8, or, where the machine tells them apart, of u8.
fn of_elem(target: &Target, elem: Scalar, [i8, u8]: [&'static str; 2]) -> &'static str {
    match elem {
        Scalar::U8 if target.has(u8) => u8,
        _ => i8,
    }
}

/// What must be added to an activation so that it is from 0 to 255.
pub fn unsigned_offset(elem: Scalar) -> i32 {
    match elem {
        Scalar::I8 => 128,
        _ => 0,
    }
}

/// What a product adds to an activation before it multiplies.
pub fn offset(target: &Target, elem: Scalar) -> i32 {
    match elem {
        Scalar::U8 => target.dot.offset_u8,
        Scalar::I8 => target.dot.offset_i8,
        Scalar::U16 => -32768,
        _ => 0,
    }
}
