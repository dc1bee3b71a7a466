//! `.npy` and `.npz` files, read one sample at a time.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use half::f16;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use crate::{Error, Result, bail};

/// An array in a file, opened at its first element.
pub(super) struct Stream {
    /// Its name in the archive; a `.npy` file's stem.
    pub name: String,
    /// Extents; the first axis counts samples.
    pub shape: Vec<usize>,
    number: Option<Number>,
    reader: Box<dyn Read + Send>,
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    kind: Kind,
    bytes: usize,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

/// The numbers of one sample.
#[derive(Clone)]
pub(super) enum Numbers {
    /// Floating point in the file.
    Reals(Vec<f32>),
    /// Integers or truth values in the file.
    Integers(Vec<i64>),
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers::Reals(vec![])
    }
}

impl Numbers {
    /// The only element, as a label.
    pub(super) fn single(self) -> Result<i64> {
        match self {
            Numbers::Integers(v) if v.len() == 1 => Ok(v[0]),
            Numbers::Reals(v) if v.len() == 1 && v[0].fract() == 0.0 => Ok(v[0] as i64),
            _ => bail!("labels are not one integer a sample"),
        }
    }

    /// As reals.
    pub(super) fn reals(self) -> Vec<f32> {
        match self {
            Numbers::Reals(v) => v,
            Numbers::Integers(v) => v.into_iter().map(|x| x as f32).collect(),
        }
    }
}

/// All arrays of a `.npy` or `.npz` file, in the order of the file.
pub(super) fn open(path: &Path) -> Result<Vec<Stream>> {
    let failed = |e: &dyn std::fmt::Display| Error::new(format!("{}: {e}", path.display()));
    let mut file = File::open(path).map_err(|e| failed(&e))?;
    let mut magic = [0; 2];
    file.read_exact(&mut magic).map_err(|e| failed(&e))?;
    file.rewind().map_err(|e| failed(&e))?;
    if &magic != b"PK" {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let reader = Box::new(BufReader::new(file));
        return Ok(vec![Stream::new(&name, reader).map_err(|e| failed(&e))?]);
    }
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| failed(&e))?;
    let mut streams = vec![];
    for index in 0..archive.len() {
        let Some(entry) = Entry::of(&mut archive, index).map_err(|e| failed(&e))? else {
            continue;
        };
        let reader = entry.open(path).map_err(|e| failed(&e))?;
        streams.push(Stream::new(&entry.name, reader).map_err(|e| failed(&e))?);
    }
    Ok(streams)
}

/// Where an array lies in an archive. The archive's own readers borrow it; several arrays are read in
/// step, so each gets a reader of its own on the same file.
struct Entry {
    name: String,
    start: u64,
    length: u64,
    deflated: bool,
}

impl Entry {
    fn of(
        archive: &mut zip::ZipArchive<BufReader<File>>,
        index: usize,
    ) -> std::io::Result<Option<Entry>> {
        let file = archive.by_index_raw(index)?;
        let path = file.name()?;
        let Some(name) = path.strip_suffix(".npy") else {
            return Ok(None);
        };
        let deflated = match file.compression() {
            zip::CompressionMethod::Stored => false,
            zip::CompressionMethod::Deflated => true,
            other => return Err(invalid(format!("`{name}` is compressed with {other}"))),
        };
        let start = file
            .data_start()
            .ok_or_else(|| invalid(format!("`{name}` has no data")))?;
        Ok(Some(Entry {
            name: name.to_string(),
            start,
            length: file.compressed_size(),
            deflated,
        }))
    }

    fn open(&self, path: &Path) -> std::io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.start))?;
        let raw = BufReader::new(file.take(self.length));
        Ok(if self.deflated {
            Box::new(BufReader::new(flate2::read::DeflateDecoder::new(raw)))
        } else {
            Box::new(raw)
        })
    }
}

fn invalid(message: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, message)
}

