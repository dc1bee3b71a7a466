//! What several operators check of their operands.

use crate::ir::{Elem, Type};
use crate::ops::import::operand;
use crate::{Result, bail};

/// More elements than this are taken for a broken file, not for a network.
const MOST_ELEMENTS: usize = 1 << 31;

/// A required operand of reals, or of integers that stand for reals.
pub(super) fn real<'a>(operands: &[Option<&'a Type>], index: usize) -> Result<&'a Type> {
    let ty = operand(operands, index)?;
    match ty.elem {
        Elem::Float | Elem::Quantized(_) => Ok(ty),
        Elem::Int(_) | Elem::Bool => bail!(
            "operand {index} holds {}, real numbers are needed", kind(&ty.elem);
            hint: "cast it to float32 in the model"
        ),
    }
}

/// A required operand of reals with the axes `[N, C, H, W]`.
pub(super) fn image(operands: &[Option<&Type>], index: usize) -> Result<[usize; 4]> {
    let ty = real(operands, index)?;
    match ty.shape[..] {
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => bail!(
            "operand {index} has shape {:?}, an image has four axes", ty.shape;
            hint: "1-D and 2-D networks are supported, 3-D ones are not"
        ),
    }
}

/// The type of a result of reals; refuses sizes that no machine can hold.
pub(super) fn reals(shape: Vec<usize>) -> Result<Type> {
    typed(shape, Elem::Float)
}

/// The type of a result; refuses sizes that no machine can hold.
pub(super) fn typed(shape: Vec<usize>, elem: Elem) -> Result<Type> {
    let size = shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
    match size {
        Some(size) if size <= MOST_ELEMENTS => Ok(Type { shape, elem }),
        _ => bail!(
            "the result would have shape {shape:?}, more than 2^31 elements";
            hint: "check the model's dynamic axes"
        ),
    }
}

/// How messages call an element type.
pub(super) fn kind(elem: &Elem) -> &'static str {
    match elem {
        Elem::Float => "real numbers",
        Elem::Quantized(_) => "quantized numbers",
        Elem::Int(_) => "integers",
        Elem::Bool => "truth values",
    }
}
