//! From a quantized [`Model`] to the bytes of an ONNX file that says the same with QuantizeLinear and
//! DequantizeLinear around operators on reals, of opset 21: the form that ONNX Runtime and other tools read.
//!
//! Weights and biases are integers behind a DequantizeLinear. A tensor whose integers use less than their type
//! is clipped before it is quantized, since QuantizeLinear saturates to the type alone.

use std::collections::HashMap;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension::Value as Extent};
use onnx_protobuf::type_proto::{Tensor as TensorType, Value as Kind};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

use crate::ir::{
    Array, Clamp, Data, Elem, Granularity, IntType, Model, Node, QuantParams, TensorId, Type,
};
use crate::ops::{Attribute, Constant, ExportedNode, Exporter, Operand};
use crate::{Error, Result};

/// The opset whose forms operators are exported in.
const OPSET: i64 = 21;
/// The version of the file format that came with it.
const IR_VERSION: i64 = 10;

/// Fails, naming every node whose integers no QuantizeLinear writes.
pub fn exportable(model: &Model) -> Result<()> {
    let sums = model.nodes.iter().filter(|node| {
        matches!(&model[node.output].ty.elem, Elem::Quantized(params) if params.int == IntType::I32)
    });
    Error::collect(sums.map(|node| {
        Error::new("sums of products that stay 32-bit integers have no form with QuantizeLinear")
            .hint("the network is quantized as it is: pass on its own file")
            .at(&node.label())
    }))
}

/// The file of a model that is [`exportable`].
pub fn export(model: &Model) -> Vec<u8> {
    let mut graph = Graph {
        model,
        to: Exporter::default(),
        initializers: vec![],
        reals: HashMap::new(),
    };
    for tensor in &model.tensors {
        graph.to.reserve(&tensor.name);
    }
    for id in &model.inputs {
        graph.input(*id);
    }
    for node in &model.nodes {
        graph.node(node);
    }
    graph.outputs();
    graph.file().encode_to_vec()
}

struct Graph<'a> {
    model: &'a Model,
    to: Exporter,
    initializers: Vec<TensorProto>,
    /// The name of each tensor's reals, or plain integers.
    reals: HashMap<TensorId, String>,
}

