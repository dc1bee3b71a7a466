//! Scale and zero point of each activation.

use super::groups::Groups;
use super::steps;
use super::{Activations, Options, Params};
use crate::ir::{Clamp, Elem, IntType, Model, Node, QuantParams, Range, TensorId};
use crate::ops::{Function, Op, PadMode, Unary};
use crate::passes::activation::activation;
use crate::passes::borders::Reals;
use crate::passes::intervals;
use crate::{Error, Result};

/// Parameters for every activation of reals. Fails where a range is missing, naming the tensors.
pub(super) fn params(model: &Model, options: &Options, reals: &Reals) -> Result<Params> {
    let activations = activations(model, reals);
    // A border asks for nothing: what it reads or writes has the form that the nodes beside it give.
    let integer = |node: &&Node| {
        let border = matches!(node.op, Op::Quantize(_) | Op::Dequantize(_));
        !border && !reals.contains(&node.output)
    };
    let missing = activations.iter().filter(|id| range(model, **id).is_none());
    let missing = missing.map(|id| {
        Error::new(format!(
            "the range of tensor `{}` is unknown",
            model[*id].name
        ))
        .hint("calibrate the model before quantizing it")
    });
    Error::collect(missing.collect::<Vec<_>>())?;

    let mut groups = Groups::new(model);
    for node in model.nodes.iter().filter(integer) {
        groups.constrain(model, node);
        for id in node.operands() {
            groups.at_least_bits(id, bits_of_operand(model, options, node, id));
        }
    }
    // What reads an output is no layer: it gets 8 bits at least.
    for node in model
        .nodes
        .iter()
        .filter(integer)
        .filter(|node| model.outputs.contains(&node.output))
    {
        groups.at_least_bits(node.output, bits(options, node).max(8));
    }
    for id in &activations {
        if let Some(range) = range(model, *id) {
            groups.widen(*id, with_margin(model, *id, range, groups.bits(*id)));
        }
    }
    for node in model.nodes.iter().filter(integer) {
        groups.unify_concat(model, node);
    }
    for node in model.nodes.iter().filter(integer) {
        if let Some(share) = least_width(model, &groups, node) {
            groups.at_least(
                node.output,
                share * (groups.bits(node.output) as f32).exp2(),
            );
        }
    }
    for id in &activations {
        let limit = steps::most(model, options, *id, groups.range(*id));
        groups.at_most_steps(*id, limit);
    }
    let params = |id: &TensorId| {
        let int = options.int(groups.bits(*id));
        let steps = ((1 << groups.bits(*id)) - 1).min(groups.steps(*id));
        let params = match groups.is_fixed(*id) {
            true => fixed_shares(int, steps),
            false => of_range(groups.range(*id), int, steps),
        };
        (*id, params)
    };
    Ok(activations.iter().map(params).collect())
}

/// Bits that a node asks its operands for.
fn bits(options: &Options, node: &Node) -> u8 {
    match options.scheme(node).activations {
        Activations::Integers { bits } => bits,
        Activations::Float => 8,
    }
}

/// Bits that a node asks an operand for: the input of a network has 8 at least, but where the node is named.
fn bits_of_operand(model: &Model, options: &Options, node: &Node, id: TensorId) -> u8 {
    let bits = bits(options, node);
    match model.inputs.contains(&id) && !options.names(node) {
        true => bits.max(8),
        false => bits,
    }
}

/// Inputs and results that are reals as yet.
fn activations(model: &Model, reals: &Reals) -> Vec<TensorId> {
    let results = model.nodes.iter().map(|node| node.output);
    let all = model.inputs.iter().copied().chain(results);
    let float = |id: &TensorId| model[*id].ty.elem == Elem::Float && !reals.contains(id);
    all.filter(float).collect()
}

/// The range to represent: what is known of the function, else what was annotated.
pub(super) fn range(model: &Model, id: TensorId) -> Option<Range> {
    let producer = model.producer(id).map(|position| &model.nodes[position]);
    producer.and_then(known_range).or(model[id].range)
}

