//! ONNX nodes of this family.

use super::{Pool, PoolKind};
use crate::Result;
use crate::bail;
use crate::ir::TensorId;
use crate::ops::window::{self, Padding, Window};
use crate::ops::{Import, Importer, SourceNode};

/// ONNX operators of this family.
pub(in crate::ops) const IMPORTS: &[(&str, Import)] = &[
    ("MaxPool", max_pool),
    ("AveragePool", average_pool),
    ("GlobalMaxPool", |n, i| global(n, i, PoolKind::Max)),
    ("GlobalAveragePool", |n, i| global(n, i, MEAN)),
];

const MEAN: PoolKind = PoolKind::Average {
    count_include_pad: false,
};

fn max_pool(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    if node.has_output(1) {
        bail!("the indices of the largest elements are used"; hint: "unpooling is not supported")
    }
    pool(node, importer, PoolKind::Max)
}

fn average_pool(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let count_include_pad = node.int("count_include_pad", 0)? != 0;
    pool(node, importer, PoolKind::Average { count_include_pad })
}

fn pool(node: &SourceNode, importer: &mut Importer, kind: PoolKind) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let axes = window::image_axes(importer.shape(x))?;
    let window = Window::read(node, axes, None)?;
    let x = window::as_image(importer, x)?;
    let image = [importer.shape(x)[2], importer.shape(x)[3]];
    let op = Pool {
        kind,
        kernel: window.kernel,
        strides: window.strides,
        pads: window.pads(image),
        dilations: window.dilations,
        output: output(&window, image, node.int("ceil_mode", 0)? != 0)?,
    };
    let y = importer.apply(op, &[x])?;
    Ok(vec![window::from_image(importer, y, axes)?])
}

/// Rows and columns of the result. With `ceil_mode` a last window may reach past the padded image, but it
/// begins inside the image or the padding before it.
fn output(window: &Window, image: [usize; 2], ceil_mode: bool) -> Result<[usize; 2]> {
    let Padding::Explicit(pads) = window.padding else {
        return Ok([0, 1].map(|i| image[i].div_ceil(window.strides[i])));
    };
    let mut output = [0; 2];
    for (axis, extent) in output.iter_mut().enumerate() {
        let padded = image[axis] + pads.total()[axis];
        let stride = window.strides[axis];
        let Some(room) = padded.checked_sub(window.span()[axis]) else {
            bail!(
                "window {}×{} is wider than the padded image {}×{}",
                window.span()[0], window.span()[1],
                image[0] + pads.total()[0], image[1] + pads.total()[1];
                hint: "check the model's dynamic axes"
            )
        };
        *extent = if ceil_mode {
            room.div_ceil(stride)
        } else {
            room / stride
        } + 1;
        if ceil_mode && (*extent - 1) * stride >= image[axis] + pads.begin()[axis] {
            *extent -= 1;
        }
    }
    Ok(output)
}

/// One window as large as the image; further image axes are joined before.
fn global(node: &SourceNode, importer: &mut Importer, kind: PoolKind) -> Result<Vec<TensorId>> {
    let mut x = node.input(0)?;
    let shape = importer.shape(x).to_vec();
    let [n, c, image @ ..] = &shape[..] else {
        bail!("the operand of shape {shape:?} has no image axes")
    };
    if image.len() != 2 {
        let joined = vec![*n, *c, 1, image.iter().product()];
        x = window::reshape(importer, x, joined)?;
    }
    let extent = [importer.shape(x)[2], importer.shape(x)[3]];
    let y = importer.apply(Pool::whole(kind, extent), &[x])?;
    if image.len() == 2 {
        return Ok(vec![y]);
    }
    let mut shape = vec![*n, *c];
    shape.resize(image.len() + 2, 1);
    Ok(vec![window::reshape(importer, y, shape)?])
}
