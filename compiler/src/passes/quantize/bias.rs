//! Bias correction from samples: the mean of each output channel, after its activation, becomes what it is in the
//! network on reals (arXiv 1906.04721 appendix D, there before the activation; arXiv 1906.03193).
//!
//! Both networks are evaluated beside each other, layer by layer, a few samples at a time. What the biases of a layer
//! must gain for these samples joins what they had to gain for those before, and the quantized network goes on
//! with the mean of all. So each layer sees what corrected layers hand on, samples are read once, memory does not
//! depend on their number, nor the result on the number of threads.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::gain::gain;
use super::{BiasCorrection, Options, equalised, quantize};
use crate::ir::{Array, Clamp, Elem, Model, Node, TensorId};
use crate::passes::activation::without_activation;
use crate::passes::affine::Sum;
use crate::passes::real::Real;
use crate::{Result, integer};

/// Bias correction from samples, under way.
struct Correcting {
    real: Real,
    /// Whose biases are not corrected.
    quantized: Model,
    /// The sums, by their position in the quantized model.
    sums: BTreeMap<usize, Gains>,
    /// Positions in the model of reals of the nodes of the quantized one; borders have none.
    positions: Vec<Option<usize>>,
    /// The last node that reads a tensor, in the model of reals and in the quantized one, both by its position in the
    /// latter.
    last_uses: [BTreeMap<TensorId, usize>; 2],
}

/// What the biases of one node gain.
struct Gains {
    /// Along which the channels lie.
    axis: usize,
    /// What they must gain, added up over samples.
    sums: Vec<f64>,
    /// Samples.
    count: f64,
    /// The quantized operands that are constant, as reals.
    constants: BTreeMap<TensorId, Array>,
}

/// The values of a sample that are still to be read, in both networks.
struct Values {
    real: Vec<Option<Array>>,
    quantized: Vec<Option<Array>>,
}

/// Samples evaluated at a time: bounds memory, and keeps a few cores busy.
const CHUNK: usize = 16;

/// Annotates a model of reals that has ranges with what biases gain, where they are to be corrected from samples.
pub fn correct_biases(
    model: &mut Model,
    mut samples: impl Iterator<Item = Result<Vec<Array>>>,
    options: &Options,
) -> Result<()> {
    if options.bias != BiasCorrection::Samples {
        return Ok(());
    }
    let mut correcting = Correcting::new(model, options)?;
    loop {
        let chunk: Vec<_> = samples.by_ref().take(CHUNK).collect::<Result<_>>()?;
        if chunk.is_empty() {
            break;
        }
        correcting.observe_all(&chunk);
    }
    correcting.finish(model);
    Ok(())
}

impl Correcting {
    /// Of a model of reals whose ranges are annotated.
    fn new(model: &Model, options: &Options) -> Result<Correcting> {
        let options = Options {
            bias: BiasCorrection::None,
            ..options.clone()
        };
        let mut quantized = model.clone();
        quantize(&mut quantized, &options)?;
        let equal = equalised(model, &options)?;
        let names = equal.nodes.iter().enumerate();
        let names: BTreeMap<&str, usize> = names.map(|(i, node)| (&node.name[..], i)).collect();
        let nodes = quantized.nodes.iter();
        let positions: Vec<_> = nodes.map(|n| names.get(&n.name[..]).copied()).collect();
        let sums = positions.iter().enumerate();
        let sums = sums.filter_map(|(at, position)| {
            let node = &equal.nodes[(*position)?];
            let sum = Sum::of(&equal, node)?;
            let rank = equal[node.output].ty.shape.len();
            Some((at, Gains::of(&quantized, at, &sum, rank)))
        });
        let sums = sums.collect();
        let mut last_uses = [BTreeMap::new(), BTreeMap::new()];
        for (at, position) in positions.iter().enumerate() {
            let real = position.map(|position| &equal.nodes[position]);
            for id in real.into_iter().flat_map(Node::operands) {
                last_uses[0].insert(id, at);
            }
            for id in quantized.nodes[at].operands() {
                last_uses[1].insert(id, at);
            }
        }
        Ok(Correcting {
            sums,
            last_uses,
            positions,
            real: Real::of(equal),
            quantized,
        })
    }

    /// Evaluates some samples.
    fn observe_all(&mut self, samples: &[Vec<Array>]) {
        let begun = samples.par_iter().map(|inputs| self.begin(inputs));
        let mut values: Vec<Values> = begun.collect();
        for at in 0..self.quantized.nodes.len() {
            let each = values.par_iter_mut();
            each.for_each(|values| self.evaluate(values, at));
            if let Some(gains) = self.sums.get_mut(&at) {
                gains.learn(&self.quantized, at, &values);
            }
            let each = values.par_iter_mut();
            each.for_each(|values| self.correct(values, at));
        }
    }

    /// Annotates the model with what the biases of its sums gain.
    fn finish(self, model: &mut Model) {
        for (at, gains) in &self.sums {
            model[self.quantized.nodes[*at].output].gains = Some(gains.mean());
        }
    }

