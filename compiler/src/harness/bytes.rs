//! Tensors in the caller's memory.

use crate::ir::Model;
use crate::ir::{Array, Data, Elem, TensorId, Type};
use crate::kernel::{Port, Program, Scalar};

/// The bytes of one sample's inputs, as a program takes them: the integer model's integers and reals.
pub fn to_ports(program: &Program, inputs: &[Array]) -> Vec<Vec<u8>> {
    let ports = program.inputs.iter().zip(inputs);
    ports
        .map(|(port, array)| {
            let last = channels_last(&array.shape, &port.ty.shape);
            let array = if last { &transposed(array) } else { array };
            match &array.data {
                Data::F32(reals) => reals.iter().flat_map(|x| x.to_le_bytes()).collect(),
                _ => encode(&integers(array), port.scalar),
            }
        })
        .collect()
}

/// The arrays that a program's outputs stand for, typed as the integer model's outputs.
pub fn from_ports(program: &Program, model: &Model, outputs: &[Vec<u8>]) -> Vec<Array> {
    let ports = program.outputs.iter().zip(&model.outputs).zip(outputs);
    ports
        .map(|((port, id), bytes)| array(port, *id, model, bytes))
        .collect()
}

fn array(port: &Port, id: TensorId, model: &Model, bytes: &[u8]) -> Array {
    let Type { shape, elem } = &model[id].ty;
    if *elem == Elem::Float {
        let (words, _) = bytes.as_chunks::<4>();
        let reals = words.iter().map(|x| f32::from_le_bytes(*x));
        return Array::f32(shape.clone(), reals.collect());
    }
    let integers = decode(bytes, port.scalar);
    match elem {
        Elem::Quantized(_) => Array::i32(
            shape.clone(),
            integers.into_iter().map(|x| x as i32).collect(),
        ),
        _ => Array::i64(shape.clone(), integers),
    }
}

fn integers(array: &Array) -> Vec<i64> {
    match &array.data {
        Data::I32(v) => v.iter().map(|x| i64::from(*x)).collect(),
        Data::I64(v) => v.clone(),
        Data::F32(_) => unreachable!("reals have bytes of their own"),
    }
}

/// Whether a port takes `[N, H, W, C]` where the model says `[N, C, H, W]`.
fn channels_last(model: &[usize], port: &[usize]) -> bool {
    matches!((model, port), ([n, c, h, w], [..]) if model != port && [*n, *h, *w, *c] == *port)
}

fn transposed(array: &Array) -> Array {
    let (n, c) = (array.shape[0], array.shape[1]);
    let plane = array.shape[2] * array.shape[3];
    let image = |n: usize| (0..plane).flat_map(move |p| (0..c).map(move |c| (n, c, p)));
    let order = (0..n).flat_map(image);
    array.pick(
        array.shape.clone(),
        order.map(|(i, j, p)| (i * c + j) * plane + p),
    )
}

fn encode(integers: &[i64], scalar: Scalar) -> Vec<u8> {
    let width = scalar.bytes();
    let bytes = integers.iter().map(|x| x.to_le_bytes());
    bytes.flat_map(|b| b.into_iter().take(width)).collect()
}

fn decode(bytes: &[u8], scalar: Scalar) -> Vec<i64> {
    let signed = matches!(scalar, Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64);
    let unused = 64 - 8 * scalar.bytes() as u32;
    let words = bytes.chunks_exact(scalar.bytes()).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        i64::from_le_bytes(word)
    });
    match signed {
        // Shifted up and down again, the sign fills the unused bits.
        true => words.map(|w| w << unused >> unused).collect(),
        false => words.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_memory() {
        for (scalar, values) in [
            (Scalar::I8, vec![-128, -1, 127]),
            (Scalar::U8, vec![0, 128, 255]),
            (Scalar::I32, vec![-5, i64::from(i32::MIN), 7]),
        ] {
            assert_eq!(decode(&encode(&values, scalar), scalar), values);
        }
    }

    #[test]
    fn images_are_transposed_for_ports_with_channels_last() {
        assert!(channels_last(&[1, 2, 1, 3], &[1, 1, 3, 2]));
        assert!(!channels_last(&[1, 2, 1, 3], &[1, 2, 1, 3]));
        let image = Array::i32([1, 2, 1, 3], vec![1, 2, 3, 10, 20, 30]);
        let expected = [1, 10, 2, 20, 3, 30];
        assert_eq!(transposed(&image).quantized(), expected);
    }
}
