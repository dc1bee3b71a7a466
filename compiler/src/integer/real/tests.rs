//! Small cases worked out by hand, and where the order of operations shows.

use crate::integer::run;
use crate::ir::{Array, Clamp, Elem, IntType, Model, Node, QuantParams, TensorId, Type};
use crate::ops::*;

/// One node over operands of reals, the first of which is the model's input; its result.
fn outcome(op: impl Into<Op>, x: Array, others: &[Option<(Type, Array)>], out: Elem) -> Array {
    let mut model = Model::new("case");
    let id = model.add_tensor("x", Type::float(x.shape.clone()), None);
    model.inputs.push(id);
    let mut inputs = vec![Some(id)];
    for other in others {
        inputs.push(
            other
                .clone()
                .map(|(ty, value)| model.add_tensor("c", ty, Some(value))),
        );
    }
    let op = op.into();
    let types: Vec<Option<Type>> = inputs
        .iter()
        .map(|id| id.map(|id| model[id].ty.clone()))
        .collect();
    let types: Vec<Option<&Type>> = types.iter().map(Option::as_ref).collect();
    let shape = op.infer(&types).expect("the case is valid").shape;
    let output: TensorId = model.add_tensor("y", Type { shape, elem: out }, None);
    model.outputs.push(output);
    model.nodes.push(Node {
        name: "node".into(),
        op,
        inputs,
        output,
    });
    let outputs = run(&model, &[x]).expect("the case has a meaning");
    outputs[0].clone()
}

fn reals(shape: &[usize], data: &[f32]) -> Option<(Type, Array)> {
    Some((Type::float(shape), Array::f32(shape, data.to_vec())))
}

fn conv(pads: Pads) -> Conv {
    Conv {
        strides: [1, 1],
        pads,
        dilations: [1, 1],
        groups: 1,
        activation: Clamp::NONE,
    }
}

#[test]
fn sums_run_over_rows_columns_and_then_channels() {
    // In f32, 2²⁴ + 1 is 2²⁴: which sum comes first decides what is left.
    let big = 16_777_216.0;
    let x = Array::f32([1, 2, 1, 2], vec![big, -big, 1.0, 1.0]);
    let w = reals(&[1, 2, 1, 2], &[1.0, 1.0, 1.0, 1.0]);
    let y = outcome(conv(Pads::default()), x, &[w], Elem::Float);
    // ((2²⁴ + 1) − 2²⁴) + 1, the channels of a tap beside each other.
    assert_eq!(y.reals(), [1.0]);
}

#[test]
fn products_are_rounded_before_they_are_added() {
    let a = 1.0 + f32::EPSILON;
    let x = Array::f32([1, 2], vec![a, 1.0]);
    let w = reals(&[2, 1], &[a, -(1.0 + 2.0 * f32::EPSILON)]);
    let y = outcome(
        MatMul {
            activation: Clamp::NONE,
        },
        x,
        &[w],
        Elem::Float,
    );
    // A fused multiply-add would leave ε².
    assert_eq!(y.reals(), [0.0]);
}

#[test]
fn integer_weights_are_scaled_once_before_the_bias() {
    let params = QuantParams::symmetric_per_channel(IntType::I8, 0, vec![0.5, 0.25]);
    let ty = Type {
        shape: vec![2, 1, 1, 1],
        elem: Elem::Quantized(params),
    };
    let w = Some((ty, Array::i32([2, 1, 1, 1], vec![3, -8])));
    let x = Array::f32([1, 1, 1, 1], vec![1.5]);
    let bias = reals(&[2], &[1.0, 10.0]);
    let y = outcome(conv(Pads::default()), x, &[w, bias], Elem::Float);
    assert_eq!(y.reals(), [1.5 * 3.0 * 0.5 + 1.0, 1.5 * -8.0 * 0.25 + 10.0]);
}

#[test]
fn a_residual_comes_before_the_clamp() {
    let mut op = conv(Pads::default());
    op.activation = Clamp::RELU;
    let x = Array::f32([1, 1, 1, 2], vec![1.0, -5.0]);
    let (w, r) = (
        reals(&[1, 1, 1, 1], &[2.0]),
        reals(&[1, 1, 1, 2], &[-1.0, 3.0]),
    );
    let y = outcome(op, x, &[w, None, r], Elem::Float);
    assert_eq!(y.reals(), [1.0, 0.0]);
}

#[test]
fn borders_round_to_even_and_saturate() {
    let params = QuantParams::per_tensor(IntType::U8, 0.5, 10);
    let op = Quantize {
        int: IntType::U8,
        scales: Scales::One,
    };
    let x = Array::f32([6], vec![0.25, 0.75, -0.3, 1e30, -1e30, f32::NAN]);
    let y = outcome(op, x, &[reals(&[], &[0.5])], Elem::Quantized(params));
    assert_eq!(y.quantized(), [10, 12, 9, 255, 0, 10]);
}

#[test]
fn means_and_softmaxes_divide_sums() {
    let x = || Array::f32([1, 1, 2, 2], vec![1.0, 2.0, 3.0, 6.0]);
    let mean = Pool::whole(
        PoolKind::Average {
            count_include_pad: false,
        },
        [2, 2],
    );
    assert_eq!(outcome(mean, x(), &[], Elem::Float).reals(), [3.0]);
    let shares = outcome(Softmax { axis: 3 }, x(), &[], Elem::Float);
    let expected = [0.268_941_43, 0.731_058_6, 0.047_425_87, 0.952_574_1];
    for (found, expected) in shares.reals().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-7, "{found} {expected}");
    }
}

#[test]
fn powers_without_steps_are_refused() {
    let mut model = Model::new("case");
    let x = model.add_tensor("x", Type::float([1]), None);
    let b = model.add_tensor("b", Type::float([1]), Some(Array::f32([1], vec![1.7])));
    let y = model.add_tensor("y", Type::float([1]), None);
    model.nodes.push(Node {
        name: "power".into(),
        op: Binary {
            function: BinaryFunction::Pow,
            activation: Clamp::NONE,
        }
        .into(),
        inputs: vec![Some(x), Some(b)],
        output: y,
    });
    let error = crate::integer::check(&model).unwrap_err().to_string();
    assert!(error.contains("power (Pow): only the powers"), "{error}");
}
