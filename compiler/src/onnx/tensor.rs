//! The elements of a `TensorProto`, in any of its forms.

use std::path::Path;

use half::{bf16, f16};
use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::{DataLocation, DataType};

use super::external;
use crate::ir::{Array, Data, Elem, IntType};
use crate::ops::check;
use crate::{Result, bail};

/// How an element is stored.
#[derive(Clone, Copy)]
enum Storage {
    F32,
    F64,
    F16,
    Bf16,
    Int(IntType),
    Bool,
}

impl Storage {
    fn bits(self) -> usize {
        match self {
            Storage::F32 => 32,
            Storage::F64 => 64,
            Storage::F16 | Storage::Bf16 => 16,
            Storage::Int(int) => int.bits.into(),
            Storage::Bool => 8,
        }
    }

    fn elem(self) -> Elem {
        match self {
            Storage::F32 | Storage::F64 | Storage::F16 | Storage::Bf16 => Elem::Float,
            Storage::Int(int) => Elem::Int(int),
            Storage::Bool => Elem::Bool,
        }
    }
}

/// The element type that an ONNX number for one means; every floating-point type is evaluated in f32.
pub(super) fn elem(data_type: i32) -> Result<Elem> {
    storage(data_type).map(Storage::elem)
}

fn storage(data_type: i32) -> Result<Storage> {
    let int = |bits, signed| Ok(Storage::Int(IntType { bits, signed }));
    let name = match DataType::try_from(data_type) {
        Ok(DataType::Float) => return Ok(Storage::F32),
        Ok(DataType::Double) => return Ok(Storage::F64),
        Ok(DataType::Float16) => return Ok(Storage::F16),
        Ok(DataType::Bfloat16) => return Ok(Storage::Bf16),
        Ok(DataType::Bool) => return Ok(Storage::Bool),
        Ok(DataType::Uint2) => return int(2, false),
        Ok(DataType::Int2) => return int(2, true),
        Ok(DataType::Uint4) => return int(4, false),
        Ok(DataType::Int4) => return int(4, true),
        Ok(DataType::Uint8) => return int(8, false),
        Ok(DataType::Int8) => return int(8, true),
        Ok(DataType::Uint16) => return int(16, false),
        Ok(DataType::Int16) => return int(16, true),
        Ok(DataType::Uint32) => return int(32, false),
        Ok(DataType::Int32) => return int(32, true),
        Ok(DataType::Uint64) => return int(64, false),
        Ok(DataType::Int64) => return int(64, true),
        Ok(other) => other.as_str_name().to_lowercase(),
        Err(_) => format!("number {data_type}"),
    };
    bail!(
        "elements of type {name} are not supported";
        hint: "export the model with float32 or integer tensors"
    )
}

/// The array in a tensor and its element type. Data in other files are read from `folder`.
pub(super) fn array(tensor: &TensorProto, folder: Option<&Path>) -> Result<(Array, Elem)> {
    let storage = storage(tensor.data_type)?;
    let shape = check::shape(&tensor.dims)?;
    if tensor.segment.is_some() {
        bail!("segmented tensors are not supported"; hint: "save the model with whole tensors");
    }
    let count: usize = shape.iter().product();
    let bytes = (count * storage.bits()).div_ceil(8);
    let data = if tensor.data_location == DataLocation::External as i32 {
        let raw = external::read(&tensor.external_data, folder, bytes)?;
        from_raw(&raw, count, storage)?
    } else if !tensor.raw_data.is_empty() {
        if tensor.raw_data.len() != bytes {
            bail!(
                "shape {shape:?} needs {bytes} bytes, the tensor holds {}",
                tensor.raw_data.len()
            );
        }
        from_raw(&tensor.raw_data, count, storage)?
    } else {
        from_fields(tensor, count, storage)?
    };
    let held = match &data {
        Data::F32(v) => v.len(),
        Data::I64(v) => v.len(),
        Data::I32(v) => v.len(),
    };
    if held != count {
        bail!("shape {shape:?} needs {count} elements, the tensor holds {held}");
    }
    let array = match data {
        Data::F32(v) => Array::f32(shape, v),
        Data::I64(v) => Array::i64(shape, v),
        Data::I32(v) => Array::i32(shape, v),
    };
    Ok((array, storage.elem()))
}

