//! Small cases worked out by hand, and convolution against its definition.

use super::*;
use crate::ir::{Clamp, Granularity, IntType, QuantParams, Type};
use crate::ops::*;

/// One node over quantized operands; `None` is an absent operand.
struct Case {
    model: Model,
    inputs: Vec<Option<TensorId>>,
}

fn u8_params(scale: f32, zero_point: i32) -> QuantParams {
    QuantParams::per_tensor(IntType::U8, scale, zero_point)
}

fn weights(axis: usize, scales: &[f32]) -> QuantParams {
    QuantParams::symmetric_per_channel(IntType::I8, axis, scales.to_vec())
}

fn bias(scales: &[f32]) -> QuantParams {
    QuantParams::symmetric_per_channel(IntType::I32, 0, scales.to_vec())
}

impl Case {
    fn new() -> Case {
        Case {
            model: Model::new("case"),
            inputs: vec![],
        }
    }

    fn operand(mut self, shape: &[usize], params: QuantParams) -> Case {
        let ty = Type {
            shape: shape.to_vec(),
            elem: Elem::Quantized(params),
        };
        let id = self.model.add_tensor("x", ty, None);
        self.model.inputs.push(id);
        self.inputs.push(Some(id));
        self
    }

    fn constant(mut self, shape: &[usize], params: QuantParams, data: &[i32]) -> Case {
        let value = Array::i32(shape, data.to_vec());
        let ty = Type {
            shape: shape.to_vec(),
            elem: Elem::Quantized(params),
        };
        let id = self.model.add_tensor("c", ty, Some(value));
        self.inputs.push(Some(id));
        self
    }

    fn absent(mut self) -> Case {
        self.inputs.push(None);
        self
    }

    fn node(mut self, op: impl Into<Op>, shape: &[usize], elem: Elem) -> Model {
        let ty = Type {
            shape: shape.to_vec(),
            elem,
        };
        let output = self.model.add_tensor("y", ty, None);
        self.model.outputs.push(output);
        self.model.nodes.push(Node {
            name: "node".into(),
            op: op.into(),
            inputs: self.inputs,
            output,
        });
        self.model
    }

    fn quantized(self, op: impl Into<Op>, shape: &[usize], params: QuantParams) -> Model {
        self.node(op, shape, Elem::Quantized(params))
    }
}

/// The only output's integers, for the integers of each input.
fn outcome(model: &Model, inputs: &[&[i32]]) -> Vec<i32> {
    let shaped = model.inputs.iter().zip(inputs);
    let inputs: Vec<_> = shaped
        .map(|(id, data)| Array::i32(model[*id].ty.shape.clone(), data.to_vec()))
        .collect();
    let outputs = run(model, &inputs).expect("the case has an integer meaning");
    outputs[0].quantized().to_vec()
}

fn plain_conv(strides: [usize; 2], pads: Pads, groups: usize) -> Conv {
    Conv {
        strides,
        pads,
        dilations: [1, 1],
        groups,
        activation: Clamp::NONE,
    }
}

#[test]
fn pointwise_conv_scales_each_channel_and_clamps() {
    let mut op = plain_conv([1, 1], Pads::default(), 1);
    op.activation = Clamp::RELU;
    let model = Case::new()
        .operand(&[1, 2, 1, 1], u8_params(0.5, 10))
        .constant(&[2, 2, 1, 1], weights(0, &[0.5, 2.0]), &[3, -1, -2, 4])
        .constant(&[2], bias(&[0.25, 1.0]), &[7, -30])
        .quantized(op, &[1, 2, 1, 1], u8_params(1.0, 5));
    // Differences from the zero point: 4 and -2. Sums: 3·4 + 2 + 7 = 21 and -8 - 8 - 30 = -46.
    // Results: 21·0.25 = 5.25 → 5 + 5; -46 → clamped to the zero point.
    assert_eq!(outcome(&model, &[&[14, 8]]), [10, 5]);
}

