//! The product that a machine makes of activations of a type.

use crate::kernel::Scalar;
use crate::kernels::elements::elements;
use crate::target::Target;

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
}

impl Unit {
    pub(crate) fn new(target: &Target, elem: Scalar) -> Unit {
        let load = elements(elem);
        match elem.bytes() {
            1 => Unit {
                lanes: target.dot.lanes,
                k: target.dot.k,
                dot: "dot",
                activations: ("va", load.activations),
                weights: ("vw", ["load_b", "load_fields"]),
            },
            _ => Unit {
                lanes: target.lanes,
                k: target.depthwise.taps,
                dot: "dot_taps",
                activations: ("vt", [load.neighbours; 2]),
                weights: ("vt", ["tap_weights", "widen_u8"]),
            },
        }
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
