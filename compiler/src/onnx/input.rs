//! The model's inputs: every extent gets its number here.

use std::collections::{BTreeMap, BTreeSet};

use onnx_protobuf::tensor_shape_proto::dimension::Value as Extent;
use onnx_protobuf::type_proto::Value as Kind;
use onnx_protobuf::{TensorShapeProto, ValueInfoProto};

use super::{Options, tensor};
use crate::ir::{Array, Data, Elem, Type};
use crate::ops::check;
use crate::{Error, Result, bail};

/// The types of the inputs, in order. All dimensions without a number are reported at once.
pub(super) fn types(inputs: &[ValueInfoProto], options: &Options) -> Result<Vec<Type>> {
    let declared = inputs.iter().map(declared).collect::<Vec<_>>();
    let mut errors = vec![];
    let mut open = vec![];
    for (input, declared) in inputs.iter().zip(declared) {
        match declared {
            Ok((elem, extents)) => open.push((input.name.as_str(), elem, extents)),
            Err(error) => errors.push(error.at(&format!("input `{}`", input.name))),
        }
    }
    Error::collect(std::mem::take(&mut errors))?;
    let dims = Dims::new(&open, options)?;
    let mut types = vec![];
    for (name, elem, extents) in open {
        let bound = options.bind.get(name);
        let shape = match (extents, bound) {
            (Some(extents), _) => dims.shape(name, &extents),
            (None, Some(array)) => Ok(array.shape.clone()),
            (None, None) => Err(Error::new("the file gives it no shape")
                .hint("export the model with the shapes of its inputs")),
        };
        let ty = shape.and_then(|shape| check::size(&shape).map(|_| Type { shape, elem }));
        let ty = ty.and_then(|ty| bound.map_or(Ok(()), |array| fits(array, &ty)).map(|()| ty));
        match ty {
            Ok(ty) => types.push(ty),
            Err(error) => errors.push(error.at(&format!("input `{name}`"))),
        }
    }
    Error::collect(errors)?;
    Ok(types)
}

/// An extent of an input as the file states it.
enum Dim {
    Fixed(usize),
    Named(String),
    Missing,
}

/// An input's name, element type and, where the file gives one, shape.
type Input<'a> = (&'a str, Elem, Option<Vec<Dim>>);

fn declared(input: &ValueInfoProto) -> Result<(Elem, Option<Vec<Dim>>)> {
    let Some(Kind::TensorType(tensor)) = input.r#type.as_ref().and_then(|ty| ty.value.as_ref())
    else {
        bail!("it is not a tensor"; hint: "sequences, maps and optional inputs are not supported");
    };
    let elem = tensor::elem(tensor.elem_type)?;
    Ok((elem, tensor.shape.as_ref().map(dims).transpose()?))
}

fn dims(shape: &TensorShapeProto) -> Result<Vec<Dim>> {
    check::rank(shape.dim.len())?;
    let dim = |value: Option<&Extent>| match value {
        Some(Extent::DimValue(extent)) if *extent >= 0 => Ok(Dim::Fixed(*extent as usize)),
        // Some exporters write −1 for an extent that is open.
        Some(Extent::DimValue(-1)) | None => Ok(Dim::Missing),
        Some(Extent::DimValue(extent)) => bail!("its shape has the extent {extent}"),
        // `?` names every open extent of some exporters' files, equal or not.
        Some(Extent::DimParam(name)) if matches!(name.as_str(), "" | "?") => Ok(Dim::Missing),
        Some(Extent::DimParam(name)) => Ok(Dim::Named(name.clone())),
    };
    shape.dim.iter().map(|d| dim(d.value.as_ref())).collect()
}

/// Numbers for the dimensions that the file leaves open.
struct Dims<'a> {
    options: &'a Options,
    /// Symbols of first axes: the batch.
    batch: BTreeMap<String, usize>,
    bound: BTreeMap<String, usize>,
}

