//! Small quantized models made by hand, and the comparison of what they become with what they mean.

use qcc_compiler::integer;
use qcc_compiler::ir::{
    Array, Data, Elem, Granularity, IntType, Model, Node, QuantParams, TensorId, Type, verify,
};
use qcc_compiler::kernel::{Call, Port, Scalar, Work, interp};
use qcc_compiler::lower::{self, Options};
use qcc_compiler::ops::{Dequantize, Op, Pads, Quantize, Scales};
use qcc_compiler::target::{self, Target};

/// So many rows and columns on every side.
pub fn around(pad: usize) -> Pads {
    Pads {
        top: pad,
        left: pad,
        bottom: pad,
        right: pad,
    }
}

/// Numbers that repeat for a seed (SplitMix64, shortened).
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 29)
    }

    /// A number between limits, both included.
    pub fn within(&mut self, low: i32, high: i32) -> i32 {
        low + (self.bits() % (high - low + 1) as u64) as i32
    }

    /// Parameters of weights with a scale for each of `channels` indices along `axis`, and zero points unless
    /// symmetric.
    pub fn weights(
        &mut self,
        int: IntType,
        channels: usize,
        axis: usize,
        symmetric: bool,
    ) -> QuantParams {
        let scales: Vec<f32> = (0..channels)
            .map(|_| self.within(1, 100) as f32 * 2e-5)
            .collect();
        if symmetric {
            return QuantParams::symmetric_per_channel(int, axis, scales);
        }
        let (low, high) = (int.min() as i32, int.max() as i32);
        let zero_points = (0..channels).map(|_| self.within(low, high)).collect();
        let map = Granularity::PerChannel {
            axis,
            scales,
            zero_points,
        };
        QuantParams {
            int,
            low,
            high,
            map,
        }
    }

    /// A type of activations: of 8 bits mostly.
    pub fn activation(&mut self) -> IntType {
        let signed = self.below(2) == 1;
        let bits = [8, 8, 16][self.below(3)];
        IntType { bits, signed }
    }

    /// An index below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }
}

/// A quantized model under construction.
pub struct Graph {
    /// Nodes so far.
    pub model: Model,
    /// Draws parameters and constants.
    pub random: Random,
}

impl Graph {
    /// A model without nodes.
    pub fn new(seed: u64) -> Graph {
        Graph {
            model: Model::new("graph"),
            random: Random(seed),
        }
    }

    /// Parameters of an activation of 8 or 16 bits, any zero point.
    pub fn params(&mut self) -> QuantParams {
        let int = self.random.activation();
        let zero_point = self.random.within(int.min() as i32, int.max() as i32);
        let scale = self.random.within(1, 100) as f32 * 0.256 / (1u32 << int.bits) as f32;
        QuantParams::per_tensor(int, scale, zero_point)
    }

    /// The parameters that a tensor has.
    pub fn params_of(&self, id: TensorId) -> QuantParams {
        match &self.model[id].ty.elem {
            Elem::Quantized(params) => params.clone(),
            other => panic!("not quantized: {other:?}"),
        }
    }

    /// Shape of a tensor.
    pub fn shape(&self, id: TensorId) -> Vec<usize> {
        self.model[id].ty.shape.clone()
    }

    /// An input of the model.
    pub fn input(&mut self, shape: &[usize], params: QuantParams) -> TensorId {
        let id = self.model.add_tensor("x", typed(shape, params), None);
        self.model.inputs.push(id);
        id
    }

    /// An input of the model that takes reals.
    pub fn real_input(&mut self, shape: &[usize]) -> TensorId {
        let id = self.model.add_tensor("x", Type::float(shape), None);
        self.model.inputs.push(id);
        id
    }

    /// The integers of reals.
    pub fn quantize(&mut self, x: TensorId, params: QuantParams) -> TensorId {
        let op = Quantize {
            int: params.int,
            scales: Scales::One,
        };
        let [scale, zero_point] = self.scale(&params);
        self.node(op, &[x, scale, zero_point], params)
    }

    /// The reals of integers.
    pub fn dequantize(&mut self, x: TensorId) -> TensorId {
        let [scale, zero_point] = self.scale(&self.params_of(x));
        let op = Dequantize {
            scales: Scales::One,
        };
        self.node_of(op, &[x, scale, zero_point], Elem::Float)
    }

