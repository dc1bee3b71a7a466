//! ONNX attributes without protobuf.

use std::collections::BTreeMap;
use std::path::Path;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, TensorProto};

use super::tensor;
use crate::ops::Attribute;
use crate::{Result, bail};

/// A node's attributes by name.
pub(super) fn attributes(
    list: Vec<AttributeProto>,
    folder: Option<&Path>,
) -> Result<BTreeMap<String, Attribute>> {
    let mut attributes = BTreeMap::new();
    for mut attribute in list {
        let name = std::mem::take(&mut attribute.name);
        let value = value(attribute, folder).map_err(|error| named(error, &name))?;
        if attributes.insert(name.clone(), value).is_some() {
            bail!("attribute `{name}` is given twice");
        }
    }
    Ok(attributes)
}

fn named(mut error: crate::Error, name: &str) -> crate::Error {
    for diagnostic in &mut error.diagnostics {
        diagnostic.message = format!("attribute `{name}`: {}", diagnostic.message);
    }
    error
}

fn value(attribute: AttributeProto, folder: Option<&Path>) -> Result<Attribute> {
    let kind = AttributeType::try_from(attribute.r#type);
    Ok(match kind.unwrap_or(AttributeType::Undefined) {
        AttributeType::Float => Attribute::Float(attribute.f),
        AttributeType::Int => Attribute::Int(attribute.i),
        AttributeType::String => Attribute::String(text(attribute.s)?),
        AttributeType::Tensor => tensor_value(attribute.t, folder)?,
        AttributeType::Floats => Attribute::Floats(attribute.floats),
        AttributeType::Ints => Attribute::Ints(attribute.ints),
        AttributeType::Strings => {
            let strings = attribute.strings.into_iter().map(text);
            Attribute::Strings(strings.collect::<Result<_>>()?)
        }
        AttributeType::Graph | AttributeType::Graphs => Attribute::Other("a graph"),
        AttributeType::SparseTensor | AttributeType::SparseTensors => {
            Attribute::Other("a sparse tensor")
        }
        AttributeType::Tensors => Attribute::Other("a list of tensors"),
        AttributeType::TypeProto | AttributeType::TypeProtos => Attribute::Other("a type"),
        AttributeType::Undefined => bail!("its kind is not given"),
    })
}

fn tensor_value(tensor: Option<TensorProto>, folder: Option<&Path>) -> Result<Attribute> {
    let Some(tensor) = tensor else {
        bail!("the tensor is missing");
    };
    let (array, elem) = tensor::array(&tensor, folder)?;
    Ok(Attribute::Tensor(array, elem))
}

fn text(bytes: Vec<u8>) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => bail!("the text is not UTF-8"),
    }
}
