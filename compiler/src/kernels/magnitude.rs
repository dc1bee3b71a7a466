//! Activations as i8 with their magnitudes, for products that read each of them often.

use crate::kernel::{Buffer, Kernel, Scalar, Stmt, at, op, var};
use crate::kernels::pixels::counted;
use crate::kernels::requantize::define;
use crate::target::Target;

/// Writes the magnitudes `v` of `bytes` activations, and for u8 activations the shifted ones `a` that they are
/// the magnitudes of. Buffers: `x`, `a` unless `x` is signed, `v`; all may be accessed up to the next multiple of
/// the machine's byte vector.
pub(crate) fn magnitudes(name: &str, signed: bool, bytes: usize, target: &Target) -> Kernel {
    let place = |buffer| at(buffer, var("i"));
    let x = op("load_bytes", [place("x")]);
    let mut steps = vec![];
    let mut buffers = vec![buffer("x", signed, false)];
    if signed {
        steps.push(define("a0", "vb", x));
    } else {
        buffers.push(buffer("a", true, true));
        steps.push(define("a0", "vb", op("shift_u8", [x])));
        steps.push(Stmt::Do(op("store_bytes", [place("a"), var("a0")])));
    }
    buffers.push(buffer("v", false, true));
    let magnitude = op("magnitude_i8", [var("a0")]);
    steps.push(Stmt::Do(op("store_bytes", [place("v"), magnitude])));
    let end = bytes.next_multiple_of(target.bytes);
    Kernel {
        name: name.to_string(),
        comment: vec![format!("Magnitudes of {bytes} activations.")],
        buffers,
        constants: vec![],
        body: vec![counted("i", 0, end, target.bytes, steps)],
    }
}

fn buffer(name: &str, signed: bool, mutable: bool) -> Buffer {
    Buffer {
        name: name.to_string(),
        elem: if signed { Scalar::I8 } else { Scalar::U8 },
        mutable,
    }
}
