//! What convolutions and pools share: the attributes of a sliding window and the extents that follow.
//!
//! A window over a 1-D signal is read as one of height 1 over an image of one row.

use std::ops::Range;

use crate::ir::TensorId;
use crate::ops::{Importer, Pads, Reshape, SourceNode};
use crate::{Result, bail};

/// Larger attributes are taken for a broken file; below it no product of two overflows.
const MOST: i64 = 1 << 31;

/// A window's attributes, rows before columns.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) strides: [usize; 2],
    pub(super) dilations: [usize; 2],
    pub(super) padding: Padding,
}

/// How an ONNX node states its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// As numbers.
    Explicit(Pads),
    /// As much as makes the result's extent `⌈input / stride⌉`; an odd row or column goes to the end.
    SameUpper,
    /// The same, but an odd row or column goes to the beginning.
    SameLower,
}

impl Window {
    /// Reads `kernel_shape`, `strides`, `dilations`, `pads` and `auto_pad` of a node on `axes` (1 or 2)
    /// image axes. `kernel` is the default of `kernel_shape`, which is required where it is `None`.
    pub(super) fn read(
        node: &SourceNode,
        axes: usize,
        kernel: Option<[usize; 2]>,
    ) -> Result<Window> {
        let stated = extents(node, "kernel_shape", axes, 1)?;
        let kernel = match (stated, kernel) {
            (Some(stated), Some(real)) if stated != real => bail!(
                "kernel_shape {stated:?} contradicts the weights' {real:?}";
                hint: "the file breaks the ONNX specification of {}", node.op_type
            ),
            (stated, kernel) => stated.or(kernel),
        };
        let Some(kernel) = kernel else {
            bail!("kernel_shape is missing"; hint: "the file breaks the ONNX specification of {}", node.op_type)
        };
        let strides = extents(node, "strides", axes, 1)?.unwrap_or([1, 1]);
        let dilations = extents(node, "dilations", axes, 1)?.unwrap_or([1, 1]);
        check(kernel, strides, dilations)?;
        Ok(Window {
            kernel,
            strides,
            dilations,
            padding: padding(node, axes)?,
        })
    }

    /// Rows and columns from the window's first to past its last element.
    pub(super) fn span(&self) -> [usize; 2] {
        [0, 1].map(|i| span(self.kernel[i], self.dilations[i]))
    }

    /// The padding of an image as numbers.
    pub(super) fn pads(&self, image: [usize; 2]) -> Pads {
        let (upper, total) = match self.padding {
            Padding::Explicit(pads) => return pads,
            Padding::SameUpper => (true, self.same(image)),
            Padding::SameLower => (false, self.same(image)),
        };
        split(total, upper)
    }

    fn same(&self, image: [usize; 2]) -> [usize; 2] {
        let span = self.span();
        [0, 1].map(|i| {
            let windows = image[i].div_ceil(self.strides[i]);
            let reach = windows.saturating_sub(1) * self.strides[i] + span[i];
            reach.saturating_sub(image[i])
        })
    }
}

/// Splits padding between beginning and end; the odd one goes to the end where `upper`.
pub(super) fn split(total: [usize; 2], upper: bool) -> Pads {
    let begin = total.map(|t| if upper { t / 2 } else { t.div_ceil(2) });
    Pads {
        top: begin[0],
        left: begin[1],
        bottom: total[0] - begin[0],
        right: total[1] - begin[1],
    }
}

impl Pads {
    /// Rows and columns added in all.
    pub fn total(self) -> [usize; 2] {
        [self.top + self.bottom, self.left + self.right]
    }

    /// Rows above and columns before.
    pub fn begin(self) -> [usize; 2] {
        [self.top, self.left]
    }
}

/// Elements from a window's first to past its last along one axis.
pub(super) fn span(kernel: usize, dilation: usize) -> usize {
    dilation * (kernel - 1) + 1
}

/// Windows at `output` places, `stride` apart, look at element `place · stride + offset` of an axis: the
/// places where that element exists.
pub(super) fn inside(output: usize, input: usize, stride: usize, offset: isize) -> Range<usize> {
    let (input, step) = (input as isize, stride as isize);
    let first = if offset < 0 {
        (-offset + step - 1) / step
    } else {
        0
    };
    let end = if offset < input {
        (input - 1 - offset) / step + 1
    } else {
        0
    };
    let end = (end.max(0) as usize).min(output);
    (first as usize).min(end)..end
}

/// The number of image axes of an operand `[N, C, ..]`: 1 or 2.
pub(super) fn image_axes(shape: &[usize]) -> Result<usize> {
    match shape.len() {
        3 => Ok(1),
        4 => Ok(2),
        rank => bail!(
            "the operand of shape {shape:?} has {} image axes", rank.saturating_sub(2);
            hint: "1-D and 2-D networks are supported, 3-D ones are not"
        ),
    }
}

