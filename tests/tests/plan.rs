//! The memory plan moves nothing that it need not: what a program calls, and how much memory it has.

use qcc_compiler::ir::{Clamp, IntType, Model, QuantParams, TensorId};
use qcc_compiler::kernel::{Program, Scalar, Slot};
use qcc_compiler::lower::{self, Options};
use qcc_compiler::ops::{
    Concat, Conv, Function, MatMul, Pads, Pool, PoolKind, Reshape, Slice, Transpose, Unary,
};
use qcc_compiler::target::Target;
use qcc_tests::graph::{Graph, around, check};

/// Parameters that are the same everywhere.
fn params() -> QuantParams {
    QuantParams::per_tensor(IntType::U8, 0.02, 100)
}

fn conv(graph: &mut Graph, x: TensorId, filters: usize, kernel: usize) -> TensorId {
    let channels = graph.shape(x)[1];
    let w = graph.weights(&[filters, channels, kernel, kernel], 0);
    let pad = kernel / 2;
    let op = Conv {
        strides: [1, 1],
        pads: around(pad),
        dilations: [1, 1],
        groups: 1,
        activation: Clamp::NONE,
    };
    graph.node(op, &[x, w], params())
}

fn lowered(model: &Model) -> Program {
    check(model, 1, 3).expect("the program computes what the model means");
    let target = Target::load("x86_64-avx2").expect("the machine is known");
    lower::lower(model, &target, &Options::default()).expect("the model can be lowered")
}

/// What is called, in order, without the layers' names; what a machine's product needs beforehand is left out.
fn calls(program: &Program) -> Vec<&str> {
    let kernel = |call: &qcc_compiler::kernel::Call| {
        let name = &program.kernels[call.kernel].name;
        name.trim_end_matches(|c: char| c == '_' || c.is_ascii_digit())
            .rsplit('_')
            .next()
            .expect("a name has parts")
    };
    let kernels = program.calls.iter().map(kernel);
    kernels.filter(|name| *name != "magnitudes").collect()
}

#[test]
fn an_image_classifier_copies_its_input_only() {
    let mut graph = Graph::new(1);
    let x = graph.input(&[1, 3, 6, 6], params());
    let a = conv(&mut graph, x, 8, 3);
    let b = conv(&mut graph, a, 8, 3);
    let c = conv(&mut graph, b, 8, 1);
    let pool = Pool {
        kind: PoolKind::Average {
            count_include_pad: false,
        },
        kernel: [6, 6],
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        output: [1, 1],
    };
    let d = graph.node(pool, &[c], params());
    let e = graph.node(Reshape { shape: vec![1, 8] }, &[d], params());
    let w = graph.weights(&[8, 5], 1);
    let activation = Clamp::NONE;
    let f = graph.node(MatMul { activation }, &[e, w], params());
    let program = lowered(&graph.finish(&[f]));
    let expected = [
        "copy", "halo", "sums", "halo", "sums", "sums", "mean", "sums",
    ];
    assert_eq!(calls(&program), expected);
}

#[test]
fn operands_of_a_concatenation_are_computed_in_place() {
    let mut graph = Graph::new(2);
    let x = graph.input(&[1, 3, 6, 6], params());
    let stem = conv(&mut graph, x, 4, 1);
    let (a, b) = (conv(&mut graph, stem, 5, 1), conv(&mut graph, stem, 7, 3));
    let joined = graph.node(Concat { axis: 1 }, &[a, b], params());
    // The halo is around both parts together.
    let y = conv(&mut graph, joined, 4, 3);
    let z = conv(&mut graph, a, 4, 3);
    let program = lowered(&graph.finish(&[y, z]));
    let copies = calls(&program).iter().filter(|c| **c == "copy").count();
    // The input and the two row-major outputs.
    assert_eq!(copies, 3, "{:?}", calls(&program));
}

