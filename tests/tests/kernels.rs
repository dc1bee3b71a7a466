//! Every family of kernels at random odd shapes: lowered and interpreted on every machine, they are what
//! the integer evaluator says, bit for bit.

use proptest::prelude::*;
use qcc_compiler::ir::{Array, Clamp, Elem, IntType, QuantParams, TensorId, Type};
use qcc_compiler::ops::{
    ArgMax, Binary, BinaryFunction, Concat, Coordinates, Function, Gather, Nearest, Operator,
    PRelu, Pad, PadMode, Pads, Pool, PoolKind, Reduce, Reduction, Reshape, Resize, ResizeMode,
    Slice, Softmax, Transpose, Unary,
};
use qcc_tests::graph::{Graph, check};

fn agrees(graph: Graph, output: TensorId, seed: u64) -> Result<(), TestCaseError> {
    let model = graph.finish(&[output]);
    check(&model, seed, 4).map_err(TestCaseError::fail)
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

const BINARIES: [BinaryFunction; 7] = [
    BinaryFunction::Add,
    BinaryFunction::Sub,
    BinaryFunction::Mul,
    BinaryFunction::Div,
    BinaryFunction::Max,
    BinaryFunction::Min,
    BinaryFunction::Pow,
];

const COORDINATES: [Coordinates; 5] = [
    Coordinates::HalfPixel,
    Coordinates::HalfPixelSymmetric,
    Coordinates::PytorchHalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
];

const NEAREST: [Nearest; 4] = [
    Nearest::RoundPreferFloor,
    Nearest::RoundPreferCeil,
    Nearest::Floor,
    Nearest::Ceil,
];

/// Extents of 1 where the mask says so, and fewer axes in front: a shape that broadcasts.
fn broadcast(shape: &[usize], mask: u8, missing: usize) -> Vec<usize> {
    let kept = shape.iter().enumerate().map(|(axis, extent)| {
        let one = mask >> axis & 1 == 1;
        if one { 1 } else { *extent }
    });
    kept.skip(missing % (shape.len() + 1)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn unary_functions(shape in shape(1..=4), seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params);
        let functions = [
            Function::Sigmoid,
            Function::LeakyRelu { alpha: 0.1 },
            Function::Log,
            Function::Neg,
        ];
        let mut y = x;
        for function in functions {
            let params = graph.params();
            y = graph.node(Unary { function }, &[y], params);
        }
        agrees(graph, y, seed)?;
    }

    #[test]
    fn binary_functions(
        shape in shape(1..=4),
        which in 0usize..7,
        (mask_a, mask_b) in (0u8..16, 0u8..16),
        (missing_a, missing_b) in (0usize..3, 0usize..3),
        constant in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut graph = Graph::new(seed);
        let (a, b) = (graph.params(), graph.params());
        let result = graph.params();
        let bits = [&a, &b, &result].map(|params| params.int.bits);
        let only_bytes = BINARIES[which] == BinaryFunction::Pow;
        prop_assume!(!only_bytes || bits == [8; 3]);
        let (mask_b, missing_a) = if seed % 2 == 0 { (0, missing_a) } else { (mask_b, 0) };
        let a_shape = broadcast(&shape, mask_a, missing_a);
        let b_shape = broadcast(&shape, mask_b, missing_b);
        let a = graph.input(&a_shape, a);
        let b = if constant { graph.constant(&b_shape, b) } else { graph.input(&b_shape, b) };
        let activation = [Clamp::NONE, Clamp::RELU][seed as usize % 2];
        let op = Binary { function: BINARIES[which], activation };
        let operands = if seed % 3 == 0 { [b, a] } else { [a, b] };
        let y = graph.node(op, &operands, result);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn sums_of_few_bits(
        shape in shape(1..=3),
        bits in [2u8..=8, 2..=8, 2..=8],
        scales in [0.001f32..0.5, 0.001f32..0.5, 0.001f32..0.5],
        subtracted: bool,
        seed: u64,
    ) {
        let mut graph = Graph::new(seed);
        let params = |i: usize| QuantParams::per_tensor(IntType { bits: bits[i], signed: true }, scales[i], 1);
        let (a, b) = (graph.input(&shape, params(0)), graph.input(&shape, params(1)));
        let function = [BinaryFunction::Add, BinaryFunction::Sub][usize::from(subtracted)];
        let y = graph.node(Binary { function, activation: Clamp::NONE }, &[a, b], params(2));
        agrees(graph, y, seed)?;
    }

    #[test]
    fn zero_is_divided_by_zero(shape in shape(1..=2), bits in prop_oneof![Just(8u8), Just(16)], seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = |zero_point| QuantParams::per_tensor(IntType { bits, signed: true }, 0.03, zero_point);
        let x = graph.input(&shape, params(3));
        // A product with its zero point is 0.
        let zero = graph.model.add_tensor(
            "zero",
            Type { shape: vec![1], elem: Elem::Quantized(params(-5)) },
            Some(Array::i32([1], vec![-5])),
        );
        let times = |function| Binary { function, activation: Clamp::NONE };
        let nothing = graph.node(times(BinaryFunction::Mul), &[x, zero], params(7));
        let none = graph.node(times(BinaryFunction::Div), &[nothing, nothing], params(1));
        let infinite = graph.node(times(BinaryFunction::Div), &[x, nothing], params(2));
        let model = graph.finish(&[none, infinite]);
        check(&model, seed, 4).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_square_has_one_operand(shape in shape(1..=4), seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params);
        let op = Binary { function: BinaryFunction::Mul, activation: Clamp::NONE };
        let params = graph.params();
        let y = graph.node(op.clone(), &[x, x], params);
        let params = graph.params();
        let z = graph.node(op, &[y, y], params);
        agrees(graph, z, seed)?;
    }

    #[test]
    fn prelus(shape in image(), mask in 0u8..16, missing in 0usize..3, seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params);
        let slope = graph.reals(&broadcast(&shape, mask, missing), -0.5, 2.0);
        let params = graph.params();
        let y = graph.node(PRelu, &[x, slope], params);
        agrees(graph, y, seed)?;
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
        let params = graph.params();
        let x = graph.input(&shape, params.clone());
        let params = if which == 0 { params } else { graph.params() };
        let y = graph.node(op, &[x], params);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn reductions(
        shape in shape(1..=4),
        mask in 1u8..16,
        keep_axes in any::<bool>(),
        which in 0usize..4,
        seed in any::<u64>(),
    ) {
        let axes: Vec<usize> = (0..shape.len()).filter(|axis| mask >> axis & 1 == 1).collect();
        prop_assume!(!axes.is_empty());
        let reduction = [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min][which];
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params.clone());
        let params = if which < 2 { graph.params() } else { params };
        let y = graph.node(Reduce { reduction, axes, keep_axes }, &[x], params);
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
        let params = graph.params();
        let x = graph.input(&shape, params);
        let elem = Elem::Int(IntType::I64);
        let y = graph.node_of(ArgMax { axis, keep_axis, last }, &[x], elem);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn softmaxes(shape in shape(1..=4), axis in 0usize..4, seed in any::<u64>()) {
        let axis = axis % shape.len();
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params);
        let int = [IntType::U8, IntType::I8][seed as usize % 2];
        let params = QuantParams::per_tensor(int, 1.0 / 256.0, int.min() as i32);
        let y = graph.node(Softmax { axis }, &[x], params);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn resizes(
        shape in image(),
        output in [1usize..=9, 1usize..=9],
        which in (0usize..5, 0usize..5),
        seed in any::<u64>(),
    ) {
        let mode = match NEAREST.get(which.0) {
            Some(nearest) => ResizeMode::Nearest(*nearest),
            None => ResizeMode::Linear,
        };
        let scale = |axis: usize| output[axis] as f32 / shape[2 + axis] as f32;
        let op = Resize {
            mode,
            coordinates: COORDINATES[which.1],
            scales: [scale(0), scale(1)],
            output,
        };
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params.clone());
        let params = if mode == ResizeMode::Linear { graph.params() } else { params };
        let y = graph.node(op, &[x], params);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn reshapes_and_transposes(shape in shape(1..=5), seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params.clone());
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        for i in (1..perm.len()).rev() {
            perm.swap(i, graph.random.below(i + 1));
        }
        let y = graph.node(Transpose { perm }, &[x], params.clone());
        let count: usize = shape.iter().product();
        let first = (1..=count).rev().find(|n| count.is_multiple_of(*n) && *n * *n <= count);
        let first = first.expect("1 divides");
        let op = Reshape { shape: vec![first, 1, count / first] };
        let y = graph.node(op, &[y], params);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn slices(shape in shape(1..=4), backwards in 0u8..16, seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params.clone());
        let (mut starts, mut steps, mut result) = (vec![], vec![], vec![]);
        for (axis, extent) in shape.iter().enumerate() {
            let step = 1 + graph.random.below(3);
            let count = 1 + graph.random.below((extent - 1) / step + 1);
            let spare = extent - 1 - (count - 1) * step;
            let first = graph.random.below(spare + 1);
            let back = backwards >> axis & 1 == 1;
            starts.push(if back { first + (count - 1) * step } else { first });
            steps.push(if back { -(step as isize) } else { step as isize });
            result.push(count);
        }
        let y = graph.node(Slice { starts, steps, shape: result }, &[x], params);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn gathers(
        shape in shape(1..=4),
        axis in 0usize..4,
        index_shape in prop::collection::vec(1usize..=4, 0..=2),
        seed in any::<u64>(),
    ) {
        let axis = axis % shape.len();
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params.clone());
        let count: usize = index_shape.iter().product();
        let indices = (0..count).map(|_| graph.random.below(shape[axis])).collect();
        let y = graph.node(Gather { axis, indices, index_shape }, &[x], params);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn pads(shape in shape(1..=4), which in 0usize..4, seed in any::<u64>()) {
        let mut graph = Graph::new(seed);
        let params = graph.params();
        let x = graph.input(&shape, params.clone());
        let mode = [PadMode::Constant(0.01), PadMode::Reflect, PadMode::Edge, PadMode::Wrap][which];
        let mut around = || -> Vec<usize> {
            shape.iter().map(|extent| graph.random.below(3.min(*extent))).collect()
        };
        let (before, after) = (around(), around());
        let y = graph.node(Pad { before, after, mode }, &[x], params);
        agrees(graph, y, seed)?;
    }

    #[test]
    fn concatenations(
        shape in shape(1..=4),
        axis in 0usize..4,
        kinds in prop::collection::vec(0u8..4, 1..=4),
        seed in any::<u64>(),
    ) {
        let axis = axis % shape.len();
        let mut graph = Graph::new(seed);
        let result = graph.params();
        let mut operands = vec![];
        for kind in kinds {
            let mut shape = shape.clone();
            shape[axis] = 1 + graph.random.below(4);
            let params = if kind < 2 { result.clone() } else { graph.params() };
            operands.push(match kind {
                0 => {
                    let x = graph.input(&shape, result.clone());
                    let function = Function::Abs;
                    graph.node(Unary { function }, &[x], result.clone())
                }
                1 | 2 => graph.input(&shape, params),
                _ => graph.constant(&shape, params),
            });
        }
        prop_assume!(!graph.model.inputs.is_empty());
        let y = graph.node(Concat { axis }, &operands, result);
        agrees(graph, y, seed)?;
    }
}