impl Stream {
    fn new(name: &str, mut reader: Box<dyn Read + Send>) -> std::io::Result<Stream> {
        let header = NpyHeader::from_reader(&mut reader)?;
        let extent = |n: &u64| usize::try_from(*n).map_err(|e| invalid(e.to_string()));
        let shape = header
            .shape()
            .iter()
            .map(extent)
            .collect::<std::io::Result<_>>()?;
        // With Fortran's order the elements of one sample are spread over the whole file.
        let streams = header.order() == Order::C || header.shape().len() <= 1;
        Ok(Stream {
            name: name.to_string(),
            shape,
            number: Number::of(&header.dtype()).filter(|_| streams),
            reader,
        })
    }

    /// Whether the array holds numbers, a sample at each index of its first axis.
    pub(super) fn is_samples(&self) -> bool {
        self.number.is_some() && !self.shape.is_empty()
    }

    /// The next sample's elements.
    pub(super) fn next(&mut self) -> Result<Numbers> {
        let Some(number) = self.number else {
            bail!(
                "array `{}` does not hold numbers in row-major order", self.name;
                hint: "store np.ascontiguousarray(x) of a plain number type"
            );
        };
        let len = self.shape[1..].iter().product::<usize>();
        let mut bytes = vec![0; len * number.bytes];
        if let Err(e) = self.reader.read_exact(&mut bytes) {
            bail!("array `{}` ends early: {e}", self.name);
        }
        Ok(number.decode(&bytes))
    }
}

impl Number {
    fn of(dtype: &DType) -> Option<Number> {
        let DType::Plain(ty) = dtype else {
            return None;
        };
        let bytes = ty.size_field() as usize;
        let kind = match (ty.type_char(), bytes) {
            (TypeChar::Float, 2 | 4 | 8) => Kind::Float,
            (TypeChar::Int, 1 | 2 | 4 | 8) => Kind::Signed,
            (TypeChar::Uint, 1 | 2 | 4 | 8) | (TypeChar::Bool, 1) => Kind::Unsigned,
            _ => return None,
        };
        let big_endian = ty.endianness() == Endianness::Big;
        Some(Number {
            kind,
            bytes,
            big_endian,
        })
    }

    fn decode(self, bytes: &[u8]) -> Numbers {
        let words = bytes.chunks_exact(self.bytes).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            if self.big_endian {
                word[..chunk.len()].reverse();
            }
            u64::from_le_bytes(word)
        });
        let unused = 64 - 8 * self.bytes as u32;
        match (self.kind, self.bytes) {
            (Kind::Float, 2) => {
                Numbers::Reals(words.map(|w| f16::from_bits(w as u16).to_f32()).collect())
            }
            (Kind::Float, 4) => Numbers::Reals(words.map(|w| f32::from_bits(w as u32)).collect()),
            (Kind::Float, _) => Numbers::Reals(words.map(|w| f64::from_bits(w) as f32).collect()),
            // Shifted up and down again, the sign fills the unused bits.
            (Kind::Signed, _) => {
                Numbers::Integers(words.map(|w| (w << unused) as i64 >> unused).collect())
            }
            (Kind::Unsigned, _) => Numbers::Integers(words.map(|w| w as i64).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(kind: Kind, bytes: usize, big_endian: bool, data: &[u8]) -> Vec<f32> {
        let number = Number {
            kind,
            bytes,
            big_endian,
        };
        number.decode(data).reals()
    }

    #[test]
    fn every_width_and_order_is_decoded() {
        assert_eq!(
            decode(Kind::Signed, 1, false, &[0xff, 0x80, 0x7f]),
            [-1.0, -128.0, 127.0]
        );
        assert_eq!(
            decode(Kind::Unsigned, 1, false, &[0xff, 0x00]),
            [255.0, 0.0]
        );
        assert_eq!(
            decode(Kind::Signed, 2, true, &[0xff, 0xfe, 0x01, 0x00]),
            [-2.0, 256.0]
        );
        assert_eq!(decode(Kind::Float, 2, false, &[0x00, 0x3c]), [1.0]);
        assert_eq!(decode(Kind::Float, 4, true, &1.5f32.to_be_bytes()), [1.5]);
        assert_eq!(
            decode(Kind::Float, 8, false, &(-2.5f64).to_le_bytes()),
            [-2.5]
        );
    }
}
