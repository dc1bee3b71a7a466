//! `.npz` files of results.

use std::io::{Seek, Write};

use npyz::WriterBuilder;

use crate::ir::{Array, Data};
use crate::{Error, Result};

/// Writes arrays, each with its name, as an uncompressed `.npz` archive.
/// Entries carry no date, so the same arrays give the same bytes.
pub fn write_npz(to: impl Write + Seek, arrays: &[(String, Array)]) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::new(format!("cannot write results: {e}"));
    let mut zip = zip::ZipWriter::new(to);
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(true);
    for (name, array) in arrays {
        // A slash would make a folder, which numpy does not list.
        let name = format!("{}.npy", name.replace('/', "_"));
        zip.start_file(name, options).map_err(|e| failed(&e))?;
        write_npy(&mut zip, array).map_err(|e| failed(&e))?;
    }
    zip.finish().map_err(|e| failed(&e))?;
    Ok(())
}

fn write_npy(to: &mut impl Write, array: &Array) -> std::io::Result<()> {
    let shape: Vec<u64> = array.shape.iter().map(|n| *n as u64).collect();
    match &array.data {
        Data::F32(v) => write_elements(to, &shape, v),
        Data::I64(v) => write_elements(to, &shape, v),
        Data::I32(v) => write_elements(to, &shape, v),
    }
}

fn write_elements<T: npyz::AutoSerialize + Copy>(
    to: &mut impl Write,
    shape: &[u64],
    elements: &[T],
) -> std::io::Result<()> {
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(shape)
        .writer(to)
        .begin_nd()?;
    writer.extend(elements.iter().copied())?;
    writer.finish()
}
