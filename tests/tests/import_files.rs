//! What files leave open, repeat or leave stale, and what importing makes of it.

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::tensor_shape_proto::dimension::Value as Extent;
use onnx_protobuf::type_proto::Value as Kind;
use onnx_protobuf::{
    Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use qcc_compiler::ir::{Array, Model};
use qcc_compiler::{Error, eval, integer, onnx, passes, pipeline};
use qcc_tests::file::{floats, list, model, node, one, value, with_int, with_ints};
use qcc_tests::graph;

/// An input whose axes have these names; `4` is an extent, an empty name none.
fn open(name: &str, axes: &[&str]) -> ValueInfoProto {
    let mut input = value(name, DataType::Float, &vec![1; axes.len()]);
    let ty = input.r#type.as_mut().expect("an input has a type");
    let Some(Kind::TensorType(tensor)) = &mut ty.value else {
        unreachable!("value makes a tensor")
    };
    let dims = &mut tensor.shape.as_mut().expect("value gives a shape").dim;
    for (dim, axis) in dims.iter_mut().zip(axes) {
        dim.value = match (axis.is_empty(), axis.parse()) {
            (true, _) => None,
            (_, Ok(extent)) => Some(Extent::DimValue(extent)),
            _ => Some(Extent::DimParam(axis.to_string())),
        };
    }
    input
}

/// One Relu of an input.
fn relu(input: ValueInfoProto) -> ModelProto {
    with_inputs(vec![node("Relu", &[&input.name], &["y"])], vec![input])
}

fn with_inputs(nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>) -> ModelProto {
    let mut model = model(nodes, vec![]);
    model.graph.as_mut().expect("the model has a graph").input = inputs;
    model
}

fn import(model: &ModelProto, options: &onnx::Options) -> Result<Model, Error> {
    onnx::import(&model.encode_to_vec(), None, options)
}

fn plain(model: &ModelProto) -> Result<Model, Error> {
    import(model, &onnx::Options::default())
}

fn dims(dims: &[(&str, usize)]) -> onnx::Options {
    let dims = dims
        .iter()
        .map(|(name, extent)| (name.to_string(), *extent));
    onnx::Options {
        dims: dims.collect(),
        ..Default::default()
    }
}

/// Shape of the first output.
fn shape(model: &Model) -> &[usize] {
    &model[model.outputs[0]].ty.shape
}

#[test]
fn the_batch_is_the_first_axis_that_is_open() {
    for axis in ["batch", "N", "unk__68", "?", "", "-1"] {
        let model = relu(open("x", &[axis, "4"]));
        assert_eq!(shape(&plain(&model).unwrap()), [1, 4]);
        let options = onnx::Options {
            batch: 3,
            ..Default::default()
        };
        assert_eq!(shape(&import(&model, &options).unwrap()), [3, 4]);
    }
    let fixed = relu(open("x", &["2", "4"]));
    let options = onnx::Options {
        batch: 3,
        ..Default::default()
    };
    assert_eq!(shape(&import(&fixed, &options).unwrap()), [2, 4]);
}

#[test]
fn dimensions_are_given_by_name_or_place() {
    let model = relu(open("x", &["N", "H", "", "H"]));
    let error = plain(&model).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model leaves dimensions open: H, x.2; hint: fix them with --dim H=<extent> --dim x.2=<extent>"
    );
    let given = import(&model, &dims(&[("H", 5), ("x.2", 7)])).unwrap();
    assert_eq!(shape(&given), [1, 5, 7, 5]);
    let overridden = import(&model, &dims(&[("N", 2), ("H", 5), ("x.2", 7), ("x.3", 6)])).unwrap();
    assert_eq!(shape(&overridden), [2, 5, 7, 6]);
    let error = import(&model, &dims(&[("W", 5)])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no input has a dimension `W`; hint: its dimensions are: H, N, x.0, x.1, x.2, x.3"
    );
}

#[test]
fn bound_inputs_are_constants() {
    let add = node("Add", &["x", "c"], &["y"]);
    let model = with_inputs(vec![add], vec![open("x", &["2"]), open("c", &["C"])]);
    let mut options = onnx::Options::default();
    options
        .bind
        .insert("c".into(), Array::f32([2], vec![10.0, 20.0]));
    let bound = import(&model, &options).unwrap();
    assert_eq!(bound.inputs.len(), 1);
    let outputs = eval::run(&bound, &[Array::f32([2], vec![1.0, 2.0])]).unwrap();
    assert_eq!(outputs, [Array::f32([2], vec![11.0, 22.0])]);

    options
        .bind
        .insert("x".into(), Array::f32([2], vec![1.0, 2.0]));
    let folded = import(&model, &options).unwrap();
    assert!(folded.nodes.is_empty() && folded.inputs.is_empty());
    assert_eq!(folded[folded.outputs[0]].value, Some(outputs[0].clone()));

    options
        .bind
        .insert("x".into(), Array::f32([3], vec![0.0; 3]));
    let error = import(&model, &options).unwrap_err();
    let expected = "input `x`: its value has shape [3], the model takes real numbers of shape [2]";
    assert_eq!(error.to_string(), expected);
    options.bind.insert("z".into(), Array::f32([], vec![0.0]));
    let error = import(&model, &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model has no input `z`; hint: its inputs are: x, c"
    );
}

