//! From the bytes of an ONNX file to a [`Model`] of reals, and from a quantized model to such a file.
//!
//! This is the only code that knows protobuf. Operators are imported by their families in `crate::ops`;
//! opset differences end there. Shapes are inferred, never taken from the file's `value_info`, which
//! may be stale. What is known at compile time is folded on the way.
//!
//! A file may be broken or hostile: whatever it holds gives a model or an error, in memory that is
//! bounded by the file's size.

mod attribute;
mod export;
mod external;
mod graph;
mod input;
mod order;
mod tensor;

use std::collections::BTreeMap;
use std::path::Path;

use onnx_protobuf::{Message, ModelProto, TensorProto};

pub use export::{export, exportable};

use crate::ir::{Array, Elem, Model, Numerics};
use crate::{Error, Result, bail};

/// Opset versions of ONNX's own domain whose operators have a known meaning.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=27;
/// Protobuf messages cannot be larger; files that are hold something else.
const MAX_BYTES: u64 = (1 << 31) - 1;

/// What the file leaves open.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first extent of an input where the file does not fix it.
    pub batch: usize,
    /// Symbolic dimensions by their name in the file, or as `input.axis`; these also override.
    pub dims: BTreeMap<String, usize>,
    /// Inputs whose values are known at compile time.
    pub bind: BTreeMap<String, Array>,
    /// What operators on integers are taken to compute.
    pub numerics: Numerics,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            batch: 1,
            dims: BTreeMap::new(),
            bind: BTreeMap::new(),
            numerics: Numerics::default(),
        }
    }
}

/// The model in a file; data in other files are read only from the file's own folder.
pub fn load(path: &Path, options: &Options) -> Result<Model> {
    let failed = |error| Error::new(format!("cannot read {}: {error}", path.display()));
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        bail!("{} is not a file", path.display(); hint: "give the path of an .onnx file");
    }
    if meta.len() > MAX_BYTES {
        bail!(
            "{} is larger than 2 GB, which no ONNX file is", path.display();
            hint: "save the model with its weights as external data"
        );
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    named(&bytes, Some(folder), options, &stem)
}

/// The model in the bytes of a file. Without a folder, data in other files are refused.
pub fn import(bytes: &[u8], folder: Option<&Path>, options: &Options) -> Result<Model> {
    named(bytes, folder, options, "model")
}

/// [`import`], with a name for a graph that has none.
fn named(bytes: &[u8], folder: Option<&Path>, options: &Options, name: &str) -> Result<Model> {
    let not_onnx = |error| {
        Error::new(format!("not an ONNX model: {error}"))
            .hint("give an .onnx file as an exporter wrote it; it may be truncated")
    };
    let proto = ModelProto::decode(bytes).map_err(not_onnx)?;
    let opset = opset(&proto)?;
    let Some(mut graph) = proto.graph else {
        bail!("not an ONNX model: it holds no graph"; hint: "give an .onnx file as an exporter wrote it");
    };
    if graph.name.is_empty() {
        graph.name = name.to_string();
    }
    let mut model = graph::import(graph, opset, folder, options)?;
    model.numerics = options.numerics;
    Ok(model)
}

/// The array and element type in the bytes of a `TensorProto`, the form of ONNX's test data.
pub fn tensor_from_bytes(bytes: &[u8]) -> Result<(Array, Elem)> {
    let not_tensor = |error| Error::new(format!("not an ONNX tensor: {error}"));
    let proto = TensorProto::decode(bytes).map_err(not_tensor)?;
    tensor::array(&proto, None)
}

/// The version of ONNX's own domain; merged models list it more than once.
fn opset(proto: &ModelProto) -> Result<i64> {
    let own = proto.opset_import.iter();
    let own = own.filter(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    let Some(version) = own.map(|set| set.version).max() else {
        // A model of custom operators only: any version serves, there is nothing that it changes.
        return Ok(*OPSETS.end());
    };
    if !OPSETS.contains(&version) {
        let (first, last) = (OPSETS.start(), OPSETS.end());
        bail!(
            "opset {version} is not supported, {first} to {last} are";
            hint: "convert the model with onnx.version_converter, or export it with another opset_version"
        );
    }
    Ok(version)
}
