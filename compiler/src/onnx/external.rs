//! Tensor data in files beside the model.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use onnx_protobuf::StringStringEntryProto;

use crate::{Error, Result, bail};

/// The `bytes` of a tensor from the file that its entries name. The file must lie in the model's own
/// folder, links followed, so that a model cannot read what it was not given.
pub(super) fn read(
    entries: &[StringStringEntryProto],
    folder: Option<&Path>,
    bytes: usize,
) -> Result<Vec<u8>> {
    let entry = |key: &str| {
        entries
            .iter()
            .find(|e| e.key == key)
            .map(|e| e.value.as_str())
    };
    let Some(location) = entry("location") else {
        bail!("external data without a location");
    };
    let Some(folder) = folder else {
        bail!(
            "the data are in the file `{location}`, and only the model's bytes were given";
            hint: "load the model from its file, or save it with its data inside"
        );
    };
    let offset = number(entry("offset"), "offset")?.unwrap_or(0);
    let length = number(entry("length"), "length")?.unwrap_or(bytes as u64);
    if length != bytes as u64 {
        bail!("external data of {length} bytes for a tensor of {bytes}");
    }
    let mut file = open(folder, location)?;
    let failed = |error| Error::new(format!("cannot read external data `{location}`: {error}"));
    let meta = file.metadata().map_err(failed)?;
    let end = offset.checked_add(length);
    if !meta.is_file() || end.is_none_or(|end| end > meta.len()) {
        bail!(
            "external data `{location}` ends before byte {offset} + {length}";
            hint: "the file is truncated, or belongs to another model"
        );
    }
    // The size was checked against the file's, so this allocates no more than there is.
    let mut data = vec![0; bytes];
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    file.read_exact(&mut data).map_err(failed)?;
    Ok(data)
}

fn number(value: Option<&str>, what: &str) -> Result<Option<u64>> {
    match value.map(str::parse) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => bail!("external data with an {what} that is no number"),
    }
}

fn open(folder: &Path, location: &str) -> Result<File> {
    let inside = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
    let failed = |error| Error::new(format!("cannot open external data `{location}`: {error}"));
    let outside = || {
        Error::new(format!(
            "external data at `{location}` lie outside the model's folder"
        ))
        .hint("only files beside the model are read; save it with its data inside or beside it")
    };
    // Windows separators and drive letters are no separators here, and never in a name that is meant well.
    if location.contains('\\') || !Path::new(location).components().all(inside) {
        return Err(outside());
    }
    let folder = folder.canonicalize().map_err(failed)?;
    let path = folder.join(location).canonicalize().map_err(failed)?;
    if !path.starts_with(&folder) {
        return Err(outside());
    }
    if !path.is_file() {
        bail!("external data `{location}` are not in a file");
    }
    File::open(path).map_err(failed)
}