    fn scale(&mut self, params: &QuantParams) -> [TensorId; 2] {
        let (scale, zero_point) = params.uniform();
        let ty = Type {
            shape: vec![],
            elem: Elem::Int(params.int),
        };
        let zero_point = Array::i64([], vec![zero_point.into()]);
        let scale = Array::f32([], vec![scale]);
        [
            self.model.add_tensor("s", Type::float([]), Some(scale)),
            self.model.add_tensor("z", ty, Some(zero_point)),
        ]
    }

    /// A constant activation.
    pub fn constant(&mut self, shape: &[usize], params: QuantParams) -> TensorId {
        let count = shape.iter().product::<usize>();
        let data = (0..count).map(|_| self.random.within(params.low, params.high));
        let value = Array::i32(shape, data.collect());
        self.model
            .add_tensor("c", typed(shape, params), Some(value))
    }

    /// Weights of a convolution or matrix product, with a scale for each index along `axis`.
    pub fn weights(&mut self, shape: &[usize], axis: usize) -> TensorId {
        let params = self.random.weights(IntType::I8, shape[axis], axis, true);
        self.constant(shape, params)
    }

    /// Weights of any type, with a scale and a zero point for each index along `axis`.
    pub fn weights_of(&mut self, int: IntType, shape: &[usize], axis: usize) -> TensorId {
        let params = self.random.weights(int, shape[axis], axis, false);
        self.constant(shape, params)
    }

    /// Weights of a product in floating point, with a scale for each block along an axis, and a zero point.
    pub fn weights_in_blocks(
        &mut self,
        shape: &[usize],
        axis: usize,
        size: usize,
        zero_points: bool,
    ) -> TensorId {
        let lines = shape.iter().product::<usize>() / shape[axis];
        let count = lines * shape[axis].div_ceil(size);
        let mut params = self.random.weights(IntType::I8, count, 0, !zero_points);
        if let Granularity::PerChannel {
            scales,
            zero_points,
            ..
        } = params.map
        {
            params.map = Granularity::Blocks {
                axis,
                size,
                scales,
                zero_points,
            };
        }
        self.constant(shape, params)
    }

    /// A constant of reals.
    pub fn reals(&mut self, shape: &[usize], low: f32, high: f32) -> TensorId {
        let count = shape.iter().product::<usize>();
        let step = (high - low) / 1000.0;
        let data = (0..count).map(|_| low + self.random.within(0, 1000) as f32 * step);
        let value = Array::f32(shape, data.collect());
        self.model.add_tensor("r", Type::float(shape), Some(value))
    }

    /// A node whose result has these parameters.
    pub fn node(
        &mut self,
        op: impl Into<Op>,
        operands: &[TensorId],
        params: QuantParams,
    ) -> TensorId {
        self.node_of(op, operands, Elem::Quantized(params))
    }

    /// A node whose result has these elements.
    pub fn node_of(&mut self, op: impl Into<Op>, operands: &[TensorId], elem: Elem) -> TensorId {
        let op = op.into();
        // Operators infer shapes of reals; quantization does not change them.
        let types: Vec<Type> = operands
            .iter()
            .map(|id| self.model[*id].ty.clone())
            .collect();
        let operand_types: Vec<_> = types.iter().map(Some).collect();
        let shape = op.infer(&operand_types).expect("the case is valid").shape;
        let output = self.model.add_tensor("t", Type { shape, elem }, None);
        self.model.nodes.push(Node {
            name: self.model[output].name.clone(),
            op,
            inputs: operands.iter().map(|id| Some(*id)).collect(),
            output,
        });
        output
    }

    /// The model with these outputs.
    pub fn finish(mut self, outputs: &[TensorId]) -> Model {
        self.model.outputs = outputs.to_vec();
        self.model.remove_dead();
        verify(&self.model).expect("the case is valid");
        self.model
    }
}

fn typed(shape: &[usize], params: QuantParams) -> Type {
    Type {
        shape: shape.to_vec(),
        elem: Elem::Quantized(params),
    }
}

