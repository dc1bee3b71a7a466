//! Convolutions and matrix products of random odd shapes: lowered and interpreted on every machine, they are
//! what the integer evaluator says, bit for bit.

use proptest::prelude::*;
use qcc_compiler::integer;
use qcc_compiler::ir::{
    Array, Clamp, Elem, Granularity, IntType, Model, Node, QuantParams, TensorId, Type,
};
use qcc_compiler::kernel::{Scalar, interp};
use qcc_compiler::lower;
use qcc_compiler::ops::{Conv, ConvTranspose, MatMul, Op, Pads};
use qcc_compiler::target::{self, Target};
use qcc_tests::adversarial;
use qcc_tests::graph::{Random, in_ports};

/// A model of one node, and how its numbers are drawn.
struct Build {
    model: Model,
    inputs: Vec<Option<TensorId>>,
    random: Random,
    /// Every weight at a limit.
    extreme: bool,
    /// Which type weights have.
    width: usize,
    /// Whether activations have 8 bits.
    bytes: bool,
}

impl Build {
    fn new(seed: u64, extreme: bool) -> Build {
        Build {
            model: Model::new("product"),
            inputs: vec![],
            random: Random(seed),
            extreme,
            width: 0,
            bytes: false,
        }
    }

    /// The same with weights of another type.
    fn of_width(self, width: usize) -> Build {
        Build { width, ..self }
    }

    fn activation(&mut self) -> QuantParams {
        let mut int = self.random.activation();
        int.bits = if self.bytes { 8 } else { int.bits };
        let zero_point = self.random.within(int.min() as i32, int.max() as i32);
        let scale = self.random.within(1, 100) as f32 * 0.256 / (1u32 << int.bits) as f32;
        QuantParams::per_tensor(int, scale, zero_point)
    }

    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        params: QuantParams,
        value: Option<Array>,
    ) -> TensorId {
        let ty = Type {
            shape: shape.to_vec(),
            elem: Elem::Quantized(params),
        };
        self.model.add_tensor(name, ty, value)
    }

    fn input(&mut self, shape: &[usize]) {
        let params = self.activation();
        let id = self.tensor("x", shape, params, None);
        self.model.inputs.push(id);
        self.inputs.push(Some(id));
    }

    /// Weights with a scale for each of `channels` indices along `axis`, and a bias for each.
    fn weights(&mut self, shape: &[usize], axis: usize, channels: usize, bias: bool) {
        let random = &mut self.random;
        let ints = [(8, true), (4, true), (4, false), (2, true), (2, false)];
        let (bits, signed) = ints[self.width % ints.len()];
        let int = IntType { bits, signed };
        let params = random.weights(int, channels, axis, signed);
        let scales = params.scales(channels);
        let elements = shape.iter().product();
        let (low, high) = (params.low, params.high);
        let extreme = self.extreme;
        let w = (0..elements).map(|_| match extreme {
            true => [low, high][random.within(0, 1) as usize],
            false => random.within(low, high),
        });
        let w = Array::i32(shape, w.collect());
        let id = self.tensor("w", shape, params, Some(w));
        self.inputs.push(Some(id));
        if bias {
            let random = &mut self.random;
            let data = (0..channels).map(|_| random.within(-9000, 9000)).collect();
            let params = QuantParams::symmetric_per_channel(IntType::I32, 0, scales);
            let id = self.tensor(
                "bias",
                &[channels],
                params,
                Some(Array::i32([channels], data)),
            );
            self.inputs.push(Some(id));
        } else {
            self.inputs.push(None);
        }
    }

    fn finish(mut self, op: impl Into<Op>) -> Model {
        let op = op.into();
        let types: Vec<_> = self
            .inputs
            .iter()
            .map(|i| i.map(|i| &self.model[i].ty))
            .collect();
        let shape = op.infer(&types).expect("the case is valid").shape;
        let params = self.activation();
        let output = self.tensor("y", &shape, params, None);
        self.model.outputs.push(output);
        self.model.nodes.push(Node {
            name: "node".into(),
            op,
            inputs: self.inputs,
            output,
        });
        self.model
    }
}