/// The range for so many bits: with 16 there are steps to spare for what the samples have not shown, so what a
/// layer computes may be twice as large, within the layer's own limits.
fn with_margin(model: &Model, id: TensorId, range: Range, bits: u8) -> Range {
    let Some(node) = model.producer(id).map(|position| &model.nodes[position]) else {
        return range;
    };
    if bits < 16 || known_range(node).is_some() || node.op.moves() {
        return range;
    }
    let Clamp { min, max } = activation(&node.op).unwrap_or(Clamp::NONE);
    let twice = Range {
        min: (2.0 * range.min).max(min),
        max: (2.0 * range.max).min(max),
    };
    range.union(twice)
}

/// Functions that fill a known interval keep it, so that inputs beyond the samples are not cut.
fn known_range(node: &Node) -> Option<Range> {
    let Op::Unary(Unary { function }) = node.op else {
        return None;
    };
    match function {
        Function::Sigmoid | Function::HardSigmoid { .. } => Some(Range { min: 0.0, max: 1.0 }),
        Function::Tanh | Function::Erf | Function::Softsign => Some(Range {
            min: -1.0,
            max: 1.0,
        }),
        _ => None,
    }
}

/// The shares of a softmax: with 255 steps 1/256 each, from the smallest integer.
fn fixed_shares(int: IntType, steps: i32) -> QuantParams {
    let (low, high) = limits(int, steps);
    QuantParams {
        low,
        high,
        ..QuantParams::per_tensor(int, 1.0 / (steps + 1) as f32, low)
    }
}

/// The integers of a type that are in use when a range has so many steps: all, or fewer about its middle.
fn limits(int: IntType, steps: i32) -> (i32, i32) {
    let low = match int.signed {
        true => -((steps + 1) / 2),
        false => 0,
    };
    (low, low + steps)
}

/// Scale and zero point for a range of so many steps: widened to hold 0, and shifted so that 0 is an integer
/// (whitepaper §2.1).
pub(super) fn of_range(range: Range, int: IntType, steps: i32) -> QuantParams {
    let (min, max) = (range.min.min(0.0), range.max.max(0.0));
    let (low, high) = limits(int, steps);
    let steps = steps as f32;
    let scale = (max / steps - min / steps).max(SMALLEST_SCALE);
    let zero_point = low as f32 - (min / scale).round_ties_even();
    let zero_point = zero_point.clamp(low as f32, high as f32) as i32;
    QuantParams {
        low,
        high,
        ..QuantParams::per_tensor(int, scale, zero_point)
    }
}

/// Keeps quotients of scales finite; a tensor of zeros has this one.
const SMALLEST_SCALE: f32 = 1e-12;