/// Inputs of a model: the largest integers, the smallest, then random ones.
pub fn samples(model: &Model, seed: u64, count: usize) -> Vec<Vec<Array>> {
    let mut random = Random(seed);
    let mut sample = |kind: usize| -> Vec<Array> {
        let one = |id: &TensorId| {
            let ty = &model[*id].ty;
            if ty.elem == Elem::Float {
                let reals = (0..ty.len()).map(|_| real(&mut random, kind));
                return Array::f32(ty.shape.clone(), reals.collect());
            }
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
    (0..count).map(&mut sample).collect()
}

/// Large numbers, small ones, special ones among others, then common ones.
fn real(random: &mut Random, kind: usize) -> f32 {
    let common = random.within(-600_000, 600_000) as f32 * 1e-5;
    let special = [
        0.0,
        -0.0,
        f32::INFINITY,
        -f32::INFINITY,
        f32::NAN,
        1e-40,
        3e38,
    ];
    match kind {
        0 => common * 1e6,
        1 => common * 1e-30,
        2 if random.below(4) == 0 => special[random.below(special.len())],
        _ => common,
    }
}

/// An array in memory whose elements are of a type.
pub fn bytes(array: &Array, scalar: Scalar) -> Vec<u8> {
    let little = |x: i64| x.to_le_bytes().into_iter().take(scalar.bytes());
    match &array.data {
        Data::I32(v) => v.iter().flat_map(|v| little((*v).into())).collect(),
        Data::I64(v) => v.iter().flat_map(|v| little(*v)).collect(),
        // Which NaN an operation gives is left to the machine.
        Data::F32(v) => v.iter().flat_map(|x| number(*x).to_le_bytes()).collect(),
    }
}

/// Arrays in the memory of ports.
pub fn in_ports(arrays: &[Array], ports: &[Port]) -> Vec<Vec<u8>> {
    let pairs = arrays.iter().zip(ports);
    pairs
        .map(|(array, port)| bytes(array, port.scalar))
        .collect()
}

fn number(x: f32) -> f32 {
    if x.is_nan() { f32::NAN } else { x }
}

/// The bytes of outputs with one NaN for all.
pub fn numbers(model: &Model, outputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let real = |id: &TensorId| model[*id].ty.elem == Elem::Float;
    let each = model.outputs.iter().zip(outputs);
    let numbers = each.map(|(id, bytes)| match real(id) {
        true => {
            let (words, _) = bytes.as_chunks::<4>();
            let words = words.iter().map(|x| number(f32::from_le_bytes(*x)));
            words.flat_map(f32::to_le_bytes).collect()
        }
        false => bytes,
    });
    numbers.collect()
}

/// Checks that the lowered model computes what the evaluator does, bit for bit, on every machine, in operations that
/// can be counted; the error names the machine.
pub fn check(model: &Model, seed: u64, samples_each: usize) -> Result<(), String> {
    let samples = samples(model, seed, samples_each);
    let mut expected = vec![];
    for inputs in &samples {
        let outputs = integer::run(model, inputs).map_err(|e| e.to_string())?;
        expected.push(outputs);
    }
    for name in target::names() {
        let target = Target::load(name).map_err(|e| e.to_string())?;
        let program = lower::lower(model, &target, &Options::default());
        let program = program.map_err(|e| e.to_string())?;
        let idle = |call: &&Call| Work::of(call, &program, &target).total() == 0;
        if let Some(call) = program.calls.iter().find(idle) {
            return Err(format!(
                "{name}: no operations are counted of {}",
                call.layer
            ));
        }
        for (inputs, expected) in samples.iter().zip(&expected) {
            let inputs = in_ports(inputs, &program.inputs);
            let expected = in_ports(expected, &program.outputs);
            let found = numbers(model, interp::run(&program, &target, &inputs));
            if found != expected {
                return Err(format!("{name}: {found:?} instead of {expected:?}"));
            }
        }
    }
    check_in_parts(model, seed, &samples[samples.len() - 1], expected.last())
}

/// Checks the same of a machine whose kernels run in parts, the last one first, on one sample.
fn check_in_parts(
    model: &Model,
    seed: u64,
    inputs: &[Array],
    expected: Option<&Vec<Array>>,
) -> Result<(), String> {
    let names = target::names();
    let name = names[seed as usize % names.len()];
    let parts = [2, 3, 7][(seed >> 8) as usize % 3];
    let target = Target::load(name).map_err(|e| e.to_string())?;
    // With threads, no tensor lies over what is still read.
    let options = Options {
        threads: parts,
        ..Options::default()
    };
    let program = lower::lower(model, &target, &options);
    let mut program = program.map_err(|e| e.to_string())?;
    lower::share(&mut program, &target, parts, 0.0);
    let inputs = in_ports(inputs, &program.inputs);
    let found = interp::run_in_parts(&program, &target, &inputs, parts);
    match expected.map(|arrays| in_ports(arrays, &program.outputs)) {
        Some(expected) if numbers(model, found) != expected => {
            Err(format!("{name}: {parts} parts compute something else"))
        }
        _ => Ok(()),
    }
}