/// Inputs of a model: all at the largest activation, all at the smallest, and a random one.
fn samples(model: &Model, seed: u64) -> Vec<Vec<Array>> {
    let mut random = Random(seed);
    let mut sample = |kind: usize| -> Vec<Array> {
        let one = |id: &TensorId| {
            let ty = &model[*id].ty;
            let Elem::Quantized(params) = &ty.elem else {
                panic!("inputs are quantized")
            };
            let draw = |_| match kind {
                0 => params.high,
                1 => params.low,
                _ => random.within(params.low, params.high),
            };
            Array::i32(ty.shape.clone(), (0..ty.len()).map(draw).collect())
        };
        model.inputs.iter().map(one).collect()
    };
    (0..3).map(&mut sample).collect()
}

/// The lowered model computes what the evaluator does, on every machine.
fn check(model: &Model, seed: u64) -> Result<(), TestCaseError> {
    for name in target::names() {
        let target = Target::load(name).expect("a machine of the list");
        let program = lower::lower(model, &target, &lower::Options::default());
        let program = program.expect("the model can be lowered");
        let hardest = adversarial::samples(model, seed, 2).into_iter().take(1);
        for inputs in samples(model, seed).into_iter().chain(hardest) {
            let expected = integer::run(model, &inputs).expect("the model can be evaluated");
            let expected = in_ports(&expected, &program.outputs);
            let inputs = in_ports(&inputs, &program.inputs);
            prop_assert_eq!(
                interp::run(&program, &target, &inputs),
                expected,
                "{}",
                name
            );
        }
    }
    Ok(())
}

fn activation(kind: u8) -> Clamp {
    match kind {
        0 => Clamp::NONE,
        1 => Clamp::RELU,
        _ => Clamp { min: 0.0, max: 6.0 },
    }
}

/// Extent, kernel, stride, dilation, pads of an axis.
type Axis = (usize, usize, usize, usize, (usize, usize));

fn axis() -> impl Strategy<Value = Axis> {
    (
        1usize..=9,
        1usize..=4,
        1usize..=3,
        1usize..=2,
        (0usize..=3, 0usize..=3),
    )
        .prop_filter(
            "the kernel fits the padded image",
            |(extent, kernel, _, dilation, pads)| {
                (kernel - 1) * dilation < extent + pads.0 + pads.1
            },
        )
}

fn pads(y: &Axis, x: &Axis) -> Pads {
    Pads {
        top: y.4.0,
        left: x.4.0,
        bottom: y.4.1,
        right: x.4.1,
    }
}