#[test]
fn slices_of_channels_are_views() {
    let mut graph = Graph::new(3);
    let x = graph.input(&[1, 3, 6, 6], params());
    let stem = conv(&mut graph, x, 8, 1);
    let half = |start: usize| Slice {
        starts: vec![0, start, 0, 0],
        steps: vec![1; 4],
        shape: vec![1, 4, 6, 6],
    };
    let a = graph.node(half(0), &[stem], params());
    let b = graph.node(half(4), &[stem], params());
    let a = conv(&mut graph, a, 4, 3);
    let b = conv(&mut graph, b, 4, 1);
    let y = graph.node(Concat { axis: 1 }, &[a, b], params());
    let program = lowered(&graph.finish(&[y]));
    let copies = calls(&program).iter().filter(|c| **c == "copy").count();
    assert_eq!(copies, 2, "{:?}", calls(&program));
}

#[test]
fn heads_of_a_detector_are_written_where_they_are_joined() {
    let mut graph = Graph::new(4);
    let x = graph.input(&[1, 3, 4, 4], params());
    let mut heads = vec![];
    for filters in [6, 12] {
        let head = conv(&mut graph, x, filters, 1);
        let perm = vec![0, 2, 3, 1];
        let head = graph.node(Transpose { perm }, &[head], params());
        let rows = filters / 3 * 16;
        let shape = vec![1, rows, 3];
        heads.push(graph.node(Reshape { shape }, &[head], params()));
    }
    let y = graph.node(Concat { axis: 1 }, &heads, params());
    let program = lowered(&graph.finish(&[y]));
    assert_eq!(calls(&program), ["copy", "sums", "sums"]);
}

#[test]
fn functions_of_one_number_need_one_buffer() {
    let mut graph = Graph::new(5);
    let mut x = graph.input(&[1000], params());
    for function in [Function::Abs, Function::Sigmoid, Function::Neg] {
        x = graph.node(Unary { function }, &[x], params());
    }
    let program = lowered(&graph.finish(&[x]));
    // The input is the caller's and only read; the last result is written to the caller.
    assert_eq!(program.calls.len(), 3);
    // One buffer, and the bytes behind the last buffer that kernels may read.
    assert_eq!(program.arena_bytes, (1000usize + 64).next_multiple_of(32));
    assert!(matches!(program.calls[0].args[0], Slot::Input(0, 0)));
    assert!(matches!(program.calls[2].args[1], Slot::Output(0, 0)));
}

#[test]
fn inputs_may_lie_channels_last() {
    let mut graph = Graph::new(6);
    let x = graph.input(&[1, 3, 5, 7], params());
    let pool = Pool {
        kind: PoolKind::Max,
        kernel: [2, 2],
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        output: [4, 6],
    };
    let y = graph.node(pool, &[x], params());
    let model = graph.finish(&[y]);
    let target = Target::load("x86_64-avx2").expect("the machine is known");
    let options = Options {
        channels_last_input: true,
        ..Options::default()
    };
    let program = lower::lower(&model, &target, &options).expect("the model can be lowered");
    assert_eq!(program.inputs[0].ty.shape, [1, 5, 7, 3]);
    assert_eq!(program.inputs[0].scalar, Scalar::U8);
    assert_eq!(calls(&program), ["max", "copy"]);
}

#[test]
fn a_result_is_written_over_rows_that_are_read_no_more() {
    let mut graph = Graph::new(8);
    let x = graph.input(&[1, 3, 32, 32], params());
    let a = conv(&mut graph, x, 16, 1);
    let pool = Pool {
        kind: PoolKind::Max,
        kernel: [3, 3],
        strides: [1, 1],
        pads: Pads::default(),
        dilations: [1, 1],
        output: [30, 30],
    };
    let b = graph.node(pool, &[a], params());
    let c = conv(&mut graph, b, 16, 1);
    let program = lowered(&graph.finish(&[c]));
    let (whole, row) = (32 * 32 * 16, 32 * 16);
    // The input as pixels of three channels, or two images of sixteen, of which one lies over the other but for rows.
    let most = whole + 3 * row + 64;
    assert!(
        program.arena_bytes < most,
        "{} of {most}",
        program.arena_bytes
    );
    assert!(program.calls.iter().any(|call| call.overlaps));
}
