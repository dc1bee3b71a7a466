//! The node tests of the `onnx` package, in float, by qcc's own evaluator.
//!
//! They are found at `$QCC_ONNX_NODE_TESTS`, in `target/venv` or in the `onnx` package of `python3`.
//! A case that qcc refuses to import is skipped, by name and with the reason; one that it imports must
//! give the expected outputs, and the same again when it is exported and imported. Run with `--nocapture` to read the list.
#![allow(
    clippy::print_stdout,
    reason = "a test says what it covered and what it skipped"
)]

mod programs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{Message, ModelProto, TensorProto};
use qcc_compiler::ir::{Array, Data, Elem, Model, Node};
use qcc_compiler::ops::Op;
use qcc_compiler::{eval, integer, onnx, pipeline};

use programs::{COMPILED, Programs, emitted};

/// The operators of a CNN and of the shape arithmetic around it: each passes at least one case of its own.
const REQUIRED: &[&str] = &[
    "Add",
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
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Elu",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MatMulInteger",
    "MaxPool",
    "Mul",
    "PRelu",
    "Pad",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// What became of a case.
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// One folder of test data.
struct Case {
    bytes: Vec<u8>,
    operators: Vec<String>,
    inputs: Vec<String>,
    sets: Vec<PathBuf>,
}

#[test]
fn node_tests_pass() {
    let Some(folder) = folder() else {
        println!("skipped: no onnx package");
        return;
    };
    let mut names = entries(&folder);
    names.sort();
    let mut own_passes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut passed, mut skipped, mut failed) = (0, vec![], vec![]);
    let mut compiled = BTreeSet::new();
    for path in names {
        let name = path
            .file_name()
            .expect("an entry of a folder")
            .to_string_lossy()
            .into_owned();
        let case = read(&path);
        let mut programs = Programs::default();
        match run(&case, &mut programs) {
            Outcome::Passed => {
                passed += 1;
                if programs.passed > 0 {
                    compiled.insert(name);
                } else if case.is_quantization() {
                    println!("not compiled {name}: {}", programs.refusal);
                }
                if let [operator] = &case.operators[..] {
                    *own_passes.entry(operator.clone()).or_default() += 1;
                }
            }
            Outcome::Skipped(reason) => skipped.push(format!("{name}: {reason}")),
            Outcome::Failed(reason) => failed.push(format!("{name}: {reason}")),
        }
    }
    for line in &skipped {
        println!("skipped {line}");
    }
    println!(
        "{passed} passed, {} failed, {} skipped",
        failed.len(),
        skipped.len()
    );
    assert!(failed.is_empty(), "failed:\n{}", failed.join("\n"));
    let known: BTreeSet<&str> = own_passes.keys().map(String::as_str).collect();
    let missing: Vec<_> = REQUIRED
        .iter()
        .filter(|name| !known.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no case passed of {missing:?}");
    println!("{} passed as programs: {compiled:?}", compiled.len());
    let gcc = Command::new("gcc").arg("--version").output().is_ok();
    let missing = COMPILED.iter().filter(|name| !compiled.contains(**name));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty() || !gcc, "not compiled: {missing:?}");
}

