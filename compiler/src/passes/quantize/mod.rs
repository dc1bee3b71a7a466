//! From reals with ranges to integers: activations asymmetric per tensor, weights symmetric per output
//! channel, biases in the scale of their sums (whitepaper arXiv 1806.08342 §3; gemmlowp).

mod activations;
mod balance;
mod bias;
mod correction;
mod floats;
mod gain;
mod groups;
mod learn;
mod options;
mod rounding;
mod scheme;
mod steps;
mod weights;

pub use bias::correct_biases;
pub use correction::BiasCorrection;
pub use options::{LayerTexts, Layers, Options, Texts};
pub(super) use rounding::Rounded;
pub use scheme::{Activations, IntegerWeights, Rounding, Scheme, Weights};

use std::collections::BTreeMap;

use crate::ir::{Array, Elem, Model, Node, QuantParams, Range, TensorId, Type};
use crate::ops::Op;
use crate::passes::affine::Sum;
pub use crate::passes::equalise::Equalisation;
use crate::passes::{absorb, borders, equalise, typing};
use crate::{Error, Result, bail, integer};

/// How much of a model came quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// How many inputs and results have a scale that came with the model.
    pub quantized: usize,
    /// The inputs and the nodes whose results are left to be quantized, as messages call them.
    pub real: Vec<String>,
}

impl Imported {
    /// What QuantizeLinear and DequantizeLinear say of a model of reals.
    pub fn of(model: &Model) -> Result<Imported> {
        let mut typed = model.clone();
        typing::run(&mut typed)?;
        let inputs = typed.inputs.iter();
        let inputs = inputs.map(|id| (*id, format!("input {}", typed[*id].name)));
        let results = typed.nodes.iter().map(|node| (node.output, node.label()));
        let mut imported = Imported {
            quantized: 0,
            real: vec![],
        };
        for (id, label) in inputs.chain(results) {
            match typed[id].ty.elem {
                Elem::Quantized(_) => imported.quantized += 1,
                Elem::Float => imported.real.push(label),
                Elem::Int(_) | Elem::Bool => {}
            }
        }
        Ok(imported)
    }

    /// Whether all of the model came quantized.
    pub fn is_whole(&self) -> bool {
        self.quantized > 0 && self.real.is_empty()
    }
}

/// Whether ranges of tensors must be known: some layer is to be computed on integers, and none came with their
/// scale. Without ranges the rest of a model of which a part came quantized stays in floating point.
pub fn needs_ranges(model: &Model, options: &Options) -> Result<bool> {
    let integer = |node: &Node| options.scheme(node).activations != Activations::Float;
    let mut typed = model.clone();
    typing::run(&mut typed)?;
    Ok(!floats::came_quantized(&typed) && model.nodes.iter().any(integer))
}

/// Quantizes a model whose ranges are annotated, but for the tensors whose scale came with it. All problems are
/// reported at once; the model is then left as it was.
pub fn quantize(model: &mut Model, options: &Options) -> Result<()> {
    let mut quantized = equalised(model, options)?;
    let real = floats::nodes(&quantized, options);
    let reals = borders::place(&mut quantized, &real);
    let params = activations::params(&quantized, options, &reals)?;
    for (id, params) in &params {
        quantized[*id].ty.elem = Elem::Quantized(params.clone());
    }
    for position in 0..quantized.nodes.len() {
        match real.contains(&quantized.nodes[position].name) {
            true => floats::constants(&mut quantized, position, options)?,
            false => constants(&mut quantized, position, options)?,
        }
    }
    borders::finish(&mut quantized);
    integer::check(&quantized)?;
    *model = quantized;
    Ok(())
}

/// What is quantized: the model with the scales that came with it, and its channels brought to one magnitude.
pub(super) fn equalised(model: &Model, options: &Options) -> Result<Model> {
    let mut model = model.clone();
    typing::run(&mut model)?;
    refuse(&model, options)?;
    options.check(&model)?;
    refuse_schemes(&model, options)?;
    if options.equalisation != Equalisation::None {
        equalise::equalise(&mut model, options);
    }
    // After scales: a channel that only samples keep within bounds would grow to fill its tensor.
    if options.equalisation == Equalisation::Shifts {
        absorb::absorb(&mut model);
    }
    Ok(model)
}

/// Names every node whose scheme is not there.
fn refuse_schemes(model: &Model, options: &Options) -> Result<()> {
    let problems = model.nodes.iter().filter_map(|node| {
        let problem = check_scheme(model, node, options).err()?;
        Some(problem.at(&node.label()))
    });
    Error::collect(problems)
}

fn check_scheme(model: &Model, node: &Node, options: &Options) -> Result<()> {
    let scheme = options.scheme(node);
    let Weights::Integers(form) = scheme.weights else {
        return Ok(());
    };
    if floats::has_weights(node) && scheme.activations != Activations::Float && form.bits > 8 {
        bail!("{scheme}: weights beside integers have 8 bits or fewer"; hint: "choose w8a16, or w16, which leaves activations reals");
    }
    let learns = form.rounding == Rounding::Gptq && Sum::of(model, node).is_some();
    if learns && model[node.output].moments.is_none() {
        bail!(
            "gptq learns from samples, and none were seen";
            hint: "pass samples with --calibrate; a file of ranges or batch normalization does not replace them"
        );
    }
    let corrects = options.bias == BiasCorrection::Samples && Sum::of(model, node).is_some();
    if corrects && model[node.output].gains.is_none() {
        bail!(
            "its bias is corrected from samples, and none were seen";
            hint: "pass samples with --calibrate; a file of ranges or batch normalization does not replace them"
        );
    }
    Ok(())
}