impl Graph<'_> {
    fn input(&mut self, id: TensorId) {
        let tensor = &self.model[id];
        let name = match &tensor.ty.elem {
            Elem::Quantized(params) => {
                self.to.begin(&tensor.name);
                let rounded = self.to.free(&format!("{}_dequantized", tensor.name));
                self.quantized(&tensor.name, params, rounded)
            }
            _ => tensor.name.clone(),
        };
        self.reals.insert(id, name);
    }

    fn node(&mut self, node: &Node) {
        let operands: Vec<Option<String>> = node
            .inputs
            .iter()
            .map(|id| id.map(|id| self.operand(id)))
            .collect();
        let types = node.inputs.iter().zip(&operands);
        let types: Vec<_> = types
            .map(|(id, name)| {
                let (ty, name) = (&self.model[(*id)?].ty, name.as_ref()?);
                Some(Operand { name, ty })
            })
            .collect();
        self.to.begin(&node.name);
        let before = self.to.nodes.len();
        let mut result = node.op.export(&types, &mut self.to);
        let tensor = &self.model[node.output];
        if let Elem::Quantized(params) = &tensor.ty.elem {
            result = self.quantized(&result, params, tensor.name.clone());
        } else if let Some(last) = self.to.nodes[before..].last_mut()
            && last.output == result
        {
            last.output.clone_from(&tensor.name);
            result.clone_from(&tensor.name);
        }
        self.reals.insert(node.output, result);
    }

    /// The name of an operand's reals; a constant is written when it is first read.
    fn operand(&mut self, id: TensorId) -> String {
        if let Some(name) = self.reals.get(&id) {
            return name.clone();
        }
        let tensor = &self.model[id];
        let value = tensor.value.as_ref().expect("verify: defined before read");
        let name = tensor.name.clone();
        match &tensor.ty.elem {
            // ONNX has no scale for each channel of each group.
            Elem::Quantized(params) if has_scales_of_groups(params, &value.shape) => {
                let reals = params.reals(value);
                self.initializers.push(plain_tensor(&name, &reals));
            }
            Elem::Quantized(params) => {
                let integers = self.to.free(&format!("{name}_quantized"));
                self.initializers
                    .push(integer_tensor(&integers, value, params.int));
                self.to.begin(&name);
                self.dequantize(&integers, params, &value.shape, name.clone());
            }
            elem => self.initializers.push(typed_tensor(&name, value, elem)),
        }
        self.reals.insert(id, name.clone());
        name
    }

    /// Reals quantized and dequantized, under the name `result`.
    fn quantized(&mut self, x: &str, params: &QuantParams, result: String) -> String {
        let mut clamp = Clamp::NONE;
        if i64::from(params.low) > params.int.min() {
            clamp.min = params.dequantize(params.low);
        }
        if i64::from(params.high) < params.int.max() {
            clamp.max = params.dequantize(params.high);
        }
        let x = self.to.clamp(x, clamp);
        let (scale, zero_point) = self.parameters(&result, params, &[]);
        let integers = self.to.free(&format!("{result}_quantized"));
        self.push(
            "QuantizeLinear",
            &[&x, &scale, &zero_point],
            integers.clone(),
            vec![],
        );
        let inputs = [&*integers, &*scale, &*zero_point];
        self.push("DequantizeLinear", &inputs, result.clone(), vec![]);
        result
    }

    fn dequantize(&mut self, x: &str, params: &QuantParams, shape: &[usize], result: String) {
        let (scale, zero_point) = self.parameters(&result, params, shape);
        let attributes = match &params.map {
            Granularity::PerChannel { axis, .. } if !shape.is_empty() => {
                vec![("axis", Attribute::Int(*axis as i64))]
            }
            Granularity::Blocks { axis, size, .. } => vec![
                ("axis", Attribute::Int(*axis as i64)),
                ("block_size", Attribute::Int(*size as i64)),
            ],
            _ => vec![],
        };
        self.push(
            "DequantizeLinear",
            &[x, &scale, &zero_point],
            result,
            attributes,
        );
    }

    /// Names of scale and zero point of a tensor of this shape.
    fn parameters(&mut self, of: &str, params: &QuantParams, whole: &[usize]) -> (String, String) {
        let (shape, scales, zero_points) = match &params.map {
            Granularity::PerTensor { scale, zero_point } => {
                (vec![], vec![*scale], vec![*zero_point])
            }
            Granularity::PerChannel {
                scales,
                zero_points,
                ..
            } => (vec![scales.len()], scales.clone(), zero_points.clone()),
            Granularity::Blocks {
                axis,
                size,
                scales,
                zero_points,
            } => {
                let mut shape = whole.to_vec();
                shape[*axis] = shape[*axis].div_ceil(*size);
                (shape, scales.clone(), zero_points.clone())
            }
        };
        let scale = self.to.free(&format!("{of}_scale"));
        let zero_point = self.to.free(&format!("{of}_zero_point"));
        let scales = Array::f32(shape.clone(), scales);
        self.initializers.push(plain_tensor(&scale, &scales));
        let zero_points = Array::i32(shape, zero_points);
        self.initializers
            .push(integer_tensor(&zero_point, &zero_points, params.int));
        (scale, zero_point)
    }

    fn push(
        &mut self,
        op_type: &'static str,
        inputs: &[&str],
        output: String,
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        let name = self.to.free(&format!("{output}_{op_type}"));
        self.to.nodes.push(ExportedNode {
            name,
            op_type,
            inputs: inputs.iter().map(|name| name.to_string()).collect(),
            output,
            attributes,
        });
    }

    /// Gives every output the name that it has in the model.
    fn outputs(&mut self) {
        for id in &self.model.outputs {
            let name = &self.model[*id].name;
            let reals = self.operand(*id);
            if reals != *name {
                self.push("Identity", &[&reals], name.clone(), vec![]);
            }
        }
    }

    fn file(mut self) -> ModelProto {
        let constants = std::mem::take(&mut self.to.constants);
        self.initializers
            .extend(constants.iter().map(|(name, value)| constant(name, value)));
        let ports = |ids: &[TensorId]| ids.iter().map(|id| port(self.model, *id)).collect();
        let graph = GraphProto {
            name: self.model.name.clone(),
            input: ports(&self.model.inputs),
            output: ports(&self.model.outputs),
            node: self.to.nodes.into_iter().map(node).collect(),
            initializer: self.initializers,
            ..Default::default()
        };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "qcc".to_string(),
            producer_version: env!("CARGO_PKG_VERSION").to_string(),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            ..Default::default()
        }
    }
}

fn has_scales_of_groups(params: &QuantParams, shape: &[usize]) -> bool {
    match &params.map {
        Granularity::PerChannel { axis, scales, .. } => scales.len() != shape[*axis],
        Granularity::PerTensor { .. } | Granularity::Blocks { .. } => false,
    }
}

