//! What several operators check of their operands.

use crate::ir::{Elem, Type};
use crate::ops::import::operand;
use crate::{Result, bail};

/// More elements than this are taken for a broken file, not for a network.
const MOST_ELEMENTS: usize = 1 << 31;
/// No network has tensors of more axes.
const MOST_AXES: usize = 32;

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
    size(&shape)?;
    Ok(Type { shape, elem })
}

/// The number of elements of a shape, refused where no machine can hold them.
pub(crate) fn size(shape: &[usize]) -> Result<usize> {
    rank(shape.len())?;
    let mut size = 1usize;
    for &extent in shape {
        // An empty axis must not hide extents whose product overflows.
        size = match size.checked_mul(extent.max(1)) {
            Some(size) if size <= MOST_ELEMENTS => size,
            _ => bail!(
                "a tensor of shape {shape:?} has more than 2^31 elements";
                hint: "check the model's dynamic axes, given with --batch and --dim"
            ),
        };
    }
    Ok(shape.iter().product())
}

/// Refuses more axes than any network has.
pub(crate) fn rank(axes: usize) -> Result<()> {
    if axes > MOST_AXES {
        bail!("a tensor has {axes} axes; at most {MOST_AXES} are supported");
    }
    Ok(())
}

/// Extents from the integers of a file: none negative, and together within the limits.
pub(crate) fn shape(extents: &[i64]) -> Result<Vec<usize>> {
    let shape: Option<Vec<usize>> = extents.iter().map(|&d| usize::try_from(d).ok()).collect();
    match shape {
        Some(shape) => size(&shape).map(|_| shape),
        None => bail!("shape {extents:?} has a negative extent"),
    }
}

/// How messages call an element type.
pub(crate) fn kind(elem: &Elem) -> &'static str {
    match elem {
        Elem::Float => "real numbers",
        Elem::Quantized(_) => "quantized numbers",
        Elem::Int(_) => "integers",
        Elem::Bool => "truth values",
    }
}
