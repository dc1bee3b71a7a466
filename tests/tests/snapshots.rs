//! What emitted files look like: a network with a kernel of each common family, to be read in review.
//!
//! `cargo insta review`, or `INSTA_UPDATE=always cargo test -p qcc-tests --test snapshots`, accepts what changed.

use qcc_compiler::backend::Header;
use qcc_compiler::ir::{Clamp, IntType, Model, QuantParams};
use qcc_compiler::lower::{self, Options};
use qcc_compiler::ops::{Binary, BinaryFunction, Conv, Pads, Pool, PoolKind};
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::Target;
use qcc_tests::graph::Graph;

/// Pointwise with ReLU, depthwise 3×3, their sum, an average over 2×2.
fn network() -> Model {
    let mut graph = Graph::new(2);
    let params = |scale, zero_point| QuantParams::per_tensor(IntType::U8, scale, zero_point);
    let conv = |groups, border, activation| Conv {
        strides: [1, 1],
        pads: Pads {
            top: border,
            left: border,
            bottom: border,
            right: border,
        },
        dilations: [1, 1],
        groups,
        activation,
    };
    let x = graph.input(&[1, 3, 4, 4], params(0.05, 128));
    let w = graph.weights(&[8, 3, 1, 1], 0);
    let pointwise = graph.node(conv(1, 0, Clamp::RELU), &[x, w], params(0.0197, 0));
    let w = graph.weights(&[8, 1, 3, 3], 0);
    let depthwise = conv(8, 1, Clamp::NONE);
    let depthwise = graph.node(depthwise, &[pointwise, w], params(0.0311, 120));
    let add = Binary {
        function: BinaryFunction::Add,
        activation: Clamp::NONE,
    };
    let sum = graph.node(add, &[pointwise, depthwise], params(0.0423, 100));
    let pool = Pool {
        kind: PoolKind::Average {
            count_include_pad: false,
        },
        kernel: [2, 2],
        strides: [2, 2],
        pads: Pads::default(),
        dilations: [1, 1],
        output: [2, 2],
    };
    let y = graph.node(pool, &[sum], params(0.0423, 100));
    let names = ["pointwise", "depthwise", "sum", "pool"];
    for (node, name) in graph.model.nodes.iter_mut().zip(names) {
        node.name = name.into();
    }
    graph.finish(&[y])
}

#[test]
fn emitted_files() {
    let model = network();
    let header = Header {
        model: "network.onnx".into(),
        version: "0".into(),
        ..Header::default()
    };
    for name in ["atmega328p", "generic", "x86_64-avx2"] {
        let target = Target::load(name).expect("a machine of the list");
        let mut program = lower::lower(&model, &target, &Options::default()).expect("it lowers");
        program.name = "network".into();
        for language in target.languages.clone() {
            let source = pipeline::print(&program, &target, language, &header);
            let files = match source {
                Source::Rust(text) => vec![("rs", text)],
                Source::C(c) => vec![("h", c.header), ("c", c.source)],
            };
            for (extension, text) in files {
                insta::assert_snapshot!(format!("{name}.{extension}"), text);
            }
        }
    }
}
