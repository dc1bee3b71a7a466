use super::*;
use crate::ops::testing::OneNode;

fn int(bits: u8, signed: bool) -> IntType {
    IntType { bits, signed }
}

#[test]
fn reals_are_rounded_to_even_and_saturated() {
    let x = Array::f32([6], vec![0.5, 1.5, -0.5, 1e30, f32::NEG_INFINITY, 20.0]);
    let (scale, zero) = (Array::f32([], vec![1.0]), Array::i64([], vec![2]));
    let cases = [
        (int(8, false), [2, 4, 2, 255, 0, 22]),
        (int(4, true), [2, 4, 2, 7, -8, 7]),
        (int(16, true), [2, 4, 2, 32767, -32768, 22]),
    ];
    for (int, expected) in cases {
        let scales = Scales::One;
        let y = Quantize { int, scales }.eval(&[Some(&x), Some(&scale), Some(&zero)]);
        assert_eq!(y.ints(), expected, "{int:?}");
    }
}

#[test]
fn scales_lie_along_an_axis_or_in_blocks() {
    let x = Array::i64([2, 3], vec![1, 2, 3, 4, 5, 6]);
    let cases = [
        (
            Scales::Axis(0),
            vec![2],
            vec![10.0, 100.0],
            [10.0, 20.0, 30.0, 400.0, 500.0, 600.0],
        ),
        (
            Scales::Axis(1),
            vec![3],
            vec![1.0, 10.0, 100.0],
            [1.0, 20.0, 300.0, 4.0, 50.0, 600.0],
        ),
        (
            Scales::Blocks { axis: 1, size: 2 },
            vec![2, 2],
            vec![1.0, 10.0, 100.0, 1000.0],
            [1.0, 2.0, 30.0, 400.0, 500.0, 6000.0],
        ),
    ];
    for (scales, shape, values, expected) in cases {
        let scale = Array::f32(shape, values);
        let y = Dequantize { scales }.eval(&[Some(&x), Some(&scale)]);
        assert_eq!(y.reals(), expected, "{scales:?}");
    }
}

#[test]
fn scales_must_fit_the_tensor() {
    let x = Type {
        shape: vec![2, 3],
        elem: Elem::Int(IntType::I8),
    };
    let message = |scales: Scales, scale: Type, zero: Option<Type>| {
        let operands = [Some(&x), Some(&scale), zero.as_ref()];
        let error = Dequantize { scales }.infer(&operands).unwrap_err();
        error.diagnostics[0].message.clone()
    };
    assert_eq!(
        message(Scales::Axis(0), Type::float([3]), None),
        "the scale of a tensor of shape [2, 3] has shape [3], not [2]"
    );
    assert_eq!(
        message(Scales::Axis(2), Type::float([3]), None),
        "axis 2 of the scale does not exist in shape [2, 3]"
    );
    assert_eq!(
        message(Scales::One, Type::float([]), Some(Type::float([]))),
        "the zero point is no integer"
    );
}

#[test]
fn a_sum_of_integers_is_read_as_reals_and_rounded() {
    let integers = |data: Vec<i64>| Array::i64([1, 2], data);
    let number = |x: f32| Array::f32([], vec![x]);
    let (x, zero) = (integers(vec![10, 200]), Array::i64([], vec![0]));
    let mut node = OneNode::new("QLinearAdd", 1).inputs();
    node = node.domain("com.microsoft");
    for (operand, scale) in [(x.clone(), 0.5), (integers(vec![4, 6]), 0.25)] {
        node = node.typed(operand, Elem::Int(IntType::U8)).constants();
        node = node
            .operand(number(scale))
            .typed(zero.clone(), Elem::Int(IntType::U8));
    }
    let node = node
        .operand(number(1.0))
        .typed(zero, Elem::Int(IntType::U8));
    let (model, _) = node.import().unwrap();
    let names: Vec<_> = model.nodes.iter().map(|n| n.op.name()).collect();
    assert_eq!(
        names,
        [
            "DequantizeLinear",
            "DequantizeLinear",
            "Add",
            "QuantizeLinear"
        ]
    );
    let outputs = crate::eval::run(&model, &[x]).unwrap();
    assert_eq!(outputs[0].ints(), [6, 102]);
}
