use super::*;
use crate::ops::testing::{OneNode, counting};

fn plain() -> Conv {
    Conv {
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        groups: 1,
        activation: Clamp::NONE,
    }
}

/// The definition, element by element.
fn naive(op: &Conv, x: &Array, w: &Array, bias: &[f32]) -> Vec<f32> {
    let types = [x, w].map(|a| Type::float(a.shape.clone()));
    let shape = op.infer(&types.each_ref().map(Some)).unwrap().shape;
    let [n, m, rows, columns] = shape[..] else {
        unreachable!()
    };
    let [_, c, height, width] = x.shape[..] else {
        unreachable!()
    };
    let [_, per_group, kh, kw] = w.shape[..] else {
        unreachable!()
    };
    let mut out = vec![];
    for (n, m, row, column) in (0..n * m * rows * columns).map(|i| {
        (
            i / (m * rows * columns),
            i / (rows * columns) % m,
            i / columns % rows,
            i % columns,
        )
    }) {
        let mut acc = bias[m];
        for (k, ky, kx) in (0..per_group * kh * kw).map(|i| (i / (kh * kw), i / kw % kh, i % kw)) {
            let y = row * op.strides[0] + ky * op.dilations[0];
            let x_at = column * op.strides[1] + kx * op.dilations[1];
            let (y, x_at) = (y.wrapping_sub(op.pads.top), x_at.wrapping_sub(op.pads.left));
            if y < height && x_at < width {
                let channel = m / (shape[1] / op.groups) * per_group + k;
                let pixel = x.reals()[((n * c + channel) * height + y) * width + x_at];
                acc += pixel * w.reals()[((m * per_group + k) * kh + ky) * kw + kx];
            }
        }
        out.push(acc);
    }
    out
}

/// Small integers, so that sums are exact in any order.
fn mixed(shape: &[usize], seed: usize) -> Array {
    let size: usize = shape.iter().product();
    let value = |i: usize| ((i * 7 + seed * 5 + i / 3) % 11) as f32 - 5.0;
    Array::f32(shape, (0..size).map(value).collect())
}