impl<'a> Dims<'a> {
    fn new(inputs: &[Input], options: &'a Options) -> Result<Dims<'a>> {
        let mut dims = Dims {
            options,
            batch: BTreeMap::new(),
            bound: BTreeMap::new(),
        };
        let mut keys = BTreeSet::new();
        for (input, _, extents) in inputs {
            let bound = options.bind.get(*input);
            for (axis, extent) in extents.iter().flatten().enumerate() {
                keys.insert(format!("{input}.{axis}"));
                if let Dim::Named(name) = extent {
                    keys.insert(name.clone());
                    if let Some(extent) = bound.and_then(|array| array.shape.get(axis)) {
                        dims.bound.insert(name.clone(), *extent);
                    } else if axis == 0 {
                        dims.batch.insert(name.clone(), options.batch);
                    }
                }
            }
        }
        dims.check_options(inputs, &keys)?;
        dims.check_complete(inputs)?;
        Ok(dims)
    }

    fn number(&self, input: &str, axis: usize, extent: &Dim) -> Option<usize> {
        let given = |name: &str| self.options.dims.get(name).copied();
        let bound = self.options.bind.get(input);
        let own = given(&format!("{input}.{axis}"));
        match extent {
            Dim::Fixed(extent) => own.or(Some(*extent)),
            Dim::Missing => own
                .or_else(|| bound.and_then(|array| array.shape.get(axis).copied()))
                .or((axis == 0).then_some(self.options.batch)),
            Dim::Named(name) => own
                .or_else(|| given(name))
                .or_else(|| self.bound.get(name).copied())
                .or_else(|| self.batch.get(name).copied()),
        }
    }

    fn shape(&self, input: &str, extents: &[Dim]) -> Result<Vec<usize>> {
        let numbered = extents.iter().enumerate();
        let numbers = numbered.map(|(axis, extent)| self.number(input, axis, extent));
        Ok(numbers
            .map(|n| n.expect("check_complete found a number for each"))
            .collect())
    }

    /// A `--dim` or a bound input that the model does not have is a slip of the user's.
    fn check_options(&self, inputs: &[Input], keys: &BTreeSet<String>) -> Result<()> {
        let list = |names: Vec<&str>| {
            if names.is_empty() {
                "none".into()
            } else {
                names.join(", ")
            }
        };
        if let Some(name) = self.options.dims.keys().find(|name| !keys.contains(*name)) {
            let known = keys.iter().map(String::as_str).collect();
            bail!("no input has a dimension `{name}`"; hint: "its dimensions are: {}", list(known));
        }
        for name in self.options.bind.keys() {
            if !inputs.iter().any(|(input, ..)| input == name) {
                let known = inputs.iter().map(|(input, ..)| *input).collect();
                bail!("the model has no input `{name}`"; hint: "its inputs are: {}", list(known));
            }
        }
        Ok(())
    }

    fn check_complete(&self, inputs: &[Input]) -> Result<()> {
        let mut missing: Vec<String> = vec![];
        for (input, _, extents) in inputs {
            for (axis, extent) in extents.iter().flatten().enumerate() {
                if self.number(input, axis, extent).is_none() {
                    missing.push(match extent {
                        Dim::Named(name) => name.clone(),
                        _ => format!("{input}.{axis}"),
                    });
                }
            }
        }
        let mut seen = BTreeSet::new();
        missing.retain(|name| seen.insert(name.clone()));
        if missing.is_empty() {
            return Ok(());
        }
        let options: Vec<_> = missing
            .iter()
            .map(|name| format!("--dim {name}=<extent>"))
            .collect();
        bail!(
            "the model leaves dimensions open: {}", missing.join(", ");
            hint: "fix them with {}", options.join(" ")
        )
    }
}

/// A bound value must be one that the input can take.
fn fits(array: &Array, ty: &Type) -> Result<()> {
    let kind = matches!(
        (&array.data, &ty.elem),
        (Data::F32(_), Elem::Float) | (Data::I64(_), Elem::Int(_) | Elem::Bool)
    );
    if !kind || array.shape != ty.shape {
        bail!(
            "its value has shape {:?}, the model takes {} of shape {:?}",
            array.shape,
            check::kind(&ty.elem),
            ty.shape
        );
    }
    Ok(())
}
