//! In which order a tensor's axes follow each other in memory.

use crate::ir::{Model, Node, TensorId};
use crate::ops::{Op, Pads};

/// For each tensor, whether it lies channels last: images that spatial operators touch, and all that
/// operators which keep the shape's meaning connect to them. A matrix product reads and writes rows, so
/// its tensors are row-major and connect nothing.
pub(crate) fn channels_last(model: &Model) -> Vec<bool> {
    let mut classes = Classes::new(model.tensors.len());
    let mut spatial = vec![];
    let mut rows = vec![false; model.tensors.len()];
    for node in &model.nodes {
        if matches!(node.op, Op::MatMul(_)) {
            for id in node.operands().chain([node.output]) {
                rows[id.0 as usize] = true;
            }
        }
    }
    for node in &model.nodes {
        let images: Vec<_> = images(model, node)
            .filter(|id| !rows[id.0 as usize])
            .collect();
        match role(&node.op) {
            Role::Spatial => spatial.extend(images),
            Role::Connects => {
                for pair in images.windows(2) {
                    classes.join(pair[0], pair[1]);
                }
            }
            Role::Separates => {}
        }
    }
    let spatial: Vec<_> = spatial.into_iter().map(|id| classes.of(id)).collect();
    let ids = (0..model.tensors.len()).map(|i| TensorId(i as u32));
    ids.map(|id| spatial.contains(&classes.of(id)) && is_image(model, id))
        .collect()
}

enum Role {
    Spatial,
    Connects,
    Separates,
}

fn role(op: &Op) -> Role {
    match op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_) | Op::Resize(_) | Op::PRelu(_) => {
            Role::Spatial
        }
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Concat(_)
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Gather(_)
        | Op::Softmax(_)
        | Op::Quantize(_)
        | Op::Dequantize(_)
        | Op::Reduce(_) => Role::Connects,
        _ => Role::Separates,
    }
}

fn images<'a>(model: &'a Model, node: &'a Node) -> impl Iterator<Item = TensorId> + 'a {
    node.operands()
        .chain([node.output])
        .filter(|id| is_image(model, *id))
}

fn is_image(model: &Model, id: TensorId) -> bool {
    model[id].ty.shape.len() == 4 && model[id].value.is_none()
}

/// Disjoint sets of tensors.
struct Classes {
    parents: Vec<usize>,
}

impl Classes {
    fn new(count: usize) -> Classes {
        Classes {
            parents: (0..count).collect(),
        }
    }

    fn of(&mut self, id: TensorId) -> usize {
        let mut i = id.0 as usize;
        while self.parents[i] != i {
            self.parents[i] = self.parents[self.parents[i]];
            i = self.parents[i];
        }
        i
    }

    fn join(&mut self, a: TensorId, b: TensorId) {
        let (a, b) = (self.of(a), self.of(b));
        self.parents[a.max(b)] = a.min(b);
    }
}

/// The axes from the outermost to the innermost in memory.
pub(crate) fn order(rank: usize, channels_last: bool) -> Vec<usize> {
    if channels_last {
        vec![0, 2, 3, 1]
    } else {
        (0..rank).collect()
    }
}

/// How a tensor lies in a region of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dense {
    /// Elements before the first one: the halo above and to the left.
    pub(crate) offset: usize,
    /// Elements from one index to the next, for each axis of the shape.
    pub(crate) strides: Vec<usize>,
    /// Elements in all, halo included.
    pub(crate) elements: usize,
}

/// A tensor's own memory with a halo of `pads`, which only images that lie channels last have.
pub(crate) fn dense(shape: &[usize], channels_last: bool, pads: Pads) -> Dense {
    let mut extents = shape.to_vec();
    if channels_last {
        extents[2] += pads.top + pads.bottom;
        extents[3] += pads.left + pads.right;
    }
    let mut strides = vec![0; shape.len()];
    let mut elements = 1;
    for axis in order(shape.len(), channels_last).into_iter().rev() {
        strides[axis] = elements;
        elements *= extents[axis];
    }
    let offset = if channels_last {
        pads.top * strides[2] + pads.left * strides[3]
    } else {
        0
    };
    Dense {
        offset,
        strides,
        elements,
    }
}

/// Whether two stridings place the elements of `shape` alike: axes of extent 1 do not matter.
pub(crate) fn same_strides(shape: &[usize], a: &[usize], b: &[usize]) -> bool {
    let mut axes = shape.iter().zip(a.iter().zip(b));
    axes.all(|(extent, (a, b))| *extent == 1 || a == b)
}