fn port(model: &Model, id: TensorId) -> ValueInfoProto {
    let Type { shape, elem } = &model[id].ty;
    let elem_type = match elem {
        Elem::Float | Elem::Quantized(_) => DataType::Float,
        Elem::Int(int) => data_type(*int),
        Elem::Bool => DataType::Bool,
    };
    let dim = |extent: &usize| Dimension {
        value: Some(Extent::DimValue(*extent as i64)),
        ..Default::default()
    };
    let tensor = TensorType {
        elem_type: elem_type as i32,
        shape: Some(TensorShapeProto {
            dim: shape.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: model[id].name.clone(),
        r#type: Some(TypeProto {
            value: Some(Kind::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn node(node: ExportedNode) -> NodeProto {
    let attributes = node.attributes.into_iter();
    NodeProto {
        name: node.name,
        op_type: node.op_type.to_string(),
        input: node.inputs,
        output: vec![node.output],
        attribute: attributes
            .map(|(name, value)| attribute(name, value))
            .collect(),
        ..Default::default()
    }
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let mut proto = AttributeProto {
        name: name.to_string(),
        ..Default::default()
    };
    let kind = match value {
        Attribute::Int(i) => {
            proto.i = i;
            AttributeType::Int
        }
        Attribute::Ints(ints) => {
            proto.ints = ints;
            AttributeType::Ints
        }
        Attribute::Float(f) => {
            proto.f = f;
            AttributeType::Float
        }
        Attribute::String(text) => {
            proto.s = text.into_bytes();
            AttributeType::String
        }
        _ => unreachable!("no operator is exported with such an attribute"),
    };
    proto.r#type = kind as i32;
    proto
}

fn constant(name: &str, value: &Constant) -> TensorProto {
    match value {
        Constant::Real(real) => plain_tensor(name, &Array::f32([], vec![*real])),
        Constant::Reals(reals) => plain_tensor(name, &Array::f32([reals.len()], reals.clone())),
        Constant::Ints(shape, ints) => plain_tensor(name, &Array::i64(shape.clone(), ints.clone())),
    }
}

fn plain_tensor(name: &str, array: &Array) -> TensorProto {
    let (data_type, raw_data) = match &array.data {
        Data::F32(v) => (
            DataType::Float,
            v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
        Data::I64(v) => (
            DataType::Int64,
            v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
        Data::I32(v) => (
            DataType::Int32,
            v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
    };
    tensor(name, &array.shape, data_type, raw_data)
}

/// A constant of plain elements, in the type that the model gives them.
fn typed_tensor(name: &str, array: &Array, elem: &Elem) -> TensorProto {
    let integers = || array.ints().iter().copied();
    match elem {
        Elem::Int(int) => packed_tensor(name, &array.shape, integers(), *int),
        Elem::Bool => {
            let bytes = integers().map(|x| x as u8).collect();
            tensor(name, &array.shape, DataType::Bool, bytes)
        }
        Elem::Float | Elem::Quantized(_) => plain_tensor(name, array),
    }
}

fn integer_tensor(name: &str, array: &Array, int: IntType) -> TensorProto {
    let integers = array.quantized().iter().map(|q| i64::from(*q));
    packed_tensor(name, &array.shape, integers, int)
}

/// Integers of 4 bits stand two to a byte, the first in its lower half.
fn packed_tensor(
    name: &str,
    shape: &[usize],
    integers: impl Iterator<Item = i64>,
    int: IntType,
) -> TensorProto {
    let raw_data = match int.bits {
        ..=4 => {
            let halves: Vec<u8> = integers.map(|q| q as u8 & 15).collect();
            let pairs = halves.chunks(2);
            pairs
                .map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4)
                .collect()
        }
        bits => {
            let bytes = usize::from(bits) / 8;
            integers
                .flat_map(|q| q.to_le_bytes().into_iter().take(bytes))
                .collect()
        }
    };
    tensor(name, shape, data_type(int), raw_data)
}

fn tensor(name: &str, shape: &[usize], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        dims: shape.iter().map(|extent| *extent as i64).collect(),
        data_type: data_type as i32,
        raw_data,
        ..Default::default()
    }
}

/// The type that holds integers of a width; 2 bits are part of 4, which more tools read.
fn data_type(int: IntType) -> DataType {
    match (int.bits, int.signed) {
        (..=4, true) => DataType::Int4,
        (..=4, false) => DataType::Uint4,
        (..=8, true) => DataType::Int8,
        (..=8, false) => DataType::Uint8,
        (16, true) => DataType::Int16,
        (16, false) => DataType::Uint16,
        (32, true) => DataType::Int32,
        (32, false) => DataType::Uint32,
        (_, true) => DataType::Int64,
        (_, false) => DataType::Uint64,
    }
}
