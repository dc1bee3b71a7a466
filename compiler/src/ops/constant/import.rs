//! How the operators that fold are read.

use super::{Comparison, Host, Logic};
use crate::ir::{Array, Data, Elem, IntType, TensorId};
use crate::ops::movement::expand_to;
use crate::ops::{Attribute, Dequantize, Import, Importer, Op, Scales, SourceNode, check};
use crate::{Result, bail};

/// ONNX operators of this family.
pub(in crate::ops) const IMPORTS: &[(&str, Import)] = &[
    ("And", |n, i| host(n, i, Host::Logic(Logic::And))),
    ("Cast", cast),
    ("CastLike", cast_like),
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Dropout", dropout),
    ("Equal", |n, i| host(n, i, Host::Compare(Comparison::Equal))),
    ("Greater", |n, i| {
        host(n, i, Host::Compare(Comparison::Greater))
    }),
    ("GreaterOrEqual", |n, i| {
        host(n, i, Host::Compare(Comparison::GreaterOrEqual))
    }),
    ("Identity", |n, _| Ok(vec![n.input(0)?])),
    ("Less", |n, i| host(n, i, Host::Compare(Comparison::Less))),
    ("LessOrEqual", |n, i| {
        host(n, i, Host::Compare(Comparison::LessOrEqual))
    }),
    ("Mod", |n, i| {
        let truncated = n.int("fmod", 0)? != 0;
        host(n, i, Host::Remainder { truncated })
    }),
    ("Not", |n, i| host(n, i, Host::Not)),
    ("Or", |n, i| host(n, i, Host::Logic(Logic::Or))),
    ("Range", range),
    ("Shape", shape),
    ("Size", size),
    ("Where", |n, i| host(n, i, Host::Where)),
    ("Xor", |n, i| host(n, i, Host::Logic(Logic::Xor))),
];

fn host(node: &SourceNode, importer: &mut Importer, host: Host) -> Result<Vec<TensorId>> {
    Ok(vec![importer.push(host, &node.inputs)?])
}

fn cast(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let elem = elem(node.int("to", 0)?)?;
    cast_to(node, importer, elem)
}

fn cast_like(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let elem = importer.ty(node.input(1)?).elem.clone();
    cast_to(node, importer, elem)
}

fn cast_to(node: &SourceNode, importer: &mut Importer, elem: Elem) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    if importer.ty(x).elem == elem || is_index(importer, x, &elem) {
        return Ok(vec![x]);
    }
    // The reals of computed integers are those integers.
    let narrow = matches!(&importer.ty(x).elem, Elem::Int(int) if int.bits <= 32);
    if elem == Elem::Float && narrow && importer.value(x).is_none() {
        let one = importer.constant("one", Array::f32([], vec![1.0]), Elem::Float);
        let scales = Scales::One;
        return Ok(vec![importer.apply(Dequantize { scales }, &[x, one])?]);
    }
    Ok(vec![importer.apply(Host::Cast(elem), &[x])?])
}

/// Whether `x` is an index that ArgMax computes, which every wide integer type holds unchanged.
fn is_index(importer: &Importer, x: TensorId, elem: &Elem) -> bool {
    let wide = matches!(elem, Elem::Int(int) if int.bits >= 32);
    let nodes = &importer.model.nodes;
    wide && importer.value(x).is_none()
        && nodes
            .iter()
            .any(|node| node.output == x && matches!(node.op, Op::ArgMax(_)))
}

/// The element type with a number of ONNX's `TensorProto.DataType`.
pub(in crate::ops) fn elem(number: i64) -> Result<Elem> {
    let int = |bits, signed| Ok(Elem::Int(IntType { bits, signed }));
    match number {
        1 | 10 | 11 | 16 => Ok(Elem::Float),
        2 => int(8, false),
        3 => int(8, true),
        4 => int(16, false),
        5 => int(16, true),
        6 => int(32, true),
        7 => int(64, true),
        9 => Ok(Elem::Bool),
        12 => int(32, false),
        13 => int(64, false),
        21 => int(4, false),
        22 => int(4, true),
        25 => int(2, false),
        26 => int(2, true),
        8 => bail!("casts to strings are not supported"),
        14 | 15 => bail!("casts to complex numbers are not supported"),
        17..=20 | 23 | 24 => bail!(
            "casts to floating-point types of 8 and 4 bits are not supported";
            hint: "export the model with float32 or integer tensors"
        ),
        _ => bail!("element type {number} is unknown"),
    }
}

