//! The caller's memory: row-major tensors, copied where kernels want them otherwise.

use crate::ir::{Model, TensorId};
use crate::kernel::{Port, Scalar};
use crate::kernels::copy;
use crate::lower::memory::{Memory, Place};
use crate::lower::{Lowering, Options, layout, plan};
use crate::ops::Pads;

/// The caller's inputs; images with channels last if the options say so.
pub(crate) fn inputs(model: &Model, options: &Options) -> Vec<Port> {
    let port = |id: &TensorId| {
        let mut port = port(model, *id);
        if let (true, [n, c, h, w]) = (options.channels_last_input, port.ty.shape.as_slice()) {
            port.ty.shape = vec![*n, *h, *w, *c];
        }
        port
    };
    model.inputs.iter().map(port).collect()
}

/// The caller's outputs.
pub(crate) fn outputs(model: &Model) -> Vec<Port> {
    model.outputs.iter().map(|id| port(model, *id)).collect()
}

fn port(model: &Model, id: TensorId) -> Port {
    let tensor = &model[id];
    Port {
        name: tensor.name.clone(),
        ty: tensor.ty.clone(),
        scalar: plan::scalar(&tensor.ty.elem),
    }
}

/// Copies inputs that kernels cannot read where the caller has them.
pub(crate) fn read_inputs(cx: &mut Lowering, options: &Options) {
    for (i, id) in cx.model.inputs.iter().enumerate() {
        let (place, strides) = cx.strided(*id);
        if cx.memory(place) == Memory::Input(i) {
            continue;
        }
        let (shape, scalar) = (cx.shape(*id), cx.scalar(*id));
        let last = options.channels_last_input && shape.len() == 4;
        let port = layout::dense(shape, last, Pads::default());
        cx.enter(&cx.model[*id].name);
        let from = Place {
            region: i,
            offset: 0,
        };
        cx.copy(scalar, shape, (from, &port.strides), (place, &strides));
    }
}

/// Copies outputs that kernels could not write where the caller wants them.
pub(crate) fn write_outputs(cx: &mut Lowering) {
    for (i, id) in cx.model.outputs.iter().enumerate() {
        cx.enter(&cx.model[*id].name);
        let (shape, scalar) = (cx.shape(*id), cx.scalar(*id));
        let port = layout::dense(shape, false, Pads::default());
        let region = cx.model.inputs.len() + i;
        let to = Place { region, offset: 0 };
        if cx.model[*id].value.is_some() {
            write_constant(cx, *id, scalar, to);
            continue;
        }
        let (place, strides) = cx.strided(*id);
        if cx.memory(place) != Memory::Output(i) {
            cx.copy(scalar, shape, (place, &strides), (to, &port.strides));
        }
    }
}

/// An output that does not depend on the inputs.
fn write_constant(cx: &mut Lowering, id: TensorId, scalar: Scalar, to: Place) {
    let bytes = cx.bytes(id);
    let elements = bytes.len() / scalar.bytes();
    let name = cx.constant("value", scalar, bytes);
    let kernel_name = cx.name("copy");
    let kernel = copy::copy_constant(&kernel_name, scalar, &name, elements, cx.target);
    cx.call(kernel, &[to], 0);
}
