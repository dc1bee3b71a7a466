//! ONNX nodes of this family.

use super::{Coordinates, Nearest, Resize, ResizeMode};
use crate::Result;
use crate::bail;
use crate::ir::TensorId;
use crate::ops::{Import, Importer, SourceNode, window};

/// ONNX operators of this family.
pub(in crate::ops) const IMPORTS: &[(&str, Import)] = &[("Resize", resize), ("Upsample", upsample)];

/// What happens to each axis of the operand.
struct Target {
    scales: Vec<f32>,
    shape: Vec<usize>,
}

fn resize(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    if node.opset < 11 {
        let scales = importer.known_reals(node.input(1)?, "scales")?;
        let target = Target::scaled(importer.shape(x), &scales)?;
        return push(
            node,
            importer,
            target,
            Coordinates::Asymmetric,
            Nearest::Floor,
        );
    }
    if node.int("antialias", 0)? != 0 {
        bail!("antialiasing is not supported"; hint: "export with antialias = 0")
    }
    let target = target(node, importer)?;
    let coordinates = match node.string("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => {
            bail!("coordinate mode `{other}` is not supported"; hint: "export with half_pixel")
        }
    };
    let nearest = match node.string("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => {
            bail!("nearest_mode `{other}` is unknown"; hint: "the file breaks the ONNX specification")
        }
    };
    push(node, importer, target, coordinates, nearest)
}

/// Scales are an attribute in opset 7 and an operand in opset 9.
fn upsample(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let scales = match (node.attributes.get("scales"), node.optional(1)) {
        (Some(crate::ops::Attribute::Floats(scales)), _) => scales.clone(),
        (_, Some(id)) => importer.known_reals(id, "scales")?,
        _ => {
            bail!("scales are missing"; hint: "the file breaks the ONNX specification of Upsample")
        }
    };
    let target = Target::scaled(importer.shape(node.input(0)?), &scales)?;
    push(
        node,
        importer,
        target,
        Coordinates::Asymmetric,
        Nearest::Floor,
    )
}

fn push(
    node: &SourceNode,
    importer: &mut Importer,
    target: Target,
    coordinates: Coordinates,
    nearest: Nearest,
) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let axes = window::image_axes(importer.shape(x))?;
    if target.shape[..2] != importer.shape(x)[..2] {
        bail!(
            "a tensor of shape {:?} is resized to {:?}", importer.shape(x), target.shape;
            hint: "only the image axes of [N, C, H, W] can be resized"
        )
    }
    let mode = match node.string("mode", "nearest")? {
        "nearest" => ResizeMode::Nearest(nearest),
        "linear" | "bilinear" => ResizeMode::Linear,
        other => bail!("mode `{other}` is not supported"; hint: "nearest and linear are"),
    };
    let (scales, output) = match axes {
        1 => ([1.0, target.scales[2]], [1, target.shape[2]]),
        _ => (
            [target.scales[2], target.scales[3]],
            [target.shape[2], target.shape[3]],
        ),
    };
    let op = Resize {
        mode,
        coordinates,
        scales,
        output,
    };
    let image = window::as_image(importer, x)?;
    let y = importer.apply(op, &[image])?;
    Ok(vec![window::from_image(importer, y, axes)?])
}

/// Scales or sizes, of all axes or of those in `axes`; an empty tensor stands for an absent one.
fn target(node: &SourceNode, importer: &Importer) -> Result<Target> {
    let shape = importer.shape(node.input(0)?);
    let axes = match node.ints("axes")? {
        Some(axes) => axes
            .iter()
            .map(|axis| node.axis(*axis, shape.len()))
            .collect::<Result<Vec<_>>>()?,
        None => (0..shape.len()).collect(),
    };
    let stated = |index: usize| {
        let id = node.optional(index);
        id.filter(|id| !importer.ty(*id).is_empty())
    };
    if let Some(id) = stated(2) {
        let scales = importer.known_reals(id, "scales")?;
        let mut all = vec![1.0; shape.len()];
        demand(&axes, scales.len())?;
        axes.iter()
            .zip(scales)
            .for_each(|(axis, scale)| all[*axis] = scale);
        return Target::scaled(shape, &all);
    }
    let Some(id) = stated(3) else {
        bail!("neither scales nor sizes are given"; hint: "the file breaks the ONNX specification of Resize")
    };
    let sizes = importer.known_ints(id, "sizes")?;
    demand(&axes, sizes.len())?;
    Target::sized(node, shape, &axes, &sizes)
}

fn demand(axes: &[usize], found: usize) -> Result<()> {
    if axes.len() != found {
        bail!("{found} scales or sizes are given for {} axes", axes.len())
    }
    Ok(())
}

impl Target {
    fn scaled(shape: &[usize], scales: &[f32]) -> Result<Target> {
        if scales.len() != shape.len() {
            bail!(
                "{} scales are given for the {} axes of {shape:?}",
                scales.len(),
                shape.len()
            )
        }
        let extent = |(extent, scale): (&usize, &f32)| (*extent as f32 * scale).floor() as usize;
        Ok(Target {
            scales: scales.to_vec(),
            shape: shape.iter().zip(scales).map(extent).collect(),
        })
    }

    fn sized(node: &SourceNode, input: &[usize], axes: &[usize], sizes: &[i64]) -> Result<Target> {
        let mut scales = vec![1.0; input.len()];
        let mut shape = input.to_vec();
        let ratios = axes
            .iter()
            .zip(sizes)
            .map(|(axis, size)| *size as f64 / input[*axis] as f64);
        let common = match node.string("keep_aspect_ratio_policy", "stretch")? {
            "stretch" => None,
            "not_larger" => ratios.reduce(f64::min),
            "not_smaller" => ratios.reduce(f64::max),
            other => bail!("keep_aspect_ratio_policy `{other}` is unknown"),
        };
        for (&axis, &size) in axes.iter().zip(sizes) {
            shape[axis] = match (common, usize::try_from(size)) {
                (Some(scale), _) => (scale * input[axis] as f64 + 0.5) as usize,
                (None, Ok(size)) => size,
                (None, Err(_)) => bail!("size {size} is negative"),
            };
            scales[axis] = match common {
                Some(scale) => scale as f32,
                None => shape[axis] as f32 / input[axis] as f32,
            };
        }
        Ok(Target { scales, shape })
    }
}
