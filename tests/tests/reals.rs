//! Nodes in floating point at random odd shapes: lowered and interpreted on every machine, they are what the
//! evaluator says, bit for bit.

use proptest::prelude::*;
use qcc_compiler::ir::{Clamp, Elem, IntType, QuantParams, TensorId, Type};
use qcc_compiler::ops::{
    ArgMax, Binary, BinaryFunction, Concat, Conv, ConvTranspose, Coordinates, Function, Gather,
    MatMul, Nearest, Op, Operator, PRelu, Pad, PadMode, Pads, Pool, PoolKind, Reduce, Reduction,
    Reshape, Resize, ResizeMode, Slice, Softmax, Transpose, Unary,
};
use qcc_tests::graph::{Graph, check};

fn agrees(graph: Graph, output: TensorId, seed: u64) -> Result<(), TestCaseError> {
    let model = graph.finish(&[output]);
    check(&model, seed, 4).map_err(TestCaseError::fail)
}

fn real(graph: &mut Graph, op: impl Into<Op>, operands: &[TensorId]) -> TensorId {
    graph.node_of(op, operands, Elem::Float)
}

fn shape(rank: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..=5, Just(17)], rank)
        .prop_filter("small", |shape| shape.iter().product::<usize>() <= 1500)
}

fn image() -> impl Strategy<Value = [usize; 4]> {
    (
        1usize..=2,
        prop_oneof![1usize..=9, 31usize..=41],
        1usize..=7,
        1usize..=7,
    )
        .prop_map(|(n, c, h, w)| [n, c, h, w])
}

/// Extents of 1 where the mask says so, and fewer axes in front: a shape that broadcasts.
fn broadcast(shape: &[usize], mask: u8, missing: usize) -> Vec<usize> {
    let kept = shape.iter().enumerate().map(|(axis, extent)| {
        let one = mask >> axis & 1 == 1;
        if one { 1 } else { *extent }
    });
    kept.skip(missing % (shape.len() + 1)).collect()
}

const CLAMPS: [Clamp; 3] = [
    Clamp::NONE,
    Clamp::RELU,
    Clamp {
        min: -1.5,
        max: 6.0,
    },
];

const FUNCTIONS: [Function; 27] = [
    Function::Clamp(Clamp::RELU),
    Function::LeakyRelu { alpha: 0.1 },
    Function::Elu { alpha: 1.1 },
    Function::Sigmoid,
    Function::HardSigmoid {
        alpha: 0.2,
        beta: 0.5,
    },
    Function::HardSwish,
    Function::Tanh,
    Function::Exp,
    Function::Log,
    Function::Sqrt,
    Function::Reciprocal,
    Function::Erf,
    Function::Neg,
    Function::Abs,
    Function::Sign,
    Function::Floor,
    Function::Ceil,
    Function::Round,
    Function::Softplus,
    Function::Softsign,
    Function::Selu {
        alpha: 1.67,
        gamma: 1.05,
    },
    Function::Gelu { tanh: false },
    Function::Gelu { tanh: true },
    Function::Mish,
    Function::Silu,
    Function::Affine {
        scale: -0.3,
        offset: 2.5,
    },
    Function::Clamp(Clamp {
        min: -1.0,
        max: 1.0,
    }),
];

const BINARIES: [BinaryFunction; 6] = [
    BinaryFunction::Add,
    BinaryFunction::Sub,
    BinaryFunction::Mul,
    BinaryFunction::Div,
    BinaryFunction::Max,
    BinaryFunction::Min,
];

