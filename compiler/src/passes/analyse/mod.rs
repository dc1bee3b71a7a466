//! What quantization costs, layer by layer: signal-to-noise ratios of weights and activations (whitepaper
//! arXiv 1806.08342, appendix A), and what the outputs lose when one layer alone is quantized.
//!
//! The reference is the network on reals after equalisation, which changes no result. A layer is quantized
//! alone by giving it the reals that its integers stand for; everything behind it is evaluated on reals.
//! Samples stream, and layers are evaluated in parallel: sums do not depend on the number of threads.

mod noise;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use rayon::prelude::*;

pub use noise::{Channels, Noise};

use super::affine::Sum;
use super::real::Real;
use super::{Stage, quantize};
use crate::ir::{Array, Elem, Model, Node, QuantParams, TensorId};
use crate::{Result, integer, passes};

/// What each layer costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The inputs, then the nodes in order of evaluation.
    pub layers: Vec<Layer>,
    /// All outputs of the integer network beside those of the float network.
    pub outputs: Noise,
    /// Samples that were evaluated.
    pub samples: usize,
}

/// What one layer costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The node's or the input's name.
    pub name: String,
    /// The operator; `input` for an input.
    pub operator: &'static str,
    /// Its weights, where it has any that were quantized.
    pub weights: Option<Weights>,
    /// Its result, where that is quantized, and not only moved.
    pub result: Option<Activations>,
}

/// What rounding does to a layer's weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Width of their integers.
    pub bits: u8,
    /// The rounded weights beside the weights, for each output channel.
    pub noise: Channels,
    /// All outputs of the network when nothing else is rounded.
    pub alone: Noise,
}

/// What rounding does to a layer's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Activations {
    /// Width of their integers.
    pub bits: u8,
    /// The rounded reals beside the reals, for each channel.
    pub noise: Channels,
    /// How many lie below what the integers represent.
    pub below: u64,
    /// How many lie above.
    pub above: u64,
    /// How many there are.
    pub count: u64,
    /// All outputs of the network when nothing else is rounded.
    pub alone: Noise,
    /// The integer network's result beside the float network's, where both have the tensor.
    pub so_far: Option<Noise>,
}

impl Layer {
    /// What the outputs lose to this layer alone: its weights' noise and its result's.
    pub fn alone(&self) -> Noise {
        let weights = self.weights.as_ref().map(|w| w.alone);
        let result = self.result.as_ref().map(|r| r.alone);
        let signal = weights.or(result).map_or(0.0, |n| n.signal);
        let noises = [weights, result].into_iter().flatten();
        Noise {
            signal,
            noise: noises.map(|n| n.noise).sum(),
        }
    }
}

/// An analysis under way.
pub struct Analysis {
    real: Real,
    /// Ready to run.
    integer: Model,
    probes: Vec<Probe>,
    report: Report,
}

/// How a layer is quantized alone.
struct Probe {
    /// Its node in the network on reals; `None` for an input.
    position: Option<usize>,
    tensor: TensorId,
    /// Operands in the place of those of reals.
    rounded: Vec<(usize, Array)>,
    params: Option<QuantParams>,
    /// Along which its channels lie.
    axis: usize,
}

/// What one sample shows of one layer.
struct Seen {
    weights: Option<Noise>,
    result: Option<Activations>,
}

impl Analysis {
    /// Of a model of reals whose ranges are annotated.
    pub fn new(model: &Model, options: &quantize::Options) -> Result<Analysis> {
        let mut integer = model.clone();
        quantize::quantize(&mut integer, options)?;
        let real = Real::of(quantize::equalised(model, options)?);
        let (probes, layers) = layers(&real.model, &integer);
        passes::run(&mut integer, Stage::Quantized)?;
        Ok(Analysis {
            real,
            integer,
            probes,
            report: Report {
                layers,
                outputs: Noise::default(),
                samples: 0,
            },
        })
    }

    /// Layers that each sample is evaluated for.
    pub fn layers(&self) -> usize {
        self.probes.len()
    }

    /// Evaluates one sample; `done` is called once a layer.
    pub fn observe(&mut self, inputs: &[Array], done: impl Fn() + Sync) -> Result<()> {
        let values = self.real.values(inputs);
        let integers = self.integers(inputs)?;
        let probes = self.probes.par_iter();
        let seen: Vec<Seen> = probes
            .map(|probe| {
                let seen = self.see(probe, &values, &integers);
                done();
                seen
            })
            .collect();
        for (layer, seen) in self.report.layers.iter_mut().zip(seen) {
            layer.add(seen);
        }
        self.report.samples += 1;
        let outputs = self.integer.outputs.iter().zip(&self.real.model.outputs);
        for (integer, real) in outputs {
            if let Some(reals) = integers.get(&self.integer[*integer].name) {
                let noise = Noise::of(values[real.0 as usize].reals(), reals.reals());
                self.report.outputs.add(noise);
            }
        }
        Ok(())
    }

    /// What was found.
    pub fn finish(self) -> Report {
        self.report
    }

    /// The integer network's inputs and results by name, as reals.
    fn integers(&self, inputs: &[Array]) -> Result<HashMap<String, Array>> {
        let inputs = integer::quantize_inputs(&self.integer, inputs);
        let mut found = HashMap::new();
        integer::run_with(&self.integer, &inputs, &mut |id, array| {
            let tensor = &self.integer[id];
            let reals = match &tensor.ty.elem {
                Elem::Quantized(params) => params.reals(array),
                Elem::Float => array.clone(),
                Elem::Int(_) | Elem::Bool => return,
            };
            found.insert(tensor.name.clone(), reals);
        })?;
        Ok(found)
    }