    fn begin(&self, inputs: &[Array]) -> Values {
        let nothing = |model: &Model| vec![None; model.tensors.len()];
        let mut values = Values {
            real: nothing(&self.real.model),
            quantized: nothing(&self.quantized),
        };
        let integers = integer::quantize_inputs(&self.quantized, inputs);
        for (id, array) in self.quantized.inputs.iter().zip(integers) {
            values.quantized[id.0 as usize] = Some(array);
        }
        for (id, array) in self.real.model.inputs.iter().zip(inputs) {
            values.real[id.0 as usize] = Some(self.real.input(*id, array));
        }
        values
    }

    /// Evaluates a node, a sum without its activation.
    fn evaluate(&self, values: &mut Values, at: usize) {
        let node = &self.quantized.nodes[at];
        let gains = self.sums.get(&at);
        if let Some(position) = self.positions[at] {
            let node = &self.real.model.nodes[position];
            let known = |id: TensorId| known(&self.real.model, &values.real, id);
            let operands: Vec<_> = node.inputs.iter().map(|id| id.map(known)).collect();
            let result = match gains {
                Some(_) => without_activation(&node.op).0.eval(&operands),
                None => self.real.result(node, &operands),
            };
            values.real[node.output.0 as usize] = Some(result);
        }
        let result = match gains {
            Some(gains) => self.sum(node, gains, values),
            None => {
                let known = |id: TensorId| known(&self.quantized, &values.quantized, id);
                let operands = node.inputs.iter().map(|id| id.map(known)).collect();
                integer::node(&self.quantized, node, operands)
            }
        };
        values.quantized[node.output.0 as usize] = Some(result);
    }

    /// The sums of a node on what its quantized operands stand for.
    fn sum(&self, node: &Node, gains: &Gains, values: &Values) -> Array {
        let operand = |id: TensorId| {
            let constant = gains.constants.get(&id).cloned();
            constant.unwrap_or_else(|| {
                let array = known(&self.quantized, &values.quantized, id);
                as_reals(&self.quantized, id, array)
            })
        };
        let operands = node.inputs.iter().map(|id| id.map(operand));
        let operands: Vec<Option<Array>> = operands.collect();
        let operands: Vec<Option<&Array>> = operands.iter().map(Option::as_ref).collect();
        without_activation(&node.op).0.eval(&operands)
    }

    /// Corrects the sums of a node, and forgets what nothing reads any more.
    fn correct(&self, values: &mut Values, at: usize) {
        let node = &self.quantized.nodes[at];
        let y = node.output;
        if let Some(gains) = self.sums.get(&at) {
            let clamp = without_activation(&node.op).1;
            if let Some(sums) = values.real[y.0 as usize].take() {
                let reals = sums.reals().iter().map(|x| clamp.apply(*x)).collect();
                let array = Array::f32(sums.shape, reals);
                values.real[y.0 as usize] = Some(self.real.limited(y, array));
            }
            if let Some(sums) = values.quantized[y.0 as usize].take() {
                let mean = gains.mean();
                let each = sums.reals().iter().enumerate();
                let reals = each.map(|(i, x)| clamp.apply(x + mean[gains.channel(&sums, i)]));
                let result = match &self.quantized[y].ty.elem {
                    Elem::Quantized(params) => {
                        let integers = reals.map(|x| params.quantize(x)).collect();
                        Array::i32(sums.shape.clone(), integers)
                    }
                    _ => Array::f32(sums.shape.clone(), reals.collect()),
                };
                values.quantized[y.0 as usize] = Some(result);
            }
        }
        let unread = |uses: &BTreeMap<TensorId, usize>, values: &mut [Option<Array>]| {
            for (id, last) in uses {
                if *last == at {
                    values[id.0 as usize] = None;
                }
            }
        };
        unread(&self.last_uses[0], &mut values.real);
        unread(&self.last_uses[1], &mut values.quantized);
    }
}

fn known<'a>(model: &'a Model, values: &'a [Option<Array>], id: TensorId) -> &'a Array {
    let value = values[id.0 as usize].as_ref().or(model[id].value.as_ref());
    value.expect("verify: defined before it is read")
}

fn as_reals(model: &Model, id: TensorId, array: &Array) -> Array {
    match &model[id].ty.elem {
        Elem::Quantized(params) => params.reals(array),
        _ => array.clone(),
    }
}

impl Gains {
    fn of(quantized: &Model, at: usize, sum: &Sum, rank: usize) -> Gains {
        let operands = quantized.nodes[at].operands();
        let constants = operands.filter_map(|id| {
            let array = quantized[id].value.as_ref()?;
            Some((id, as_reals(quantized, id, array)))
        });
        Gains {
            axis: sum.channel_axis(rank),
            sums: vec![0.0; sum.bias.len()],
            count: 0.0,
            constants: constants.collect(),
        }
    }

