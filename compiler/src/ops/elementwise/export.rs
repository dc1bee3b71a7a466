//! The ONNX form of this family.

use super::{Binary, Function};
use crate::ops::Attribute::{self, Float};
use crate::ops::export::{Exporter, Operand, named, text};

impl Binary {
    pub(super) fn to_onnx(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let inputs = [0, 1].map(|i| named(operands, i));
        let y = to.node(self.function.name(), &inputs, vec![]);
        to.clamp(&y, self.activation)
    }
}

impl Function {
    pub(super) fn to_onnx(self, x: &str, to: &mut Exporter) -> String {
        match self {
            Function::Clamp(clamp) => to.clamp(x, clamp),
            Function::Silu => {
                let sigmoid = to.node("Sigmoid", &[x], vec![]);
                to.node("Mul", &[x, &sigmoid], vec![])
            }
            Function::Affine { scale, offset } => {
                let (scale, offset) = (to.real("scale", scale), to.real("offset", offset));
                let scaled = to.node("Mul", &[x, &scale], vec![]);
                to.node("Add", &[&scaled, &offset], vec![])
            }
            _ => to.node(self.name(), &[x], self.attributes()),
        }
    }

    /// Of the functions that are one ONNX operator.
    fn attributes(self) -> Vec<(&'static str, Attribute)> {
        match self {
            Function::LeakyRelu { alpha } | Function::Elu { alpha } => {
                vec![("alpha", Float(alpha))]
            }
            Function::HardSigmoid { alpha, beta } => {
                vec![("alpha", Float(alpha)), ("beta", Float(beta))]
            }
            Function::Selu { alpha, gamma } => {
                vec![("alpha", Float(alpha)), ("gamma", Float(gamma))]
            }
            Function::Gelu { tanh: true } => vec![("approximate", text("tanh"))],
            _ => vec![],
        }
    }
}
