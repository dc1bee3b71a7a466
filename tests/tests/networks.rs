//! Random networks: whatever shares memory, lies in another layout or has a halo, the lowered program
//! computes what the integer evaluator does, bit for bit, on every machine.

use proptest::prelude::*;
use qcc_compiler::ir::{Clamp, Model, QuantParams, TensorId};
use qcc_compiler::ops::{
    Binary, BinaryFunction, Concat, Conv, Function, MatMul, Nearest, Op, PRelu, Pad, PadMode, Pool,
    PoolKind, Reshape, Resize, ResizeMode, Slice, Softmax, Transpose, Unary,
};
use qcc_tests::graph::{Graph, around, check};

/// Draws nodes over tensors so far; a draw that fits no tensor adds nothing.
struct Network {
    graph: Graph,
    tensors: Vec<TensorId>,
}

impl Network {
    fn new(seed: u64) -> Network {
        let mut graph = Graph::new(seed);
        let image = |graph: &mut Graph| {
            let extent = |graph: &mut Graph, n| 1 + graph.random.below(n);
            [1, extent(graph, 9), extent(graph, 5), extent(graph, 5)]
        };
        let mut tensors = vec![];
        for _ in 0..2 {
            let (shape, params) = (image(&mut graph), graph.params());
            tensors.push(graph.input(&shape, params));
        }
        Network { graph, tensors }
    }

    fn any(&mut self) -> TensorId {
        // Recent tensors are drawn more often, so that networks grow deep.
        let count = self.tensors.len();
        let recent = count.min(4);
        match self.graph.random.below(3) {
            0 => self.tensors[self.graph.random.below(count)],
            _ => self.tensors[count - 1 - self.graph.random.below(recent)],
        }
    }

    fn add(&mut self, op: impl Into<Op>, operands: &[TensorId], params: QuantParams) {
        let op = op.into();
        let types: Vec<_> = operands
            .iter()
            .map(|id| Some(&self.graph.model[*id].ty))
            .collect();
        if op
            .infer(&types)
            .is_ok_and(|ty| ty.len() <= 2000 && !ty.is_empty())
        {
            let y = self.graph.node(op, operands, params);
            self.tensors.push(y);
        }
    }

    fn grow(&mut self, which: u8) {
        let x = self.any();
        let (shape, same) = (self.graph.shape(x), self.graph.params_of(x));
        match which {
            0 | 1 => self.conv(x, &shape),
            2 => self.pool(x, &shape, same),
            3 => self.unary(x, same),
            4 => self.binary(x, &shape),
            5 | 6 => self.concat(x, &shape, same),
            7 => self.slice(x, &shape, same),
            8 => self.reshape(x, &shape, same),
            9 => {
                let perm = match shape.len() {
                    4 => [vec![0, 2, 3, 1], vec![0, 3, 1, 2]][self.graph.random.below(2)].clone(),
                    rank => (0..rank).rev().collect(),
                };
                self.add(Transpose { perm }, &[x], same);
            }
            10 => {
                let around =
                    |graph: &mut Graph| shape.iter().map(|_| graph.random.below(2)).collect();
                let (before, after) = (around(&mut self.graph), around(&mut self.graph));
                let mode = PadMode::Constant(0.0);
                self.add(
                    Pad {
                        before,
                        after,
                        mode,
                    },
                    &[x],
                    same,
                );
            }
            11 => self.resize(x, &shape, same),
            12 if self.graph.random.below(2) == 0 => {
                let slope = self
                    .graph
                    .reals(&[shape[shape.len().min(4) - 1], 1, 1], -1.0, 1.0);
                let params = self.graph.params();
                self.add(PRelu, &[x, slope], params);
            }
            12 => {
                let axis = self.graph.random.below(shape.len());
                let params = QuantParams::per_tensor(same.int, 1.0 / 256.0, same.int.min() as i32);
                self.add(Softmax { axis }, &[x], params);
            }
            _ => {
                let k = shape[shape.len() - 1];
                let n = 1 + self.graph.random.below(9);
                let b = self.graph.weights(&[k, n], 1);
                let (activation, params) = (Clamp::RELU, self.graph.params());
                self.add(MatMul { activation }, &[x, b], params);
            }
        }
    }

    fn conv(&mut self, x: TensorId, shape: &[usize]) {
        if shape.len() != 4 {
            return;
        }
        let random = &mut self.graph.random;
        let k = 1 + 2 * random.below(2);
        let (pad, stride) = (random.below(k.min(2) + 1).min(k / 2), 1 + random.below(2));
        let depthwise = random.below(3) == 0;
        let filters = if depthwise {
            shape[1]
        } else {
            1 + random.below(9)
        };
        let (groups, depth) = if depthwise {
            (shape[1], 1)
        } else {
            (1, shape[1])
        };
        let w = self.graph.weights(&[filters, depth, k, k], 0);
        let op = Conv {
            strides: [stride, stride],
            pads: around(pad),
            dilations: [1, 1],
            groups,
            activation: Clamp::NONE,
        };
        let params = self.graph.params();
        self.add(op, &[x, w], params);
    }