#[test]
fn a_window_by_hand() {
    let x = counting(&[1, 1, 3, 3]);
    let w = Array::f32([1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let bias = Array::f32([1], vec![-40.0]);
    let op = Conv {
        activation: Clamp {
            min: 0.0,
            max: 30.0,
        },
        ..plain()
    };
    // 1·1 + 2·2 + 3·4 + 4·5 = 37, then 47, 67, 77.
    let y = op.eval(&[Some(&x), Some(&w), Some(&bias)]);
    assert_eq!(y, Array::f32([1, 1, 2, 2], vec![0.0, 7.0, 27.0, 30.0]));
    let residual = Array::f32([1, 1, 2, 2], vec![5.0, -1.0, -1.0, 0.0]);
    let y = op.eval(&[Some(&x), Some(&w), Some(&bias), Some(&residual)]);
    assert_eq!(y.reals(), [2.0, 6.0, 26.0, 30.0]);
}

#[test]
fn every_path_agrees_with_the_definition() {
    let pads = |top, left, bottom, right| Pads {
        top,
        left,
        bottom,
        right,
    };
    // Channels, outputs, kernel, op: pointwise, strided pointwise, spatial, grouped, depthwise with a
    // multiplier, depthwise at strides 1 to 3, more padding than image.
    let cases = [
        (5, 3, [1, 1], plain()),
        (
            5,
            3,
            [1, 1],
            Conv {
                strides: [2, 3],
                ..plain()
            },
        ),
        (
            2,
            6,
            [3, 2],
            Conv {
                pads: pads(1, 0, 2, 1),
                ..plain()
            },
        ),
        (
            2,
            6,
            [3, 2],
            Conv {
                dilations: [2, 3],
                pads: pads(0, 3, 1, 2),
                ..plain()
            },
        ),
        (
            4,
            6,
            [3, 3],
            Conv {
                groups: 2,
                strides: [2, 1],
                ..plain()
            },
        ),
        (
            3,
            6,
            [3, 3],
            Conv {
                groups: 3,
                pads: pads(1, 1, 1, 1),
                ..plain()
            },
        ),
        (
            3,
            3,
            [3, 3],
            Conv {
                groups: 3,
                pads: pads(0, 1, 1, 0),
                strides: [2, 2],
                ..plain()
            },
        ),
        (
            3,
            3,
            [2, 5],
            Conv {
                groups: 3,
                pads: pads(4, 4, 4, 4),
                strides: [3, 3],
                ..plain()
            },
        ),
        (
            1,
            9,
            [3, 3],
            Conv {
                pads: pads(9, 9, 9, 9),
                ..plain()
            },
        ),
    ];
    for (case, (channels, outputs, [kh, kw], op)) in cases.into_iter().enumerate() {
        let x = mixed(&[2, channels, 6, 7], case);
        let w = mixed(&[outputs, channels / op.groups, kh, kw], case + 1);
        let bias = mixed(&[outputs], case + 2);
        let y = op.eval(&[Some(&x), Some(&w), Some(&bias)]);
        assert_eq!(y.reals(), naive(&op, &x, &w, bias.reals()), "case {case}");
    }
}

#[test]
fn tiles_of_rows_join() {
    let op = Conv {
        pads: Pads {
            top: 1,
            left: 1,
            bottom: 1,
            right: 1,
        },
        ..plain()
    };
    // 36 rows of windows, 300 columns: 12 rows fit a tile.
    let x = mixed(&[1, 4, 40, 300], 0);
    let w = mixed(&[8, 4, 3, 3], 1);
    let y = op.eval(&[Some(&x), Some(&w)]);
    assert_eq!(y.reals(), naive(&op, &x, &w, &[0.0; 8]));
}

#[test]
fn transposed_convolution_is_the_adjoint() {
    // ⟨conv(x), y⟩ = ⟨x, transposed(y)⟩ for every x and y, here exactly, in small integers.
    for (case, groups) in [1, 2, 4].into_iter().enumerate() {
        let pads = Pads {
            top: 1,
            left: 0,
            bottom: 2,
            right: 1,
        };
        let forward = Conv {
            strides: [2, 3],
            pads,
            dilations: [2, 1],
            groups,
            ..plain()
        };
        let x = mixed(&[2, 4, 7, 8], case);
        let w = mixed(&[8, 4 / groups, 3, 2], case + 3);
        let there = forward.eval(&[Some(&x), Some(&w)]);
        let y = mixed(&there.shape, case + 5);
        let back = ConvTranspose {
            strides: forward.strides,
            pads,
            dilations: forward.dilations,
            groups,
            // Windows at stride [2, 3] end one row and one column before the padded image does.
            output_padding: [1, 1],
            activation: Clamp::NONE,
        };
        let again = back.eval(&[Some(&y), Some(&w)]);
        assert_eq!(again.shape, x.shape);
        let dot = |a: &Array, b: &Array| -> f64 {
            let pairs = a.reals().iter().zip(b.reals());
            pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        assert_eq!(dot(&there, &y), dot(&x, &again), "groups {groups}");
    }
}

#[test]
fn transposed_convolution_by_hand() {
    let x = counting(&[1, 1, 1, 2]);
    let w = Array::f32([1, 1, 1, 3], vec![1.0, 10.0, 100.0]);
    let op = ConvTranspose {
        strides: [1, 2],
        pads: Pads::default(),
        dilations: [1, 1],
        groups: 1,
        output_padding: [0, 1],
        activation: Clamp::NONE,
    };
    let y = op.eval(&[Some(&x), Some(&w), Some(&Array::f32([1], vec![0.5]))]);
    assert_eq!(y.reals(), [1.5, 10.5, 102.5, 20.5, 200.5, 0.5]);
}

#[test]
fn empty_images_leave_the_bias() {
    let bias = Array::f32([1], vec![0.5]);
    let op = ConvTranspose {
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        groups: 1,
        output_padding: [0, 2],
        activation: Clamp::NONE,
    };
    let x = Array::f32([1, 1, 1, 0], vec![]);
    let y = op.eval(&[Some(&x), Some(&counting(&[1, 1, 1, 1])), Some(&bias)]);
    assert_eq!(y, Array::f32([1, 1, 1, 2], vec![0.5, 0.5]));
    let padded = Conv {
        pads: Pads {
            left: 2,
            ..Pads::default()
        },
        ..plain()
    };
    let y = padded.eval(&[Some(&x), Some(&counting(&[1, 1, 1, 2])), Some(&bias)]);
    assert_eq!(y, Array::f32([1, 1, 1, 1], vec![0.5]));
}

#[test]
fn auto_pad_becomes_numbers() {
    let conv = |padding: &str| {
        let (model, _) = OneNode::new("Conv", 11)
            .string("auto_pad", padding)
            .ints("strides", &[2, 2])
            .inputs()
            .operand(counting(&[1, 1, 6, 5]))
            .constants()
            .operand(counting(&[1, 1, 3, 3]))
            .import()
            .unwrap();
        let node = model.nodes.last().unwrap().clone();
        let crate::ops::Op::Conv(op) = node.op else {
            panic!("a Conv")
        };
        (op.pads, model[node.output].ty.shape.clone())
    };
    let pads = |top, left, bottom, right| Pads {
        top,
        left,
        bottom,
        right,
    };
    assert_eq!(conv("SAME_UPPER"), (pads(0, 1, 1, 1), vec![1, 1, 3, 3]));
    assert_eq!(conv("SAME_LOWER"), (pads(1, 1, 0, 1), vec![1, 1, 3, 3]));
    assert_eq!(conv("VALID"), (pads(0, 0, 0, 0), vec![1, 1, 2, 2]));
}

#[test]
fn output_shape_decides_padding() {
    let conv = |shape: &[i64]| {
        let (model, _) = OneNode::new("ConvTranspose", 11)
            .ints("strides", &[3, 2])
            .ints("output_shape", shape)
            .inputs()
            .operand(counting(&[1, 1, 3, 3]))
            .constants()
            .operand(counting(&[1, 2, 3, 3]))
            .import()
            .unwrap();
        model[model.nodes.last().unwrap().output].ty.shape.clone()
    };
    // Without padding the result is 9×7.
    assert_eq!(conv(&[10, 8]), [1, 2, 10, 8]);
    assert_eq!(conv(&[8, 4]), [1, 2, 8, 4]);
    assert_eq!(conv(&[1, 2, 9, 7]), [1, 2, 9, 7]);
}

#[test]
fn a_signal_is_an_image_of_one_row() {
    let y = OneNode::new("Conv", 11)
        .ints("pads", &[1, 0])
        .operand(counting(&[1, 1, 3]))
        .operand(Array::f32([1, 1, 2], vec![1.0, 10.0]))
        .folded()
        .unwrap();
    assert_eq!(y, Array::f32([1, 1, 3], vec![10.0, 21.0, 32.0]));
}

#[test]
fn refusals_name_what_is_wrong() {
    let conv = |x: &[usize], w: &[usize]| {
        OneNode::new("Conv", 11)
            .operand(counting(x))
            .operand(counting(w))
    };
    let cases = [
        (
            conv(&[1, 1, 2, 2, 2], &[1, 1, 1, 1, 1]),
            "the operand of shape [1, 1, 2, 2, 2] has 3 image axes",
        ),
        (
            conv(&[1, 3, 4, 4], &[2, 2, 1, 1]),
            "weights [2, 2, 1, 1] do not fit 3 channels in 1 groups",
        ),
        (
            conv(&[1, 1, 8, 8], &[1, 1, 11, 11]),
            "kernel 11×11 is wider than the padded input 8×8",
        ),
        (
            conv(&[1, 1, 8, 8], &[1, 1, 3, 3]).ints("pads", &[-1, 0, 0, 0]),
            "attribute `pads` holds -1",
        ),
        (
            conv(&[1, 1, 8, 8], &[1, 1, 3, 3]).ints("strides", &[0, 1]),
            "attribute `strides` holds 0",
        ),
        (
            conv(&[1, 1, 8, 8], &[1, 1, 3, 3]).int("group", 0),
            "attribute `group` is 0",
        ),
        (
            conv(&[1, 1, 8, 8], &[1, 1, 3, 3]).operand(counting(&[2])),
            "the bias has shape [2], one number for each of 1 channels is needed",
        ),
    ];
    for (node, message) in cases {
        assert_eq!(node.refusal(), message);
    }
}
