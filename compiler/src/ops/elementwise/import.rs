//! ONNX nodes of this family.

use super::{Binary, BinaryFunction, Function, PRelu, Unary};
use crate::Result;
use crate::bail;
use crate::ir::{Array, Clamp, Data, Elem, TensorId};
use crate::ops::{Import, Importer, SourceNode};

/// ONNX operators of this family.
pub(in crate::ops) const IMPORTS: &[(&str, Import)] = &[
    ("Abs", |n, i| unary(n, i, Function::Abs)),
    ("Ceil", |n, i| unary(n, i, Function::Ceil)),
    ("Clip", clip),
    ("Elu", |n, i| {
        let alpha = n.float("alpha", 1.0)?;
        unary(n, i, Function::Elu { alpha })
    }),
    ("Erf", |n, i| unary(n, i, Function::Erf)),
    ("Exp", |n, i| unary(n, i, Function::Exp)),
    ("Floor", |n, i| unary(n, i, Function::Floor)),
    ("Gelu", gelu),
    ("com.microsoft::Gelu", gelu),
    ("HardSigmoid", |n, i| {
        let alpha = n.float("alpha", 0.2)?;
        let beta = n.float("beta", 0.5)?;
        unary(n, i, Function::HardSigmoid { alpha, beta })
    }),
    ("HardSwish", |n, i| unary(n, i, Function::HardSwish)),
    ("LeakyRelu", |n, i| {
        let alpha = n.float("alpha", 0.01)?;
        unary(n, i, Function::LeakyRelu { alpha })
    }),
    ("Log", |n, i| unary(n, i, Function::Log)),
    ("Mish", |n, i| unary(n, i, Function::Mish)),
    ("Neg", |n, i| unary(n, i, Function::Neg)),
    ("Reciprocal", |n, i| unary(n, i, Function::Reciprocal)),
    ("Relu", |n, i| unary(n, i, Function::Clamp(Clamp::RELU))),
    ("Round", |n, i| unary(n, i, Function::Round)),
    ("Selu", |n, i| {
        let alpha = n.float("alpha", 1.673_263_2)?;
        let gamma = n.float("gamma", 1.050_701)?;
        unary(n, i, Function::Selu { alpha, gamma })
    }),
    ("Sigmoid", |n, i| unary(n, i, Function::Sigmoid)),
    ("Sign", |n, i| unary(n, i, Function::Sign)),
    ("Softplus", |n, i| unary(n, i, Function::Softplus)),
    ("Softsign", |n, i| unary(n, i, Function::Softsign)),
    ("Sqrt", |n, i| unary(n, i, Function::Sqrt)),
    ("Tanh", |n, i| unary(n, i, Function::Tanh)),
    ("PRelu", |n, i| {
        Ok(vec![i.apply(PRelu, &[n.input(0)?, n.input(1)?])?])
    }),
    ("Add", |n, i| binary(n, i, BinaryFunction::Add)),
    ("Sub", |n, i| binary(n, i, BinaryFunction::Sub)),
    ("Mul", |n, i| binary(n, i, BinaryFunction::Mul)),
    ("Div", |n, i| binary(n, i, BinaryFunction::Div)),
    ("Pow", pow),
    ("Max", |n, i| chain(n, i, BinaryFunction::Max)),
    ("Min", |n, i| chain(n, i, BinaryFunction::Min)),
    ("Sum", |n, i| chain(n, i, BinaryFunction::Add)),
    ("Mean", mean),
];

fn unary(node: &SourceNode, importer: &mut Importer, function: Function) -> Result<Vec<TensorId>> {
    Ok(vec![importer.apply(Unary { function }, &[node.input(0)?])?])
}

fn plain(function: BinaryFunction) -> Binary {
    Binary {
        function,
        activation: Clamp::NONE,
    }
}

fn binary(
    node: &SourceNode,
    importer: &mut Importer,
    function: BinaryFunction,
) -> Result<Vec<TensorId>> {
    let operands = [node.input(0)?, node.input(1)?];
    Ok(vec![importer.apply(plain(function), &operands)?])
}