/// Groups, and channels of a group before and after.
fn channels() -> impl Strategy<Value = (usize, usize, usize)> {
    let one = (Just(1usize), 1usize..=35, 1usize..=40);
    let grouped = (2usize..=3, 1usize..=9, 1usize..=9);
    let depthwise = (1usize..=36, Just(1), Just(1));
    prop_oneof![one, grouped, depthwise]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Sizes for which some machines take Winograd's way.
    #[test]
    fn convolutions_of_neighbours(
        images in 1usize..=2,
        (height, width) in (2usize..=9, 2usize..=9),
        pads in [0usize..=2, 0usize..=2, 0usize..=2, 0usize..=2],
        (before, after) in (prop_oneof![Just(16usize), Just(32), 13usize..=50], 9usize..=50),
        [extreme, bias, residual] in any::<[bool; 3]>(),
        kind in 0u8..3,
        seed in any::<u64>(),
    ) {
        let [top, left, bottom, right] = pads;
        prop_assume!(height + top + bottom > 2 && width + left + right > 2);
        let symmetric = [0, 1, 3][seed as usize % 3];
        let op = Conv {
            strides: [1, 1],
            pads: Pads { top, left, bottom, right },
            dilations: [1, 1],
            groups: 1,
            activation: activation(kind),
        };
        let mut build = Build::new(seed, extreme).of_width(symmetric);
        build.bytes = true;
        build.input(&[images, before, height, width]);
        build.weights(&[after, before, 3, 3], 0, after, bias);
        if residual {
            let types: Vec<_> = build.inputs.iter().map(|i| i.map(|i| &build.model[i].ty)).collect();
            let shape = Op::from(op.clone()).infer(&types).expect("the case is valid").shape;
            build.input(&shape);
        }
        check(&build.finish(op), seed)?;
    }

    #[test]
    fn convolutions(
        images in 1usize..=2,
        y in axis(),
        x in axis(),
        (groups, before, after) in channels(),
        [extreme, bias, residual] in any::<[bool; 3]>(),
        (kind, width) in (0u8..3, 0usize..5),
        seed in any::<u64>(),
    ) {
        let op = Conv {
            strides: [y.2, x.2],
            pads: pads(&y, &x),
            dilations: [y.3, x.3],
            groups,
            activation: activation(kind),
        };
        let mut build = Build::new(seed, extreme).of_width(width);
        build.input(&[images, groups * before, y.0, x.0]);
        build.weights(&[groups * after, before, y.1, x.1], 0, groups * after, bias);
        if residual {
            let types: Vec<_> = build.inputs.iter().map(|i| i.map(|i| &build.model[i].ty)).collect();
            let shape = Op::from(op.clone()).infer(&types).expect("the case is valid").shape;
            build.input(&shape);
        }
        check(&build.finish(op), seed)?;
    }

    #[test]
    fn transposed_convolutions(
        y in axis(),
        x in axis(),
        (groups, before, after) in channels(),
        [extreme, bias] in any::<[bool; 2]>(),
        (kind, width) in (0u8..3, 0usize..5),
        seed in any::<u64>(),
    ) {
        let fits = |(extent, kernel, stride, dilation, pads): &Axis| {
            stride * (extent - 1) + dilation * (kernel - 1) + 1 > pads.0 + pads.1
        };
        prop_assume!(fits(&y) && fits(&x));
        let op = ConvTranspose {
            strides: [y.2, x.2],
            pads: pads(&y, &x),
            dilations: [y.3, x.3],
            groups,
            output_padding: [seed as usize % y.2.max(y.3), seed as usize % x.2.max(x.3)],
            activation: activation(kind),
        };
        let mut build = Build::new(seed, extreme).of_width(width);
        build.input(&[1, groups * before, y.0, x.0]);
        build.weights(&[groups * before, after, y.1, x.1], 1, groups * after, bias);
        check(&build.finish(op), seed)?;
    }

    #[test]
    fn products_by_a_constant(
        batch in prop::collection::vec(1usize..=3, 0..=2),
        batched in any::<bool>(),
        (m, k, n) in (1usize..=5, 1usize..=70, 1usize..=40),
        [extreme, bias] in any::<[bool; 2]>(),
        (kind, width) in (0u8..3, 0usize..5),
        seed in any::<u64>(),
    ) {
        let mut build = Build::new(seed, extreme).of_width(width);
        build.input(&[&batch[..], &[m, k]].concat());
        let shape = if batched { [&batch[..], &[k, n]].concat() } else { vec![k, n] };
        build.weights(&shape, shape.len() - 1, n, bias);
        check(&build.finish(MatMul { activation: activation(kind) }), seed)?;
    }

    #[test]
    fn products_of_activations(
        batch in prop::collection::vec(1usize..=3, 0..=2),
        repeated in any::<bool>(),
        (m, k, n) in (1usize..=6, 1usize..=20, 1usize..=20),
        kind in 0u8..3,
        seed in any::<u64>(),
    ) {
        let mut build = Build::new(seed, false);
        build.input(&[&batch[..], &[m, k]].concat());
        let shape = if repeated { vec![k, n] } else { [&batch[..], &[k, n]].concat() };
        build.input(&shape);
        check(&build.finish(MatMul { activation: activation(kind) }), seed)?;
    }
}

#[test]
fn sign_matched_weights_against_the_largest_activations() {
    for sign in [-127, 127] {
        let mut build = Build::new(1, true);
        build.input(&[1, 64, 4, 4]);
        build.weights(&[40, 64, 3, 3], 0, 40, false);
        let w = build.inputs[1].expect("the weights");
        let constant = Array::i32([40, 64, 3, 3], vec![sign; 40 * 64 * 9]);
        build.model[w].value = Some(constant);
        let Elem::Quantized(params) = &build.model[w].ty.elem else {
            panic!("weights are quantized")
        };
        assert!(matches!(params.map, Granularity::PerChannel { .. }));
        let op = Conv {
            strides: [1, 1],
            pads: Pads::default(),
            dilations: [1, 1],
            groups: 1,
            activation: Clamp::NONE,
        };
        check(&build.finish(op), 1).expect("bit for bit");
    }
}

