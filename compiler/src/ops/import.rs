//! What an operator's import sees of an ONNX node: typed attributes, and how the node's imports are found.

use std::collections::BTreeMap;

use crate::ir::{Array, Elem, TensorId, Type};
use crate::ops::Importer;
use crate::{Error, Result, bail};

/// Turns one ONNX node into nodes of the IR and returns its outputs, in order.
/// Trailing outputs that nothing uses may be missing.
pub type Import = fn(&SourceNode, &mut Importer) -> Result<Vec<TensorId>>;

/// The import of an ONNX operator, if some family knows it.
pub fn import_of(domain: &str, op_type: &str) -> Option<Import> {
    let name = if domain.is_empty() || domain == "ai.onnx" {
        op_type.to_string()
    } else {
        format!("{domain}::{op_type}")
    };
    let mut rows = super::IMPORTS.iter().copied().flatten();
    rows.find(|(known, _)| *known == name)
        .map(|(_, import)| *import)
}

/// A node of the ONNX graph without protobuf.
#[derive(Clone, Debug)]
pub struct SourceNode {
    /// The node's name, or its first output's where it has none.
    pub name: String,
    /// ONNX operator name.
    pub op_type: String,
    /// Operator domain, empty for ONNX's own.
    pub domain: String,
    /// Version of the domain that the model imports.
    pub opset: i64,
    /// By name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Operands; an empty ONNX name is an absent one.
    pub inputs: Vec<Option<TensorId>>,
    /// Names of the outputs; empty where unused.
    pub outputs: Vec<String>,
}

/// The value of an ONNX attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// INT
    Int(i64),
    /// INTS
    Ints(Vec<i64>),
    /// FLOAT
    Float(f32),
    /// FLOATS
    Floats(Vec<f32>),
    /// STRING, UTF-8
    String(String),
    /// STRINGS
    Strings(Vec<String>),
    /// TENSOR with its element type
    Tensor(Array, Elem),
    /// A graph, a sparse tensor or another kind that no operator here takes; its name.
    Other(&'static str),
}

impl SourceNode {
    /// An integer attribute, or its default.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => self.mistyped(name, "an integer"),
        }
    }

    /// A list of integers, if the attribute is there.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(_) => self.mistyped(name, "a list of integers"),
        }
    }

    /// A real attribute, or its default.
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(*value),
            Some(_) => self.mistyped(name, "a real number"),
        }
    }

    /// A string attribute, or its default.
    pub fn string<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::String(value)) => Ok(value),
            Some(_) => self.mistyped(name, "a string"),
        }
    }

    fn mistyped<T>(&self, name: &str, expected: &str) -> Result<T> {
        bail!("attribute `{name}` is not {expected}"; hint: "the file breaks the ONNX specification of {}", self.op_type)
    }

    /// A required operand.
    pub fn input(&self, index: usize) -> Result<TensorId> {
        match self.inputs.get(index).copied().flatten() {
            Some(id) => Ok(id),
            None => {
                bail!("operand {index} is missing"; hint: "the file breaks the ONNX specification of {}", self.op_type)
            }
        }
    }

    /// An optional operand.
    pub fn optional(&self, index: usize) -> Option<TensorId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Whether output `index` has a name, that is, may be used.
    pub fn has_output(&self, index: usize) -> bool {
        self.outputs.get(index).is_some_and(|name| !name.is_empty())
    }

    /// An axis attribute or operand value, counted from the end where negative.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let from_start = if axis < 0 { axis + rank as i64 } else { axis };
        if (0..rank as i64).contains(&from_start) {
            Ok(from_start as usize)
        } else {
            bail!("axis {axis} does not exist in a tensor of rank {rank}")
        }
    }
}

/// The type of a required operand.
pub(crate) fn operand<'a>(operands: &[Option<&'a Type>], index: usize) -> Result<&'a Type> {
    operands
        .get(index)
        .copied()
        .flatten()
        .ok_or_else(|| Error::new(format!("operand {index} is missing")))
}
