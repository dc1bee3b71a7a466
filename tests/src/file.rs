//! ONNX files made by hand.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension::Value as Extent};
use onnx_protobuf::type_proto::{Tensor, Value as Kind};
use onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

/// A node without attributes.
pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op_type.into(),
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: outputs.iter().map(|name| name.to_string()).collect(),
        ..Default::default()
    }
}

/// An attribute of a kind, its value yet to be set.
pub fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: kind as i32,
        ..Default::default()
    }
}

/// The node with a list attribute.
pub fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    let attribute = attribute(name, AttributeType::Ints);
    node.attribute.push(AttributeProto {
        ints: ints.to_vec(),
        ..attribute
    });
    node
}

/// The node with an integer attribute.
pub fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
    let attribute = attribute(name, AttributeType::Int);
    node.attribute.push(AttributeProto { i, ..attribute });
    node
}

/// An input or output.
pub fn value(name: &str, data_type: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = |extent: &i64| Dimension {
        value: Some(Extent::DimValue(*extent)),
        ..Default::default()
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    let tensor = Tensor {
        elem_type: data_type as i32,
        shape: Some(shape),
    };
    let ty = TypeProto {
        value: Some(Kind::TensorType(tensor)),
        ..Default::default()
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(ty),
        ..Default::default()
    }
}

/// An initializer of reals.
pub fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: DataType::Float as i32,
        dims: dims.to_vec(),
        float_data: data.to_vec(),
        ..Default::default()
    }
}

/// An initializer of integers.
pub fn ints(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: DataType::Int64 as i32,
        dims: dims.to_vec(),
        int64_data: data.to_vec(),
        ..Default::default()
    }
}

/// An initializer of integers with one axis.
pub fn list(name: &str, data: &[i64]) -> TensorProto {
    ints(name, &[data.len() as i64], data)
}

/// A model with the input `x` of shape [1, 2, 4, 4] and the output `y`.
pub fn model(nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        name: "hostile".into(),
        input: vec![value("x", DataType::Float, &[1, 2, 4, 4])],
        output: vec![value("y", DataType::Float, &[])],
        node: nodes,
        initializer: initializers,
        ..Default::default()
    };
    let opset = OperatorSetIdProto {
        domain: String::new(),
        version: 20,
    };
    ModelProto {
        ir_version: 9,
        graph: Some(graph),
        opset_import: vec![opset],
        ..Default::default()
    }
}

/// One node that reads `x` and then its initializers.
pub fn one(mut node: NodeProto, initializers: Vec<TensorProto>) -> ModelProto {
    node.input
        .extend(initializers.iter().map(|tensor| tensor.name.clone()));
    model(vec![node], initializers)
}