#[test]
fn conv_adds_a_residual_before_the_activation() {
    let mut op = plain_conv([1, 1], Pads::default(), 1);
    op.activation = Clamp { min: 0.0, max: 6.0 };
    let model = Case::new()
        .operand(&[1, 1, 1, 3], u8_params(1.0, 0))
        .constant(&[1, 1, 1, 1], weights(0, &[0.5]), &[1])
        .absent()
        .operand(&[1, 1, 1, 3], u8_params(0.25, 100))
        .quantized(op, &[1, 1, 1, 3], u8_params(0.5, 1));
    // x·1 + (r − 100)·0.5: 3 + 2 = 5; 5 + 0.5 = 5.5 → 6 (even); 200 → 6.0 is integer 12 + 1.
    assert_eq!(
        outcome(&model, &[&[3, 5, 200], &[104, 101, 100]]),
        [6, 7, 13]
    );
}

#[test]
fn conv_equals_its_definition_on_odd_shapes() {
    let pads = Pads {
        top: 1,
        left: 2,
        bottom: 0,
        right: 1,
    };
    let op = Conv {
        dilations: [1, 2],
        ..plain_conv([2, 1], pads, 2)
    };
    let (channels, filters, extent, kernel) = (4, 6, [5, 7], [3, 2]);
    let out = [(5 + 1 - 3) / 2 + 1, 7 + 3 - 3 + 1];
    let x: Vec<i32> = (0..4 * 35).map(|i| i * 37 % 251).collect();
    let w: Vec<i32> = (0..6 * 2 * 6).map(|i| i * 29 % 255 - 127).collect();
    let scales = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06];
    let (s_y, z_y, z_x) = (3.0f32, 120, 99);
    let model = Case::new()
        .operand(&[1, channels, 5, 7], u8_params(0.7, z_x))
        .constant(&[filters, 2, 3, 2], weights(0, &scales), &w)
        .quantized(op, &[1, filters, out[0], out[1]], u8_params(s_y, z_y));
    let mut expected = vec![];
    for (m, scale) in scales.iter().enumerate() {
        for (oy, ox) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| (y, x))) {
            let mut acc = 0;
            for (c, ky, kx) in (0..12).map(|i| (i / 6, i / 2 % 3, i % 2)) {
                let y = (oy * 2 + ky) as i64 - 1;
                let x_at = (ox + kx * 2) as i64 - 2;
                if (0..extent[0] as i64).contains(&y) && (0..extent[1] as i64).contains(&x_at) {
                    let plane = (m / 3 * 2 + c) * 35;
                    let value = x[plane + y as usize * 7 + x_at as usize] - z_x;
                    acc += value * w[((m * 2 + c) * kernel[0] + ky) * kernel[1] + kx];
                }
            }
            let y = (acc as f32 * ((0.7 * scale) / s_y)).round_ties_even() as i32 + z_y;
            expected.push(y.clamp(0, 255));
        }
    }
    assert_eq!(outcome(&model, &[&x]), expected);
}

#[test]
fn transposed_conv_spreads_pixels() {
    let op = ConvTranspose {
        strides: [1, 2],
        pads: Pads {
            left: 1,
            ..Pads::default()
        },
        dilations: [1, 1],
        groups: 2,
        output_padding: [0, 1],
        activation: Clamp::NONE,
    };
    let model = Case::new()
        .operand(&[1, 2, 1, 2], u8_params(1.0, 1))
        .constant(
            &[2, 1, 1, 3],
            weights(1, &[1.0, 2.0]),
            &[1, 10, 20, 1, 2, 3],
        )
        .constant(&[2], bias(&[1.0, 2.0]), &[0, 1])
        .quantized(op, &[1, 2, 1, 5], u8_params(1.0, 0));
    // Channel 0: pixels 1 and 2 spread 1 10 20 at columns 0 and 2: 1 10 22 20 40 0, the first cut.
    // Channel 1: pixels 0 and 3: 0 0 3 6 9 0, plus 1, twice.
    assert_eq!(
        outcome(&model, &[&[2, 3, 1, 4]]),
        [10, 22, 20, 40, 0, 2, 8, 14, 20, 2]
    );
}