#[test]
fn an_initializer_may_also_be_an_input() {
    let mut model = one(node("Mul", &["x"], &["y"]), vec![floats("w", &[1], &[2.0])]);
    let graph = model.graph.as_mut().expect("the model has a graph");
    graph.input.push(value("w", DataType::Float, &[1]));
    let model = plain(&model).unwrap();
    let names: Vec<_> = model
        .inputs
        .iter()
        .map(|id| model[*id].name.as_str())
        .collect();
    assert_eq!(names, ["x"]);
}

#[test]
fn stale_shapes_and_repeated_opsets_do_no_harm() {
    let mut model = model(
        vec![
            node("Relu", &["x"], &["t"]),
            node("Flatten", &["t"], &["y"]),
        ],
        vec![],
    );
    let opset = |version| OperatorSetIdProto {
        domain: "ai.onnx".into(),
        version,
    };
    model.opset_import.extend([opset(20), opset(13)]);
    let graph = model.graph.as_mut().expect("the model has a graph");
    graph.value_info = vec![value("t", DataType::Int64, &[7, 7])];
    graph.output = vec![value("y", DataType::Float, &[9])];
    assert_eq!(shape(&plain(&model).unwrap()), [1, 32]);
}

#[test]
fn every_problem_is_reported_once_and_in_order() {
    let mut nodes = vec![
        node("Flatten", &["x"], &["a"]),
        node("Alpha", &["a"], &["b"]),
        node("Relu", &["b"], &["c"]),
        node("Beta", &["c"], &["d"]),
        with_int(node("Softmax", &["x"], &["e"]), "axis", 9),
        node("Add", &["d", "e"], &["y"]),
        node("Gamma", &["x"], &["unread"]),
    ];
    nodes[3].domain = "my.domain".into();
    nodes[3].name = "beta".into();
    let error = plain(&model(nodes, vec![])).unwrap_err();
    let found: Vec<_> = error
        .diagnostics
        .iter()
        .map(|d| (d.node.as_deref(), d.message.as_str()))
        .collect();
    let expected = [
        (Some("b (Alpha)"), "operator Alpha is not supported"),
        (
            Some("beta (Beta)"),
            "operator my.domain::Beta is not supported",
        ),
        (
            Some("e (Softmax)"),
            "axis 9 does not exist in a tensor of rank 4",
        ),
    ];
    assert_eq!(found, expected);
    assert!(error.diagnostics[0].hint.is_some() && error.diagnostics[1].hint.is_some());
}

#[test]
fn names_are_unique_and_the_files_own_where_they_can_be() {
    let mut nodes = vec![
        node("Relu", &["x"], &["y_1"]),
        node("Relu", &["y_1"], &["same"]),
        node("Identity", &["same"], &["t"]),
        node("Relu", &["t"], &["y"]),
    ];
    nodes[0].name = "same".into();
    nodes[1].name = "same".into();
    let model = plain(&model(nodes, vec![])).unwrap();
    let nodes: Vec<_> = model.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(nodes, ["same", "same_1", "y"]);
    let tensors: Vec<_> = model
        .tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    assert_eq!(tensors, ["x", "y_1", "same", "y"]);
}

#[test]
fn an_output_may_be_an_input_or_a_constant_or_twice_the_same() {
    let mut model = model(
        vec![
            node("Identity", &["x"], &["y"]),
            node("Identity", &["c"], &["z"]),
        ],
        vec![floats("c", &[1], &[3.0])],
    );
    let graph = model.graph.as_mut().expect("the model has a graph");
    graph.output = ["y", "z", "y"]
        .map(|name| value(name, DataType::Float, &[]))
        .to_vec();
    let model = plain(&model).unwrap();
    let x = Array::f32([1, 2, 4, 4], vec![0.5; 32]);
    let outputs = eval::run(&model, std::slice::from_ref(&x)).unwrap();
    assert_eq!(outputs, [x.clone(), Array::f32([1], vec![3.0]), x]);
}