/// Names every node that has no quantized form.
fn refuse(model: &Model, options: &Options) -> Result<()> {
    let real = floats::nodes(model, options);
    let integer = model.nodes.iter().filter(|node| !real.contains(&node.name));
    let problems = integer.filter_map(|node| {
        let problem = refusal(model, node).err()?;
        Some(problem.at(&node.label()))
    });
    Error::collect(problems)
}

fn refusal(model: &Model, node: &Node) -> Result<()> {
    if matches!(
        node.op,
        Op::Quantize(_) | Op::Dequantize(_) | Op::Dynamic(_)
    ) {
        bail!(
            "scale and zero point are not numbers known at compile time, one for the whole tensor";
            hint: "export the model with static quantization, per tensor for activations; of what DynamicQuantizeLinear \
                   writes only products of integers (MatMulInteger, ConvInteger) are supported"
        );
    }
    let is_sum = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_));
    if is_sum && model.constant(node, 1).is_none() {
        bail!(
            "the weights depend on the input";
            hint: "only MatMul multiplies two computed tensors"
        );
    }
    let sums = is_sum || matches!(node.op, Op::MatMul(_));
    if sums && model.operand_type(node, 2).is_some() && model.constant(node, 2).is_none() {
        bail!("the bias depends on the input"; hint: "add it with a node of its own");
    }
    if matches!(node.op, Op::PRelu(_)) && model.constant(node, 1).is_none() {
        bail!("the slope depends on the input"; hint: "only constant slopes have a quantized form");
    }
    for id in node.operands() {
        let tensor = &model[id];
        if !matches!(tensor.ty.elem, Elem::Float | Elem::Quantized(_)) {
            bail!(
                "operand `{}` holds plain integers", tensor.name;
                hint: "arithmetic on integers that depend on the input is not supported"
            );
        }
    }
    Ok(())
}

/// Quantizes the constant operands of a node.
fn constants(model: &mut Model, position: usize, options: &Options) -> Result<()> {
    let node = &model.nodes[position];
    if matches!(node.op, Op::Quantize(_) | Op::Dequantize(_)) {
        return Ok(());
    }
    let Scheme {
        weights: Weights::Integers(form),
        activations: Activations::Integers { bits },
    } = options.scheme(node)
    else {
        unreachable!("nodes in floating point are not quantized");
    };
    let slots: Vec<usize> = (0..node.inputs.len())
        .filter(|operand| model.constant(node, *operand).is_some())
        .collect();
    match &node.op {
        Op::Conv(_) | Op::ConvTranspose(_) => {
            weights::quantize(model, position, form, options.bias)
        }
        Op::MatMul(_) if slots.contains(&1) => {
            if slots.contains(&0) {
                per_tensor(model, position, 0, bits, options);
            }
            weights::quantize(model, position, form, options.bias)
        }
        Op::MatMul(_) => {
            if slots.contains(&0) {
                per_tensor(model, position, 0, bits, options);
            }
            weights::quantize_bias_of_product(model, position)
        }
        Op::PRelu(_) => {
            reals(model, position, 1);
            Ok(())
        }
        _ => {
            for operand in slots {
                per_tensor(model, position, operand, bits, options);
            }
            Ok(())
        }
    }
}

/// A constant among activations gets their form, of 8 bits at least.
fn per_tensor(model: &mut Model, position: usize, operand: usize, bits: u8, options: &Options) {
    let node = &model.nodes[position];
    let Some(array) = model.constant(node, operand).cloned() else {
        return;
    };
    let crate::ir::Data::F32(reals) = &array.data else {
        return;
    };
    let zero = Range { min: 0.0, max: 0.0 };
    let range = super::intervals::of_array(&array).unwrap_or(zero);
    let bits = bits.max(8);
    let steps = ((1 << bits) - 1).min(steps::most_of_factor(model, node));
    let params = activations::of_range(range, options.int(bits), steps);
    let integers = reals.iter().map(|x| params.quantize(*x)).collect();
    let value = Array::i32(array.shape.clone(), integers);
    replace(model, position, operand, params, value);
}

/// A constant that came quantized and is used as reals.
fn reals(model: &mut Model, position: usize, operand: usize) {
    let Some(id) = model.nodes[position].inputs[operand] else {
        return;
    };
    let tensor = &model[id];
    if let (Elem::Quantized(params), Some(array)) = (&tensor.ty.elem, &tensor.value) {
        let array = params.reals(array);
        super::rewrite::set_constant(model, position, operand, array);
    }
}

/// Puts a quantized constant in the place of one of reals, under its name where nothing else reads it.
fn replace(model: &mut Model, position: usize, operand: usize, params: QuantParams, value: Array) {
    let old = model.nodes[position].inputs[operand].expect("the constant is there");
    let ty = Type {
        shape: value.shape.clone(),
        elem: Elem::Quantized(params),
    };
    if super::rewrite::read_once(model, old) {
        model[old].ty = ty;
        model[old].value = Some(value);
    } else {
        let name = model[old].name.clone();
        let new = model.add_tensor(&name, ty, Some(value));
        model.nodes[position].inputs[operand] = Some(new);
    }
}

/// How each activation's integers stand for reals.
type Params = BTreeMap<TensorId, QuantParams>;