fn constant(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let Some((name, value)) = node.attributes.iter().next() else {
        bail!("a constant without a value"; hint: "the file breaks the ONNX specification of Constant");
    };
    let i64s = Elem::Int(IntType::I64);
    let (array, elem) = match (name.as_str(), value.clone()) {
        ("value", Attribute::Tensor(array, elem)) => (array, elem),
        ("value_float", Attribute::Float(x)) => (Array::f32([], vec![x]), Elem::Float),
        ("value_floats", Attribute::Floats(v)) => (Array::f32([v.len()], v), Elem::Float),
        ("value_int", Attribute::Int(x)) => (Array::i64([], vec![x]), i64s),
        ("value_ints", Attribute::Ints(v)) => (Array::i64([v.len()], v), i64s),
        _ => {
            bail!("constants of the form `{name}` are not supported"; hint: "dense tensors and numbers are")
        }
    };
    Ok(vec![importer.constant("value", array, elem)])
}

fn constant_of_shape(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let shape = check::shape(&importer.known_ints(node.input(0)?, "shape")?)?;
    let (value, elem) = match node.attributes.get("value") {
        None => (Array::f32([1], vec![0.0]), Elem::Float),
        Some(Attribute::Tensor(value, elem)) if value.len() == 1 => (value.clone(), elem.clone()),
        Some(_) => bail!("attribute `value` is not a tensor of one element"),
    };
    let value = importer.constant("value", value.reshaped([]), elem);
    Ok(vec![expand_to(importer, value, &shape)?])
}

/// Dropout keeps everything outside training.
fn dropout(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let training = match node.optional(2) {
        Some(id) => importer
            .known_ints(id, "training mode")?
            .iter()
            .any(|mode| *mode != 0),
        None => false,
    };
    if training {
        bail!("the model is in training mode"; hint: "export it for inference, with `model.eval()` in PyTorch");
    }
    if !node.has_output(1) {
        return Ok(vec![x]);
    }
    let shape = importer.shape(x).to_vec();
    let kept = importer.constant("kept", Array::i64([], vec![1]), Elem::Bool);
    Ok(vec![x, expand_to(importer, kept, &shape)?])
}

fn shape(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let shape = importer.shape(node.input(0)?);
    let rank = shape.len() as i64;
    let bound = |axis: i64| {
        let from_start = if axis < 0 {
            axis.saturating_add(rank)
        } else {
            axis
        };
        from_start.clamp(0, rank) as usize
    };
    let (start, end) = (bound(node.int("start", 0)?), bound(node.int("end", rank)?));
    let extents = shape.get(start..end).unwrap_or_default();
    let extents: Vec<i64> = extents.iter().map(|extent| *extent as i64).collect();
    Ok(vec![integers(
        importer,
        "shape",
        Array::i64([extents.len()], extents),
    )])
}

fn size(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let size = importer.ty(node.input(0)?).len() as i64;
    Ok(vec![integers(importer, "size", Array::i64([], vec![size]))])
}

fn integers(importer: &mut Importer, suffix: &str, array: Array) -> TensorId {
    importer.constant(suffix, array, Elem::Int(IntType::I64))
}

fn range(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let elem = importer.ty(node.input(0)?).elem.clone();
    let start = number(node, importer, 0, "start")?;
    let limit = number(node, importer, 1, "limit")?;
    let delta = number(node, importer, 2, "delta")?;
    let count = ((limit - start) / delta).ceil();
    if delta == 0.0 || !count.is_finite() {
        bail!("no range goes from {start} to {limit} in steps of {delta}");
    }
    let count = count.max(0.0) as usize;
    check::size(&[count])?;
    importer.charge(count)?;
    let values = (0..count).map(|i| start + i as f64 * delta);
    let data = match elem {
        Elem::Float => Data::F32(values.map(|x| x as f32).collect()),
        _ => Data::I64(values.map(|x| x as i64).collect()),
    };
    let shape = vec![count];
    Ok(vec![importer.constant(
        "range",
        Array { shape, data },
        elem,
    )])
}

/// The only element of a known operand, be it real or an integer.
fn number(node: &SourceNode, importer: &Importer, index: usize, what: &str) -> Result<f64> {
    let id = node.input(index)?;
    let number = match importer.ty(id).elem {
        Elem::Float => importer
            .known_reals(id, what)?
            .first()
            .copied()
            .map(f64::from),
        _ => importer.known_ints(id, what)?.first().map(|x| *x as f64),
    };
    match number {
        Some(number) => Ok(number),
        None => bail!("{what} is empty"),
    }
}
