//! TFLite's numerics: kernels against the integer evaluator, networks against LiteRT's reference kernels.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use qcc_compiler::ir::{Clamp, IntType, Numerics, QuantParams, TensorId};
use qcc_compiler::ops::{
    Binary, BinaryFunction, Conv, Function, MatMul, Op, Pool, PoolKind, Reduce, Reduction, Softmax,
    Unary,
};
use qcc_tests::command::{Run, binary, model, qcc};
use qcc_tests::graph::{Graph, around, check};
use qcc_tests::trained::{python, root, shared, skipped};

const CLAMPS: [Clamp; 3] = [Clamp::NONE, Clamp::RELU, Clamp { min: 0.0, max: 6.0 }];

/// One operator of TFLite's over a drawn operand.
struct Draw {
    graph: Graph,
    int: IntType,
}

impl Draw {
    fn new(seed: u64) -> Draw {
        let mut graph = Graph::new(seed);
        graph.model.numerics = Numerics::Tflite;
        let int = [IntType::I8, IntType::U8][graph.random.below(2)];
        Draw { graph, int }
    }

    fn params(&mut self) -> QuantParams {
        let (low, high) = (self.int.min() as i32, self.int.max() as i32);
        let zero_point = self.graph.random.within(low, high);
        let scale = self.graph.random.within(1, 1000) as f32 * 1.234e-4;
        QuantParams::per_tensor(self.int, scale, zero_point)
    }

    fn clamp(&mut self) -> Clamp {
        CLAMPS[self.graph.random.below(3)]
    }

    fn image(&mut self) -> (TensorId, [usize; 4]) {
        let mut extent = |n| 1 + self.graph.random.below(n);
        let shape = [1, extent(40), extent(9), extent(9)];
        let params = self.params();
        (self.graph.input(&shape, params), shape)
    }

    fn conv(&mut self) -> TensorId {
        let (x, shape) = self.image();
        let depthwise = self.graph.random.below(2) == 0;
        let k = [1, 3][self.graph.random.below(2)];
        let pad = k / 2;
        let (filters, groups, depth) = match depthwise {
            true => (shape[1], shape[1], 1),
            false => (1 + self.graph.random.below(20), 1, shape[1]),
        };
        let w = self.graph.weights(&[filters, depth, k, k], 0);
        let op = Conv {
            strides: [1 + self.graph.random.below(2); 2],
            pads: around(pad),
            dilations: [1, 1],
            groups,
            activation: self.clamp(),
        };
        let params = self.params();
        self.graph.node(op, &[x, w], params)
    }

    fn dense(&mut self) -> TensorId {
        let (rows, depth) = (
            1 + self.graph.random.below(3),
            1 + self.graph.random.below(70),
        );
        let columns = 1 + self.graph.random.below(40);
        let params = self.params();
        let x = self.graph.input(&[rows, depth], params);
        let w = self.graph.weights(&[depth, columns], 1);
        let activation = self.clamp();
        let params = self.params();
        self.graph.node(MatMul { activation }, &[x, w], params)
    }

    fn add(&mut self) -> TensorId {
        let (a, shape) = self.image();
        let params = self.params();
        let b = self.graph.input(&shape, params);
        let op = Binary {
            function: BinaryFunction::Add,
            activation: self.clamp(),
        };
        let largest = [a, b].map(|id| self.graph.params_of(id).uniform().0);
        let params = self.params();
        // TFLite's factors are below 1 only where the result's steps are not much smaller than the operands'.
        let scale = params.uniform().0.max(largest[0].max(largest[1]) / 100.0);
        let params = QuantParams::per_tensor(self.int, scale, params.uniform().1);
        self.graph.node(op, &[a, b], params)
    }

    fn pool(&mut self) -> TensorId {
        let (x, shape) = self.image();
        let whole = self.graph.random.below(2) == 0 || shape[2].min(shape[3]) < 3;
        let pad = usize::from(!whole && self.graph.random.below(2) == 0);
        let kernel = if whole { [shape[2], shape[3]] } else { [3, 3] };
        let extent = |axis: usize| shape[axis] + 2 * pad - kernel[axis - 2] + 1;
        let op = Pool {
            kind: PoolKind::Average {
                count_include_pad: false,
            },
            kernel,
            strides: [1, 1],
            pads: around(pad),
            dilations: [1, 1],
            output: [extent(2), extent(3)],
        };
        let params = match whole && self.graph.random.below(2) == 0 {
            true => self.params(),
            false => self.graph.params_of(x),
        };
        self.graph.node(op, &[x], params)
    }

