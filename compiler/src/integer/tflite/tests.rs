//! The arithmetic against its definition in wide integers, against real numbers, and against LiteRT.

use super::*;
use crate::integer::check as check_model;
use crate::integer::{Factor, factors, run};
use crate::ir::{Array, Clamp, Elem, IntType, Model, Node, Numerics, QuantParams, TensorId, Type};
use crate::ops::*;

fn typed(shape: &[usize], params: QuantParams) -> Type {
    Type {
        shape: shape.to_vec(),
        elem: Elem::Quantized(params),
    }
}

/// One node of the given name over inputs of these types, and over constants.
fn one(op: impl Into<Op>, x: &[(&[usize], QuantParams)], y: (&[usize], QuantParams)) -> Model {
    let mut model = Model::new("one");
    model.numerics = Numerics::Tflite;
    let inputs: Vec<TensorId> = x
        .iter()
        .map(|(shape, params)| model.add_tensor("x", typed(shape, params.clone()), None))
        .collect();
    let output = model.add_tensor("y", typed(y.0, y.1), None);
    model.inputs = inputs.clone();
    model.outputs = vec![output];
    model.nodes.push(Node {
        name: "node".into(),
        op: op.into(),
        inputs: inputs.into_iter().map(Some).collect(),
        output,
    });
    model
}

fn constant(model: &mut Model, shape: &[usize], params: QuantParams, integers: Vec<i32>) {
    let value = Array::i32(shape, integers);
    let id = model.add_tensor("w", typed(shape, params), Some(value));
    model.nodes[0].inputs.push(Some(id));
}

fn i8_params(scale: f32, zero_point: i32) -> QuantParams {
    QuantParams::per_tensor(IntType::I8, scale, zero_point)
}

fn u8_params(scale: f32, zero_point: i32) -> QuantParams {
    QuantParams::per_tensor(IntType::U8, scale, zero_point)
}

fn outcome(model: &Model, inputs: &[Array]) -> Vec<i32> {
    let outputs = run(model, inputs).expect("the node has a meaning");
    outputs[0].quantized().to_vec()
}

/// `x · multiplier · 2^(exponent − 31)` in 128 bits, rounded at 2⁻³¹ and once more.
fn scaled(x: i128, factor: Fixed) -> i128 {
    let left = factor.exponent.max(0);
    let high = ((x << left) * i128::from(factor.multiplier) * 2 + (1 << 31)).div_euclid(1 << 32);
    let unit = 1i128 << (-factor.exponent).max(0);
    high.signum() * ((2 * high.abs() + unit) / (2 * unit))
}

#[test]
fn sums_of_all_pairs_follow_their_definition() {
    for [a, b, y] in [[0.1f32, 0.037, 0.2], [0.05, 0.05, 0.05], [0.001, 3.0, 2.9]] {
        let sum = Sum::new([a, b], y);
        let twice = 2.0 * f64::from(a.max(b));
        let nearest = |real: f64, factor: Fixed| {
            assert!((factor.real() - real).abs() <= real * f64::powi(2.0, -31));
        };
        nearest(f64::from(a) / twice, sum.operands[0]);
        nearest(f64::from(b) / twice, sum.operands[1]);
        nearest(twice / f64::from(1 << 20) / f64::from(y), sum.result);
        for (p, q) in (-255..=255).flat_map(|p| (-255..=255).map(move |q| (p, q))) {
            let [x, z] = [(p, 0), (q, 1)].map(|(d, i)| scaled(d << 20, sum.operands[i]));
            let expected = scaled(x + z, sum.result);
            assert_eq!(
                i128::from(sum.apply(p as i32, q as i32)),
                expected,
                "{p} {q}"
            );
            let real = (p as f64 * f64::from(a) + q as f64 * f64::from(b)) / f64::from(y);
            assert!((expected as f64 - real).abs() < 0.501, "{p} {q}");
        }
    }
}

