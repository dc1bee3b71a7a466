//! Broken and hostile files give an error, never a panic, in bounded memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use onnx_protobuf::tensor_proto::{DataLocation, DataType};
use onnx_protobuf::{Message, ModelProto, StringStringEntryProto, TensorProto};
use qcc_compiler::onnx;
use qcc_tests::file::{floats, ints, list, model, node, one, value, with_int, with_ints};

fn import(model: &ModelProto) -> Result<qcc_compiler::ir::Model, String> {
    onnx::import(&model.encode_to_vec(), None, &onnx::Options::default()).map_err(|e| e.to_string())
}

/// Largest memory that this process had, where the system says it.
fn peak_mib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// A part of the message that a model must be refused with, and the model.
struct Case(&'static str, ModelProto);

fn structure() -> Vec<Case> {
    let relu = |from, to| node("Relu", &[from], &[to]);
    let mut sized = model(vec![relu("x", "y")], vec![]);
    let mut input = |dims: &[i64]| {
        let graph = sized.graph.as_mut().expect("the model has a graph");
        graph.input = vec![value("x", DataType::Float, dims)];
        sized.clone()
    };
    let sizes = [
        input(&[1 << 40]),
        input(&[0, 1 << 40, 1 << 40]),
        input(&[-7]),
    ];
    let [huge, empty, negative] = sizes;
    let many = input(&[1; 33]);
    let mut unknown_type = model(vec![relu("x", "y")], vec![]);
    let graph = unknown_type.graph.as_mut().expect("the model has a graph");
    graph.input = vec![value("x", DataType::String, &[1])];
    let mut graphless = model(vec![], vec![]);
    graphless.graph = None;
    let mut old = model(vec![relu("x", "y")], vec![]);
    old.opset_import[0].version = 3;
    vec![
        Case(
            "cycle through a (Relu), b (Relu), c (Relu)",
            model(
                vec![
                    relu("c", "a"),
                    relu("a", "b"),
                    relu("b", "c"),
                    relu("b", "y"),
                ],
                vec![],
            ),
        ),
        Case(
            "cycle through y (Relu)",
            model(vec![relu("y", "y")], vec![]),
        ),
        Case(
            "operand `w` is defined nowhere",
            model(vec![node("Add", &["x", "w"], &["y"])], vec![]),
        ),
        Case(
            "output `y` is defined nowhere",
            model(vec![relu("x", "z")], vec![]),
        ),
        Case(
            "`y` is defined twice",
            model(vec![relu("x", "y"), relu("x", "y")], vec![]),
        ),
        Case(
            "operator Bogus is not supported",
            model(vec![node("Bogus", &["x"], &["y"])], vec![]),
        ),
        Case("more than 2^31 elements", huge),
        Case("more than 2^31 elements", empty),
        Case("extent -7", negative),
        Case("33 axes", many),
        Case("type string", unknown_type),
        Case("no graph", graphless),
        Case("opset 3", old),
    ]
}

fn bombs() -> Vec<Case> {
    let filled = |dims: &[i64]| {
        let shape = list("shape", dims);
        model(
            vec![node("ConstantOfShape", &["shape"], &["y"])],
            vec![shape],
        )
    };
    let repeated = |op: &str, operand: TensorProto| one(node(op, &["x"], &["y"]), vec![operand]);
    let range = |limit: i64| {
        let scalars = [("a", 0), ("b", limit), ("c", 1)].map(|(n, v)| ints(n, &[], &[v]));
        model(
            vec![node("Range", &["a", "b", "c"], &["y"])],
            scalars.to_vec(),
        )
    };
    // A hundred times what is allowed once.
    let mut nodes: Vec<_> = (0..100)
        .map(|i| node("ConstantOfShape", &["shape"], &[&format!("c{i}")]))
        .collect();
    let parts: Vec<String> = (0..100).map(|i| format!("c{i}")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    nodes.push(with_int(node("Concat", &parts, &["y"]), "axis", 0));
    let hundred = model(nodes, vec![list("shape", &[1 << 24])]);
    vec![
        Case("elements", filled(&[1 << 40])),
        Case("elements", filled(&[(1 << 31) - 1])),
        Case("elements", filled(&[i64::MAX, i64::MAX])),
        Case("negative extent", filled(&[-1])),
        Case("elements together", hundred),
        Case(
            "elements",
            repeated("Expand", list("shape", &[1 << 30, 1, 2, 4, 4])),
        ),
        Case(
            "elements",
            repeated("Expand", list("shape", &[1 << 27, 1, 1, 1, 1])),
        ),
        Case(
            "elements",
            repeated("Tile", list("repeats", &[i64::MAX, 1, 1, 1])),
        ),
        Case(
            "elements",
            repeated("Tile", list("repeats", &[1 << 27, 1, 1, 1])),
        ),
        Case("elements", range(1 << 40)),
        Case("elements", range(i64::MAX)),
        Case("elements", repeated("Pad", list("pads", &[i64::MAX; 8]))),
        Case(
            "elements",
            repeated("Pad", list("pads", &[1 << 40, 0, 0, 0, 0, 0, 0, 0])),
        ),
        Case(
            "cut more than",
            repeated("Pad", list("pads", &[i64::MIN; 8])),
        ),
        Case(
            "",
            one(
                node("Resize", &["x", "", ""], &["y"]),
                vec![list("sizes", &[1, 2, 1 << 40, 1])],
            ),
        ),
        Case(
            "",
            one(
                node("Resize", &["x", ""], &["y"]),
                vec![floats("s", &[4], &[1.0, 1.0, 1e30, 1.0])],
            ),
        ),
        Case(
            "",
            one(
                node("Resize", &["x", ""], &["y"]),
                vec![floats("s", &[4], &[1.0, 1.0, f32::NAN, -1.0])],
            ),
        ),
    ]
}

fn operands() -> Vec<Case> {
    let kernel = || floats("w", &[1, 2, 1, 1], &[1.0, 1.0]);
    let conv = |name: &str, values: &[i64]| {
        one(
            with_ints(node("Conv", &["x"], &["y"]), name, values),
            vec![kernel()],
        )
    };
    let pool = |name: &str, values: &[i64]| {
        let pool = with_ints(node("MaxPool", &["x"], &["y"]), "kernel_shape", &[2, 2]);
        model(vec![with_ints(pool, name, values)], vec![])
    };
    let x = |op: &str| node(op, &["x"], &["y"]);
    let mut raw = floats("w", &[2, 2], &[]);
    raw.raw_data = vec![0; 7];
    let mut alien = floats("w", &[1], &[]);
    alien.data_type = 99;
    let wrong_kind = with_int(with_int(x("Conv"), "pads", 3), "group", 1);
    vec![
        Case("", conv("strides", &[0, 0])),
        Case("", conv("strides", &[-1, 1])),
        Case("", conv("dilations", &[0, 1])),
        Case("", conv("pads", &[i64::MAX; 4])),
        Case("", conv("pads", &[-9; 4])),
        Case("", conv("kernel_shape", &[5, 5])),
        Case("", conv("strides", &[1])),
        Case("", one(with_int(x("Conv"), "group", 0), vec![kernel()])),
        Case(
            "",
            one(with_int(x("Conv"), "group", i64::MAX), vec![kernel()]),
        ),
        Case("", pool("strides", &[0, 1])),
        Case("", pool("pads", &[1 << 40; 4])),
        Case("", pool("dilations", &[i64::MAX, 1])),
        Case(
            "",
            model(
                vec![with_ints(x("AveragePool"), "kernel_shape", &[0, 0])],
                vec![],
            ),
        ),
        Case("attribute `pads`", one(wrong_kind, vec![kernel()])),
        Case(
            "not of integers",
            one(x("Reshape"), vec![floats("s", &[1], &[32.0])]),
        ),
        Case("", one(x("Reshape"), vec![list("s", &[0, 0, 0, 0, 0, -1])])),
        Case("", one(x("Gather"), vec![ints("i", &[], &[5])])),
        Case(
            "",
            one(
                x("Slice"),
                vec![list("a", &[0]), list("b", &[1]), list("c", &[9])],
            ),
        ),
        Case(
            "step 0",
            one(
                x("Slice"),
                vec![
                    list("a", &[0]),
                    list("b", &[1]),
                    list("c", &[0]),
                    list("d", &[0]),
                ],
            ),
        ),
        Case(
            "do not make up",
            one(x("Split"), vec![list("s", &[i64::MAX, i64::MAX, 3])]),
        ),
        Case(
            "",
            model(vec![with_int(x("Softmax"), "axis", i64::MIN)], vec![]),
        ),
        Case(
            "",
            model(
                vec![with_ints(x("Transpose"), "perm", &[0, 0, 0, 0])],
                vec![],
            ),
        ),
        Case("", one(x("MatMul"), vec![floats("w", &[3, 1], &[0.0; 3])])),
        Case("needs 16 bytes", one(x("Add"), vec![raw])),
        Case("number 99", one(x("Add"), vec![alien])),
        Case(
            "operand 0 is missing",
            model(vec![node("Relu", &[], &["y"])], vec![]),
        ),
        Case(
            "",
            model(
                vec![with_int(node("Concat", &[], &["y"]), "axis", 0)],
                vec![],
            ),
        ),
    ]
}

#[test]
fn hostile_models_are_refused() {
    let mut failures = vec![];
    for Case(expected, model) in structure().into_iter().chain(bombs()).chain(operands()) {
        let nodes = &model
            .graph
            .as_ref()
            .map(|graph| &graph.node[..1.min(graph.node.len())]);
        match catch_unwind(AssertUnwindSafe(|| import(&model))) {
            Ok(Err(message)) if message.contains(expected) => {}
            Ok(Err(message)) => failures.push(format!("`{expected}` is not in: {message}")),
            Ok(Ok(_)) => failures.push(format!("imported ({expected}): {nodes:?}")),
            Err(_) => failures.push(format!("panicked ({expected}): {nodes:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(
        peak_mib().is_none_or(|peak| peak < 2048),
        "{:?} MiB",
        peak_mib()
    );
}

#[test]
fn external_data_stay_in_the_models_folder() {
    let folder = tempfile::tempdir().expect("a scratch folder can be made");
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).expect("the folder is writable");
    std::fs::write(folder.path().join("secret"), [0; 64]).expect("the folder is writable");
    std::fs::write(inner.join("data"), [0; 64]).expect("the folder is writable");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret"), inner.join("link"))
        .expect("links exist");
    let absolute = inner.join("data").to_string_lossy().into_owned();
    let read = |location: &str, offset: &str, inside: Option<&Path>| {
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        let tensor = TensorProto {
            name: "w".into(),
            data_type: DataType::Float as i32,
            dims: vec![4],
            data_location: DataLocation::External as i32,
            external_data: vec![entry("location", location), entry("offset", offset)],
            ..Default::default()
        };
        let model = one(node("Add", &["x"], &["y"]), vec![tensor]).encode_to_vec();
        let result = onnx::import(&model, inside, &onnx::Options::default());
        result.err().map(|error| error.to_string())
    };
    assert_eq!(read("data", "0", Some(&inner)), None);
    assert_eq!(read("./data", "48", Some(&inner)), None);
    let refusals = [
        ("../../etc/passwd", "0", "outside the model's folder"),
        ("../secret", "0", "outside the model's folder"),
        (&absolute, "0", "outside the model's folder"),
        ("x\\..\\data", "0", "outside the model's folder"),
        #[cfg(unix)]
        ("link", "0", "outside the model's folder"),
        ("absent", "0", "cannot open"),
        (".", "0", "not in a file"),
        ("", "0", "not in a file"),
        ("data", "52", "ends before"),
        ("data", "18446744073709551615", "ends before"),
        ("data", "-4", "no number"),
    ];
    for (location, offset, expected) in refusals {
        let message = read(location, offset, Some(&inner)).expect("the data are refused");
        assert!(message.contains(expected), "{location}: {message}");
    }
    let message = read("data", "0", None).expect("there is no folder");
    assert!(
        message.contains("only the model's bytes were given"),
        "{message}"
    );
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().expect("a scratch folder can be made");
    let options = onnx::Options::default();
    let load = |path: &Path| {
        onnx::load(path, &options)
            .expect_err("it is refused")
            .to_string()
    };
    assert!(load(folder.path()).contains("is not a file"));
    assert!(load(&folder.path().join("absent.onnx")).contains("cannot read"));
    let text = folder.path().join("text.onnx");
    std::fs::write(&text, "This is a text, and no model.\n").expect("the folder is writable");
    assert!(load(&text).contains("not an ONNX model"));
    assert!(onnx::import(&[], None, &options).is_err());
}

/// A graph inside an attribute inside a node inside a graph ...
#[test]
fn nesting_is_bounded() {
    let mut bytes = vec![];
    for _ in 0..5000 {
        let mut wrapped = bytes;
        for tag in [(6u8 << 3) | 2, (5 << 3) | 2, (1 << 3) | 2] {
            let mut outer = vec![tag];
            varint(wrapped.len() as u64, &mut outer);
            outer.extend(wrapped);
            wrapped = outer;
        }
        bytes = wrapped;
    }
    let mut file = vec![(7 << 3) | 2];
    varint(bytes.len() as u64, &mut file);
    file.extend(bytes);
    assert!(onnx::import(&file, None, &onnx::Options::default()).is_err());
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

#[test]
fn a_chain_of_many_nodes_imports_in_any_order() {
    let count = 50_000;
    let name = |i: usize| match i {
        0 => "x".to_string(),
        i if i == count => "y".to_string(),
        i => format!("t{i}"),
    };
    let mut nodes: Vec<_> = (0..count)
        .map(|i| node("Relu", &[&name(i)], &[&name(i + 1)]))
        .collect();
    nodes.reverse();
    let model = import(&model(nodes, vec![])).expect("the order is restored");
    assert_eq!(model.nodes.len(), count);
    assert_eq!(model.nodes[0].inputs, [Some(model.inputs[0])]);
}