/// The exponent may have another type than the base, which names the result's.
fn pow(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let (base, mut exponent) = (node.input(0)?, node.input(1)?);
    let real = importer.ty(base).elem == Elem::Float;
    if let (
        true,
        Some(Array {
            shape,
            data: Data::I64(v),
        }),
    ) = (real, importer.value(exponent))
    {
        let reals = v.iter().map(|x| *x as f32).collect();
        let array = Array::f32(shape.clone(), reals);
        exponent = importer.constant("exponent", array, Elem::Float);
    }
    let power = importer.apply(plain(BinaryFunction::Pow), &[base, exponent])?;
    Ok(vec![power])
}

/// A variadic operator as a chain of binary ones.
fn chain(
    node: &SourceNode,
    importer: &mut Importer,
    function: BinaryFunction,
) -> Result<Vec<TensorId>> {
    let mut result = node.input(0)?;
    for index in 1..node.inputs.len() {
        result = importer.apply(plain(function), &[result, node.input(index)?])?;
    }
    Ok(vec![result])
}

fn mean(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let sum = chain(node, importer, BinaryFunction::Add)?[0];
    let count = Array::f32([], vec![node.inputs.len() as f32]);
    let count = importer.constant("count", count, Elem::Float);
    let mean = importer.apply(plain(BinaryFunction::Div), &[sum, count])?;
    Ok(vec![mean])
}

fn gelu(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let tanh = match node.string("approximate", "none")? {
        "none" => false,
        "tanh" => true,
        other => bail!("approximation `{other}` is unknown"; hint: "`none` and `tanh` are known"),
    };
    unary(node, importer, Function::Gelu { tanh })
}

/// Limits are attributes before opset 11 and optional operands from then on.
fn clip(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    if node.opset < 11 {
        let min = node.float("min", f32::MIN)?;
        let max = node.float("max", f32::MAX)?;
        return unary(node, importer, Function::Clamp(limits(min, max)));
    }
    let min = limit(node.optional(1), importer)?;
    let max = limit(node.optional(2), importer)?;
    if let (Limit::Known(min), Limit::Known(max)) = (min, max) {
        let (min, max) = (min.unwrap_or(f32::MIN), max.unwrap_or(f32::MAX));
        return unary(node, importer, Function::Clamp(limits(min, max)));
    }
    let mut result = node.input(0)?;
    for (operand, function) in [(1, BinaryFunction::Max), (2, BinaryFunction::Min)] {
        if let Some(id) = node.optional(operand) {
            result = importer.apply(plain(function), &[result, id])?;
        }
    }
    Ok(vec![result])
}

/// Exporters write the extreme finite reals for "no limit". Where the limits cross, the upper one wins.
fn limits(min: f32, max: f32) -> Clamp {
    let max = if max == f32::MAX { f32::INFINITY } else { max };
    let min = if min == f32::MIN {
        f32::NEG_INFINITY
    } else {
        min
    };
    Clamp {
        min: min.min(max),
        max,
    }
}

/// A limit of Clip that is an operand.
#[derive(Clone, Copy)]
enum Limit {
    /// Known at compile time, or absent.
    Known(Option<f32>),
    /// Computed from the model's inputs.
    Computed,
}

