//! The whole way from reals to integers, on a small network.

use super::calibrate::{Calibration, Method};
use super::quantize::{Options, Scheme, quantize};
use super::testing::{Sketch, conv, inputs, pads};
use super::*;
use crate::ir::{Array, Elem, Range, TensorId};
use crate::ops::{Conv, Function, Pool, PoolKind};
use crate::{eval, integer};

/// Convolution, depthwise and pointwise with a residual sum, pool, dense layer; batch norm after each sum.
fn network() -> Model {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 3, 8, 8]);
    let padded = Conv {
        pads: pads(1),
        ..conv()
    };
    let stem = sketch.conv("stem", x, 8, 3, padded.clone());
    let stem = sketch.batch_norm("stem_bn", stem);
    let stem = sketch.relu("stem_relu", stem);
    let depthwise = Conv {
        groups: 8,
        ..padded
    };
    let spread = sketch.conv("depthwise", stem, 8, 3, depthwise);
    let spread = sketch.batch_norm("depthwise_bn", spread);
    let spread = sketch.unary("swish", Function::HardSwish, spread);
    let mixed = sketch.conv("pointwise", spread, 8, 1, conv());
    let mixed = sketch.batch_norm("pointwise_bn", mixed);
    let sum = sketch.add("sum", mixed, stem);
    let average = PoolKind::Average {
        count_include_pad: false,
    };
    let pooled = sketch.node("pool", Pool::whole(average, [8, 8]), &[sum]);
    let flat = sketch.reshape("flat", &[1, 8], pooled);
    let y = sketch.dense("dense", flat, 10);
    sketch.model(&[y])
}

fn calibrated(model: &mut Model) {
    let samples: Vec<_> = (0..8).map(|seed| inputs(model, 100 + seed)).collect();
    let mut calibration = Calibration::new(model, Method::MinMax);
    calibration.observe_all(model, &samples).unwrap();
    calibration.finish(model).unwrap();
}

/// Signal over error in decibels.
fn snr(signal: &[Array], other: &[Array]) -> f64 {
    let pairs = signal[0].reals().iter().zip(other[0].reals());
    let (signal, error) = pairs.fold((0.0, 0.0), |(signal, error), (a, b)| {
        let (a, b) = (f64::from(*a), f64::from(*b));
        (signal + a * a, error + (a - b) * (a - b))
    });
    10.0 * (signal / error).log10()
}

#[test]
fn passes_have_names_of_their_own() {
    let mut names: Vec<_> = PIPELINE.iter().map(|pass| pass.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PIPELINE.len());
}

#[test]
fn a_network_shrinks_to_its_sums() {
    let mut model = network();
    run(&mut model, Stage::Float).unwrap();
    let left: Vec<_> = model.nodes.iter().map(|node| node.op.name()).collect();
    let expected = [
        "Conv",
        "Conv",
        "HardSwish",
        "Conv",
        "AveragePool",
        "Reshape",
        "MatMul",
    ];
    assert_eq!(left, expected);
}

/// Signal to noise of the network of integers that a precision makes, in decibels.
fn fidelity(precision: &str, signed: bool) -> f64 {
    let mut model = network();
    let samples: Vec<_> = (0..4).map(|seed| inputs(&model, seed)).collect();
    let reals = samples
        .iter()
        .map(|sample| eval::run(&model, sample).unwrap());
    let reals: Vec<_> = reals.flatten().collect();
    run(&mut model, Stage::Float).unwrap();
    calibrated(&mut model);
    let options = Options {
        signed,
        scheme: Scheme::default().with(precision).unwrap(),
        ..Options::default()
    };
    quantize(&mut model, &options).unwrap();
    run(&mut model, Stage::Quantized).unwrap();
    let outputs = samples.iter().map(|sample| {
        let integers = integer::quantize_inputs(&model, sample);
        let outputs = integer::run(&model, &integers).unwrap();
        integer::dequantize_outputs(&model, outputs)
    });
    snr(&reals, &outputs.flatten().collect::<Vec<_>>())
}

#[test]
fn integers_stay_close_to_reals() {
    // A bit is worth 6 dB; less where other errors are as large.
    let cases = [
        ("w8a8", 25.0),
        ("w8a8,per-tensor", 22.0),
        ("w8a8,asymmetric", 25.0),
        ("w8a8,per-tensor,asymmetric", 22.0),
        ("w8a7", 22.0),
        ("w7a8", 22.0),
        ("w7a8,asymmetric", 22.0),
        ("w7a7", 20.0),
        ("w8a4", 5.0),
        ("w4a8", 12.0),
        ("w4a8,asymmetric", 12.0),
    ];
    for (precision, least) in cases {
        for signed in [false, true] {
            let decibels = fidelity(precision, signed);
            assert!(
                decibels > least,
                "{precision}, signed {signed}: {decibels} dB"
            );
        }
    }
}