#[test]
fn averages_round_the_integers_themselves() {
    let params = i8_params(0.1, -7);
    let mean = Mean::of_window(&params, &params, 4);
    // −10, −9, −9, −9 are −9.25; four that sum to −38 are −9.5; to 38 they are 9.5.
    let of = |sum: i64| mean.apply(sum + 4 * 7);
    assert_eq!(
        [-37, -38, 38, 37, 0, 2, -2].map(of),
        [-9, -10, 10, 9, 0, 1, -1]
    );
}

#[test]
fn means_of_other_scales_multiply_by_a_fixed_point_factor() {
    let (from, to) = (
        i8_params(0.023_529_412, -128),
        i8_params(0.019_077_832, -128),
    );
    let mean = Mean::of_window(&from, &to, 49);
    let Mean::Scaled { factor, zero_point } = mean else {
        panic!("{mean:?}");
    };
    for sum in (0..255 * 49).step_by(7) {
        let y = mean.apply(sum);
        assert_eq!(i128::from(y - zero_point), scaled(sum.into(), factor));
        let real = sum as f64 * f64::from(0.023_529_412f32) / 49.0 / f64::from(0.019_077_832f32);
        assert!((f64::from(y + 128) - real).abs() < 0.532, "{sum}");
    }
}

#[test]
fn exponentials_and_shares_are_near_the_real_ones() {
    for scale in [0.003, 0.0146, 0.16, 0.7, 5.0] {
        let tables = Exponentials::new(&i8_params(scale, 3));
        for (d, e) in tables.exponentials.iter().enumerate() {
            let real = (-f64::from(scale) * d as f64).exp();
            let found = f64::from(*e) / f64::powi(2.0, 31);
            assert!((found - real).abs() < 4e-7, "{scale} {d}: {found} {real}");
        }
        for line in [
            vec![0],
            vec![0; 300],
            vec![0, 0, 1, 2, 40, 255],
            (0..200).collect(),
        ] {
            let reals = line.iter().map(|d| (-f64::from(scale) * *d as f64).exp());
            let total: f64 = reals.clone().sum();
            for (share, real) in tables.shares(&line).into_iter().zip(reals) {
                let real = 256.0 * real / total;
                assert!((f64::from(share) - real).abs() < 0.502, "{scale} {line:?}");
            }
        }
    }
}

#[test]
fn softmax_gives_what_litert_gives() {
    // Operands and results of the last layers of MLPerf Tiny's networks under LiteRT 2.3.
    let cases: [(f32, i32, &[i32], &[i32]); 4] = [
        (0.160_508_9, 10, &[14, -34, 30], &[-110, -128, 110]),
        (
            0.144_692_51,
            14,
            &[-92, -1, -63, -43, -37, 34, -53, -80, -74, 28, -128, 69],
            &[
                -128, -128, -128, -128, -128, -126, -128, -128, -128, -127, -128, 126,
            ],
        ),
        (
            0.171_853_51,
            24,
            &[-25, -12, 48, 37, 39, 15, 34, -25, -12, -41],
            &[-128, -128, 48, -101, -91, -127, -112, -128, -128, -128],
        ),
        (0.014_636_219, -5, &[96, -103], &[115, -115]),
    ];
    for (scale, zero_point, x, y) in cases {
        let shape = [1, x.len()];
        let result = i8_params(1.0 / 256.0, -128);
        let model = one(
            Softmax { axis: 1 },
            &[(&shape, i8_params(scale, zero_point))],
            (&shape, result),
        );
        assert_eq!(outcome(&model, &[Array::i32(shape, x.to_vec())]), y);
    }
}

#[test]
fn limits_round_halves_away_from_zero() {
    let params = u8_params(4.0, 10);
    let clamp = Clamp {
        min: -2.0,
        max: 10.0,
    };
    // −0.5 and 2.5 steps.
    assert_eq!(Numerics::Tflite.limits(clamp, &params), (9, 13));
    assert_eq!(Numerics::Onnx.limits(clamp, &params), (10, 12));
    assert_eq!(Numerics::Tflite.limits(Clamp::NONE, &params), (0, 255));
}