/// The narrowest range of a result for which no sum, scaled to it, leaves 31 bits, divided by its number of steps.
fn least_width(model: &Model, groups: &Groups, node: &Node) -> Option<f32> {
    let reach = |range: Range| range.min.abs().max(range.max.abs());
    let operand = |i: usize| {
        let id = node.inputs.get(i).copied().flatten()?;
        match &model[id].value {
            Some(array) => intervals::of_array(array).map(reach),
            None => Some(reach(groups.range(id))),
        }
    };
    let largest = match &node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) => {
            let shape = &model.operand_type(node, 1)?.shape;
            // Products that one result sums, at most.
            let terms: usize = match node.op {
                Op::Conv(_) => shape[1..].iter().product(),
                Op::ConvTranspose(_) => shape[0] * shape[2] * shape[3],
                _ => shape[shape.len() - 2],
            };
            let residual = operand(3).unwrap_or(0.0);
            operand(0)? * operand(1)? * terms as f32 + operand(2).unwrap_or(0.0) + residual
        }
        Op::Binary(_) => (operand(0)? * operand(1)?).max(operand(0)? + operand(1)?),
        Op::Unary(_) | Op::Concat(_) => return None,
        Op::Pad(op) => match op.mode {
            PadMode::Constant(value) => value.abs(),
            _ => return None,
        },
        _ => operand(0)?,
    };
    // The sum in steps of the result stays below 2³⁰.
    Some(largest / (1u32 << 30) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv;
    use crate::passes::quantize::{LayerTexts, Texts};
    use crate::passes::testing::{Sketch, conv};

    fn uniform(min: f32, max: f32, int: IntType) -> (f32, i32) {
        of_range(Range { min, max }, int, 255).uniform()
    }

    #[test]
    fn zero_is_an_integer_of_every_range() {
        assert_eq!(uniform(0.0, 255.0, IntType::U8), (1.0, 0));
        assert_eq!(uniform(-128.0, 127.0, IntType::U8), (1.0, 128));
        assert_eq!(uniform(-128.0, 127.0, IntType::I8), (1.0, 0));
        // Widened to hold 0.
        assert_eq!(uniform(51.0, 255.0, IntType::U8), (1.0, 0));
        assert_eq!(uniform(-255.0, -51.0, IntType::U8), (1.0, 255));
        // Shifted by less than half a step.
        assert_eq!(uniform(-0.3, 254.7, IntType::U8), (1.0, 0));
    }

    #[test]
    fn fewer_steps_use_a_part_of_the_type() {
        let range = Range {
            min: -1.0,
            max: 2.0,
        };
        let limits = |int, steps| {
            let params = of_range(range, int, steps);
            (params.low, params.high, params.uniform().1)
        };
        assert_eq!(limits(IntType::U8, 15), (0, 15, 5));
        assert_eq!(limits(IntType::I8, 15), (-8, 7, -3));
        assert_eq!(limits(IntType::U8, 127), (0, 127, 42));
        assert_eq!(limits(IntType::I8, 127), (-64, 63, -22));
        assert_eq!(limits(IntType::I16, 65_535), (-32_768, 32_767, -10_923));
        assert_eq!(limits(IntType::I16, 30_000), (-15_000, 15_000, -5_000));
    }

    /// Two convolutions, the first with a ReLU6, over ranges of 0..4.
    fn model() -> (Model, [TensorId; 3]) {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 2, 2]);
        let op = Conv {
            activation: Clamp { min: 0.0, max: 6.0 },
            ..conv()
        };
        let a = sketch.conv("a", x, 2, 1, op);
        let y = sketch.conv("y", a, 2, 1, conv());
        let mut model = sketch.model(&[y]);
        let range = Range { min: 0.0, max: 4.0 };
        for id in [x, a, y] {
            model[id].range = Some(range);
        }
        (model, [x, a, y])
    }

    /// The parameters of its input and its results.
    fn of_model(precision: &str, layers: &[&str]) -> [QuantParams; 3] {
        let (model, ids) = model();
        let parse = |text: &&str| LayerTexts::parse(text).unwrap();
        let texts = Texts {
            precision: Some(precision.to_string()),
            layers: layers.iter().map(parse).collect(),
            ..Texts::default()
        };
        let options = texts.options(false).unwrap();
        let params = params(&model, &options, &Reals::new()).unwrap();
        ids.map(|id| params[&id].clone())
    }

    #[test]
    fn inputs_and_outputs_have_8_bits_at_least() {
        let steps =
            |layers: &[&str]| of_model("w8a4", layers).map(|params| params.high - params.low);
        assert_eq!(steps(&[]), [255, 15, 255]);
        // Who names the first layer means its input, too.
        assert_eq!(steps(&["a=w8a4"]), [15, 15, 255]);
    }

    #[test]
    fn sixteen_bits_leave_room_within_the_activation() {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 1, 1]);
        let w = sketch.noise("w", &[2, 2, 1, 1]);
        let mut op = conv();
        op.activation = Clamp { min: 0.0, max: 6.0 };
        let y = sketch.node("y", op, &[x, w]);
        let z = sketch.node("z", conv(), &[y, w]);
        let model = sketch.model(&[z]);
        let range = |min, max| Range { min, max };
        let margin = |id, given, bits| with_margin(&model, id, given, bits);
        assert_eq!(margin(y, range(0.0, 2.0), 16), range(0.0, 4.0));
        assert_eq!(margin(y, range(0.0, 5.0), 16), range(0.0, 6.0));
        assert_eq!(margin(z, range(-1.0, 5.0), 16), range(-2.0, 10.0));
        assert_eq!(margin(z, range(1.0, 5.0), 16), range(1.0, 10.0));
        // What enters the network is no guess, and 8 bits have no step to spare.
        assert_eq!(margin(x, range(-1.0, 5.0), 16), range(-1.0, 5.0));
        assert_eq!(margin(z, range(-1.0, 5.0), 8), range(-1.0, 5.0));
    }

    #[test]
    fn empty_and_huge_ranges_have_a_scale() {
        assert_eq!(uniform(0.0, 0.0, IntType::I8), (SMALLEST_SCALE, -128));
        let (scale, _) = uniform(f32::MIN, f32::MAX, IntType::U8);
        assert!(scale.is_finite());
    }
}
