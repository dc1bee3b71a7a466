//! The order in which layers give bits up, and in which they get more.
//!
//! Every step is judged by the noise that it alone adds to the network's outputs. Noises of different layers are
//! taken to add up, which they do where they are small and independent; what the steps do together is measured
//! afterwards.

use std::collections::{HashMap, HashSet};

use super::Step;
use crate::ir::{Model, Node, TensorId};
use crate::passes::affine::Sum;
use crate::passes::analyse::Report;
use crate::passes::quantize::{Options, Scheme};

/// What each layer costs at 8 bits, and at other widths.
pub(super) struct Costs {
    pub(super) base: Report,
    /// Of weights of 4 and of 2 bits.
    pub(super) narrower: [Report; 2],
    /// Of activations of 16 bits.
    pub(super) wider: Report,
}

/// Weights that lose bits, the cheapest noise for a byte first.
pub(super) fn down(
    model: &Model,
    options: &Options,
    costs: &Costs,
    [to_4, to_2]: [Scheme; 2],
) -> Vec<Step> {
    let mut steps: Vec<Step> = vec![];
    for node in &model.nodes {
        let noise = |report: &Report| {
            let layer = report.layers.iter().find(|layer| layer.name == node.name)?;
            Some(layer.weights.as_ref()?.alone.noise)
        };
        let Some(sum) = Sum::of(model, node).filter(|_| !options.names(node)) else {
            continue;
        };
        let narrower = costs.narrower.each_ref().map(noise);
        let (Some(at_8), [Some(at_4), Some(at_2)]) = (noise(&costs.base), narrower) else {
            continue;
        };
        let size = sum.weights.len() as f64;
        let step = |scheme, noise: f64, bytes: f64| Step {
            node: node.name.clone(),
            scheme,
            noise,
            bytes: -(bytes as i64),
        };
        let first = step(to_4, at_4 - at_8, size / 2.0);
        let second = step(to_2, at_2 - at_4, size / 4.0);
        match price(&first) <= price(&second) {
            true => steps.extend([first, second]),
            // Who gives up four bits gives up six for less a byte.
            false => steps.push(step(to_2, at_2 - at_8, size * 0.75)),
        }
    }
    // Steps of one layer stay in their order, and layers of one price in that of the network.
    steps.sort_by(|a, b| price(a).total_cmp(&price(b)));
    steps
}

/// Noise that a byte less costs; a step may take noise away by chance.
fn price(step: &Step) -> f64 {
    step.noise.max(0.0) / -step.bytes.min(-1) as f64
}

/// Layers that read 16 bits, those first that take most noise away.
pub(super) fn up(model: &Model, options: &Options, costs: &Costs) -> Vec<Step> {
    let mut gains: HashMap<TensorId, f64> = gains(model, costs);
    let mut left: Vec<&Node> = model.nodes.iter().collect();
    left.retain(|node| !options.names(node));
    let mut steps = vec![];
    loop {
        let gain = |node: &Node| -> f64 {
            let tensors: HashSet<TensorId> = widened(model, node).collect();
            let gains = tensors.iter().filter_map(|id| gains.get(id));
            gains.fold(0.0, |sum, gain| sum + gain)
        };
        let each = left.iter().enumerate().map(|(i, node)| (i, gain(node)));
        // Of equal gains the first node's is taken.
        let best = each.rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((i, noise)) = best.filter(|(_, gain)| *gain > 0.0) else {
            return steps;
        };
        let node = left.remove(i);
        for id in widened(model, node) {
            gains.remove(&id);
        }
        steps.push(Step {
            node: node.name.clone(),
            scheme: super::widened(options.scheme),
            noise: -noise,
            bytes: 0,
        });
    }
}

/// The noise that each tensor's 8 bits bring, less that of 16.
fn gains(model: &Model, costs: &Costs) -> HashMap<TensorId, f64> {
    let outputs = model.nodes.iter().map(|n| (n.output, n.name.as_str()));
    let inputs = model
        .inputs
        .iter()
        .map(|id| (*id, model[*id].name.as_str()));
    let gain = |(id, name): (TensorId, &str)| {
        let noise = |report: &Report| {
            let layer = report.layers.iter().find(|layer| layer.name == name)?;
            Some(layer.result.as_ref()?.alone.noise)
        };
        Some((id, noise(&costs.base)? - noise(&costs.wider)?))
    };
    inputs.chain(outputs).filter_map(gain).collect()
}

/// The tensors that get 16 bits when a node asks for them: what it reads, where that was rounded, and its result
/// where it leaves the network.
fn widened<'a>(model: &'a Model, node: &'a Node) -> impl Iterator<Item = TensorId> + 'a {
    let read = node.operands().filter(|id| model[*id].value.is_none());
    let left = model.outputs.iter().filter(|id| **id == node.output);
    read.chain(left.copied()).map(|id| rounded(model, id))
}

/// The tensor whose rounding a moved one has.
fn rounded(model: &Model, id: TensorId) -> TensorId {
    let producer = model.producer(id).map(|position| &model.nodes[position]);
    match producer {
        Some(node) if node.op.moves() => match node.inputs[0] {
            Some(subject) => rounded(model, subject),
            None => id,
        },
        _ => id,
    }
}