/// Little-endian elements side by side; those narrower than a byte fill it from its low bits.
fn from_raw(raw: &[u8], count: usize, storage: Storage) -> Result<Data> {
    Ok(match storage {
        Storage::F32 => Data::F32(elements(raw, f32::from_le_bytes)),
        Storage::F64 => Data::F32(elements(raw, |b| f64::from_le_bytes(b) as f32)),
        Storage::F16 => Data::F32(elements(raw, |b| f16::from_le_bytes(b).to_f32())),
        Storage::Bf16 => Data::F32(elements(raw, |b| bf16::from_le_bytes(b).to_f32())),
        Storage::Bool => Data::I64(raw.iter().map(|byte| i64::from(*byte != 0)).collect()),
        Storage::Int(int) => Data::I64(match (int.bits, int.signed) {
            (8, false) => elements(raw, |b| u8::from_le_bytes(b).into()),
            (8, true) => elements(raw, |b| i8::from_le_bytes(b).into()),
            (16, false) => elements(raw, |b| u16::from_le_bytes(b).into()),
            (16, true) => elements(raw, |b| i16::from_le_bytes(b).into()),
            (32, false) => elements(raw, |b| u32::from_le_bytes(b).into()),
            (32, true) => elements(raw, |b| i32::from_le_bytes(b).into()),
            (64, false) => unsigned(elements(raw, u64::from_le_bytes))?,
            (64, true) => elements(raw, i64::from_le_bytes),
            _ => packed(raw.iter().copied(), count, int),
        }),
    })
}

fn elements<const N: usize, T>(raw: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = raw.as_chunks::<N>();
    chunks.iter().map(|chunk| decode(*chunk)).collect()
}

/// The typed fields: `int32_data` holds every integer up to 32 signed bits, and 16-bit reals as their bits.
fn from_fields(tensor: &TensorProto, count: usize, storage: Storage) -> Result<Data> {
    let small = &tensor.int32_data;
    let bits = |x: &i32| *x as u16;
    Ok(match storage {
        Storage::F32 => Data::F32(tensor.float_data.clone()),
        Storage::F64 => Data::F32(tensor.double_data.iter().map(|x| *x as f32).collect()),
        Storage::F16 => Data::F32(
            small
                .iter()
                .map(|x| f16::from_bits(bits(x)).to_f32())
                .collect(),
        ),
        Storage::Bf16 => Data::F32(
            small
                .iter()
                .map(|x| bf16::from_bits(bits(x)).to_f32())
                .collect(),
        ),
        Storage::Bool => Data::I64(small.iter().map(|x| i64::from(*x != 0)).collect()),
        Storage::Int(int) => Data::I64(match (int.bits, int.signed) {
            (64, true) => tensor.int64_data.clone(),
            (64, false) | (32, false) => in_range(unsigned(tensor.uint64_data.clone())?, int)?,
            (2 | 4, _) => packed(small.iter().map(|x| *x as u8), count, int),
            _ => in_range(small.iter().map(|x| i64::from(*x)).collect(), int)?,
        }),
    })
}

/// Elements of 2 or 4 bits, the first in the low bits of each byte.
fn packed(bytes: impl Iterator<Item = u8>, count: usize, int: IntType) -> Vec<i64> {
    let per_byte = 8 / int.bits;
    let elements = bytes.flat_map(|byte| {
        (0..per_byte).map(move |i| {
            let bits = i64::from(byte >> (i * int.bits)) & ((1 << int.bits) - 1);
            if bits > int.max() {
                bits - (1 << int.bits)
            } else {
                bits
            }
        })
    });
    elements.take(count).collect()
}

fn unsigned(values: Vec<u64>) -> Result<Vec<i64>> {
    let narrow = |value: u64| match i64::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => bail!("the unsigned integer {value} is above 2^63 − 1, which is not supported"),
    };
    values.into_iter().map(narrow).collect()
}

