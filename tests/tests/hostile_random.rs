//! Damaged files and random nodes give a model or an error, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{AttributeProto, Message, ModelProto, TensorProto};
use qcc_compiler::ir::Array;
use qcc_compiler::passes::{self, Stage};
use qcc_compiler::{eval, onnx};
use qcc_tests::file::{attribute, floats, ints, model, node, with_int, with_ints};
use qcc_tests::graph::Random;

fn pick<T: Clone>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())].clone()
}

#[test]
fn truncated_and_mutated_files_never_panic() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits.onnx");
    let bytes = std::fs::read(path).expect("the repository holds the model");
    let options = onnx::Options::default();
    assert!(onnx::import(&bytes, None, &options).is_ok());
    for length in (0..bytes.len()).step_by(bytes.len() / 400 + 1) {
        assert!(
            onnx::import(&bytes[..length], None, &options).is_err(),
            "{length} bytes are enough"
        );
    }
    let mut random = Random(1);
    for _ in 0..1500 {
        let mut mutated = bytes.clone();
        for _ in 0..1 + random.below(8) {
            let at = random.below(mutated.len());
            mutated[at] = random.below(256) as u8;
        }
        // Whether it still is a model is open; that this returns is what is tested.
        let _ = onnx::import(&mutated, None, &options);
    }
    let noise: Vec<u8> = (0..4096).map(|_| random.below(256) as u8).collect();
    for start in 0..1000 {
        assert!(onnx::import(&noise[start..], None, &options).is_err());
    }
}

const OPERATORS: &[&str] = &[
    "Add",
    "And",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "LeakyRelu",
    "MatMul",
    "MatMulInteger",
    "MaxPool",
    "Mean",
    "Mod",
    "Mul",
    "Not",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "ReduceMax",
    "ReduceMean",
    "ReduceProd",
    "Reshape",
    "Resize",
    "Shape",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Sum",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Upsample",
    "Where",
];
const INT_ATTRIBUTES: &[&str] = &[
    "allowzero",
    "axis",
    "block_size",
    "blocksize",
    "ceil_mode",
    "count_include_pad",
    "end",
    "fmod",
    "group",
    "keepdims",
    "num_outputs",
    "output_dtype",
    "saturate",
    "select_last_index",
    "start",
    "to",
    "transA",
    "transB",
];
const LIST_ATTRIBUTES: &[&str] = &[
    "axes",
    "dilations",
    "kernel_shape",
    "output_padding",
    "output_shape",
    "pads",
    "perm",
    "split",
    "strides",
];
const STRING_ATTRIBUTES: &[(&str, &[&str])] = &[
    (
        "auto_pad",
        &["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "?"],
    ),
    (
        "mode",
        &[
            "constant", "reflect", "edge", "wrap", "nearest", "linear", "CRD",
        ],
    ),
    (
        "coordinate_transformation_mode",
        &["align_corners", "asymmetric", "half_pixel"],
    ),
];
const INTEGERS: &[i64] = &[
    -2,
    -1,
    0,
    0,
    1,
    1,
    1,
    2,
    2,
    3,
    4,
    7,
    i64::MIN,
    i64::MAX,
    1 << 40,
];

/// Names of operands, and the initializers among them.
fn random_operands(random: &mut Random) -> (Vec<String>, Vec<TensorProto>) {
    let mut initializers = vec![];
    let mut operands = vec![];
    // QLinearConv takes nine.
    for index in 0..random.below(10) {
        let name = format!("w{index}");
        let rank = random.below(5);
        let dims: Vec<i64> = (0..rank)
            .map(|_| pick(random, &[0, 1, 1, 2, 2, 3]))
            .collect();
        let size = dims.iter().product::<i64>() as usize;
        match random.below(8) {
            0 => operands.push("x".to_string()),
            1 => operands.push(String::new()),
            2 | 3 => {
                let types = [
                    DataType::Uint8,
                    DataType::Int8,
                    DataType::Uint16,
                    DataType::Int4,
                ];
                let data_type = pick(random, &types) as i32;
                let bytes = size
                    * if data_type == DataType::Uint16 as i32 {
                        2
                    } else {
                        1
                    };
                initializers.push(TensorProto {
                    name: name.clone(),
                    dims,
                    data_type,
                    raw_data: (0..bytes).map(|_| random.below(256) as u8).collect(),
                    ..TensorProto::default()
                });
                operands.push(name);
            }
            4 | 5 => {
                let data: Vec<i64> = (0..size).map(|_| pick(random, INTEGERS)).collect();
                initializers.push(ints(&name, &dims, &data));
                operands.push(name);
            }
            _ => {
                let values = [0.0, 1.0, -1.0, 2.5, f32::NAN, f32::INFINITY, 1e30];
                let data: Vec<f32> = (0..size).map(|_| pick(random, &values)).collect();
                initializers.push(floats(&name, &dims, &data));
                operands.push(name);
            }
        }
    }
    (operands, initializers)
}

fn random_node(random: &mut Random) -> ModelProto {
    let (operands, initializers) = random_operands(random);
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let mut node = node(
        pick(random, OPERATORS),
        &operands,
        &["y", "z"][..1 + random.below(2)],
    );
    for _ in 0..random.below(3) {
        node = with_int(node, pick(random, INT_ATTRIBUTES), pick(random, INTEGERS));
    }
    for _ in 0..random.below(3) {
        let values: Vec<i64> = (0..random.below(5))
            .map(|_| pick(random, INTEGERS))
            .collect();
        node = with_ints(node, pick(random, LIST_ATTRIBUTES), &values);
    }
    if random.below(3) == 0 {
        let (name, values) = pick(random, STRING_ATTRIBUTES);
        let s = pick(random, values).as_bytes().to_vec();
        node.attribute.push(AttributeProto {
            s,
            ..attribute(name, AttributeType::String)
        });
    }
    let mut model = model(vec![node], initializers);
    model.opset_import[0].version = pick(random, &[7, 9, 11, 13, 18, 20, 21]);
    model
}

#[test]
fn random_nodes_never_panic() {
    let mut imported = 0;
    for seed in 0..40_000 {
        let proto = random_node(&mut Random(seed));
        let run = || {
            let Ok(mut model) =
                onnx::import(&proto.encode_to_vec(), None, &onnx::Options::default())
            else {
                return 0;
            };
            let small = model.tensors.iter().all(|tensor| tensor.ty.len() < 1 << 16);
            let inputs = model.inputs.iter().map(|id| &model[*id].ty.shape);
            let inputs: Vec<_> = inputs
                .map(|shape| Array::f32(&shape[..], vec![0.5; shape.iter().product()]))
                .collect();
            if small {
                eval::run(&model, &inputs).expect("the inputs have the model's shapes");
                // A model that a pass cannot read is an error, too.
                let _ = passes::run(&mut model, Stage::Float);
            }
            1
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(count) => imported += count,
            Err(_) => panic!(
                "seed {seed} panicked: {:?}",
                proto.graph.expect("a graph").node
            ),
        }
    }
    assert!(
        imported > 1000,
        "only {imported} of the random nodes were imported"
    );
}