#[test]
fn matmul_takes_weights_or_two_activations() {
    let op = MatMul {
        activation: Clamp::NONE,
    };
    let model = Case::new()
        .operand(&[1, 2], u8_params(1.0, 1))
        .constant(&[2, 3], weights(1, &[1.0, 0.5, 0.25]), &[1, 2, 3, 4, 5, 6])
        .constant(&[3], bias(&[1.0, 0.5, 0.25]), &[1, 0, -1])
        .quantized(op.clone(), &[1, 3], u8_params(1.0, 3));
    // Differences 2, -1: sums 2-4+1 = -1, 4-5 = -1 (half to even: 0), 6-6-1 = -1 (quarter: 0).
    assert_eq!(outcome(&model, &[&[3, 0]]), [2, 3, 3]);
    let model = Case::new()
        .operand(&[2, 1, 2], u8_params(0.5, 1))
        .operand(&[2, 1], u8_params(2.0, 2))
        .quantized(op, &[2, 1, 1], u8_params(1.0, 0));
    // b − 2 = 3, 1: (1 − 1)·3 + (4 − 1)·1 = 3; (3 − 1)·3 + 0 = 6.
    assert_eq!(outcome(&model, &[&[1, 4, 3, 1], &[5, 3]]), [3, 6]);
}

#[test]
fn arithmetic_broadcasts() {
    // a = 1, 6; b = 0.5, 3.5; results in units of 0.5 above the zero point of 10.
    let cases = [
        (BinaryFunction::Max, [12, 17, 22, 22]),
        (BinaryFunction::Min, [11, 12, 11, 17]),
        (BinaryFunction::Div, [14, 11, 34, 13]),
        (BinaryFunction::Add, [13, 19, 23, 29]),
        (BinaryFunction::Sub, [11, 5, 21, 15]),
        (BinaryFunction::Mul, [11, 17, 16, 52]),
    ];
    for (function, expected) in cases {
        let op = Binary {
            function,
            activation: Clamp::NONE,
        };
        let model = Case::new()
            .operand(&[2, 1], u8_params(0.5, 4))
            .operand(&[2], u8_params(0.5, 3))
            .quantized(op, &[2, 2], u8_params(0.5, 10));
        let result = outcome(&model, &[&[6, 16], &[4, 10]]);
        assert_eq!(result, expected, "{function:?}");
    }
}

#[test]
fn functions_become_tables() {
    let relu6 = Function::Clamp(Clamp { min: 0.0, max: 6.0 });
    let cases = [
        (relu6, [10, 10, 12, 22, 22]),
        (Function::Neg, [20, 14, 8, 0, 0]),
        (Function::Sqrt, [10, 10, 12, 15, 17]),
    ];
    for (function, expected) in cases {
        let model = Case::new().operand(&[5], u8_params(0.25, 20)).quantized(
            Unary { function },
            &[5],
            u8_params(0.5, 10),
        );
        // Reals: -5, -2, 0.75, 6, 12. Square roots of negatives are no numbers and become zero.
        let result = outcome(&model, &[&[0, 12, 23, 44, 68]]);
        assert_eq!(result, expected, "{function:?}");
    }
}

#[test]
fn prelu_scales_both_sides() {
    let mut case = Case::new().operand(&[1, 2, 1, 2], u8_params(1.0, 10));
    let slope = Array::f32([2, 1, 1], vec![0.5, -1.0]);
    let ty = Type::float([2, 1, 1]);
    let id = case.model.add_tensor("slope", ty, Some(slope));
    case.inputs.push(Some(id));
    let model = case.quantized(PRelu, &[1, 2, 1, 2], u8_params(0.5, 10));
    // Differences 1, -2, 1, -2 in units of 0.5: 2, -2, 2, 4.
    assert_eq!(outcome(&model, &[&[11, 8, 11, 8]]), [12, 8, 12, 14]);
}

fn padded_pool(kind: PoolKind) -> Pool {
    Pool {
        kind,
        kernel: [1, 3],
        strides: [1, 2],
        pads: Pads {
            left: 1,
            ..Pads::default()
        },
        dilations: [1, 1],
        output: [1, 2],
    }
}

#[test]
fn pools_count_padding_where_it_counts() {
    // Windows over columns -1..=1 and 1..=3 of the image; column 3 lies outside the padded image.
    let average = |count_include_pad| PoolKind::Average { count_include_pad };
    let cases = [
        (PoolKind::Max, [7, 9]),
        (average(false), [7, 8]),
        (average(true), [6, 8]),
    ];
    for (kind, expected) in cases {
        let model = Case::new()
            .operand(&[1, 1, 1, 3], u8_params(1.0, 4))
            .quantized(padded_pool(kind), &[1, 1, 1, 2], u8_params(1.0, 4));
        assert_eq!(outcome(&model, &[&[7, 7, 9]]), expected, "{kind:?}");
    }
}

