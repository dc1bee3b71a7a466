//! What an operator's export builds: nodes of an ONNX graph, without protobuf.
//!
//! Forms are those of opset 21.

use std::collections::HashSet;

use crate::ir::{Clamp, Type};
use crate::ops::Attribute;

/// The graph under construction.
#[derive(Debug, Default)]
pub struct Exporter {
    /// In order of evaluation.
    pub nodes: Vec<ExportedNode>,
    /// Constants that operators add.
    pub constants: Vec<(String, Constant)>,
    /// Name of the node being exported, for names of what it becomes.
    current: String,
    taken: HashSet<String>,
}

/// A node with one result.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedNode {
    /// Unique.
    pub name: String,
    /// ONNX operator name, of ONNX's own domain.
    pub op_type: &'static str,
    /// Names of the operands, empty where one is absent.
    pub inputs: Vec<String>,
    /// Name of the result.
    pub output: String,
    /// By name.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// A constant that is part of an operator's form.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// One real.
    Real(f32),
    /// Reals of one axis.
    Reals(Vec<f32>),
    /// Integers of a shape.
    Ints(Vec<usize>, Vec<i64>),
}

/// An operand of a node that is exported.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its name as reals, or as plain integers.
    pub name: &'a str,
    /// Its type.
    pub ty: &'a Type,
}

impl Exporter {
    /// Starts the export of a node.
    pub(crate) fn begin(&mut self, name: &str) {
        self.current = name.to_string();
    }

    /// Keeps a name from being given to anything else.
    pub(crate) fn reserve(&mut self, name: &str) {
        self.taken.insert(name.to_string());
    }

    /// A name that nothing else has: this one, or with a number appended.
    pub(crate) fn free(&mut self, name: &str) -> String {
        let numbered = (1..).map(|i| format!("{name}_{i}"));
        let mut names = std::iter::once(name.to_string()).chain(numbered);
        let taken = &mut self.taken;
        names
            .find(|name| taken.insert(name.clone()))
            .expect("some number is free")
    }

    /// Adds a node and returns the name of its result.
    pub fn node(
        &mut self,
        op_type: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let output = self.free(&format!("{}_{op_type}", self.current));
        self.nodes.push(ExportedNode {
            name: output.clone(),
            op_type,
            inputs: inputs.iter().map(|name| name.to_string()).collect(),
            output: output.clone(),
            attributes,
        });
        output
    }

    /// Adds a constant and returns its name.
    pub fn constant(&mut self, what: &str, constant: Constant) -> String {
        let name = self.free(&format!("{}_{what}", self.current));
        self.constants.push((name.clone(), constant));
        name
    }

    /// Integers of one axis.
    pub fn ints(&mut self, what: &str, ints: impl IntoIterator<Item = i64>) -> String {
        let ints: Vec<i64> = ints.into_iter().collect();
        self.constant(what, Constant::Ints(vec![ints.len()], ints))
    }

    /// One real.
    pub fn real(&mut self, what: &str, real: f32) -> String {
        self.constant(what, Constant::Real(real))
    }

    /// An activation: nothing, Relu or Clip.
    pub fn clamp(&mut self, x: &str, clamp: Clamp) -> String {
        match clamp {
            Clamp::NONE => x.to_string(),
            Clamp::RELU => self.node("Relu", &[x], vec![]),
            Clamp { min, max } => {
                let mut limit = |what, limit: f32| match limit.is_finite() {
                    true => self.real(what, limit),
                    false => String::new(),
                };
                let (min, max) = (limit("min", min), limit("max", max));
                match max.is_empty() {
                    true => self.node("Clip", &[x, &min], vec![]),
                    false => self.node("Clip", &[x, &min, &max], vec![]),
                }
            }
        }
    }
}

/// The name of an operand; empty where it is absent.
pub(super) fn named<'a>(operands: &[Option<Operand<'a>>], index: usize) -> &'a str {
    let operand = operands.get(index).copied().flatten();
    operand.map_or("", |operand| operand.name)
}

/// An integer attribute.
pub(super) fn int(value: usize) -> Attribute {
    Attribute::Int(value as i64)
}

/// A list of integers as an attribute.
pub(super) fn ints(values: impl IntoIterator<Item = usize>) -> Attribute {
    Attribute::Ints(values.into_iter().map(|v| v as i64).collect())
}

/// A string as an attribute.
pub(super) fn text(value: &str) -> Attribute {
    Attribute::String(value.to_string())
}