    fn mean(&mut self) -> TensorId {
        let (x, _) = self.image();
        let op = Reduce {
            reduction: Reduction::Mean,
            axes: [vec![2, 3], vec![1]][self.graph.random.below(2)].clone(),
            keep_axes: true,
        };
        let params = self.params();
        self.graph.node(op, &[x], params)
    }

    fn softmax(&mut self) -> TensorId {
        let shape = [
            1 + self.graph.random.below(3),
            1 + self.graph.random.below(1200),
        ];
        let params = self.params();
        let x = self.graph.input(&shape, params);
        let result = QuantParams::per_tensor(self.int, 1.0 / 256.0, self.int.min() as i32);
        self.graph.node(Softmax { axis: 1 }, &[x], result)
    }

    fn clamped(&mut self) -> TensorId {
        let (x, _) = self.image();
        let function = Function::Clamp(self.clamp());
        let op: Op = Unary { function }.into();
        let params = self.params();
        self.graph.node(op, &[x], params)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn kernels(which in 0u8..8, seed in any::<u64>()) {
        let mut draw = Draw::new(seed);
        let y = match which {
            0 | 1 => draw.conv(),
            2 => draw.dense(),
            3 => draw.add(),
            4 => draw.pool(),
            5 => draw.mean(),
            6 => draw.softmax(),
            _ => draw.clamped(),
        };
        check(&draw.graph.finish(&[y]), seed, 3).map_err(TestCaseError::fail)?;
    }
}

/// A command on the digits network, with its samples.
fn digits(command: &str, more: &[&str]) -> Run {
    let [network, samples] = ["digits.onnx", "digits.npz"].map(model);
    let all = [command, &network, "--calibrate", &samples];
    qcc(Path::new("."), &[&all[..], more].concat())
}

#[test]
fn emitted_programs_compute_it_and_say_so() {
    let tflite = ["--numerics", "tflite", "--target", "x86_64-avx2"];
    let run = digits("verify", &[&tflite[..], &["--samples", "3"]].concat());
    assert_eq!(run.code, 0, "{run:?}");
    let run = digits(
        "compile",
        &[&tflite[..], &["--lang", "c", "-o", "-"]].concat(),
    );
    let [header, all] = [12, usize::MAX].map(|n| run.stdout.lines().take(n).collect::<String>());
    assert!(header.contains("--numerics tflite"), "{header}");
    assert!(
        all.contains("scale_twice(") && !all.contains("cvtps"),
        "{run:?}"
    );
}

#[test]
fn what_has_no_such_arithmetic_is_refused_by_name() {
    let run = digits(
        "eval",
        &[
            "--numerics",
            "tflite",
            "--precision",
            "w8a16",
            "--data",
            "x.npz",
        ],
    );
    assert_ne!(run.code, 0, "{run:?}");
    assert!(
        run.stderr.contains("(Conv)") && run.stderr.contains("more than 8 bits"),
        "{run:?}"
    );
    let run = digits("eval", &["--numerics", "gemmlowp", "--data", "x.npz"]);
    assert!(run.stderr.contains("there are onnx and tflite"), "{run:?}");
}

#[test]
fn networks_equal_litert() {
    let script = root().join("compare").join("tflite.py");
    if !shared().join("tflite").exists() {
        return skipped("networks of TFLite: $QCC_MODELS has none");
    }
    let mut command = Command::new(python());
    command
        .arg("-c")
        .arg("import ai_edge_litert.interpreter, PIL, onnx");
    if !command.output().is_ok_and(|output| output.status.success()) {
        return skipped("networks of TFLite: python has no ai-edge-litert");
    }
    for (via, target, limit) in [("integer", "generic", "4"), ("c", "x86_64-avx2", "2")] {
        let mut command = Command::new(python());
        command.arg(&script).arg("--qcc").arg(binary());
        command.args(["--via", via, "--target", target, "--limit", limit]);
        command.args(
            std::env::var("QCC_NETWORKS")
                .unwrap_or_default()
                .split_whitespace(),
        );
        let output = command.output().expect("python starts");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(2)
            .map(|row| row.split(" | ").collect())
            .collect();
        assert!(!rows.is_empty() || std::env::var_os("QCC_NETWORKS").is_some());
        for row in rows {
            assert_eq!(row[3], "0", "{via} {target}: {row:?}");
        }
    }
}
