//! A program with a kernel of every family: C and Rust, under every compiler of this machine, give the
//! bytes that the interpreter gives.

#![expect(clippy::print_stdout, reason = "a test says what it skipped")]

use qcc_compiler::backend::Header;
use qcc_compiler::harness::{self, Executable, Layers};
use qcc_compiler::ir::{Clamp, Elem, IntType, Model, QuantParams, TensorId};
use qcc_compiler::kernel::interp;
use qcc_compiler::lower::{self, Options};
use qcc_compiler::ops::{
    ArgMax, Binary, BinaryFunction, Concat, Conv, ConvTranspose, Coordinates, Function, Gather,
    MatMul, Nearest, Op, PRelu, Pad, PadMode, Pads, Pool, PoolKind, Reduce, Reduction, Reshape,
    Resize, ResizeMode, Slice, Softmax, Transpose, Unary,
};
use qcc_compiler::pipeline;
use qcc_compiler::target::{self, Language, Target};
use qcc_tests::graph::{Graph, check, in_ports, numbers, samples};
use qcc_tests::parallel;

/// Every operator over images of odd extents; each result is an output.
fn everything(int: IntType) -> Model {
    let mut graph = Graph::new(7);
    let params = |graph: &mut Graph| {
        let zero_point = graph.random.within(int.min() as i32, int.max() as i32);
        QuantParams::per_tensor(int, graph.random.within(5, 50) as f32 * 1e-3, zero_point)
    };
    let p = params(&mut graph);
    let x = graph.input(&[1, 37, 5, 7], p.clone());
    let other = graph.input(&[1, 37, 5, 7], p.clone());
    let mut outputs = vec![];
    for (op, operands, moves) in operators(&mut graph, x, other) {
        let result = if moves { p.clone() } else { params(&mut graph) };
        outputs.push(graph.node(op, &operands, result));
    }
    let shares = QuantParams::per_tensor(int, 1.0 / 256.0, int.min() as i32);
    outputs.push(graph.node(Softmax { axis: 1 }, &[x], shares));
    for last in [false, true] {
        let op = ArgMax {
            axis: 1,
            keep_axis: false,
            last,
        };
        outputs.push(graph.node_of(op, &[x], Elem::Int(IntType::I64)));
    }
    graph.finish(&outputs)
}

/// Every operator in floating point, over weights of every form; and the borders to integers.
fn reals() -> Model {
    let mut graph = Graph::new(11);
    let x = graph.real_input(&[1, 37, 5, 7]);
    let other = graph.real_input(&[1, 37, 5, 7]);
    let mut real = operators(&mut graph, x, other);
    let activation = Clamp {
        min: -3.0,
        max: 6.0,
    };
    let conv = |groups| Conv {
        strides: [1, 2],
        pads: Pads::default(),
        dilations: [2, 1],
        groups,
        activation,
    };
    // Weights of reals, and of reals that halves hold.
    for (low, high) in [(-0.5, 0.7), (-31.25, 93.75)] {
        let w = graph.reals(&[35, 37, 2, 3], low, high);
        real.push((conv(1).into(), vec![x, w], false));
        let w = graph.reals(&[37, 1, 2, 3], low, high);
        real.push((conv(37).into(), vec![x, w], false));
    }
    let w = graph.weights_of(IntType::I16, &[35, 37, 2, 3], 0);
    real.push((conv(1).into(), vec![x, w], false));
    let w = graph.reals(&[37, 9, 3, 3], -1.0, 1.0);
    let transposed = ConvTranspose {
        strides: [2, 2],
        pads: Pads::default(),
        dilations: [1, 1],
        groups: 1,
        output_padding: [0, 0],
        activation,
    };
    real.push((transposed.into(), vec![x, w], false));
    let rows = Transpose {
        perm: vec![0, 1, 3, 2],
    };
    let columns = graph.node_of(rows, &[other], Elem::Float);
    real.push((MatMul { activation }.into(), vec![x, columns], false));
    real.push((Softmax { axis: 1 }.into(), vec![x], false));
    real.push((Softmax { axis: 3 }.into(), vec![x], false));
    let functions = unary_functions().into_iter();
    real.extend(functions.map(|function| (Unary { function }.into(), vec![x], false)));
    let power = Binary {
        function: BinaryFunction::Pow,
        activation,
    };
    let exponent = graph.reals(&[1], 3.0, 3.0);
    real.push((power.into(), vec![x, exponent], false));
    let outputs = real.into_iter();
    let mut outputs: Vec<TensorId> = outputs
        .map(|(op, operands, _)| graph.node_of(op, &operands, Elem::Float))
        .collect();
    let largest = ArgMax {
        axis: 1,
        keep_axis: false,
        last: false,
    };
    outputs.push(graph.node_of(largest, &[x], Elem::Int(IntType::I64)));
    for (bits, signed) in [(8, false), (8, true), (16, false), (16, true)] {
        let int = IntType { bits, signed };
        let zero_point = graph.random.within(int.min() as i32, int.max() as i32);
        let scale = 0.256 / (1u32 << bits) as f32;
        let integers = graph.quantize(x, QuantParams::per_tensor(int, scale, zero_point));
        outputs.push(integers);
        outputs.push(graph.dequantize(integers));
    }
    outputs.extend(sums(&mut graph, x));
    outputs.extend(blocks(&mut graph, x));
    graph.finish(&outputs)
}

