//! The `qcc` command: its results on stdout, its errors, its exit codes, and what it writes.

use std::fs;
use std::path::Path;

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{Message, NodeProto, TensorProto};
use qcc_compiler::data::{self, Samples};
use qcc_compiler::ir::{Array, Model, Type};
use qcc_tests::command::{Run, model, qcc};
use qcc_tests::file::{floats, model as file, node, value};
use qcc_tests::trained::{shared, skipped};

/// Arguments that compile the digits network for a target into a file of the folder.
fn compile_digits(folder: &Path, target: &str, output: &str) -> Run {
    let (digits, samples) = (model("digits.onnx"), model("digits.npz"));
    let arguments = [
        "compile",
        &digits,
        "--calibrate",
        &samples,
        "--target",
        target,
        "-o",
        output,
    ];
    qcc(folder, &arguments)
}

fn text(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap()
}

/// Writes `net.onnx`, whose input `x` has one row of `columns`.
fn save(folder: &Path, columns: i64, nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) {
    let mut model = file(nodes, initializers);
    let graph = model.graph.as_mut().unwrap();
    graph.input = vec![value("x", DataType::Float, &[1, columns])];
    graph.output = vec![value("y", DataType::Float, &[1, columns])];
    fs::write(folder.join("net.onnx"), model.encode_to_vec()).unwrap();
}

fn named(node: NodeProto, name: &str) -> NodeProto {
    NodeProto {
        name: name.into(),
        ..node
    }
}

#[test]
fn compiling_twice_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for target in ["generic", "x86_64-avx2"] {
        for output in ["digits.rs", "digits.c"] {
            let run = compile_digits(folder.path(), target, output);
            assert_eq!(run.code, 0, "{run:?}");
            assert_eq!(run.stdout, "");
            let first = text(folder.path(), output);
            compile_digits(folder.path(), target, output);
            assert_eq!(text(folder.path(), output), first, "{target} {output}");
        }
    }
    assert!(text(folder.path(), "digits.h").contains("digits_run"));
}

#[test]
fn ranges_stand_in_for_samples() {
    let folder = tempfile::tempdir().unwrap();
    let (digits, samples) = (model("digits.onnx"), model("digits.npz"));
    let calibrate = ["--calibrate", &samples, "--calibration", "percentile=99.9"];
    let ranges = ["--ranges", "ranges.json"];
    let with = |command: &[&str], more: &[&str]| qcc(folder.path(), &[command, more].concat());
    let run = with(&["calibrate", &digits, "-o", "ranges.json"], &calibrate);
    assert_eq!(run.code, 0, "{run:?}");
    let compile = ["compile", &digits, "-o", "digits.rs"];
    let compiled = |more: &[&str]| {
        let run = with(&compile, more);
        assert_eq!(run.code, 0, "{run:?}");
        text(folder.path(), "digits.rs")
    };
    assert_eq!(compiled(&ranges), compiled(&calibrate));
    let other = with(&["compile", &model("restore.onnx"), "-o", "x.rs"], &ranges);
    assert_eq!(other.code, 1);
    assert!(other.stderr.contains("another network"), "{}", other.stderr);
    let both = with(&compile, &[&ranges[..], &calibrate[..2]].concat());
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn a_quantized_file_holds_the_same_integers() {
    let folder = tempfile::tempdir().unwrap();
    let (digits, samples, test) = (
        model("digits.onnx"),
        model("digits.npz"),
        model("digits-test.npz"),
    );
    let calibrate = ["--calibrate", &samples];
    let outputs = |network: &str, more: &[&str]| {
        let run = [
            "run", network, "--via", "integer", "--inputs", &test, "-o", "y.npz",
        ];
        let run = qcc(folder.path(), &[&run, more].concat());
        assert_eq!(run.code, 0, "{run:?}");
        fs::read(folder.path().join("y.npz")).unwrap()
    };
    let quantize = ["quantize", &digits, "-o", "digits.qdq.onnx"];
    let run = qcc(folder.path(), &[&quantize[..], &calibrate].concat());
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        outputs("digits.qdq.onnx", &[]),
        outputs(&digits, &calibrate)
    );
}

