//! Operators that only move elements: Reshape (with Flatten, Squeeze, Unsqueeze), Transpose, Slice (with
//! Split, one node an output), Gather with known indices (with Expand and Tile), Pad
//! (<https://onnx.ai/onnx/operators/onnx__Reshape.html> and its neighbours).
//!
//! Shapes, axes, indices and pads must be known at compile time; what depends on the input's values is refused.

mod gather;
mod grid;
mod pad;
mod reshape;
mod slice;
mod transpose;

use crate::Result;
use crate::ir::TensorId;
use crate::ops::{Import, Importer, SourceNode};

pub use gather::Gather;
pub use pad::{Pad, PadMode};
pub use reshape::Reshape;
pub use slice::Slice;
pub use transpose::Transpose;

pub(super) use gather::expand_to;
pub(super) use grid::repeated;

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[
    ("DepthToSpace", transpose::depth_to_space),
    ("Expand", gather::expand),
    ("Flatten", reshape::flatten),
    ("Gather", gather::gather),
    ("Pad", pad::pad),
    ("Reshape", reshape::reshape),
    ("Slice", slice::slice),
    ("SpaceToDepth", transpose::space_to_depth),
    ("Split", slice::split),
    ("Squeeze", reshape::squeeze),
    ("Tile", gather::tile),
    ("Transpose", transpose::transpose),
    ("Unsqueeze", reshape::unsqueeze),
];

/// Integers that are an attribute in early opsets and an operand in later ones.
fn ints_of(
    node: &SourceNode,
    importer: &Importer,
    name: &str,
    operand: usize,
) -> Result<Option<Vec<i64>>> {
    match (node.ints(name)?, node.optional(operand)) {
        (Some(values), _) => Ok(Some(values.to_vec())),
        (None, Some(id)) => importer.known_ints(id, name).map(Some),
        (None, None) => Ok(None),
    }
}

/// The only operand of most operators here.
fn one(id: TensorId) -> Result<Vec<TensorId>> {
    Ok(vec![id])
}