#[test]
fn reductions_work_over_any_axes() {
    let cases = [
        (Reduction::Mean, [2, 6]),
        (Reduction::Sum, [5, 21]),
        (Reduction::Max, [5, 8]),
        (Reduction::Min, [0, 4]),
    ];
    for (reduction, expected) in cases {
        let op = Reduce {
            reduction,
            axes: vec![0, 2],
            keep_axes: false,
        };
        let model = Case::new()
            .operand(&[2, 2, 2], u8_params(1.0, 1))
            .quantized(op, &[2], u8_params(1.0, 1));
        // Channel 0 holds 0 1 5 2 (differences sum to 4, mean 1), channel 1 holds 6 6 8 4 (20, 5).
        let result = outcome(&model, &[&[0, 1, 6, 6, 5, 2, 8, 4]]);
        assert_eq!(result, expected, "{reduction:?}");
    }
}

#[test]
fn arg_max_chooses_the_first_or_the_last() {
    for (last, expected) in [(false, [1, 0]), (true, [2, 0])] {
        let op = ArgMax {
            axis: 1,
            keep_axis: false,
            last,
        };
        let model =
            Case::new()
                .operand(&[2, 3], u8_params(1.0, 0))
                .node(op, &[2], Elem::Int(IntType::I64));
        let x = Array::i32([2, 3], vec![1, 9, 9, 5, 4, 3]);
        let outputs = run(&model, &[x]).expect("it has an integer meaning");
        assert_eq!(outputs[0].ints(), expected);
    }
}

#[test]
fn softmax_shares_are_in_steps_of_the_scale() {
    // First column: powers of two 4 : 2 : 1. Second: one far above the rest, saturated. Shares of 256 are
    // 146.3, 73.1, 36.6; of 255 145.7, 72.9, 36.4; of 1/0.0039 146.5, 73.3, 36.6.
    let cases = [
        (1.0 / 256.0, [18, 127, -55, -128, -91, -128]),
        (1.0 / 255.0, [18, 127, -55, -128, -92, -128]),
        (0.0039, [19, 127, -55, -128, -91, -128]),
    ];
    for (scale, expected) in cases {
        let model = Case::new()
            .operand(&[1, 3, 2], u8_params(std::f32::consts::LN_2, 7))
            .quantized(
                Softmax { axis: 1 },
                &[1, 3, 2],
                QuantParams::per_tensor(IntType::I8, scale, -128),
            );
        assert_eq!(outcome(&model, &[&[9, 200, 8, 0, 7, 0]]), expected);
    }
}

#[test]
fn weights_may_have_zero_points() {
    // Σ (w − z_w[c])(x − 3) for w − z_w = [−122, 133] and [−255, 0].
    let zero_points = vec![122, 255];
    let params = QuantParams {
        map: Granularity::PerChannel {
            axis: 0,
            scales: vec![1.0, 1.0],
            zero_points,
        },
        ..u8_params(1.0, 0)
    };
    let model = Case::new()
        .operand(&[1, 2, 1, 1], u8_params(1.0, 3))
        .constant(&[2, 2, 1, 1], params, &[0, 255, 0, 255])
        .quantized(
            plain_conv([1, 1], Pads::default(), 1),
            &[1, 2, 1, 1],
            u8_params(10.0, 100),
        );
    // −122·2 + 133·1 = −111; −255·2 = −510.
    assert_eq!(outcome(&model, &[&[5, 4]]), [89, 49]);
}

#[test]
fn resize_linear_mixes_neighbours() {
    let op = Resize {
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: [1.0, 2.0],
        output: [1, 4],
    };
    let model = Case::new()
        .operand(&[1, 1, 1, 2], u8_params(1.0, 3))
        .quantized(op, &[1, 1, 1, 4], u8_params(0.5, 0));
    // Reals 4 and 8 at coordinates -0.25, 0.25, 0.75, 1.25: 4, 5, 7, 8.
    assert_eq!(outcome(&model, &[&[7, 11]]), [8, 10, 14, 16]);
}

