//! What the frames of both languages say about a program's inputs and outputs.

use super::unique;
use crate::ir::Elem;
use crate::kernel::{Port, Program, Scalar, Slot, identifier};

/// An input or output as a frame describes it.
pub(super) struct Described {
    /// The parameter: `input`, or `input_NAME` where there are several.
    pub parameter: String,
    /// The name in the model.
    pub name: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Number of elements.
    pub len: usize,
    /// Element type.
    pub scalar: Scalar,
    /// Real distance of two neighbouring integers.
    pub scale: f32,
    /// The integer that stands for 0.0.
    pub zero_point: i32,
    /// Smallest integer in use, where quantized.
    pub low: i64,
    /// Largest integer in use, where quantized.
    pub high: i64,
    /// Whether the integers stand for reals.
    pub quantized: bool,
    /// Whether the elements are reals themselves.
    pub real: bool,
}

impl Described {
    /// Bytes of the port's integers, up to a multiple of 8.
    pub(super) fn room(&self) -> usize {
        if self.real {
            return 0;
        }
        (self.len * self.scalar.bytes()).next_multiple_of(8)
    }
}

/// The inputs and the outputs of a program.
pub(super) fn describe(program: &Program) -> (Vec<Described>, Vec<Described>) {
    let inputs = described("input", &program.inputs);
    let outputs = described("output", &program.outputs);
    (inputs, outputs)
}

fn described(side: &str, ports: &[Port]) -> Vec<Described> {
    let mut names: Vec<String> = vec![];
    for port in ports {
        let name = match ports.len() {
            1 => side.to_string(),
            _ => format!("{side}_{}", identifier(&port.name, "port")),
        };
        names.push(unique(name, &names));
    }
    names.into_iter().zip(ports).map(describe_one).collect()
}

fn describe_one((parameter, port): (String, &Port)) -> Described {
    let (scale, zero_point, low, high, quantized) = match &port.ty.elem {
        Elem::Quantized(params) => {
            let (scale, zero_point) = params.uniform();
            let (low, high) = (i64::from(params.low), i64::from(params.high));
            (scale, zero_point, low, high, true)
        }
        _ => (1.0, 0, i64::MIN, i64::MAX, false),
    };
    Described {
        parameter,
        name: port.name.clone(),
        shape: port.ty.shape.clone(),
        len: port.ty.len(),
        scalar: port.scalar,
        scale,
        zero_point,
        low,
        high,
        quantized,
        real: port.ty.elem == Elem::Float,
    }
}

/// The parameters of `run` that no call is given.
pub(super) fn unused(program: &Program) -> Vec<Described> {
    let given: Vec<Slot> = program.calls.iter().flat_map(|c| c.args.clone()).collect();
    let reads = |i| {
        given
            .iter()
            .any(|s| matches!(s, Slot::Input(j, _) if *j == i))
    };
    let writes = |i| {
        given
            .iter()
            .any(|s| matches!(s, Slot::Output(j, _) if *j == i))
    };
    let (inputs, outputs) = describe(program);
    let inputs = inputs.into_iter().enumerate().filter(|(i, _)| !reads(*i));
    let outputs = outputs.into_iter().enumerate().filter(|(i, _)| !writes(*i));
    inputs.chain(outputs).map(|(_, p)| p).collect()
}

/// The variable of `run` that a slot lies in, its elements, and how many of them lie before the slot.
pub(super) fn place<'a>(
    slot: Slot,
    inputs: &'a [Described],
    outputs: &'a [Described],
) -> (&'a str, Scalar, usize) {
    match slot {
        Slot::Arena(offset) => ("memory", Scalar::U8, offset),
        Slot::Input(i, offset) => (&inputs[i].parameter, inputs[i].scalar, offset),
        Slot::Output(i, offset) => (&outputs[i].parameter, outputs[i].scalar, offset),
    }
}