#[test]
fn a_choice_can_be_made_at_once_or_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (digits, samples) = (model("digits.onnx"), model("digits.npz"));
    let with = |command: &[&str], more: &[&str]| {
        let on = ["--calibrate", &samples, "--samples", "40"];
        let run = qcc(folder.path(), &[command, &on[..], more].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run
    };
    let goal = ["--min-sqnr", "35", "--layer", "dense=w8a8"];
    let run = with(&["choose", &digits, "-o", "widths.toml"], &goal);
    assert!(run.stdout.contains("chosen"), "{run:?}");
    let tried = |run: &str| -> Vec<String> {
        let lines = run.lines().filter(|line| line.starts_with("equalisation"));
        lines.map(str::to_string).collect()
    };
    let repairs = tried(&run.stdout);
    assert_eq!(repairs.len(), 2, "none and shifts are tried: {run:?}");
    assert!(
        run.stdout.contains("10 samples that were held out"),
        "{run:?}"
    );
    assert!(text(folder.path(), "widths.toml").contains("w4a8,gptq"));
    let bytes = |more: &[&str]| {
        let run = with(&["quantize", &digits, "-o", "q.onnx"], more);
        (fs::read(folder.path().join("q.onnx")).unwrap(), run.stderr)
    };
    let (at_once, said) = bytes(&[&["--precision", "auto"], &goal[..]].concat());
    assert!(said.contains("chosen"), "{said}");
    assert_eq!(tried(&said), repairs);
    assert_eq!(bytes(&["--overrides", "widths.toml"]).0, at_once);
    // What is said of a repair is not tried.
    let stated = [
        "--equalisation",
        "shifts",
        "--rounding",
        "gptq",
        "--weights",
        "asymmetric",
    ];
    let stated = [&goal[..], &stated].concat();
    let run = with(&["choose", &digits, "-o", "stated.toml"], &stated);
    assert_eq!(tried(&run.stdout), [""; 0]);
    assert!(text(folder.path(), "stated.toml").contains("equalisation = \"shifts\""));
    let (at_once, _) = bytes(&[&["--precision", "auto"], &stated[..]].concat());
    assert_eq!(bytes(&["--overrides", "stated.toml"]).0, at_once);
    let eight = qcc(folder.path(), &["choose", &digits, "--precision", "w4a8"]);
    assert!(eight.stderr.contains("from w8a8 on"), "{eight:?}");
}