fn folder() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("QCC_ONNX_NODE_TESTS") {
        return Some(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let question = "import os, onnx; print(os.path.dirname(onnx.__file__))";
    for python in [root.join("target/venv/bin/python"), "python3".into()] {
        let Ok(answer) = Command::new(python).args(["-c", question]).output() else {
            continue;
        };
        let package = String::from_utf8_lossy(&answer.stdout).trim().to_string();
        let folder = Path::new(&package).join("backend/test/data/node");
        if answer.status.success() && folder.is_dir() {
            return Some(folder);
        }
    }
    None
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of the tests is readable");
    let paths = entries.map(|entry| entry.expect("the folder of the tests is readable").path());
    paths.filter(|path| path.is_dir()).collect()
}

fn read(path: &Path) -> Case {
    let bytes = fs::read(path.join("model.onnx")).expect("each test has a model");
    let model = ModelProto::decode(&bytes[..]).expect("the models of the tests are well formed");
    let graph = model.graph.unwrap_or_default();
    let weights: BTreeSet<_> = graph.initializer.into_iter().map(|t| t.name).collect();
    let inputs = graph.input.into_iter().map(|input| input.name);
    let mut sets = entries(path);
    sets.sort();
    Case {
        operators: graph.node.into_iter().map(|node| node.op_type).collect(),
        inputs: inputs.filter(|name| !weights.contains(name)).collect(),
        bytes,
        sets,
    }
}

impl Case {
    /// Whether every operator is one of quantization.
    fn is_quantization(&self) -> bool {
        let quantizes = |name: &String| {
            ["Quantize", "QLinear", "Dequantize", "Integer"]
                .iter()
                .any(|part| name.contains(part))
        };
        self.operators.iter().all(quantizes)
    }
}

fn run(case: &Case, programs: &mut Programs) -> Outcome {
    for set in &case.sets {
        let run = || run_set(case, set, programs);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Outcome::Passed) => {}
            Ok(other) => return other,
            Err(_) => return Outcome::Failed("panicked".into()),
        }
    }
    Outcome::Passed
}

fn run_set(case: &Case, set: &Path, programs: &mut Programs) -> Outcome {
    let mut inputs = vec![];
    for index in 0..case.inputs.len() {
        let path = set.join(format!("input_{index}.pb"));
        let bytes = fs::read(path).expect("each input has a file");
        match onnx::tensor_from_bytes(&bytes) {
            Ok((array, _)) => inputs.push(array),
            Err(error) => return Outcome::Skipped(refusal(case, index, &error)),
        }
    }
    // As much as can be is left to run time: weights, limits and shapes must be known to some operators,
    // and what is there only for shapes must fold altogether.
    let mut refusal = String::new();
    for free in [inputs.len(), 1, 0] {
        let mut options = onnx::Options::default();
        for (index, (name, array)) in case.inputs.iter().zip(&inputs).enumerate() {
            for (axis, extent) in array.shape.iter().enumerate() {
                options.dims.insert(format!("{name}.{axis}"), *extent);
            }
            if index >= free {
                options.bind.insert(name.clone(), array.clone());
            }
        }
        let given = &inputs[..free.min(inputs.len())];
        match onnx::import(&case.bytes, None, &options) {
            Ok(model) => {
                let outcome = match eval::run(&model, given) {
                    Ok(outputs) => match compare(&outputs, set, case.is_quantization()) {
                        Outcome::Passed => match exported(&model, given, &outputs) {
                            Some(difference) => Outcome::Failed(difference),
                            None => in_integers(case, &model, given, set, programs),
                        },
                        other => other,
                    },
                    Err(error) => Outcome::Failed(error.to_string()),
                };
                // Integers stand for reals only where scales are known.
                let more = case.is_quantization() && free > 0;
                if !(more && matches!(outcome, Outcome::Passed)) {
                    return outcome;
                }
            }
            Err(error) => refusal = error.diagnostics[0].to_string(),
        }
    }
    Outcome::Skipped(refusal)
}

/// What differs when the model is written to a file and read again.
fn exported(model: &Model, inputs: &[Array], outputs: &[Array]) -> Option<String> {
    // Integers are exported where they are a part of the types, which they are not yet here.
    let quantizes = |n: &Node| matches!(n.op, Op::Quantize(_) | Op::Dequantize(_));
    if model.nodes.iter().any(quantizes) {
        return None;
    }
    let again = onnx::import(&onnx::export(model), None, &onnx::Options::default());
    let found = match again.and_then(|again| eval::run(&again, inputs)) {
        Ok(found) => found,
        Err(error) => return Some(format!("exported: {error}")),
    };
    let kind = DataType::Float as i32;
    let pairs = found.iter().zip(outputs);
    let mut differences = pairs.filter_map(|(a, b)| difference(a, b, kind, true));
    differences
        .next()
        .map(|difference| format!("exported: {difference}"))
}