/// Weights of reals, of halves, of integers of 8 and 16 bits with or without zero points, or with a scale for each
/// block of `size` along `summed`.
fn weights(
    graph: &mut Graph,
    shape: &[usize],
    axis: usize,
    kind: usize,
    (summed, size): (usize, usize),
) -> TensorId {
    match kind {
        0 => graph.reals(shape, -0.5, 0.7),
        // Multiples of 2⁻³ up to 31 are halves.
        1 => graph.reals(shape, -31.25, 93.75),
        2 => graph.weights(shape, axis),
        3 => graph.weights_of(IntType::I16, shape, axis),
        5 | 6 => graph.weights_in_blocks(shape, summed, size, kind == 6),
        _ => graph.weights_of(IntType::U8, shape, axis),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn convolutions(
        (images, size) in (1usize..=2, [1usize..=6, 1usize..=9]),
        kernel in [1usize..=3, 1usize..=4],
        strides in [1usize..=2, 1usize..=3],
        dilations in [1usize..=2, 1usize..=2],
        pads in [0usize..=2, 0usize..=2, 0usize..=2, 0usize..=2],
        channels in prop_oneof![
            (1usize..=3, (1usize..=5, 1usize..=37)),
            (1usize..=20, (Just(1), Just(1))),
        ],
        (kind, residual, bias, clamp) in (0usize..7, any::<bool>(), any::<bool>(), 0usize..3),
        seed in any::<u64>(),
    ) {
        let (groups, (depth, per_group)) = channels;
        let pads = Pads { top: pads[0], left: pads[1], bottom: pads[2], right: pads[3] };
        let op = Conv { strides, pads, dilations, groups, activation: CLAMPS[clamp] };
        let mut graph = Graph::new(seed);
        let x_shape = [images, groups * depth, size[0], size[1]];
        let w_shape = [groups * per_group, depth, kernel[0], kernel[1]];
        let fits = op.infer(&[Some(&Type::float(x_shape)), Some(&Type::float(w_shape))]);
        prop_assume!(fits.is_ok());
        let y_shape = fits.expect("just seen").shape;
        let x = graph.real_input(&x_shape);
        let w = weights(&mut graph, &w_shape, 0, kind, (1, 1 + seed as usize % 3));
        let b = graph.reals(&[groups * per_group], -2.0, 2.0);
        let r = graph.real_input(&y_shape);
        let y = real(&mut graph, op, &[x, w, b, r]);
        let node = graph.model.nodes.last_mut().expect("the convolution");
        if !bias { node.inputs[2] = None; }
        if !residual { node.inputs[3] = None; }
        agrees(graph, y, seed)?;
    }

    #[test]
    fn transposed_convolutions(
        size in [1usize..=5, 1usize..=5],
        kernel in [1usize..=4, 1usize..=4],
        strides in [1usize..=3, 1usize..=2],
        dilations in [1usize..=2, 1usize..=2],
        pad in 0usize..=1,
        (groups, depth, per_group) in (1usize..=2, 1usize..=4, 1usize..=11),
        kind in 0usize..7,
        seed in any::<u64>(),
    ) {
        let pads = Pads { top: pad, left: pad, ..Pads::default() };
        let op = ConvTranspose {
            strides, pads, dilations, groups, activation: CLAMPS[seed as usize % 3],
            output_padding: [0, 0],
        };
        let mut graph = Graph::new(seed);
        let x_shape = [1, groups * depth, size[0], size[1]];
        let w_shape = [groups * depth, per_group, kernel[0], kernel[1]];
        prop_assume!(op.infer(&[Some(&Type::float(x_shape)), Some(&Type::float(w_shape))]).is_ok());
        let x = graph.real_input(&x_shape);
        let w = weights(&mut graph, &w_shape, 1, if groups > 1 { kind % 2 } else { kind }, (0, 2));
        let b = graph.reals(&[groups * per_group], -2.0, 2.0);
        let y = real(&mut graph, op, &[x, w, b]);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn matrix_products(
        lead in prop::collection::vec(1usize..=3, 0..=2),
        [rows, depth] in [1usize..=9, 1usize..=20],
        columns in 1usize..=40,
        (mask_a, mask_b) in (0u8..4, 0u8..4),
        (kind, computed, bias) in (0usize..7, 0usize..3, any::<bool>()),
        seed in any::<u64>(),
    ) {
        let mut graph = Graph::new(seed);
        let shape = |mask: u8, last: [usize; 2]| [broadcast(&lead, mask, 0), last.to_vec()].concat();
        let (mask_a, mask_b) = if seed % 2 == 0 { (mask_a, 0) } else { (0, mask_b) };
        let (a_shape, b_shape) = (shape(mask_a, [rows, depth]), shape(mask_b, [depth, columns]));
        let a = if computed == 2 { graph.reals(&a_shape, -1.0, 2.0) } else { graph.real_input(&a_shape) };
        let b = match computed {
            0 => {
                // Every other time whole blocks.
                let size = if seed % 4 < 2 { 1 + seed as usize % 5 } else { depth };
                weights(&mut graph, &b_shape, b_shape.len() - 1, kind, (b_shape.len() - 2, size))
            }
            _ => graph.real_input(&b_shape),
        };
        let bias_id = graph.reals(&[columns], -2.0, 2.0);
        let operands = if bias { vec![a, b, bias_id] } else { vec![a, b] };
        let y = real(&mut graph, MatMul { activation: CLAMPS[seed as usize % 3] }, &operands);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn sums_that_are_results(
        shape in image(),
        (filters, kernel, pad) in (1usize..=19, 1usize..=3, 0usize..=1),
        (depthwise, unsigned) in (any::<bool>(), any::<bool>()),
        seed in any::<u64>(),
    ) {
        let units = |int| QuantParams::per_tensor(int, 1.0, 0);
        let mut graph = Graph::new(seed);
        let x = match unsigned {
            true => graph.input(&shape, QuantParams::per_tensor(IntType::U8, 1.0, 77)),
            false => {
                let centred = QuantParams { low: -255, high: 255, ..units(IntType::I16) };
                let x = graph.real_input(&shape);
                graph.quantize(x, centred)
            }
        };
        let channels = shape[1];
        let (filters, depth, groups) =
            if depthwise { (channels, 1, channels) } else { (filters, channels, 1) };
        let w = QuantParams::per_tensor(IntType::U8, 1.0, 131);
        let w = graph.constant(&[filters, depth, kernel, kernel], w);
        let pads = Pads { top: pad, left: pad, bottom: pad, right: pad };
        let conv = Conv {
            strides: [1, 1], pads, dilations: [1, 1], groups, activation: Clamp::NONE,
        };
        let fits = conv.infer(&[Some(&Type::float(shape)), Some(&Type::float([filters, depth, kernel, kernel]))]);
        prop_assume!(fits.is_ok());
        let sums = graph.node(conv, &[x, w], units(IntType::I32));
        let columns = graph.shape(x)[3];
        let w = graph.constant(&[columns, 5], units(IntType::I8));
        let products = graph.node(MatMul { activation: Clamp::NONE }, &[x, w], units(IntType::I32));
        let reals = [sums, products].map(|id| graph.dequantize(id));
        let model = graph.finish(&[sums, products, reals[0], reals[1]]);
        check(&model, seed, 4).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn unary_functions(shape in shape(1..=4), seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        let results: Vec<TensorId> = FUNCTIONS
            .into_iter()
            .map(|function| real(&mut graph, Unary { function }, &[x]))
            .collect();
        let model = graph.finish(&results);
        check(&model, seed, 4).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn binary_functions(
        shape in shape(1..=4),
        which in 0usize..6,
        (mask_a, mask_b) in (0u8..16, 0u8..16),
        (missing_a, missing_b) in (0usize..3, 0usize..3),
        constant in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut graph = Graph::new(seed);
        let (mask_b, missing_a) = if seed % 2 == 0 { (0, missing_a) } else { (mask_b, 0) };
        let a_shape = broadcast(&shape, mask_a, missing_a);
        let b_shape = broadcast(&shape, mask_b, missing_b);
        let a = graph.real_input(&a_shape);
        let b = if constant { graph.reals(&b_shape, -3.0, 3.0) } else { graph.real_input(&b_shape) };
        let op = Binary { function: BINARIES[which], activation: CLAMPS[seed as usize % 3] };
        let operands = if seed % 3 == 0 { [b, a] } else { [a, b] };
        let y = real(&mut graph, op, &operands);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn powers(shape in shape(1..=3), which in 0usize..5, seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let a = graph.real_input(&shape);
        let exponent = [1.0, 2.0, 3.0, 0.5, -0.5][which];
        let b = graph.reals(&[1], exponent, exponent);
        let op = Binary { function: BinaryFunction::Pow, activation: Clamp::NONE };
        let y = real(&mut graph, op, &[a, b]);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn chains_in_place(shape in image(), mask in 0u8..16, missing in 0usize..3, seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        let slope = graph.reals(&broadcast(&shape, mask, missing), -0.5, 2.0);
        let y = real(&mut graph, PRelu, &[x, slope]);
        let square = Binary { function: BinaryFunction::Mul, activation: Clamp::NONE };
        let y = real(&mut graph, square, &[y, y]);
        let y = real(&mut graph, Unary { function: Function::Sigmoid }, &[y]);
        let product = Binary { function: BinaryFunction::Mul, activation: Clamp::RELU };
        let y = real(&mut graph, product, &[x, y]);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn borders_between_reals_and_integers(shape in shape(1..=4), seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.real_input(&shape);
        let q = graph.quantize(x, params);
        let params = graph.params();
        let q = graph.node(Unary { function: Function::Tanh }, &[q], params);
        let y = graph.dequantize(q);
        let params = graph.params();
        let z = graph.quantize(y, params);
        let model = graph.finish(&[y, z]);
        check(&model, seed, 4).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn pools(
        shape in image(),
        kernel in [1usize..=5, 1usize..=5],
        strides in [1usize..=3, 1usize..=3],
        dilations in [1usize..=2, 1usize..=2],
        pads in [0usize..=2, 0usize..=2, 0usize..=2, 0usize..=2],
        (ceil, which) in (any::<bool>(), 0u8..3),
        seed in any::<u64>(),
    ) {
        let pads = Pads { top: pads[0], left: pads[1], bottom: pads[2], right: pads[3] };
        let padded = [shape[2] + pads.top + pads.bottom, shape[3] + pads.left + pads.right];
        let windows = |axis: usize| {
            let reach = (kernel[axis] - 1) * dilations[axis] + 1;
            let free = padded[axis].checked_sub(reach)?;
            let whole = free / strides[axis];
            let more = ceil && free % strides[axis] != 0;
            // ONNX drops a last window that would start in the padding behind the image.
            let starts = (whole + 1) * strides[axis] < shape[2 + axis] + [pads.top, pads.left][axis];
            Some(whole + 1 + usize::from(more && starts))
        };
        let (Some(rows), Some(columns)) = (windows(0), windows(1)) else { return Ok(()) };
        let kind = match which {
            0 => PoolKind::Max,
            which => PoolKind::Average { count_include_pad: which == 1 },
        };
        let op = Pool { kind, kernel, strides, pads, dilations, output: [rows, columns] };
        // A window that lies wholly in the padding is refused.
        prop_assume!(op.infer(&[Some(&Type::float(shape))]).is_ok());
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        let y = real(&mut graph, op, &[x]);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn reductions(
        shape in shape(1..=4),
        mask in 1u8..16,
        keep_axes in any::<bool>(),
        which in 0usize..5,
        seed in any::<u64>(),
    ) {
        let axes: Vec<usize> = (0..shape.len()).filter(|axis| mask >> axis & 1 == 1).collect();
        prop_assume!(!axes.is_empty());
        let reductions =
            [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min, Reduction::Prod];
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        let y = real(&mut graph, Reduce { reduction: reductions[which], axes, keep_axes }, &[x]);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn largest_elements(
        shape in shape(1..=4),
        axis in 0usize..4,
        [keep_axis, last] in any::<[bool; 2]>(),
        seed in any::<u64>(),
    ) {
        let axis = axis % shape.len();
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        // Equal elements, so that first and last differ.
        let x = real(&mut graph, Unary { function: Function::Round }, &[x]);
        let y = graph.node_of(ArgMax { axis, keep_axis, last }, &[x], Elem::Int(IntType::I64));
        agrees(graph, y, seed)?;
    }

    #[test]
    fn softmaxes(shape in shape(1..=4), axis in 0usize..4, seed in any::<u64>()) {
        let axis = axis % shape.len();
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        let y = real(&mut graph, Softmax { axis }, &[x]);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn resizes(shape in image(), output in [1usize..=13, 1usize..=13], which in 0usize..5, linear in any::<bool>(), seed in any::<u64>()) {
        let coordinates = [
            Coordinates::HalfPixel,
            Coordinates::HalfPixelSymmetric,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ][which];
        let scales = [0, 1].map(|axis| output[axis] as f32 / shape[2 + axis] as f32);
        let mode = if linear { ResizeMode::Linear } else { ResizeMode::Nearest(Nearest::Floor) };
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        let y = real(&mut graph, Resize { mode, coordinates, scales, output }, &[x]);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn movements(shape in image(), perm in Just([0usize, 1, 2, 3]).prop_shuffle(), fill in 0usize..5, seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let x = graph.real_input(&shape);
        let mode = [
            PadMode::Constant(0.0),
            PadMode::Constant(-2.5),
            PadMode::Constant(f32::NEG_INFINITY),
            PadMode::Edge,
            PadMode::Wrap,
        ][fill];
        let pad = Pad { mode, before: vec![0, 1, 1, 0], after: vec![0, 0, 1, 1] };
        let padded = real(&mut graph, pad, &[x]);
        let moved = real(&mut graph, Transpose { perm: perm.to_vec() }, &[padded]);
        let shape = graph.shape(moved);
        let flat = real(&mut graph, Reshape { shape: vec![shape.iter().product()] }, &[moved]);
        let last = shape.iter().product::<usize>() - 1;
        let slice = Slice { starts: vec![last], steps: vec![-2], shape: vec![last / 2 + 1] };
        let sliced = real(&mut graph, slice, &[flat]);
        let indices = vec![last / 2, 0, last / 3];
        let gather = Gather { axis: 0, indices, index_shape: vec![3] };
        let gathered = real(&mut graph, gather, &[sliced]);
        let constant = graph.reals(&[4], -1.0, 1.0);
        let joined = real(&mut graph, Concat { axis: 0 }, &[gathered, constant, sliced]);
        let model = graph.finish(&[moved, joined]);
        check(&model, seed, 4).map_err(TestCaseError::fail)?;
    }
}
