//! Small models written by hand, and whether two models mean the same.

use crate::eval;
use crate::ir::{Array, Clamp, Elem, IntType, Model, Node, TensorId, Type, verify};
use crate::ops::{
    BatchNorm, Binary, BinaryFunction, Conv, Dequantize, Function, MatMul, Op, Pads, Quantize,
    Reshape, Scales, Unary,
};

/// A model under construction; shapes are inferred.
pub(super) struct Sketch {
    model: Model,
}

impl Sketch {
    pub(super) fn new() -> Sketch {
        Sketch {
            model: Model::new("sketch"),
        }
    }

    pub(super) fn input(&mut self, name: &str, shape: &[usize]) -> TensorId {
        let id = self.model.add_tensor(name, Type::float(shape), None);
        self.model.inputs.push(id);
        id
    }

    pub(super) fn constant(&mut self, name: &str, shape: &[usize], data: &[f32]) -> TensorId {
        let value = Array::f32(shape, data.to_vec());
        self.model.add_tensor(name, Type::float(shape), Some(value))
    }

    /// Plain integers.
    pub(super) fn integers(
        &mut self,
        name: &str,
        shape: &[usize],
        int: IntType,
        data: &[i64],
    ) -> TensorId {
        let value = Array::i64(shape, data.to_vec());
        let ty = Type {
            shape: shape.to_vec(),
            elem: Elem::Int(int),
        };
        self.model.add_tensor(name, ty, Some(value))
    }

    /// The u8 of reals.
    pub(super) fn q(&mut self, name: &str, x: TensorId, (scale, zero): (f32, i64)) -> TensorId {
        let (int, scales) = (IntType::U8, Scales::One);
        let scale = self.constant(&format!("{name}_scale"), &[], &[scale]);
        let zero = self.integers(&format!("{name}_zero"), &[], int, &[zero]);
        self.node(name, Quantize { int, scales }, &[x, scale, zero])
    }

    /// The reals of integers.
    pub(super) fn dq(&mut self, name: &str, x: TensorId, (scale, zero): (f32, i64)) -> TensorId {
        let Elem::Int(int) = self.model[x].ty.elem else {
            panic!("integers are dequantized");
        };
        let scale = self.constant(&format!("{name}_scale"), &[], &[scale]);
        let zero = self.integers(&format!("{name}_zero"), &[], int, &[zero]);
        let scales = Scales::One;
        self.node(name, Dequantize { scales }, &[x, scale, zero])
    }

    /// Reals quantized and dequantized.
    pub(super) fn qdq(&mut self, name: &str, x: TensorId, params: (f32, i64)) -> TensorId {
        let q = self.q(&format!("{name}_q"), x, params);
        self.dq(name, q, params)
    }