fn in_range(values: Vec<i64>, int: IntType) -> Result<Vec<i64>> {
    match values
        .iter()
        .find(|v| !(int.min()..=int.max()).contains(*v))
    {
        Some(value) => bail!("the integer {value} does not fit into {} bits", int.bits),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: DataType, dims: &[i64]) -> TensorProto {
        TensorProto {
            data_type: data_type as i32,
            dims: dims.to_vec(),
            ..Default::default()
        }
    }

    fn read(tensor: TensorProto) -> Data {
        array(&tensor, None)
            .expect("the tensor is well formed")
            .0
            .data
    }

    fn raw(data_type: DataType, dims: &[i64], raw_data: &[u8]) -> Data {
        read(TensorProto {
            raw_data: raw_data.to_vec(),
            ..tensor(data_type, dims)
        })
    }

    fn small(data_type: DataType, int32_data: &[i32]) -> Data {
        let dims = [int32_data.len() as i64];
        read(TensorProto {
            int32_data: int32_data.to_vec(),
            ..tensor(data_type, &dims)
        })
    }

    #[test]
    fn raw_bytes_hold_every_width() {
        let bytes = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
        assert_eq!(
            raw(DataType::Float, &[2], &bytes),
            Data::F32(vec![1.5, -2.0])
        );
        let bytes = 0.1f64.to_le_bytes();
        assert_eq!(raw(DataType::Double, &[], &bytes), Data::F32(vec![0.1]));
        assert_eq!(
            raw(DataType::Float16, &[1], &[0x00, 0x3e]),
            Data::F32(vec![1.5])
        );
        assert_eq!(
            raw(DataType::Bfloat16, &[1], &[0xc0, 0x3f]),
            Data::F32(vec![1.5])
        );
        assert_eq!(raw(DataType::Bool, &[2], &[0, 1]), Data::I64(vec![0, 1]));
        assert_eq!(
            raw(DataType::Int8, &[2], &[255, 127]),
            Data::I64(vec![-1, 127])
        );
        assert_eq!(raw(DataType::Uint8, &[1], &[255]), Data::I64(vec![255]));
        assert_eq!(
            raw(DataType::Int16, &[1], &[0, 0x80]),
            Data::I64(vec![-32768])
        );
        assert_eq!(
            raw(DataType::Uint16, &[1], &[0, 0x80]),
            Data::I64(vec![32768])
        );
        assert_eq!(raw(DataType::Int32, &[1], &[255; 4]), Data::I64(vec![-1]));
        assert_eq!(
            raw(DataType::Uint32, &[1], &[255; 4]),
            Data::I64(vec![0xffff_ffff])
        );
        assert_eq!(raw(DataType::Int64, &[1], &[255; 8]), Data::I64(vec![-1]));
    }

    #[test]
    fn narrow_elements_fill_bytes_from_the_low_bits() {
        assert_eq!(
            raw(DataType::Int4, &[3], &[0x8f, 0x07]),
            Data::I64(vec![-1, -8, 7])
        );
        assert_eq!(raw(DataType::Uint4, &[2], &[0x8f]), Data::I64(vec![15, 8]));
        assert_eq!(
            raw(DataType::Int2, &[4], &[0b1001_1100]),
            Data::I64(vec![0, -1, 1, -2])
        );
        assert_eq!(
            raw(DataType::Uint2, &[4], &[0b1001_1100]),
            Data::I64(vec![0, 3, 1, 2])
        );
        let nibbles = TensorProto {
            int32_data: vec![0x8f, 0x07],
            ..tensor(DataType::Int4, &[3])
        };
        assert_eq!(read(nibbles), Data::I64(vec![-1, -8, 7]));
    }

    #[test]
    fn typed_fields_hold_every_type() {
        let floats = TensorProto {
            float_data: vec![1.0],
            ..tensor(DataType::Float, &[1])
        };
        assert_eq!(read(floats), Data::F32(vec![1.0]));
        let doubles = TensorProto {
            double_data: vec![0.5],
            ..tensor(DataType::Double, &[1])
        };
        assert_eq!(read(doubles), Data::F32(vec![0.5]));
        let longs = TensorProto {
            int64_data: vec![-5],
            ..tensor(DataType::Int64, &[1])
        };
        assert_eq!(read(longs), Data::I64(vec![-5]));
        let words = TensorProto {
            uint64_data: vec![1 << 31],
            ..tensor(DataType::Uint32, &[1])
        };
        assert_eq!(read(words), Data::I64(vec![1 << 31]));
        assert_eq!(small(DataType::Int8, &[-128]), Data::I64(vec![-128]));
        assert_eq!(small(DataType::Uint16, &[65535]), Data::I64(vec![65535]));
        assert_eq!(small(DataType::Bool, &[1, 0]), Data::I64(vec![1, 0]));
        assert_eq!(small(DataType::Float16, &[0x3e00]), Data::F32(vec![1.5]));
        assert_eq!(small(DataType::Bfloat16, &[0x3fc0]), Data::F32(vec![1.5]));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refusal = |tensor: TensorProto| {
            let error = array(&tensor, None).expect_err("the tensor is refused");
            error.diagnostics[0].message.clone()
        };
        let float8 = "elements of type float8e4m3fn are not supported";
        assert_eq!(refusal(tensor(DataType::Float8e4m3fn, &[1])), float8);
        let short = TensorProto {
            raw_data: vec![0; 5],
            ..tensor(DataType::Float, &[2])
        };
        assert_eq!(
            refusal(short),
            "shape [2] needs 8 bytes, the tensor holds 5"
        );
        let few = "shape [2] needs 2 elements, the tensor holds 0";
        assert_eq!(refusal(tensor(DataType::Float, &[2])), few);
        assert_eq!(
            refusal(tensor(DataType::Float, &[-1])),
            "shape [-1] has a negative extent"
        );
        let huge = "a tensor of shape [0, 1099511627776] has more than 2^31 elements";
        assert_eq!(refusal(tensor(DataType::Float, &[0, 1 << 40])), huge);
        let wide = TensorProto {
            int32_data: vec![300],
            ..tensor(DataType::Uint8, &[1])
        };
        assert_eq!(refusal(wide), "the integer 300 does not fit into 8 bits");
    }
}