    fn pool(&mut self, x: TensorId, shape: &[usize], same: QuantParams) {
        if shape.len() != 4 {
            return;
        }
        let max = self.graph.random.below(2) == 0;
        let pad = self.graph.random.below(2);
        let extent = |axis: usize| (shape[axis] + 2 * pad).saturating_sub(3) / 2 + 1;
        let op = Pool {
            kind: match max {
                true => PoolKind::Max,
                false => PoolKind::Average {
                    count_include_pad: false,
                },
            },
            kernel: [3, 3],
            strides: [2, 2],
            pads: around(pad),
            dilations: [1, 1],
            output: [extent(2), extent(3)],
        };
        let params = if max { same } else { self.graph.params() };
        self.add(op, &[x], params);
    }

    fn unary(&mut self, x: TensorId, same: QuantParams) {
        let fresh = self.graph.params();
        let params = [same, fresh][self.graph.random.below(2)].clone();
        let function = [Function::Abs, Function::Sigmoid][self.graph.random.below(2)];
        self.add(Unary { function }, &[x], params);
    }

    fn binary(&mut self, x: TensorId, shape: &[usize]) {
        let alike: Vec<_> = self
            .tensors
            .iter()
            .copied()
            .filter(|id| self.graph.shape(*id) == shape)
            .collect();
        let other = alike[self.graph.random.below(alike.len())];
        let functions = [
            BinaryFunction::Add,
            BinaryFunction::Mul,
            BinaryFunction::Max,
        ];
        let function = functions[self.graph.random.below(3)];
        let params = self.graph.params();
        self.add(
            Binary {
                function,
                activation: Clamp::NONE,
            },
            &[x, other],
            params,
        );
    }

    /// Joins tensors of like shapes; some have the result's parameters, some need not.
    fn concat(&mut self, x: TensorId, shape: &[usize], same: QuantParams) {
        let axis = if shape.len() == 4 && self.graph.random.below(3) > 0 {
            1
        } else {
            self.graph.random.below(shape.len())
        };
        let mut operands = vec![x];
        for _ in 0..1 + self.graph.random.below(3) {
            let other = self.any();
            let other_shape = self.graph.shape(other);
            let fits = other_shape.len() == shape.len()
                && (0..shape.len()).all(|a| a == axis || other_shape[a] == shape[a]);
            if !fits {
                continue;
            }
            // A copy in the result's parameters can be written in place.
            if self.graph.random.below(2) == 0 {
                let before = self.tensors.len();
                self.add(
                    Unary {
                        function: Function::Neg,
                    },
                    &[other],
                    same.clone(),
                );
                operands.extend(self.tensors.get(before));
            } else {
                operands.push(other);
            }
        }
        self.add(Concat { axis }, &operands, same);
    }

    fn slice(&mut self, x: TensorId, shape: &[usize], same: QuantParams) {
        let axis = self.graph.random.below(shape.len());
        let (mut starts, mut result) = (vec![0; shape.len()], shape.to_vec());
        starts[axis] = self.graph.random.below(shape[axis]);
        result[axis] = 1 + self.graph.random.below(shape[axis] - starts[axis]);
        let op = Slice {
            starts,
            steps: vec![1; shape.len()],
            shape: result,
        };
        self.add(op, &[x], same);
    }

    fn reshape(&mut self, x: TensorId, shape: &[usize], same: QuantParams) {
        let count: usize = shape.iter().product();
        let divisors: Vec<_> = (1..=count).filter(|n| count.is_multiple_of(*n)).collect();
        let first = divisors[self.graph.random.below(divisors.len())];
        let result = match self.graph.random.below(3) {
            0 => vec![1, first, count / first, 1],
            1 => vec![1, 1, first, count / first],
            _ => vec![first, count / first],
        };
        self.add(Reshape { shape: result }, &[x], same);
    }

    fn resize(&mut self, x: TensorId, shape: &[usize], same: QuantParams) {
        if shape.len() != 4 {
            return;
        }
        let op = Resize {
            mode: ResizeMode::Nearest(Nearest::Floor),
            coordinates: qcc_compiler::ops::Coordinates::Asymmetric,
            scales: [2.0, 2.0],
            output: [shape[2] * 2, shape[3] * 2],
        };
        self.add(op, &[x], same);
    }

    fn finish(mut self) -> Model {
        let count = self.tensors.len();
        let mut outputs = vec![self.tensors[count - 1]];
        for _ in 0..self.graph.random.below(3) {
            outputs.push(self.tensors[self.graph.random.below(count)]);
        }
        self.graph.finish(&outputs)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn networks(nodes in prop::collection::vec(0u8..14, 1..16), seed in any::<u64>()) {
        let mut network = Network::new(seed);
        for which in nodes {
            network.grow(which);
        }
        check(&network.finish(), seed, 3).map_err(TestCaseError::fail)?;
    }
}
