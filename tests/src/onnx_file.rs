//! Tiny ONNX files, made by the tests that need them.

use onnx_protobuf::tensor_shape_proto::Dimension;
use onnx_protobuf::tensor_shape_proto::dimension::Value;
use onnx_protobuf::type_proto::{self, Tensor};
use onnx_protobuf::{
    GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};

/// A graph with the input `x` and the output `y`, both f32.
pub struct Graph(GraphProto);

impl Graph {
    /// Without nodes.
    pub fn new(input: &[i64], output: &[i64]) -> Graph {
        Graph(GraphProto {
            name: "graph".into(),
            input: vec![port("x", input)],
            output: vec![port("y", output)],
            ..GraphProto::default()
        })
    }

    /// Adds a node of one output.
    pub fn node(mut self, op: &str, name: &str, inputs: &[&str], output: &str) -> Graph {
        self.0.node.push(NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        });
        self
    }

    /// Adds a constant.
    pub fn weights(mut self, name: &str, shape: &[i64], values: &[f32]) -> Graph {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: shape.to_vec(),
            data_type: 1,
            float_data: values.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    /// The file's bytes, of opset 17.
    pub fn bytes(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: 8,
            graph: Some(self.0),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            }],
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

fn port(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dimension = |n: &i64| Dimension {
        value: Some(Value::DimValue(*n)),
        ..Dimension::default()
    };
    let tensor = Tensor {
        elem_type: 1,
        shape: Some(TensorShapeProto {
            dim: shape.iter().map(dimension).collect(),
        }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