/// PyTorch's flattening: a shape computed from the input's, with a part that is not known until then.
#[test]
fn shape_arithmetic_of_exporters_folds() {
    let scalar = |name: &str, x: i64| TensorProto {
        dims: vec![],
        ..list(name, &[x])
    };
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("Gather", &["s", "zero"], &["n"]),
        node("Unsqueeze", &["n", "axes"], &["n1"]),
        with_int(node("Concat", &["n1", "rest"], &["shape"]), "axis", 0),
        with_int(node("Cast", &["shape"], &["narrow"]), "to", 6),
        with_int(node("Cast", &["narrow"], &["wide"]), "to", 7),
        node("Reshape", &["x", "wide"], &["y"]),
    ];
    let initializers = vec![scalar("zero", 0), list("axes", &[0]), list("rest", &[-1])];
    let model = plain(&model(nodes, initializers)).unwrap();
    assert_eq!(model.nodes.len(), 1);
    assert_eq!(shape(&model), [1, 32]);
    // Nothing of the arithmetic is left.
    assert_eq!(model.tensors.len(), 2);
}

/// ConvInteger under a scale that is computed, as exporters write it.
fn dynamic(outputs: &[&str]) -> ModelProto {
    let weights = TensorProto {
        name: "w".into(),
        data_type: DataType::Int8 as i32,
        dims: vec![1, 2, 1, 1],
        int32_data: vec![3, -2],
        ..Default::default()
    };
    let nodes = vec![
        node("DynamicQuantizeLinear", &["x"], &["q", "s", "z"]),
        node("ConvInteger", &["q", "w", "z"], &["sums"]),
        with_int(node("Cast", &["sums"], &["reals"]), "to", 1),
        node("Mul", &["reals", "s"], &["y"]),
    ];
    let mut model = model(nodes, vec![weights]);
    let graph = model.graph.as_mut().expect("the model has a graph");
    let outputs = outputs.iter().map(|name| value(name, DataType::Float, &[]));
    graph.output = outputs.collect();
    model
}

/// The network on integers, without samples.
fn quantized(model: &ModelProto) -> Result<Model, Error> {
    let mut model = plain(model)?;
    passes::run(&mut model, passes::Stage::Float)?;
    pipeline::quantize(model, &Default::default())
}

#[test]
fn a_scale_that_is_computed_is_the_one_of_the_operators_page() {
    let model = quantized(&dynamic(&["y", "sums"])).unwrap();
    let x: Vec<f32> = (0..32).map(|i| (i * 7 % 32) as f32 * 0.37 - 4.1).collect();
    let scale = (31.0f32 * 0.37 - 4.1 + 4.1) / 255.0;
    let zero_point = (4.1 / scale).round_ties_even();
    let integer = |x: &f32| {
        (x / scale)
            .round_ties_even()
            .clamp(-zero_point, 255.0 - zero_point)
    };
    let sums: Vec<f32> = x[..16]
        .iter()
        .zip(&x[16..])
        .map(|(a, b)| 3.0 * integer(a) - 2.0 * integer(b))
        .collect();
    let outputs = integer::run(&model, &[Array::f32([1, 2, 4, 4], x.clone())]).unwrap();
    let found: Vec<f32> = outputs[1].quantized().iter().map(|q| *q as f32).collect();
    assert_eq!(found, sums);
    let scaled: Vec<f32> = sums.iter().map(|sum| sum * scale).collect();
    assert_eq!(outputs[0].reals(), scaled);
    graph::check(&model, 3, 4).unwrap();
}

#[test]
fn integers_under_a_scale_that_is_computed_do_not_leave_the_network() {
    let error = quantized(&dynamic(&["q"])).unwrap_err().to_string();
    assert!(
        error.contains("(QuantizeLinear): scale and zero point are not numbers known"),
        "{error}"
    );
    let sums = quantized(&dynamic(&["y"])).unwrap();
    let error = onnx::exportable(&sums).unwrap_err().to_string();
    assert!(
        error.contains("(Conv): sums of products that stay 32-bit integers"),
        "{error}"
    );
}

#[test]
fn an_exported_pool_says_dilations_only_where_it_has_some() {
    let pool = with_ints(node("AveragePool", &["x"], &["y"]), "kernel_shape", &[2, 2]);
    let dilated = with_ints(pool.clone(), "dilations", &[2, 2]);
    for (pool, says) in [(pool, false), (dilated, true)] {
        let bytes = onnx::export(&plain(&model(vec![pool], vec![])).unwrap());
        let file = ModelProto::decode(&bytes[..]).unwrap();
        let nodes = file.graph.expect("the file has a graph").node;
        let attributes = nodes.iter().flat_map(|node| &node.attribute);
        let found = attributes.filter(|a| a.name == "dilations").count();
        assert_eq!(found, usize::from(says));
    }
}
