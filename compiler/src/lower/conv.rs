//! Conv.

use crate::ir::{Model, Node};
use crate::kernels::{Product, Window};
use crate::lower::product::{self, Windows, four};
use crate::lower::{Lowering, Needs};
use crate::ops::Conv;
use crate::target::Target;
use crate::{Result, bail};

/// What a convolution asks of the memory of `x`.
pub(super) fn needs(_model: &Model, _target: &Target, _node: &Node, op: &Conv) -> Needs {
    Needs {
        pads: op.pads,
        slack: true,
    }
}

/// Lowers a convolution.
pub(super) fn lower(cx: &mut Lowering, node: &Node, op: &Conv) -> Result<()> {
    let Some(weights) = cx.model.constant(node, 1) else {
        bail!("the weights are not constant"; hint: "fold them into an initializer before export");
    };
    let [filters, depth, kh, kw] = four(&weights.shape);
    let taps = kh * kw;
    let w = product::weights(cx, node, filters, |i| i / (depth * taps));
    // From [filter][channel][tap] to [filter][tap][channel].
    let reordered = (0..w.len()).map(|i| {
        let (m, tap, c) = (i / (taps * depth), i / depth % taps, i % depth);
        w[(m * depth + c) * taps + tap]
    });
    let mut requantize = product::requantize(cx, node, op.activation);
    let product = Product {
        weights: reordered.collect(),
        ..product::numbers(cx, node, filters, &requantize)?
    };
    let mut added = None;
    if let Some(Some(id)) = node.inputs.get(3) {
        let (place, residual) = product::residual(cx, node, *id);
        (added, requantize.residual) = (Some(place), Some(residual));
    }
    let x = node.inputs[0].expect("`infer` demands an input");
    let windows = Windows {
        window: Window {
            extent: [kh, kw],
            steps: op.dilations,
            strides: op.strides,
        },
        groups: op.groups,
        input: product::image(cx, x, op.pads),
        output: product::result(cx, node.output),
    };
    let pixels: usize = windows.output.1.extent[..3].iter().product();
    let macs = (pixels * w.len()) as u64;
    product::emit(cx, node, &windows, &product, (added, requantize), macs)?;
    product::deliver(cx, node.output, windows.output.0);
    Ok(())
}