/// A tensor `[N, C, L]` as `[N, C, 1, L]`; one of four axes as it is.
pub(super) fn as_image(importer: &mut Importer, id: TensorId) -> Result<TensorId> {
    match *importer.shape(id) {
        [n, c, l] => reshape(importer, id, vec![n, c, 1, l]),
        _ => Ok(id),
    }
}

/// Undoes [`as_image`] for a result where the operand had one image axis.
pub(super) fn from_image(importer: &mut Importer, id: TensorId, axes: usize) -> Result<TensorId> {
    match *importer.shape(id) {
        [n, c, 1, l] if axes == 1 => reshape(importer, id, vec![n, c, l]),
        _ => Ok(id),
    }
}

/// Pushes a Reshape.
pub(super) fn reshape(
    importer: &mut Importer,
    id: TensorId,
    shape: Vec<usize>,
) -> Result<TensorId> {
    importer.apply(Reshape { shape }, &[id])
}

/// Refuses what no window can do; `image` is the operand's extent.
pub(super) fn check(kernel: [usize; 2], strides: [usize; 2], dilations: [usize; 2]) -> Result<()> {
    for (what, values) in [
        ("kernel", kernel),
        ("strides", strides),
        ("dilations", dilations),
    ] {
        if values.contains(&0) {
            bail!("{what} {}×{} is empty", values[0], values[1])
        }
    }
    Ok(())
}

/// A list attribute with one number for each image axis, each at least `least`.
pub(super) fn extents(
    node: &SourceNode,
    name: &str,
    axes: usize,
    least: i64,
) -> Result<Option<[usize; 2]>> {
    let Some(values) = node.ints(name)? else {
        return Ok(None);
    };
    if values.len() != axes {
        bail!(
            "attribute `{name}` has {} numbers for {axes} image axes",
            values.len()
        )
    }
    let values = numbers(name, values, least)?;
    Ok(Some(match values[..] {
        [columns] => [least as usize, columns],
        _ => [values[0], values[1]],
    }))
}

fn padding(node: &SourceNode, axes: usize) -> Result<Padding> {
    match node.string("auto_pad", "NOTSET")? {
        "" | "NOTSET" => Ok(Padding::Explicit(explicit(node, axes)?)),
        "VALID" => Ok(Padding::Explicit(Pads::default())),
        "SAME_UPPER" => Ok(Padding::SameUpper),
        "SAME_LOWER" => Ok(Padding::SameLower),
        other => bail!(
            "auto_pad `{other}` is unknown";
            hint: "NOTSET, VALID, SAME_UPPER and SAME_LOWER are known"
        ),
    }
}

fn explicit(node: &SourceNode, axes: usize) -> Result<Pads> {
    let Some(values) = node.ints("pads")? else {
        return Ok(Pads::default());
    };
    match numbers("pads", values, 0)?[..] {
        [left, right] if axes == 1 => Ok(Pads {
            left,
            right,
            ..Pads::default()
        }),
        [top, left, bottom, right] if axes == 2 => Ok(Pads {
            top,
            left,
            bottom,
            right,
        }),
        _ => bail!(
            "attribute `pads` has {} numbers for {axes} image axes",
            values.len()
        ),
    }
}

fn numbers(name: &str, values: &[i64], least: i64) -> Result<Vec<usize>> {
    let number = |value: &i64| {
        if (least..MOST).contains(value) {
            Ok(*value as usize)
        } else {
            bail!("attribute `{name}` holds {value}"; hint: "{least} to {} is supported", MOST - 1)
        }
    };
    values.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(padding: Padding) -> Window {
        Window {
            kernel: [3, 2],
            strides: [2, 1],
            dilations: [1, 2],
            padding,
        }
    }

    #[test]
    fn same_padding_puts_the_odd_one_where_it_says() {
        // Rows: 3 windows of 3 at stride 2 reach 7 of 6. Columns: 5 windows of span 3 reach 7 of 5.
        let pads = |top, left, bottom, right| Pads {
            top,
            left,
            bottom,
            right,
        };
        assert_eq!(window(Padding::SameUpper).pads([6, 5]), pads(0, 1, 1, 1));
        assert_eq!(window(Padding::SameLower).pads([6, 5]), pads(1, 1, 0, 1));
    }

    #[test]
    fn inside_is_where_the_element_exists() {
        for (output, input, stride, offset) in [
            (5, 4, 1, -1),
            (3, 6, 2, -1),
            (4, 3, 2, 1),
            (3, 2, 1, 5),
            (2, 2, 3, -9),
            (1, 0, 1, 0),
        ] {
            let exists = |place: &usize| {
                let at = (place * stride) as isize + offset;
                (0..input as isize).contains(&at)
            };
            let expected: Vec<usize> = (0..output).filter(exists).collect();
            let found: Vec<usize> = inside(output, input, stride, offset).collect();
            assert_eq!(found, expected, "{output} {input} {stride} {offset}");
        }
    }
}
