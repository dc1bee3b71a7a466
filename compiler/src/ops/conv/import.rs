//! ONNX nodes of this family.

use super::{Conv, ConvTranspose};
use crate::Result;
use crate::bail;
use crate::ir::{Clamp, TensorId};
use crate::ops::window::{self, Padding, Window};
use crate::ops::{Import, Importer, SourceNode};

/// ONNX operators of this family.
pub(in crate::ops) const IMPORTS: &[(&str, Import)] =
    &[("Conv", conv), ("ConvTranspose", conv_transpose)];

fn conv(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let operands = Operands::read(node, importer)?;
    let window = Window::read(node, operands.axes, Some(operands.kernel))?;
    let op = Conv {
        strides: window.strides,
        pads: window.pads(operands.image),
        dilations: window.dilations,
        groups: groups(node)?,
        activation: Clamp::NONE,
    };
    operands.push(op, node, importer)
}

fn conv_transpose(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let operands = Operands::read(node, importer)?;
    let window = Window::read(node, operands.axes, Some(operands.kernel))?;
    let stated = window::extents(node, "output_padding", operands.axes, 0)?.unwrap_or([0, 0]);
    let full = |axis: usize| {
        let last = operands.image[axis].saturating_sub(1) * window.strides[axis];
        last + window.span()[axis] + stated[axis]
    };
    let (pads, extra) = match (output_shape(node, operands.axes)?, window.padding) {
        (None, Padding::Explicit(pads)) => (pads, [0, 0]),
        (shape, padding) => {
            let same = [0, 1].map(|i| operands.image[i] * window.strides[i]);
            let shape = shape.unwrap_or(same);
            let cut = [0, 1].map(|i| full(i).saturating_sub(shape[i]));
            let extra = [0, 1].map(|i| shape[i].saturating_sub(full(i)));
            (window::split(cut, padding == Padding::SameUpper), extra)
        }
    };
    let op = ConvTranspose {
        strides: window.strides,
        pads,
        dilations: window.dilations,
        groups: groups(node)?,
        output_padding: [0, 1].map(|i| stated[i] + extra[i]),
        activation: Clamp::NONE,
    };
    operands.push(op, node, importer)
}

/// Operand and weights as images.
struct Operands {
    axes: usize,
    x: TensorId,
    weights: TensorId,
    image: [usize; 2],
    kernel: [usize; 2],
}

impl Operands {
    fn read(node: &SourceNode, importer: &mut Importer) -> Result<Operands> {
        let (x, weights) = (node.input(0)?, node.input(1)?);
        let axes = window::image_axes(importer.shape(x))?;
        if importer.shape(weights).len() != axes + 2 {
            bail!(
                "weights of shape {:?} do not fit an operand of shape {:?}",
                importer.shape(weights), importer.shape(x);
                hint: "the file breaks the ONNX specification of {}", node.op_type
            )
        }
        let x = window::as_image(importer, x)?;
        let weights = window::as_image(importer, weights)?;
        let last_two = |id| -> [usize; 2] {
            let shape = importer.shape(id);
            [shape[2], shape[3]]
        };
        Ok(Operands {
            axes,
            x,
            weights,
            image: last_two(x),
            kernel: last_two(weights),
        })
    }

    fn push(
        &self,
        op: impl Into<crate::ops::Op>,
        node: &SourceNode,
        importer: &mut Importer,
    ) -> Result<Vec<TensorId>> {
        let operands = [Some(self.x), Some(self.weights), node.optional(2)];
        let y = importer.push(op, &operands)?;
        Ok(vec![window::from_image(importer, y, self.axes)?])
    }
}

fn groups(node: &SourceNode) -> Result<usize> {
    match node.int("group", 1)? {
        groups @ 1.. => Ok(groups as usize),
        groups => {
            bail!("attribute `group` is {groups}"; hint: "the file breaks the ONNX specification")
        }
    }
}

/// `output_shape` names the image axes; some exporters list batch and channels before them.
fn output_shape(node: &SourceNode, axes: usize) -> Result<Option<[usize; 2]>> {
    match node.ints("output_shape")? {
        Some(shape) if shape.len() == axes + 2 => {
            let mut image = node.clone();
            let tail = crate::ops::Attribute::Ints(shape[2..].to_vec());
            image.attributes.insert("output_shape".into(), tail);
            window::extents(&image, "output_shape", axes, 1)
        }
        _ => window::extents(node, "output_shape", axes, 1),
    }
}
