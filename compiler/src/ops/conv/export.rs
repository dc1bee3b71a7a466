//! The ONNX form of this family.

use super::{Conv, ConvTranspose, Pads};
use crate::ir::Clamp;
use crate::ops::Attribute;
use crate::ops::export::{Exporter, Operand, int, ints, named};

impl Conv {
    pub(super) fn to_onnx(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let attributes = attributes(self.strides, self.pads, self.dilations, self.groups);
        sum("Conv", operands, attributes, self.activation, to)
    }
}

impl ConvTranspose {
    pub(super) fn to_onnx(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let mut attributes = attributes(self.strides, self.pads, self.dilations, self.groups);
        attributes.push(("output_padding", ints(self.output_padding)));
        sum("ConvTranspose", operands, attributes, self.activation, to)
    }
}

fn sum(
    op_type: &'static str,
    operands: &[Option<Operand>],
    attributes: Vec<(&'static str, Attribute)>,
    activation: Clamp,
    to: &mut Exporter,
) -> String {
    let inputs = [0, 1, 2].map(|i| named(operands, i));
    let inputs = match inputs[2] {
        "" => &inputs[..2],
        _ => &inputs[..],
    };
    let mut y = to.node(op_type, inputs, attributes);
    let residual = named(operands, 3);
    if !residual.is_empty() {
        y = to.node("Add", &[&y, residual], vec![]);
    }
    to.clamp(&y, activation)
}

fn attributes(
    strides: [usize; 2],
    pads: Pads,
    dilations: [usize; 2],
    groups: usize,
) -> Vec<(&'static str, Attribute)> {
    vec![
        ("strides", ints(strides)),
        ("pads", pads.to_onnx()),
        ("dilations", ints(dilations)),
        ("group", int(groups)),
    ]
}

impl Pads {
    /// Begins, then ends.
    pub(in crate::ops) fn to_onnx(self) -> Attribute {
        ints([self.top, self.left, self.bottom, self.right])
    }
}