#[test]
fn rounding_that_learns_needs_samples() {
    let mut model = network();
    run(&mut model, Stage::Float).unwrap();
    let options = Options {
        scheme: Scheme::default().with("w4a8,gptq").unwrap(),
        ..Options::default()
    };
    let mut seen = model.clone();
    calibrated(&mut model);
    let error = quantize(&mut model, &options).unwrap_err();
    let sums = model
        .nodes
        .iter()
        .filter(|node| matches!(node.op.name(), "Conv" | "MatMul"));
    assert_eq!(error.diagnostics.len(), sums.count());
    let message = "gptq learns from samples, and none were seen";
    assert!(error.diagnostics.iter().all(|d| d.message == message));

    let mut calibration = Calibration::new(&seen, Method::MinMax).learning(&seen, |_| true);
    calibration.observe(&seen, &inputs(&seen, 1)).unwrap();
    calibration.finish(&mut seen).unwrap();
    quantize(&mut seen, &options).unwrap();
}

#[test]
fn batch_norm_statistics_replace_samples() {
    let mut model = network();
    let sample = inputs(&model, 1);
    let reals = eval::run(&model, &sample).unwrap();
    model.tensors[model.inputs[0].0 as usize].range = Some(Range {
        min: -3.0,
        max: 3.0,
    });
    run(&mut model, Stage::Float).unwrap();
    calibrate::from_batch_norm(&mut model).unwrap();
    quantize(&mut model, &Options::default()).unwrap();
    let integers = integer::quantize_inputs(&model, &sample);
    let outputs = integer::run(&model, &integers).unwrap();
    let decibels = snr(&reals, &integer::dequantize_outputs(&model, outputs));
    assert!(decibels > 12.0, "{decibels} dB");
}

#[test]
fn tensors_that_share_integers_share_parameters() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 2, 4, 4]);
    let a = sketch.conv("a", x, 2, 1, conv());
    let pool = Pool {
        strides: [2, 2],
        kernel: [2, 2],
        output: [2, 2],
        ..Pool::whole(PoolKind::Max, [4, 4])
    };
    let pooled = sketch.node("pooled", pool, &[a]);
    let flat = sketch.reshape("flat", &[1, 8], pooled);
    let gate = sketch.unary("gate", Function::Sigmoid, flat);
    let joined = sketch.node("joined", crate::ops::Concat { axis: 1 }, &[flat, gate]);
    let shares = sketch.node("shares", crate::ops::Softmax { axis: 1 }, &[joined]);
    let mut model = sketch.model(&[shares]);
    calibrated(&mut model);
    quantize(&mut model, &Options::default()).unwrap();
    let params = |id: TensorId| match &model[id].ty.elem {
        Elem::Quantized(params) => params.clone(),
        other => panic!("{other:?} is not quantized"),
    };
    assert_eq!(params(a), params(pooled));
    assert_eq!(params(a), params(flat));
    assert_eq!(params(flat), params(joined));
    assert_eq!(params(gate), params(joined));
    assert_eq!(params(shares).uniform(), (1.0 / 256.0, 0));
    assert_ne!(params(x), params(a));
}

#[test]
fn what_cannot_be_quantized_is_named() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 2, 4, 4]);
    let w = sketch.input("w", &[2, 2, 1, 1]);
    let a = sketch.node("first", conv(), &[x, w]);
    let y = sketch.node("second", conv(), &[a, w]);
    let mut model = sketch.model(&[y]);
    let error = quantize(&mut model, &Options::default()).unwrap_err();
    let nodes: Vec<_> = error.diagnostics.iter().map(|d| d.node.clone()).collect();
    assert_eq!(
        nodes,
        [Some("first (Conv)".into()), Some("second (Conv)".into())]
    );

    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 4]);
    let y = sketch.relu("y", x);
    let mut model = sketch.model(&[y]);
    let error = quantize(&mut model, &Options::default()).unwrap_err();
    let messages: Vec<_> = error.diagnostics.iter().map(|d| &d.message[..]).collect();
    let unknown = |name| format!("the range of tensor `{name}` is unknown");
    assert_eq!(messages, [unknown("x"), unknown("y")]);
}