#[test]
fn analyze_agrees_with_eval() {
    let folder = tempfile::tempdir().unwrap();
    let (digits, samples, test) = (
        model("digits.onnx"),
        model("digits.npz"),
        model("digits-test.npz"),
    );
    let on = ["--calibrate", &samples, "--data", &test, "--samples", "20"];
    let run = |command: &[&str]| {
        let run = qcc(folder.path(), &[command, &on].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    };
    let line = |text: &str, start: &str| {
        let line = text.lines().find(|l| l.starts_with(start)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_string()
    };
    let table = run(&["analyze", &digits]);
    let fidelity = line(&run(&["eval", &digits]), "fidelity");
    assert_eq!(line(&table, "outputs"), fidelity, "{table}");
    assert!(table.contains("head/pointwise/conv"), "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&run(&["analyze", &digits, "--json"])).unwrap();
    let ratio = json["outputs_db"].as_f64().unwrap();
    assert_eq!(format!("{ratio:.1}"), fidelity);
    let dense = json["layers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|l| l["name"] == "dense")
        .unwrap();
    assert_eq!(
        dense["weights"]["channels_db"].as_array().unwrap().len(),
        10
    );
    let alone = qcc(
        folder.path(),
        &["analyze", &digits, "--input-range", "0..16"],
    );
    assert!(alone.stderr.contains("--data"), "{alone:?}");
}

#[test]
fn stdout_gets_what_the_file_gets() {
    let folder = tempfile::tempdir().unwrap();
    compile_digits(folder.path(), "generic", "digits.rs");
    let (digits, samples) = (model("digits.onnx"), model("digits.npz"));
    let run = qcc(
        folder.path(),
        &[
            "compile",
            &digits,
            "--calibrate",
            &samples,
            "-o",
            "-",
            "--lang",
            "rust",
        ],
    );
    assert_eq!(run.stdout, text(folder.path(), "digits.rs"));
    assert!(run.stderr.contains("digits on generic: arena"), "{run:?}");
}

#[test]
fn an_error_leaves_the_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = vec![
        named(node("Relu", &["x"], &["h"]), "first"),
        named(node("Bernoulli", &["h"], &["i"]), "dice"),
        named(node("Unique", &["i"], &["y"]), "odd"),
    ];
    save(folder.path(), 4, nodes, vec![]);
    fs::write(folder.path().join("net.rs"), "mine").unwrap();
    let run = qcc(folder.path(), &["compile", "net.onnx", "-o", "net.rs"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.stdout, "");
    // All unsupported nodes at once, each by its name and operator.
    for word in ["dice", "Bernoulli", "odd", "Unique", "help"] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
    assert_eq!(text(folder.path(), "net.rs"), "mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn without_samples_or_batch_norm_the_error_says_what_to_pass() {
    let folder = tempfile::tempdir().unwrap();
    let weights = floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let nodes = vec![node("MatMul", &["x", "w"], &["y"])];
    save(folder.path(), 2, nodes, vec![weights]);
    let run = qcc(folder.path(), &["compile", "net.onnx", "-o", "net.c"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("--calibrate"), "{}", run.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        vec!["inspect", "missing.onnx"],
        vec!["compile", "missing.onnx", "-o", "x.rs"],
        vec!["eval", "missing.onnx", "--data", "x.npz"],
    ] {
        let run = qcc(folder.path(), &arguments);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("missing.onnx"), "{}", run.stderr);
    }
    let digits = model("digits.onnx");
    let run = qcc(
        folder.path(),
        &[
            "compile",
            &digits,
            "--calibrate",
            "missing.npz",
            "-o",
            "x.rs",
        ],
    );
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("missing.npz: no such file"),
        "{}",
        run.stderr
    );
}

#[test]
fn samples_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), 5, vec![node("Relu", &["x"], &["y"])], vec![]);
    let samples = model("digits.npz");
    let run = qcc(
        folder.path(),
        &[
            "compile",
            "net.onnx",
            "--calibrate",
            &samples,
            "-o",
            "net.rs",
        ],
    );
    assert_eq!(run.code, 1, "{run:?}");
    for word in [
        "`image` of shape [100, 1, 8, 8]",
        "`x`, which takes samples [5]",
    ] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        vec!["compile", "x.onnx"],
        vec!["compile", "x.onnx", "-o", "x.txt"],
        vec!["compile", "x.onnx", "-o", "x.rs", "--target", "pdp11"],
        vec!["compile", "x.onnx", "-o", "x.rs", "--scale", "big"],
        vec!["frobnicate"],
    ] {
        let run = qcc(folder.path(), &arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn targets_are_listed() {
    let run = qcc(Path::new("."), &["targets"]);
    assert_eq!(run.code, 0);
    for name in qcc_compiler::target::names() {
        assert!(
            run.stdout.lines().any(|l| l.starts_with(name)),
            "{}",
            run.stdout
        );
    }
}

#[test]
fn bench_counts_the_products_of_each_layer() {
    let arguments = ["bench", &model("digits.onnx"), "--repeats", "1", "--json"];
    let run = qcc(Path::new("."), &arguments);
    assert_eq!(run.code, 0, "{run:?}");
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let layers = json["layers"].as_array().unwrap();
    let products: Vec<_> = layers.iter().filter(|l| l["macs"] != 0).collect();
    assert_eq!(products.len(), 8);
    for layer in products {
        // One number at a time: nothing is padded.
        assert_eq!(layer["multiplied"], layer["macs"], "{layer}");
        assert_ne!(layer["limit"], "padding", "{layer}");
        let part = layer["part"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&part), "{layer}");
    }
}

/// Counted twice, the counts are the same, of every layer, and fewer with an instruction for four products.
#[test]
fn bench_counts_what_an_emulator_executes() {
    let count = |target: &str| -> Option<serde_json::Value> {
        let digits = model("digits.onnx");
        let arguments = ["bench", &digits, "--target", target, "--json"];
        let run = qcc(Path::new("."), &arguments);
        if run.stderr.contains("do not run here") {
            qcc_tests::trained::skipped(run.stderr.trim());
            return None;
        }
        assert_eq!(run.code, 0, "{run:?}");
        Some(serde_json::from_str(&run.stdout).unwrap())
    };
    let targets = ["aarch64-neon", "aarch64-neon", "aarch64-neon-dotprod"];
    let [Some(neon), Some(again), Some(dotprod)] = targets.map(count) else {
        return;
    };
    assert_eq!(neon, again);
    let total = |json: &serde_json::Value| json["executed"].as_u64().unwrap();
    let layers = neon["layers"].as_array().unwrap();
    assert_eq!(layers.iter().map(total).sum::<u64>(), total(&neon));
    assert!(total(&dotprod) < total(&neon), "{dotprod}, {neon}");
}

#[test]
fn inspect_counts_the_digits_network() {
    let run = qcc(
        Path::new("."),
        &["inspect", &model("digits.onnx"), "--json"],
    );
    assert_eq!(run.code, 0, "{run:?}");
    // Output pixels × outputs × inputs a group × window, layer by layer: digits.py, LAYERS.
    let macs = 64 * 16 * 9
        + 16 * 16 * 9
        + 16 * 32 * 16
        + 16 * 32 * 9
        + 16 * 32 * 32
        + 16 * 32 * 9
        + 16 * 64 * 32
        + 10 * 64;
    assert!(
        run.stdout.contains(&format!("\"macs\": {macs},")),
        "{}",
        run.stdout
    );
    for word in [
        "\"name\": \"image\"",
        "\"shape\": [1, 1, 8, 8]",
        "\"target\": \"generic\"",
    ] {
        assert!(run.stdout.contains(word), "{word}: {}", run.stdout);
    }
    let table = qcc(Path::new("."), &["inspect", &model("digits.onnx")]).stdout;
    assert!(table.lines().any(|l| l.starts_with("total")), "{table}");
}

#[test]
fn proofs_are_listed_as_the_emitted_file_states_them() {
    let folder = tempfile::tempdir().unwrap();
    let (digits, samples) = (model("digits.onnx"), model("digits.npz"));
    let options = ["--calibrate", &samples, "--precision", "w7a8"];
    let proofs = |target: &str| {
        let arguments = [&["inspect", &digits, "--proofs", target], &options[..]].concat();
        let run = qcc(folder.path(), &arguments);
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    };
    let listed = proofs("x86_64-avx2");
    let output = ["--target", "x86_64-avx2", "-o", "digits.c"];
    let run = qcc(
        folder.path(),
        &[&["compile", &digits], &options[..], &output].concat(),
    );
    assert_eq!(run.code, 0, "{run:?}");
    let source = std::fs::read_to_string(folder.path().join("digits.c")).unwrap();
    let comments: Vec<&str> = source
        .lines()
        .filter_map(|l| l.strip_prefix("// "))
        .collect();
    let comments = comments.join(" ");
    let claims: Vec<&str> = listed
        .lines()
        .filter_map(|l| l.strip_prefix("  "))
        .collect();
    assert!(
        claims.iter().any(|claim| claim.starts_with("16 bits hold")),
        "{listed}"
    );
    for claim in claims {
        assert!(comments.contains(&format!("Proven: {claim}")), "{claim}");
    }
    assert!(listed.starts_with("stem/conv\n"), "{listed}");
    assert!(
        !proofs("generic").contains("16 bits"),
        "that machine has no such chains"
    );
}

#[test]
fn eval_shows_both_accuracies() {
    let (digits, samples, test) = (
        model("digits.onnx"),
        model("digits.npz"),
        model("digits-test.npz"),
    );
    let arguments = ["eval", &digits, "--calibrate", &samples, "--data", &test];
    let run = qcc(Path::new("."), &arguments);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("samples    360"), "{}", run.stdout);
    let percent = |row: &str| -> f64 {
        let line = run.stdout.lines().find(|l| l.starts_with(row)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!(percent("float") > 95.0, "{}", run.stdout);
    assert!(
        (percent("float") - percent("integer")).abs() <= 1.0,
        "{}",
        run.stdout
    );

    // The same as counts.
    let json = qcc(Path::new("."), &[&arguments[..], &["--json"]].concat()).stdout;
    let count = |field: &str| -> f64 {
        let line = json.lines().find(|l| l.contains(&format!("\"{field}\":")));
        let number = line.unwrap().rsplit(": ").next().unwrap();
        number.trim_end_matches(',').parse().unwrap()
    };
    assert_eq!(count("samples"), 360.0);
    for (row, field) in [("float", "float_right"), ("integer", "integer_right")] {
        let share = 100.0 * count(field) / count("labelled");
        assert!((share - percent(row)).abs() < 0.01, "{json}");
    }
}

#[test]
fn run_writes_an_array_an_output() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), 3, vec![node("Relu", &["x"], &["y"])], vec![]);
    let samples = Array::f32([2, 3], vec![-1.0, 0.5, 1.0, 2.0, -2.0, 4.0]);
    let file = fs::File::create(folder.path().join("x.npz")).unwrap();
    data::write_npz(file, &[("x".into(), samples)]).unwrap();
    let run = qcc(
        folder.path(),
        &["run", "net.onnx", "--inputs", "x.npz", "-o", "y.npz"],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let mut reader = Model::new("reader");
    let y = reader.add_tensor("y", Type::float([1, 3]), None);
    reader.inputs.push(y);
    let path = folder.path().join("y.npz");
    let samples = Samples::open(&[path], &reader, &data::Options::default()).unwrap();
    let rows: Vec<_> = samples.map(|s| s.unwrap().inputs.remove(0)).collect();
    assert_eq!(rows[0].reals(), [0.0, 0.5, 1.0]);
    assert_eq!(rows[1].reals(), [2.0, 0.0, 4.0]);
}

#[test]
fn a_stated_range_stands_for_samples_where_batch_norm_tells_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = vec![
        node("Conv", &["x", "w"], &["c"]),
        node("BatchNormalization", &["c", "g", "b", "m", "v"], &["n"]),
        node("Relu", &["n"], &["y"]),
    ];
    let constants = vec![
        floats("w", &[3, 2, 1, 1], &[1.0, -1.0, 0.5, 0.5, -2.0, 1.0]),
        floats("g", &[3], &[0.5, 1.0, 0.25]),
        floats("b", &[3], &[0.0, 1.5, -1.0]),
        floats("m", &[3], &[0.0, 0.5, -0.5]),
        floats("v", &[3], &[1.0; 3]),
    ];
    fs::write(
        folder.path().join("net.onnx"),
        file(nodes, constants).encode_to_vec(),
    )
    .unwrap();
    let compile = |options: &[&str]| {
        let arguments = [&["compile", "net.onnx", "-o", "net.c"], options].concat();
        qcc(folder.path(), &arguments)
    };
    let run = compile(&[]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("the range of tensor `x` is unknown"));
    // The shift and six deviations of the widest channel: 1.5 + 6 · 1.
    let output = 7.5 / 255.0;
    let cases: [(&[&str], f32, i32); 3] = [
        (&["--input-range", "0..1"], 1.0 / 255.0, 0),
        (&["--input-range", "x=-1..3"], 4.0 / 255.0, 64),
        (&["--preset", "unit"], 1.0 / 255.0, 0),
    ];
    for (options, scale, zero_point) in cases {
        let run = compile(options);
        assert_eq!(run.code, 0, "{options:?}: {run:?}");
        let header = text(folder.path(), "net.h");
        let stated = |name: &str| {
            let line = format!("#define NET_{name} ");
            let value = header.split(&line).nth(1).and_then(|l| l.lines().next());
            let value = value.unwrap_or_else(|| panic!("{name}: {header}"));
            value.trim_end_matches('f').parse::<f32>().unwrap()
        };
        for (name, expected) in [("INPUT_SCALE", scale), ("OUTPUT_SCALE", output)] {
            let error = (stated(name) / expected - 1.0).abs();
            assert!(error < 1e-6, "{options:?}, {name}: {}", stated(name));
        }
        assert_eq!(stated("INPUT_ZERO_POINT"), zero_point as f32, "{options:?}");
        assert_eq!(stated("OUTPUT_ZERO_POINT"), 0.0, "{options:?}");
    }
    for (options, message) in [
        ("1..0", "the range `1..0` is empty"),
        ("y=0..1", "a range is stated for `y`, which is no input"),
    ] {
        let run = compile(&["--input-range", options]);
        assert_ne!(run.code, 0, "{options}");
        assert!(run.stderr.contains(message), "{options}: {}", run.stderr);
    }
    let verify = [
        "verify",
        "net.onnx",
        "--input-range",
        "-1..3",
        "--lang",
        "c",
    ];
    let run = qcc(folder.path(), &verify);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_network_with_batch_norm_keeps_its_accuracy_without_samples() {
    let network = shared().join("resnet20_cifar_bn_ts11.onnx");
    let images = shared().join("data/cifar10_exact.npz");
    let (Some(network), Some(images)) = (network.to_str(), images.to_str()) else {
        panic!("the folder of the networks has a name that is text");
    };
    if !Path::new(network).exists() || !Path::new(images).exists() {
        return skipped("resnet20_cifar_bn_ts11 without samples: it is not there");
    }
    let samples = ["--preset", "imagenet", "--samples", "50"];
    // Torchvision's darkest red to brightest blue, the same that the preset tells.
    for range in [&["--input-range", "-2.12..2.64"][..], &[]] {
        let arguments = [&["eval", network, "--data", images], &samples[..], range].concat();
        let run = qcc(Path::new("."), &arguments);
        assert_eq!(run.code, 0, "{run:?}");
        let line = run.stdout.lines().find(|l| l.starts_with("agreement"));
        let percent = line.and_then(|l| l.split_whitespace().nth(1));
        let percent: f64 = percent.expect("a figure").parse().unwrap();
        assert!(percent >= 94.0, "{range:?}: {}", run.stdout);
    }
}