    fn see(&self, probe: &Probe, values: &[Array], integers: &HashMap<String, Array>) -> Seen {
        let exact = &values[probe.tensor.0 as usize];
        let alone = |changed: Array| self.real.outputs_with(values, probe.tensor, changed);
        let weights = probe.position.filter(|_| !probe.rounded.is_empty());
        let weights = weights.map(|p| alone(self.real.node_with(values, p, &probe.rounded)));
        let result = probe.params.as_ref().map(|params| {
            let (low, high) = (
                params.dequantize(params.low),
                params.dequantize(params.high),
            );
            let half = 0.5 * params.uniform().0;
            let reals = exact.reals();
            let rounded: Vec<f32> = reals
                .iter()
                .map(|x| params.dequantize(params.quantize(*x)))
                .collect();
            let rounded = Array::f32(exact.shape.clone(), rounded);
            let so_far = integers.get(&self.real.model[probe.tensor].name);
            Activations {
                bits: width(params),
                noise: Channels::of(exact, &rounded, probe.axis),
                below: reals.iter().filter(|x| **x < low - half).count() as u64,
                above: reals.iter().filter(|x| **x > high + half).count() as u64,
                count: reals.len() as u64,
                so_far: so_far.map(|found| Noise::of(reals, found.reals())),
                alone: alone(rounded),
            }
        });
        Seen { weights, result }
    }
}

impl Layer {
    fn add(&mut self, seen: Seen) {
        if let (Some(weights), Some(alone)) = (&mut self.weights, seen.weights) {
            weights.alone.add(alone);
        }
        match (&mut self.result, seen.result) {
            (Some(all), Some(new)) => {
                all.noise.add(&new.noise);
                all.below += new.below;
                all.above += new.above;
                all.count += new.count;
                all.alone.add(new.alone);
                if let (Some(all), Some(new)) = (&mut all.so_far, new.so_far) {
                    all.add(new);
                }
            }
            (empty, new) => *empty = new,
        }
    }
}

/// The layers in order, and how each is quantized alone.
fn layers(real: &Model, integer: &Model) -> (Vec<Probe>, Vec<Layer>) {
    let params = |name: &str| {
        let tensor = integer.tensors.iter().find(|t| t.name == name)?;
        match &tensor.ty.elem {
            Elem::Quantized(params) if tensor.value.is_none() => Some(params.clone()),
            _ => None,
        }
    };
    let mut found = (vec![], vec![]);
    let mut add = |probe: Probe, layer: Layer| {
        found.0.push(probe);
        found.1.push(layer);
    };
    for id in &real.inputs {
        let probe = Probe::of(real, None, *id, vec![], params(&real[*id].name));
        let layer = Layer::named(&real[*id].name, "input");
        add(probe, layer);
    }
    let by_name: HashMap<&str, &Node> =
        integer.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    for (position, node) in real.nodes.iter().enumerate() {
        let quantized = by_name.get(node.name.as_str());
        let rounded = quantized.map_or(vec![], |q| constants(integer, q));
        let mut layer = Layer::named(&node.name, node.op.name());
        layer.weights = quantized.and_then(|q| weights(real, node, integer, q));
        // Constants that are no weights are rounded with the results of their node.
        let rounded = if layer.weights.is_some() {
            rounded
        } else {
            vec![]
        };
        // What is moved was rounded before.
        let params = params(&real[node.output].name).filter(|_| !node.op.moves());
        add(
            Probe::of(real, Some(position), node.output, rounded, params),
            layer,
        );
    }
    found
}

impl Probe {
    fn of(
        model: &Model,
        position: Option<usize>,
        tensor: TensorId,
        rounded: Vec<(usize, Array)>,
        params: Option<QuantParams>,
    ) -> Probe {
        let rank = model[tensor].ty.shape.len();
        let sum = position.and_then(|p| Sum::of(model, &model.nodes[p]));
        // Images have their channels second, rows last.
        let usual = if rank > 2 { 1 } else { rank.saturating_sub(1) };
        Probe {
            position,
            tensor,
            rounded,
            params,
            axis: sum.map_or(usual, |sum| sum.channel_axis(rank)),
        }
    }
}

impl Layer {
    fn named(name: &str, operator: &'static str) -> Layer {
        Layer {
            name: name.to_string(),
            operator,
            weights: None,
            result: None,
        }
    }
}

/// The quantized constants of a node, as reals.
fn constants(model: &Model, node: &Node) -> Vec<(usize, Array)> {
    let operands = node.inputs.iter().enumerate();
    let constants = operands.filter_map(|(i, id)| {
        let tensor = &model[(*id)?];
        match (&tensor.ty.elem, &tensor.value) {
            (Elem::Quantized(params), Some(value)) => Some((i, params.reals(value))),
            _ => None,
        }
    });
    constants.collect()
}

/// The weights of a sum of products beside what they are rounded to.
fn weights(real: &Model, node: &Node, integer: &Model, quantized: &Node) -> Option<Weights> {
    let sum = Sum::of(real, node)?;
    let tensor = &integer[quantized.inputs[1]?];
    let (Elem::Quantized(params), Some(value)) = (&tensor.ty.elem, &tensor.value) else {
        return None;
    };
    let rounded = params.reals(value);
    let mut noise = vec![Noise::default(); sum.bias.len()];
    let pairs = sum.weights.reals().iter().zip(rounded.reals());
    for (i, (w, rounded)) in pairs.enumerate() {
        noise[sum.ends(i).1].add(Noise::of(&[*w], &[*rounded]));
    }
    Some(Weights {
        bits: width(params),
        noise: Channels(noise),
        alone: Noise::default(),
    })
}

/// Bits that the integers in use need.
fn width(params: &QuantParams) -> u8 {
    let steps = (i64::from(params.high) - i64::from(params.low)) as u64;
    (64 - steps.leading_zeros()) as u8
}