/// The same by the integer evaluator and by emitted C, for an operator that is an integer one as a whole.
fn in_integers(
    case: &Case,
    model: &Model,
    inputs: &[Array],
    set: &Path,
    programs: &mut Programs,
) -> Outcome {
    if !case.is_quantization() || inputs.is_empty() {
        return Outcome::Passed;
    }
    let integer = match pipeline::quantize(model.clone(), &Default::default()) {
        Ok(integer) => integer,
        Err(error) => {
            programs.refusal = error.diagnostics[0].to_string();
            return Outcome::Passed;
        }
    };
    let inputs = integer::quantize_inputs(&integer, inputs);
    let result = match integer::run(&integer, &inputs) {
        Ok(outputs) => compare(&reals(model, &integer, outputs), set, true),
        Err(error) => Outcome::Failed(error.to_string()),
    };
    if !matches!(result, Outcome::Passed) {
        return result;
    }
    for machine in ["generic", "x86_64-avx2"] {
        let outcome = match emitted(&integer, &inputs, machine) {
            Ok(None) => continue,
            Ok(Some(outputs)) => compare(&reals(model, &integer, outputs), set, true),
            Err(error) => Outcome::Failed(format!("{machine}: {error}")),
        };
        if !matches!(outcome, Outcome::Passed) {
            return outcome;
        }
        programs.passed += 1;
    }
    Outcome::Passed
}

/// Outputs as the file types them.
fn reals(model: &Model, integer: &Model, outputs: Vec<Array>) -> Vec<Array> {
    match model[model.outputs[0]].ty.elem {
        Elem::Float => integer::dequantize_outputs(integer, outputs),
        _ => outputs.into_iter().map(plain).collect(),
    }
}

fn plain(array: Array) -> Array {
    match &array.data {
        Data::I32(v) => Array::i64(array.shape, v.iter().map(|q| i64::from(*q)).collect()),
        _ => array,
    }
}

/// Why a case is skipped whose input is no array: what qcc says of its model, rather than of the input.
fn refusal(case: &Case, index: usize, error: &qcc_compiler::Error) -> String {
    match onnx::import(&case.bytes, None, &onnx::Options::default()) {
        Err(error) => error.diagnostics[0].to_string(),
        Ok(_) => format!("input {index}: {error}"),
    }
}

/// Compares with the expected outputs, `exact` or within the tolerance of ONNX's own runner.
fn compare(outputs: &[Array], set: &Path, exact: bool) -> Outcome {
    for (index, output) in outputs.iter().enumerate() {
        let path = set.join(format!("output_{index}.pb"));
        let bytes = fs::read(path).expect("each output has a file");
        let expected = match onnx::tensor_from_bytes(&bytes) {
            Ok((expected, _)) => expected,
            Err(error) => return Outcome::Skipped(format!("output {index}: {error}")),
        };
        let data_type = TensorProto::decode(&bytes[..])
            .expect("it was decoded above")
            .data_type;
        if let Some(difference) = difference(output, &expected, data_type, exact) {
            return Outcome::Failed(format!("output {index}: {difference}"));
        }
    }
    Outcome::Passed
}

fn difference(output: &Array, expected: &Array, data_type: i32, exact: bool) -> Option<String> {
    if output.shape != expected.shape {
        return Some(format!(
            "shape {:?} instead of {:?}",
            output.shape, expected.shape
        ));
    }
    // The tolerance of ONNX's own runner; narrow reals are evaluated in f32 here.
    let relative = match DataType::try_from(data_type) {
        Ok(DataType::Bfloat16) => 1e-2,
        _ => 1e-3,
    };
    let close = |a: f32, b: f32| {
        a == b || (a.is_nan() && b.is_nan()) || !exact && (a - b).abs() <= 1e-5 + relative * b.abs()
    };
    match (&output.data, &expected.data) {
        (Data::F32(a), Data::F32(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| !close(*a, *b))?;
            Some(format!("{} instead of {} at {at}", a[at], b[at]))
        }
        (Data::I64(a), Data::I64(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| a != b)?;
            Some(format!("{} instead of {} at {at}", a[at], b[at]))
        }
        _ => Some("another kind of elements".into()),
    }
}