#[test]
fn resize_nearest_copies_pixels() {
    let cases = [
        (Nearest::Floor, [1, 1, 2, 2, 3]),
        (Nearest::Ceil, [1, 2, 2, 3, 3]),
        (Nearest::RoundPreferFloor, [1, 1, 2, 2, 3]),
        (Nearest::RoundPreferCeil, [1, 2, 2, 3, 3]),
    ];
    for (nearest, expected) in cases {
        let op = Resize {
            mode: ResizeMode::Nearest(nearest),
            coordinates: Coordinates::AlignCorners,
            scales: [1.0, 5.0 / 3.0],
            output: [1, 5],
        };
        let model = Case::new()
            .operand(&[1, 1, 1, 3], u8_params(1.0, 0))
            .quantized(op, &[1, 1, 1, 5], u8_params(1.0, 0));
        assert_eq!(outcome(&model, &[&[1, 2, 3]]), expected, "{nearest:?}");
    }
}

#[test]
fn concat_brings_operands_to_one_scale() {
    let model = Case::new()
        .operand(&[2, 1], u8_params(1.0, 0))
        .operand(&[2, 2], u8_params(0.5, 10))
        .quantized(Concat { axis: 1 }, &[2, 3], u8_params(0.5, 10));
    assert_eq!(
        outcome(&model, &[&[1, 200], &[3, 4, 5, 6]]),
        [12, 3, 4, 255, 5, 6]
    );
}

#[test]
fn elements_move() {
    let params = u8_params(0.5, 10);
    let x = [0, 1, 2, 3, 4, 5];
    let transpose = Transpose { perm: vec![1, 0] };
    let slice = Slice {
        starts: vec![1, 2],
        steps: vec![1, -2],
        shape: vec![1, 2],
    };
    let gather = Gather {
        axis: 1,
        indices: vec![2, 0],
        index_shape: vec![2],
    };
    let pad = |mode| Pad {
        before: vec![0, 2],
        after: vec![0, 1],
        mode,
    };
    let cases: Vec<(Op, Vec<usize>, Vec<i32>)> = vec![
        (transpose.into(), vec![3, 2], vec![0, 3, 1, 4, 2, 5]),
        (slice.into(), vec![1, 2], vec![5, 3]),
        (gather.into(), vec![2, 2], vec![2, 0, 5, 3]),
        (
            pad(PadMode::Constant(-1.0)).into(),
            vec![2, 6],
            vec![8, 8, 0, 1, 2, 8, 8, 8, 3, 4, 5, 8],
        ),
        (
            pad(PadMode::Edge).into(),
            vec![2, 6],
            vec![0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 5, 5],
        ),
        (
            pad(PadMode::Reflect).into(),
            vec![2, 6],
            vec![2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4],
        ),
        (
            pad(PadMode::Wrap).into(),
            vec![2, 6],
            vec![1, 2, 0, 1, 2, 0, 4, 5, 3, 4, 5, 3],
        ),
    ];
    for (op, shape, expected) in cases {
        let model = Case::new().operand(&[2, 3], params.clone()).quantized(
            op.clone(),
            &shape,
            params.clone(),
        );
        assert_eq!(outcome(&model, &[&x]), expected, "{op:?}");
    }
}

#[test]
fn every_node_without_an_integer_meaning_is_named() {
    let x = u8_params(1.0, 0);
    let softmax = Case::new().operand(&[1, 2], x.clone()).quantized(
        Softmax { axis: 1 },
        &[1, 2],
        u8_params(1e-9, 0),
    );
    let error = check(&softmax).unwrap_err().to_string();
    assert!(error.starts_with("node (Softmax): a softmax over 2 elements does not fit"));

    let mut model = Case::new()
        .operand(&[1, 1, 1, 1], x.clone())
        .constant(&[1, 1, 1, 1], weights(0, &[1.0]), &[127])
        .constant(&[1], bias(&[1.0]), &[i32::MAX])
        .quantized(
            plain_conv([1, 1], Pads::default(), 1),
            &[1, 1, 1, 1],
            x.clone(),
        );
    let y = model.add_tensor("z", Type::float([1, 1, 1, 1]), None);
    let product = Reduce {
        reduction: Reduction::Prod,
        axes: vec![1],
        keep_axes: true,
    };
    model.nodes.push(Node {
        name: "product".into(),
        op: product.into(),
        inputs: vec![Some(model.outputs[0])],
        output: y,
    });
    let error = check(&model).unwrap_err();
    let nodes: Vec<_> = error.diagnostics.iter().map(|d| d.node.clone()).collect();
    assert_eq!(
        nodes,
        [
            Some("node (Conv)".into()),
            Some("product (ReduceProd)".into())
        ]
    );
    assert!(error.diagnostics[0].message.contains("beyond 32 bits"));
}