/// Products whose results are their sums, as integers and as reals.
fn sums(graph: &mut Graph, x: TensorId) -> Vec<TensorId> {
    let units = |int| QuantParams::per_tensor(int, 1.0, 0);
    let centred = QuantParams {
        low: -255,
        high: 255,
        ..units(IntType::I16)
    };
    let x = graph.quantize(x, centred);
    let mut outputs = vec![];
    for (filters, depth, groups) in [(35, 37, 1), (37, 1, 37)] {
        let w = graph.constant(&[filters, depth, 3, 3], units(IntType::I8));
        let conv = Conv {
            strides: [1, 1],
            pads: Pads {
                top: 1,
                ..Pads::default()
            },
            dilations: [1, 1],
            groups,
            activation: Clamp::NONE,
        };
        let integers = graph.node(conv, &[x, w], units(IntType::I32));
        outputs.extend([integers, graph.dequantize(integers)]);
    }
    let weights = QuantParams::per_tensor(IntType::U8, 1.0, 128);
    let w = graph.constant(&[7, 19], weights);
    let activation = Clamp::NONE;
    let integers = graph.node(MatMul { activation }, &[x, w], units(IntType::I32));
    outputs.extend([integers, graph.dequantize(integers)]);
    outputs
}

/// Weights with a scale for each block.
fn blocks(graph: &mut Graph, x: TensorId) -> Vec<TensorId> {
    let activation = Clamp::NONE;
    let mut outputs = vec![];
    for (size, zero_points) in [(7, false), (7, true), (3, true), (1, false)] {
        let w = graph.weights_in_blocks(&[7, 19], 0, size, zero_points);
        outputs.push(graph.node_of(MatMul { activation }, &[x, w], Elem::Float));
    }
    outputs
}

fn unary_functions() -> Vec<Function> {
    vec![
        Function::Clamp(Clamp::RELU),
        Function::LeakyRelu { alpha: 0.1 },
        Function::Elu { alpha: 1.1 },
        Function::Sigmoid,
        Function::HardSwish,
        Function::Tanh,
        Function::Exp,
        Function::Log,
        Function::Sqrt,
        Function::Reciprocal,
        Function::Erf,
        Function::Floor,
        Function::Round,
        Function::Softplus,
        Function::Gelu { tanh: false },
        Function::Gelu { tanh: true },
        Function::Mish,
        Function::Affine {
            scale: -0.3,
            offset: 2.5,
        },
    ]
}

/// Operators, their operands, and whether results have the operand's parameters.
fn operators(graph: &mut Graph, x: TensorId, other: TensorId) -> Vec<(Op, Vec<TensorId>, bool)> {
    let pads = Pads {
        top: 1,
        left: 1,
        bottom: 1,
        right: 1,
    };
    let activation = Clamp::NONE;
    let mut all: Vec<(Op, Vec<TensorId>, bool)> = vec![];
    let [int4, uint2] = [(4, true), (2, false)].map(|(bits, signed)| IntType { bits, signed });
    let ints = [IntType::I8, int4, uint2].into_iter();
    let sizes = ints.flat_map(|int| [(int, 19, 37, 1), (int, 37, 1, 37)]);
    for (int, filters, depth, groups) in sizes {
        let shape = [filters, depth, 3, 3];
        let w = match int {
            IntType::I8 => graph.weights(&shape, 0),
            _ => graph.weights_of(int, &shape, 0),
        };
        let op = Conv {
            strides: [1, 1],
            pads,
            dilations: [1, 1],
            groups,
            activation,
        };
        all.push((op.into(), vec![x, w], false));
    }
    let w = graph.weights(&[7, 11], 1);
    all.push((MatMul { activation }.into(), vec![x, w], false));
    let function = Function::Sigmoid;
    all.push((Unary { function }.into(), vec![x], false));
    use BinaryFunction::{Add, Div, Mul, Sub};
    for function in [Add, Sub, Mul, Div] {
        let op = Binary {
            function,
            activation,
        };
        all.push((op.into(), vec![x, other], false));
    }
    let slope = graph.reals(&[37, 1, 1], -1.0, 1.0);
    all.push((PRelu.into(), vec![x, slope], false));
    for kind in [
        PoolKind::Max,
        PoolKind::Average {
            count_include_pad: false,
        },
    ] {
        for kernel in [[3, 3], [5, 5]] {
            let output = [7 - kernel[0] + 1, 9 - kernel[1] + 1];
            let op = Pool {
                kind,
                kernel,
                strides: [1, 1],
                pads,
                dilations: [1, 1],
                output,
            };
            all.push((op.into(), vec![x], kind == PoolKind::Max));
        }
    }
    all.extend(reductions(x));
    all.extend(movements(x, other));
    all
}