fn limit(id: Option<TensorId>, importer: &Importer) -> Result<Limit> {
    let Some(id) = id else {
        return Ok(Limit::Known(None));
    };
    let first = match importer.value(id).map(|array| &array.data) {
        None => return Ok(Limit::Computed),
        Some(Data::F32(v)) => v.first().copied(),
        Some(Data::I64(v)) => v.first().map(|x| *x as f32),
        Some(Data::I32(_)) => None,
    };
    match first {
        // An empty tensor stands for an absent limit in some exporters' files.
        None => Ok(Limit::Known(None)),
        Some(x) if x.is_nan() => bail!("limit `{}` is not a number", importer.model[id].name),
        Some(x) => Ok(Limit::Known(Some(x))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};
    use crate::ops::{Attribute, Op};

    fn clamp_of(node: OneNode) -> Clamp {
        let (model, _) = node.import().unwrap();
        match &model.nodes[..] {
            [node] => match node.op {
                Op::Unary(Unary {
                    function: Function::Clamp(clamp),
                }) => clamp,
                ref op => panic!("{op:?}"),
            },
            nodes => panic!("{nodes:?}"),
        }
    }

    #[test]
    fn limits_are_attributes_or_operands() {
        let node = |opset| {
            OneNode::new("Clip", opset)
                .inputs()
                .operand(counting(&[2]))
                .constants()
        };
        let limit = |x| Array::f32([], vec![x]);
        let six = Clamp { min: 0.0, max: 6.0 };
        let attributes = node(6)
            .with("min", Attribute::Float(0.0))
            .with("max", Attribute::Float(6.0));
        assert_eq!(clamp_of(attributes), six);
        assert_eq!(
            clamp_of(node(13).operand(limit(0.0)).operand(limit(6.0))),
            six
        );
        assert_eq!(clamp_of(node(13).operand(limit(0.0))), Clamp::RELU);
        assert_eq!(clamp_of(node(13).absent().absent()), Clamp::NONE);
        let extreme = node(13).operand(limit(f32::MIN)).operand(limit(f32::MAX));
        assert_eq!(clamp_of(extreme), Clamp::NONE);
        let crossed = clamp_of(node(13).operand(limit(2.0)).operand(limit(1.0)));
        assert_eq!([0.0, 1.5, 3.0].map(|x| crossed.apply(x)), [1.0; 3]);
        let nan = node(13).operand(limit(f32::NAN));
        assert_eq!(nan.refusal(), "limit `operand_1` is not a number");
    }

    #[test]
    fn computed_limits_become_a_maximum_and_a_minimum() {
        let limit = || Array::f32([], vec![1.0]);
        let node = OneNode::new("Clip", 13).inputs().operand(counting(&[2]));
        let (model, _) = node.operand(limit()).operand(limit()).import().unwrap();
        let names: Vec<_> = model.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["Max", "Min"]);
    }

    #[test]
    fn variadic_operators_are_chains() {
        let node = |name| {
            let node = OneNode::new(name, 13).operand(Array::f32([2], vec![1.0, -2.0]));
            node.operand(Array::f32([], vec![3.0]))
                .operand(Array::f32([1], vec![-1.0]))
                .folded()
        };
        assert_eq!(node("Sum").unwrap().reals(), [3.0, 0.0]);
        assert_eq!(node("Mean").unwrap().reals(), [1.0, 0.0]);
        assert_eq!(node("Max").unwrap().reals(), [3.0, 3.0]);
        assert_eq!(node("Min").unwrap().reals(), [-1.0, -2.0]);
        let one = OneNode::new("Max", 13).operand(counting(&[2])).folded();
        assert_eq!(one.unwrap(), counting(&[2]));
    }

    #[test]
    fn an_integer_exponent_is_taken_as_a_real_one() {
        let node = OneNode::new("Pow", 13).operand(counting(&[3]));
        let squares = node.operand(Array::i64([], vec![2])).folded().unwrap();
        assert_eq!(squares.reals(), [1.0, 4.0, 9.0]);
    }

    #[test]
    fn attributes_have_the_defaults_of_onnx() {
        let value = |name| {
            let node = OneNode::new(name, 16).operand(Array::f32([1], vec![-1.0]));
            node.folded().unwrap().reals()[0]
        };
        let cases = [
            ("LeakyRelu", -0.01),
            ("Elu", -0.632_120_6),
            // 1.0507 · 1.67326 · (1/e − 1)
            ("Selu", -1.111_330_7),
            ("HardSigmoid", 0.3),
            ("Relu", 0.0),
        ];
        for (name, expected) in cases {
            assert!(
                (value(name) - expected).abs() < 1e-6,
                "{name}: {}",
                value(name)
            );
        }
        let node = OneNode::new("Gelu", 20)
            .string("approximate", "sigmoid")
            .operand(counting(&[1]));
        assert_eq!(node.refusal(), "approximation `sigmoid` is unknown");
    }
}