#[test]
fn a_clamp_scales_once_and_saturates() {
    let function = Function::Clamp(Clamp::RELU);
    let (x, y) = (u8_params(0.5, 100), i8_params(1.0, -3));
    let model = one(Unary { function }, &[(&[4], x)], (&[4], y));
    // Differences −50, 1, 3 and 155 in half steps; halves go up.
    let found = outcome(&model, &[Array::i32([4], vec![50, 101, 103, 255])]);
    assert_eq!(found, [-3, -2, -1, 75]);
}

#[test]
fn scales_of_unsigned_convolutions_are_multiplied_in_f32() {
    let (s_x, s_w, s_y) = (0.023_528_477, 0.006_712_345, 0.0981);
    let conv = || Conv {
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        groups: 1,
        activation: Clamp::NONE,
    };
    let factor = |x: QuantParams, w: QuantParams, op: Op| {
        let shape: &[usize] = if matches!(op, Op::MatMul(_)) {
            &[1, 1]
        } else {
            &[1, 1, 1, 1]
        };
        let mut model = one(op, &[(shape, x)], (shape, i8_params(s_y, 0)));
        constant(&mut model, shape, w, vec![1]);
        factors(&model, &model.nodes[0], 1)[0]
    };
    let exact = f64::from(s_x) * f64::from(s_w) / f64::from(s_y);
    let rounded = f64::from(s_x * s_w) / f64::from(s_y);
    assert_ne!(Fixed::new(exact), Fixed::new(rounded));
    let signed = factor(i8_params(s_x, 0), i8_params(s_w, 0), conv().into());
    assert_eq!(signed, Factor::Fixed(Fixed::new(exact)));
    let unsigned = factor(u8_params(s_x, 0), u8_params(s_w, 0), conv().into());
    assert_eq!(unsigned, Factor::Fixed(Fixed::new(rounded)));
    let dense = MatMul {
        activation: Clamp::NONE,
    };
    let dense = factor(u8_params(s_x, 0), u8_params(s_w, 0), dense.into());
    assert_eq!(dense, Factor::Double(exact));
}

#[test]
fn a_dense_layer_rounds_halves_away_from_zero() {
    let dense = MatMul {
        activation: Clamp::NONE,
    };
    let mut model = one(
        dense,
        &[(&[1, 1], i8_params(0.5, 0))],
        (&[1, 4], i8_params(1.0, 0)),
    );
    constant(&mut model, &[1, 4], i8_params(1.0, 0), vec![1, -1, 3, -3]);
    let found = outcome(&model, &[Array::i32([1, 1], vec![1])]);
    assert_eq!(found, [1, -1, 2, -2]);
}

#[test]
fn what_has_no_meaning_is_named() {
    let multiply = Binary {
        function: BinaryFunction::Mul,
        activation: Clamp::NONE,
    };
    let x: (&[usize], QuantParams) = (&[1, 3], i8_params(0.1, 0));
    let wide = QuantParams::per_tensor(IntType::I16, 0.1, 0);
    let softmax = || Softmax { axis: 1 };
    let identity = Unary {
        function: Function::Clamp(Clamp::NONE),
    };
    let concat = Concat { axis: 0 };
    let cases = [
        (
            one(multiply, &[x.clone(), x.clone()], x.clone()),
            "Mul has no meaning",
        ),
        (
            one(identity, &[(&[1, 3], wide)], x.clone()),
            "more than 8 bits",
        ),
        (
            one(
                softmax(),
                std::slice::from_ref(&x),
                (&[1, 3], u8_params(1.0 / 255.0, 0)),
            ),
            "multiples of 1/256",
        ),
        (
            one(
                softmax(),
                std::slice::from_ref(&x),
                (&[1, 3], i8_params(1.0 / 256.0, 0)),
            ),
            "zero point -128",
        ),
        (
            one(
                concat,
                &[x.clone(), (&[1, 3], i8_params(0.2, 0))],
                (&[2, 3], i8_params(0.2, 0)),
            ),
            "one scale",
        ),
    ];
    for (model, expected) in cases {
        let error = check_model(&model).expect_err(expected).to_string();
        assert!(
            error.contains(expected) && error.contains("node"),
            "{error}"
        );
    }
}