fn reductions(x: TensorId) -> Vec<(Op, Vec<TensorId>, bool)> {
    let reduce = |reduction, axes: &[usize]| {
        let moves = matches!(reduction, Reduction::Max | Reduction::Min);
        let op = Reduce {
            reduction,
            axes: axes.to_vec(),
            keep_axes: true,
        };
        (op.into(), vec![x], moves)
    };
    vec![
        reduce(Reduction::Mean, &[1]),
        reduce(Reduction::Sum, &[2]),
        reduce(Reduction::Max, &[3]),
        reduce(Reduction::Min, &[1, 2]),
    ]
}

fn movements(x: TensorId, other: TensorId) -> Vec<(Op, Vec<TensorId>, bool)> {
    let resize = |mode| Resize {
        mode,
        coordinates: Coordinates::HalfPixel,
        scales: [2.0, 2.0],
        output: [10, 14],
    };
    let pad = |mode| Pad {
        before: vec![0, 1, 2, 0],
        after: vec![0, 0, 1, 1],
        mode,
    };
    let slice = Slice {
        starts: vec![0, 36, 1, 6],
        steps: vec![1, -5, 2, -1],
        shape: vec![1, 7, 2, 7],
    };
    let gather = Gather {
        axis: 3,
        indices: vec![5, 0, 0, 6],
        index_shape: vec![2, 2],
    };
    let moves: Vec<(Op, Vec<TensorId>)> = vec![
        (resize(ResizeMode::Nearest(Nearest::Floor)).into(), vec![x]),
        (pad(PadMode::Constant(0.1)).into(), vec![x]),
        (pad(PadMode::Reflect).into(), vec![x]),
        (slice.into(), vec![x]),
        (gather.into(), vec![x]),
        (
            Transpose {
                perm: vec![0, 3, 1, 2],
            }
            .into(),
            vec![x],
        ),
        (
            Reshape {
                shape: vec![7, 185],
            }
            .into(),
            vec![x],
        ),
        (Concat { axis: 1 }.into(), vec![x, other, x]),
    ];
    let linear = (resize(ResizeMode::Linear).into(), vec![x], false);
    let moves = moves.into_iter().map(|(op, of)| (op, of, true));
    moves.chain([linear]).collect()
}

/// The port and the compiler of each output that is not what the interpreter says. Every compiler is asked, at one of
/// its levels of optimisation: which, is another one for the next turn.
fn differences(model: &Model, target: &Target, turn: usize) -> Vec<String> {
    let program = lower::lower(model, target, &Options::default());
    let program = program.expect("the model can be lowered");
    let inputs = in_ports(&samples(model, 5, 3)[2], &program.inputs);
    let expected = numbers(model, interp::run(&program, target, &inputs));
    let mut wrong = vec![];
    for language in [Language::C, Language::Rust] {
        let source = pipeline::print(&program, target, language, &Header::default());
        let (compilers, skipped) = harness::compilers(target, language);
        for skipped in skipped {
            println!("skipped {}: {}", skipped.name, skipped.reason);
        }
        for (i, levels) in compilers.chunks(2).enumerate() {
            let compiler = &levels[(i + turn) % levels.len()];
            let check = Executable::build(&source, &program, target, compiler, Layers::Untold);
            let check = check.unwrap_or_else(|e| panic!("{e}"));
            let found = check.run(std::slice::from_ref(&inputs)).expect("it runs");
            let found = numbers(model, found[0].clone());
            let ports = found.iter().zip(&expected).zip(&program.outputs);
            let ports = ports.filter(|((found, expected), _)| found != expected);
            wrong.extend(ports.map(|(_, port)| format!("{}: {}", compiler.name, port.name)));
        }
    }
    wrong
}

#[test]
fn emitted_programs_are_what_the_interpreter_runs() {
    let [uint16, int16] = [false, true].map(|signed| IntType { bits: 16, signed });
    let ints = [IntType::U8, IntType::I8, uint16, int16];
    for (turn, int) in ints.into_iter().enumerate() {
        agrees(&everything(int), turn);
    }
}

#[test]
fn emitted_programs_of_reals_are_what_the_interpreter_runs() {
    agrees(&reals(), 0);
}

fn agrees(model: &Model, turn: usize) {
    check(model, 5, 3).expect("the interpreter agrees with the integer evaluator");
    parallel::each(target::names().into_iter().enumerate(), |(i, name)| {
        let target = Target::load(name).expect("a machine of the list");
        if let Err(skipped) = harness::runs_here(&target) {
            println!("skipped {}: {}", skipped.name, skipped.reason);
            return;
        }
        let none: [String; 0] = [];
        assert_eq!(differences(model, &target, turn + i), none, "{name}");
    });
}
