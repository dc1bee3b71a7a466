//! Kernels of single operators, interpreted, against the integer evaluator at random odd shapes.

use proptest::prelude::*;

use crate::integer;
use crate::ir::{Array, Elem, IntType, Model, Node, QuantParams, Type};
use crate::kernel::{Scalar, interp};
use crate::lower::{Options, lower};
use crate::ops::{
    ArgMax, Coordinates, Nearest, Op, Reduce, Reduction, Resize, ResizeMode, Softmax,
};
use crate::target::{self, Target};

/// A model of one node with one operand.
fn model(op: Op, shape: &[usize], from: QuantParams, elem: Elem) -> Model {
    let mut model = Model::new("one");
    let ty = Type {
        shape: shape.to_vec(),
        elem: Elem::Quantized(from),
    };
    let result = op
        .infer(&[Some(&Type::float(shape))])
        .expect("the operand fits");
    let x = model.add_tensor("x", ty, None);
    let y = model.add_tensor(
        "y",
        Type {
            shape: result.shape,
            elem,
        },
        None,
    );
    model.inputs.push(x);
    model.outputs.push(y);
    model.nodes.push(Node {
        name: "node".into(),
        op,
        inputs: vec![Some(x)],
        output: y,
    });
    model
}

/// Runs a model's program for each machine and compares it with the integer evaluator.
fn check(model: &Model, seed: u64) {
    let x = model.inputs[0];
    let ty = &model[x].ty;
    let signed = matches!(&ty.elem, Elem::Quantized(p) if p.int.signed);
    let bytes: Vec<u8> = (0..ty.len() as u64)
        .map(|i| {
            ((i + 1)
                .wrapping_mul(seed | 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                >> 56) as u8
        })
        .collect();
    let integer = |b: &u8| {
        if signed {
            i32::from(*b as i8)
        } else {
            i32::from(*b)
        }
    };
    let input = Array::i32(ty.shape.clone(), bytes.iter().map(integer).collect());
    let expected = integer::run(model, &[input]).expect("the model has an integer meaning");
    for name in target::names() {
        let machine = Target::load(name).expect("its file is right");
        let program = lower(model, &machine, &Options::default()).expect("it can be lowered");
        let outputs = interp::run(&program, &machine, std::slice::from_ref(&bytes));
        let results: Vec<i64> = match program.outputs[0].scalar {
            Scalar::I32 => {
                let (words, _) = outputs[0].as_chunks::<4>();
                words
                    .iter()
                    .map(|w| i32::from_le_bytes(*w).into())
                    .collect()
            }
            Scalar::I8 => outputs[0].iter().map(|b| i64::from(*b as i8)).collect(),
            _ => outputs[0].iter().map(|b| i64::from(*b)).collect(),
        };
        let expected: Vec<i64> = match &expected[0].data {
            crate::ir::Data::I64(v) => v.clone(),
            _ => expected[0]
                .quantized()
                .iter()
                .map(|q| i64::from(*q))
                .collect(),
        };
        assert_eq!(results, expected, "{name}: {:?}", model.nodes[0].op);
    }
}

fn params(signed: bool, scale: f32, zero: u8) -> QuantParams {
    let int = if signed { IntType::I8 } else { IntType::U8 };
    QuantParams::per_tensor(int, scale, i32::from(zero) + int.min() as i32)
}

fn image() -> impl Strategy<Value = [usize; 4]> {
    [1..3usize, 1..40usize, 1..8usize, 1..8usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn softmax(shape in image(), axis in 0..4usize, signed: bool, scale in 0.001f32..1.0, seed: u64) {
        let from = params(signed, scale, 17);
        let to = params(signed, 1.0 / 256.0, 0);
        check(&model(Softmax { axis }.into(), &shape, from, Elem::Quantized(to)), seed);
    }

    #[test]
    fn reductions(
        shape in image(),
        which in 1..16u8,
        kind in 0..4usize,
        keep_axes: bool,
        signed: bool,
        zeros: (u8, u8),
        seed: u64,
    ) {
        let reduction = [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min][kind];
        let axes = (0..4).filter(|axis| which >> axis & 1 == 1).collect();
        let from = params(signed, 0.07, zeros.0);
        let to = if kind < 2 { params(signed, 0.05, zeros.1) } else { from.clone() };
        let op = Reduce { reduction, axes, keep_axes };
        check(&model(op.into(), &shape, from, Elem::Quantized(to)), seed);
    }

    #[test]
    fn arg_max(shape in image(), axis in 0..4usize, keep_axis: bool, last: bool, signed: bool, seed: u64) {
        let op = ArgMax { axis, keep_axis, last };
        check(&model(op.into(), &shape, params(signed, 0.1, 3), Elem::Int(IntType::I64)), seed);
    }

    #[test]
    fn resizes(
        shape in image(),
        output in [1..12usize, 1..12usize],
        linear: bool,
        half: bool,
        signed: bool,
        zeros: (u8, u8),
        seed: u64,
    ) {
        let scale = |axis: usize| output[axis] as f32 / shape[2 + axis] as f32;
        let op = Resize {
            mode: if linear { ResizeMode::Linear } else { ResizeMode::Nearest(Nearest::Floor) },
            coordinates: if half { Coordinates::HalfPixel } else { Coordinates::Asymmetric },
            scales: [scale(0), scale(1)],
            output,
        };
        let from = params(signed, 0.07, zeros.0);
        let to = if linear { params(signed, 0.06, zeros.1) } else { from.clone() };
        check(&model(op.into(), &shape, from, Elem::Quantized(to)), seed);
    }
}
