//! Real networks import, or are refused with every unsupported node named at once.
//!
//! The networks are found in `$QCC_MODELS` or in `../shared/models` beside the repository; those that
//! are absent are skipped by name.
#![allow(
    clippy::print_stdout,
    reason = "a test says what it covered and what it skipped"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qcc_compiler::{eval, ir, onnx};
use qcc_tests::trained;

/// What importing a network gives.
enum Expect {
    /// A model whose outputs have these shapes.
    Outputs(&'static [&'static [usize]]),
    /// A refusal of so many nodes of each operator, and nothing else.
    Refused(&'static [(&'static str, usize)]),
}

use Expect::{Outputs, Refused};

/// A network, the dimensions that it leaves open, and what is expected.
type Case = (&'static str, &'static [(&'static str, usize)], Expect);

const CASES: &[Case] = &[
    ("dtln_stage1", &[], Refused(&[("LSTM", 2)])),
    ("he_crnn_s_scan", &[], Refused(&[("Scan", 1)])),
    ("he_dnn_s", &[], Outputs(&[&[1, 12]])),
    ("he_gru_m_gruop", &[], Refused(&[("GRU", 1)])),
    ("kwt1_transformer", &[], Outputs(&[&[1, 12]])),
    ("mcunet_320kb_bn_ts11", &[], Outputs(&[&[1, 1000]])),
    ("mcunet_320kb_int8_qdq", &[], Outputs(&[&[1, 1000]])),
    ("micro_kws_m_f32", &[], Outputs(&[&[1, 10]])),
    ("micro_kws_m_ort_qdq", &[], Outputs(&[&[1, 10]])),
    ("micro_kws_m_ort_qoperator", &[], Outputs(&[&[1, 10]])),
    ("mlperf_ad_autoencoder_f32", &[], Outputs(&[&[1, 640]])),
    ("mlperf_ad_autoencoder_int8_qdq", &[], Outputs(&[&[1, 640]])),
    ("mlperf_ad_autoencoder_keras_bn", &[], Outputs(&[&[1, 640]])),
    ("mlperf_ic_resnet8_f32", &[], Outputs(&[&[1, 10]])),
    ("mlperf_ic_resnet8_int8_qdq", &[], Outputs(&[&[1, 10]])),
    ("mlperf_ic_resnet8_keras_nhwc", &[], Outputs(&[&[1, 10]])),
    ("mlperf_kws_dscnn_f32", &[], Outputs(&[&[1, 12]])),
    ("mlperf_kws_dscnn_int8_qdq", &[], Outputs(&[&[1, 12]])),
    (
        "mlperf_kws_dscnn_weightonly_int8",
        &[],
        Outputs(&[&[1, 12]]),
    ),
    ("mlperf_sww_streaming_f32", &[], Outputs(&[&[1, 3]])),
    ("mlperf_sww_streaming_int8_qdq", &[], Outputs(&[&[1, 3]])),
    ("mlperf_vww_mbv1_f32", &[], Outputs(&[&[1, 2]])),
    ("mlperf_vww_mbv1_int8_qdq", &[], Outputs(&[&[1, 2]])),
    ("mnist8_cntk", &[], Outputs(&[&[1, 10]])),
    ("mobilenet_v1_0.25_224_f32", &[], Outputs(&[&[1, 1001]])),
    (
        "mobilenet_v1_0.25_224_qat_uint8_qdq",
        &[],
        Outputs(&[&[1, 1001]]),
    ),
    (
        "mobilenet_v2_1.0_224_ptq_int8pc_qdq",
        &[],
        Outputs(&[&[1, 1001]]),
    ),
    (
        "mobilenet_v2_1.0_224_qat_uint8_qdq",
        &[],
        Outputs(&[&[1, 1001]]),
    ),
    ("oww_embedding", &[], Outputs(&[&[1, 1, 1, 96]])),
    (
        "oww_melspectrogram",
        &[("samples", 1280)],
        Outputs(&[&[1, 1, 5, 32]]),
    ),
    (
        "ppocrv3_det_ch",
        &[("x.2", 64), ("x.3", 96)],
        Outputs(&[&[64, 96]]),
    ),
    ("qonnx_jettag", &[], Outputs(&[&[1, 5]])),
    ("qonnx_jettag_fakequant", &[], Outputs(&[&[1, 5]])),
    ("resnet20_cifar_bn_ts11", &[], Outputs(&[&[1, 10]])),
    ("resnet20_dyn18_ext", &[], Outputs(&[&[1, 10]])),
    ("selfie_segmentation", &[], Outputs(&[&[1, 144, 256, 1]])),
    ("silero_vad_v5_16k", &[], Refused(&[("LSTM", 1)])),
    ("superres_espcn_pt", &[], Outputs(&[&[1, 1, 672, 672]])),
    (
        "ultraface_rfb320",
        &[],
        Outputs(&[&[1, 4420, 2], &[1, 4420, 4]]),
    ),
    (
        "vit_mnist_dynamo20",
        &[],
        Refused(&[("Einsum", 12), ("LayerNormalization", 12)]),
    ),
    ("vit_mnist_ts14", &[], Refused(&[("Einsum", 12)])),
    ("yolo_fastestv2", &[], Outputs(&[&[605, 95]])),
    (
        "yunet_n_320",
        &[],
        Outputs(&[
            &[1, 1600, 1],
            &[1, 400, 1],
            &[1, 100, 1],
            &[1, 1600, 1],
            &[1, 400, 1],
            &[1, 100, 1],
            &[1, 1600, 4],
            &[1, 400, 4],
            &[1, 100, 4],
            &[1, 1600, 10],
            &[1, 400, 10],
            &[1, 100, 10],
        ]),
    ),
];

#[test]
fn networks_import_or_name_what_is_unsupported() {
    let Some(folder) = folder() else {
        println!("skipped: no shared models");
        return;
    };
    let mut failures = vec![];
    for (name, dims, expected) in CASES {
        let path = folder.join(format!("{name}.onnx"));
        if !path.exists() {
            println!("skipped {name}: absent");
            continue;
        }
        let mut options = onnx::Options::default();
        options.dims.extend(
            dims.iter()
                .map(|(name, extent)| (name.to_string(), *extent)),
        );
        let problem = match (onnx::load(&path, &options), expected) {
            (Ok(model), Outputs(shapes)) => wrong_shapes(&model, shapes),
            (Err(error), Refused(operators)) => wrong_refusal(&error, operators),
            (Ok(_), Refused(_)) => Some("is imported".to_string()),
            (Err(error), Outputs(_)) => Some(error.to_string()),
        };
        failures.extend(problem.map(|problem| format!("{name}: {problem}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_digit_model_imports_and_runs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits.onnx");
    let model = onnx::load(&path, &onnx::Options::default()).expect("the model is supported");
    let inputs = model.inputs.iter().map(|id| &model[*id].ty.shape);
    let inputs: Vec<_> = inputs.map(|shape| zeros(shape)).collect();
    let outputs = eval::run(&model, &inputs).expect("the inputs have the model's shapes");
    let probabilities = outputs[0].reals();
    assert_eq!(probabilities.len(), 10);
    assert!(probabilities.iter().all(|p| p.is_finite()));
}

fn zeros(shape: &[usize]) -> ir::Array {
    ir::Array::f32(shape, vec![0.0; shape.iter().product()])
}

fn folder() -> Option<PathBuf> {
    let folder = trained::shared();
    folder.is_dir().then_some(folder)
}

fn wrong_shapes(model: &ir::Model, expected: &[&[usize]]) -> Option<String> {
    let shapes: Vec<_> = model
        .outputs
        .iter()
        .map(|id| &model[*id].ty.shape[..])
        .collect();
    (shapes != expected).then(|| format!("outputs of shape {shapes:?}"))
}

fn wrong_refusal(error: &qcc_compiler::Error, expected: &[(&str, usize)]) -> Option<String> {
    let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
    for diagnostic in &error.diagnostics {
        let message = diagnostic.message.as_str();
        let operator = message.strip_prefix("operator ");
        match operator.and_then(|rest| rest.strip_suffix(" is not supported")) {
            Some(operator) if diagnostic.node.is_some() && diagnostic.hint.is_some() => {
                *operators.entry(operator).or_default() += 1;
            }
            _ => return Some(diagnostic.to_string()),
        }
    }
    let expected: BTreeMap<_, _> = expected.iter().copied().collect();
    (operators != expected).then(|| format!("refuses {operators:?}"))
}