    /// The channel of a result.
    fn channel(&self, array: &Array, i: usize) -> usize {
        let run: usize = array.shape[self.axis + 1..].iter().product();
        i / run % self.sums.len()
    }

    /// Takes in what the results of some samples lose.
    fn learn(&mut self, quantized: &Model, at: usize, samples: &[Values]) {
        let node = &quantized.nodes[at];
        let y = node.output.0 as usize;
        let pairs = samples.iter().filter_map(|values| {
            let (real, quantized) = (values.real[y].as_ref()?, values.quantized[y].as_ref()?);
            Some([real, quantized])
        });
        let pairs: Vec<[&Array; 2]> = pairs.collect();
        let Some([first, _]) = pairs.first() else {
            return;
        };
        let clamp = without_activation(&node.op).1;
        // Integers saturate, too.
        let limits = match &quantized[node.output].ty.elem {
            Elem::Quantized(params) => clamp.then(Clamp {
                min: params.dequantize(params.low),
                max: params.dequantize(params.high),
            }),
            _ => clamp,
        };
        let run: usize = first.shape[self.axis + 1..].iter().product();
        let (channels, count) = (self.sums.len(), pairs.len() as f64);
        let each = self.sums.par_iter_mut().enumerate();
        each.for_each(|(channel, sum)| {
            let results = |which: usize| -> Vec<f32> {
                let runs = pairs.iter().flat_map(|pair| {
                    let runs = pair[which].reals().chunks_exact(run);
                    runs.skip(channel).step_by(channels)
                });
                runs.flatten().copied().collect()
            };
            *sum += count * gain((&results(0), clamp), (&results(1), limits));
        });
        self.count += count;
    }

    /// The mean over the samples.
    fn mean(&self) -> Vec<f32> {
        let gain = |sum: &f64| (sum / self.count) as f32;
        self.sums.iter().map(gain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::calibrate::{Calibration, Method};
    use crate::passes::quantize::Scheme;
    use crate::passes::testing::{Sketch, conv, inputs, pads};
    use crate::{eval, ops};

    /// A convolution with ReLU, a depthwise one, and a sum with the first: coarse weights.
    fn model() -> Model {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 6, 6]);
        let op = ops::Conv {
            activation: Clamp::RELU,
            ..conv()
        };
        let a = sketch.conv("a", x, 4, 1, op);
        let op = ops::Conv {
            groups: 4,
            pads: pads(1),
            ..conv()
        };
        let b = sketch.conv("b", a, 4, 3, op);
        let sum = sketch.add("sum", a, b);
        let y = sketch.conv("y", sum, 3, 1, conv());
        sketch.model(&[y])
    }

    fn options(precision: &str, bias: BiasCorrection) -> Options {
        Options {
            scheme: Scheme::default().with(precision).unwrap(),
            bias,
            ..Options::default()
        }
    }

    /// The largest error of an output channel's mean over the samples.
    fn error(samples: &[Vec<Array>], model: &Model, options: &Options) -> f64 {
        let mut integer = model.clone();
        quantize(&mut integer, options).unwrap();
        let mut errors = [0.0f64; 3];
        for sample in samples {
            let exact = eval::run(model, sample).unwrap().remove(0);
            let found =
                integer::run(&integer, &integer::quantize_inputs(&integer, sample)).unwrap();
            let found = integer::dequantize_outputs(&integer, found).remove(0);
            let pairs = exact.reals().iter().zip(found.reals());
            for (i, (exact, found)) in pairs.enumerate() {
                errors[i / 36] += f64::from(exact - found) / (36 * samples.len()) as f64;
            }
        }
        errors.iter().fold(0.0, |all, e| all.max(e.abs()))
    }

    #[test]
    fn outputs_have_the_mean_that_they_have_in_reals() {
        let mut model = model();
        let samples: Vec<Vec<Array>> = (0..8).map(|seed| inputs(&model, seed)).collect();
        let mut calibration = Calibration::new(&model, Method::MinMax);
        calibration.observe_all(&model, &samples).unwrap();
        calibration.finish(&mut model).unwrap();
        // All samples come at once: what is left is the rounding of biases, which have the scale of the sums.
        for (precision, share) in [("w2a8", 0.25), ("w2a16", 0.02), ("w2", 0.001)] {
            let mut model = model.clone();
            let from_samples = options(precision, BiasCorrection::Samples);
            let refused = quantize(&mut model.clone(), &from_samples).unwrap_err();
            let message = "its bias is corrected from samples, and none were seen";
            assert_eq!(refused.diagnostics[0].message, message);
            let inputs = samples.iter().cloned().map(Ok);
            correct_biases(&mut model, inputs, &from_samples).unwrap();
            let plain = error(&samples, &model, &options(precision, BiasCorrection::None));
            let corrected = error(&samples, &model, &from_samples);
            assert!(
                corrected < share * plain,
                "{precision}: {corrected} of {plain}"
            );
        }
    }
}