    /// A constant of arbitrary numbers in -1..1 that depend on its name only.
    pub(super) fn noise(&mut self, name: &str, shape: &[usize]) -> TensorId {
        let mix = |seed: u32, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte));
        let seed = name.bytes().fold(1, mix);
        let data = noise(seed, shape.iter().product());
        self.constant(name, shape, &data)
    }

    pub(super) fn node(&mut self, name: &str, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        let op = op.into();
        let types: Vec<_> = inputs.iter().map(|id| Some(&self.model[*id].ty)).collect();
        let ty = op.infer(&types).expect("the sketch is sound");
        let output = self.model.add_tensor(name, ty, None);
        self.model.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|id| Some(*id)).collect(),
            output,
        });
        output
    }

    pub(super) fn add(&mut self, name: &str, a: TensorId, b: TensorId) -> TensorId {
        self.binary(name, BinaryFunction::Add, a, b)
    }

    pub(super) fn mul(&mut self, name: &str, a: TensorId, b: TensorId) -> TensorId {
        self.binary(name, BinaryFunction::Mul, a, b)
    }

    pub(super) fn binary(
        &mut self,
        name: &str,
        function: BinaryFunction,
        a: TensorId,
        b: TensorId,
    ) -> TensorId {
        let activation = Clamp::NONE;
        let op = Binary {
            function,
            activation,
        };
        self.node(name, op, &[a, b])
    }

    pub(super) fn unary(&mut self, name: &str, function: Function, x: TensorId) -> TensorId {
        self.node(name, Unary { function }, &[x])
    }

    pub(super) fn relu(&mut self, name: &str, x: TensorId) -> TensorId {
        self.unary(name, Function::Clamp(Clamp::RELU), x)
    }

    pub(super) fn reshape(&mut self, name: &str, shape: &[usize], x: TensorId) -> TensorId {
        let shape = shape.to_vec();
        self.node(name, Reshape { shape }, &[x])
    }

    /// A convolution with arbitrary weights `[filters, channels/groups, k, k]` and a bias.
    pub(super) fn conv(
        &mut self,
        name: &str,
        x: TensorId,
        filters: usize,
        kernel: usize,
        op: Conv,
    ) -> TensorId {
        let depth = self.model[x].ty.shape[1] / op.groups;
        let w = self.noise(&format!("{name}_w"), &[filters, depth, kernel, kernel]);
        let b = self.noise(&format!("{name}_b"), &[filters]);
        self.node(name, op, &[x, w, b])
    }

    /// A product with arbitrary weights and no bias.
    pub(super) fn dense(&mut self, name: &str, x: TensorId, columns: usize) -> TensorId {
        let depth = *self.model[x].ty.shape.last().expect("x has axes");
        let w = self.noise(&format!("{name}_w"), &[depth, columns]);
        let activation = Clamp::NONE;
        self.node(name, MatMul { activation }, &[x, w])
    }

    /// A matrix product.
    pub(super) fn product(&mut self, name: &str, a: TensorId, b: TensorId) -> TensorId {
        let activation = Clamp::NONE;
        self.node(name, MatMul { activation }, &[a, b])
    }

    pub(super) fn batch_norm(&mut self, name: &str, x: TensorId) -> TensorId {
        let channels = self.model[x].ty.shape[1];
        let [scale, shift, mean] = ["scale", "shift", "mean"]
            .map(|part| self.noise(&format!("{name}_{part}"), &[channels]));
        let variance: Vec<f32> = (1..=channels).map(|c| c as f32 / 2.0).collect();
        let variance = self.constant(&format!("{name}_variance"), &[channels], &variance);
        let epsilon = 1e-3;
        self.node(
            name,
            BatchNorm { epsilon },
            &[x, scale, shift, mean, variance],
        )
    }

    pub(super) fn model(mut self, outputs: &[TensorId]) -> Model {
        self.model.outputs = outputs.to_vec();
        verify(&self.model).expect("the sketch is sound");
        self.model
    }
}

/// A convolution without padding, dilation, groups or activation.
pub(super) fn conv() -> Conv {
    Conv {
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        groups: 1,
        activation: Clamp::NONE,
    }
}

/// As many zeros on each side.
pub(super) fn pads(n: usize) -> Pads {
    Pads {
        top: n,
        left: n,
        bottom: n,
        right: n,
    }
}

/// Arbitrary numbers in -1..1.
pub(super) fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Arbitrary inputs in -3..3.
pub(super) fn inputs(model: &Model, seed: u32) -> Vec<Array> {
    let input = |id: &TensorId| {
        let Type { shape, elem } = &model[*id].ty;
        assert_eq!(*elem, Elem::Float);
        let data = noise(seed + id.0, shape.iter().product());
        Array::f32(shape.clone(), data.iter().map(|x| x * 3.0).collect())
    };
    model.inputs.iter().map(input).collect()
}

/// Runs a pass and checks that the model computes the same reals as before, to 1e-5 of the largest.
/// Returns the names of the operators that are left.
pub(super) fn rewritten(
    model: &mut Model,
    pass: fn(&mut Model) -> crate::Result<usize>,
) -> Vec<&'static str> {
    let inputs = inputs(model, 7);
    let before = eval::run(model, &inputs).expect("the model before runs");
    pass(model).expect("the pass runs");
    model.remove_dead();
    verify(model).expect("the model is sound after the pass");
    let after = eval::run(model, &inputs).expect("the model after runs");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.shape, after.shape);
        let largest = before.reals().iter().fold(1.0f32, |m, x| m.max(x.abs()));
        for (b, a) in before.reals().iter().zip(after.reals()) {
            assert!((a - b).abs() <= 1e-5 * largest, "{a} after, {b} before");
        }
    }
    model.nodes.iter().map(|node| node.op.name()).collect()
}