#[test]
fn a_caller_may_pass_integers_beyond_the_limits_of_an_input() {
    for weight in [-100, -30, 0, 30, 100] {
        let mut model = neighbours(16, 5, weight);
        let x = model.inputs[0];
        let Elem::Quantized(params) = &mut model[x].ty.elem else {
            panic!("the input is quantized")
        };
        let ends = [params.int.min() as i32, params.int.max() as i32];
        // The interpreter finds every sum of pairs that these keep within 16 bits and others do not.
        let Granularity::PerTensor { zero_point, .. } = params.map else {
            panic!("the input has one scale")
        };
        (params.low, params.high) = (ends[0].max(zero_point - 20), ends[1].min(zero_point + 20));
        let ty = model[x].ty.clone();
        for name in target::names() {
            let target = Target::load(name).expect("a machine of the list");
            let program = lower::lower(&model, &target, &lower::Options::default());
            let program = program.expect("the model can be lowered");
            for end in ends {
                let inputs = [Array::i32(ty.shape.clone(), vec![end; ty.len()])];
                let expected = integer::run(&model, &inputs).expect("the model can be evaluated");
                let expected = in_ports(&expected, &program.outputs);
                let inputs = in_ports(&inputs, &program.inputs);
                assert_eq!(
                    interp::run(&program, &target, &inputs),
                    expected,
                    "{name} {end}"
                );
            }
        }
    }
}

/// A convolution of 3×3 taps, every weight `weight`.
fn neighbours(channels: usize, extent: usize, weight: i32) -> Model {
    let mut build = Build::new(1, true);
    build.bytes = true;
    build.input(&[1, channels, extent, extent]);
    build.weights(&[32, channels, 3, 3], 0, 32, false);
    let w = build.inputs[1].expect("the weights");
    let values = vec![weight; 32 * channels * 9];
    build.model[w].value = Some(Array::i32([32, channels, 3, 3], values));
    let [top, left, bottom, right] = [1; 4];
    build.finish(Conv {
        strides: [1, 1],
        pads: Pads {
            top,
            left,
            bottom,
            right,
        },
        dilations: [1, 1],
        groups: 1,
        activation: Clamp::NONE,
    })
}

/// Whether a machine computes the model's convolution by Winograd's way, which needs numbers of 16 bits.
fn is_winograd(model: &Model, target: &str) -> bool {
    let target = Target::load(target).expect("a machine of the list");
    let program = lower::lower(model, &target, &lower::Options::default());
    let kernels = program.expect("the model can be lowered").kernels;
    let mut buffers = kernels.iter().flat_map(|kernel| &kernel.buffers);
    buffers.any(|buffer| buffer.elem == Scalar::I16)
}

#[test]
fn winograds_way_is_taken_where_it_pays_and_is_proven() {
    for weight in [-127, 127] {
        let model = neighbours(32, 7, weight);
        assert!(is_winograd(&model, "x86_64-avx2"));
        assert!(!is_winograd(&model, "generic"), "it was not asked for");
        check(&model, 1).expect("bit for bit");
    }
    assert!(
        !is_winograd(&neighbours(32, 2, 127), "x86_64-avx2"),
        "filters cost more than they save"
    );
    let deep = i32::MAX as usize / (127 * 73 * 510) + 1;
    assert!(
        !is_winograd(&neighbours(deep, 7, 127), "x86_64-avx2"),
        "numbers leave 32 bits"
    );
    assert!(is_winograd(&neighbours(deep, 7, 100), "x86_64-avx2"));
    // Weights of 4 bits are unpacked on the way to the transformed filters, if all channels have one zero point.
    for (zero_point, taken) in [(0, true), (1, false)] {
        let mut narrow = neighbours(32, 14, 1);
        let w = narrow.nodes[0].inputs[1].expect("the weights");
        let Elem::Quantized(params) = &mut narrow[w].ty.elem else {
            panic!("weights are quantized")
        };
        (params.low, params.high) = (-7, 7);
        let Granularity::PerChannel { zero_points, .. } = &mut params.map else {
            panic!("each channel has a scale")
        };
        zero_points[5] = zero_point;
        assert_eq!(is_winograd(&narrow, "x86_64-avx2"), taken);
        check(&narrow, 1).expect("bit for bit");
    }
}
