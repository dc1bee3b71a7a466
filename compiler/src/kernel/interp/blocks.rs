//! The meaning of operations on blocks: byte vectors whose every 16 bytes are treated alike.

use super::memory::Memory;
use super::operations::{Operation, overflow, products, saturated};
use super::value::Value;
use crate::target::{Block, Target};

/// Bytes that operations on blocks treat alike.
const BLOCK: usize = 16;

/// The operation of that name.
pub(super) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "zip_low" => |_, _, v| zipped(v, 1, 0),
        "zip_high" => |_, _, v| zipped(v, 1, 1),
        "zip_pairs_low" => |_, _, v| zipped(v, 2, 0),
        "zip_pairs_high" => |_, _, v| zipped(v, 2, 1),
        "widen_low" => |_, _, v| widened(v, 0),
        "widen_high" => |_, _, v| widened(v, 1),
        "shift_i8" => |_, _, v| {
            let shifted = v[0].bytes().iter().map(|x| x.wrapping_add(128));
            Value::Bytes(shifted.collect())
        },
        "dot_quads" => |_, m, v| {
            products(m, v[0].ints(), 4, |lane, k| {
                let at = 4 * lane + k;
                (v[1].bytes()[at].into(), (v[2].bytes()[at] as i8).into())
            })
        },
        "dot_part" => |t, m, v| part(t, m, v, |x| (x as i8).into()),
        "dot_part_u8" => |t, m, v| part(t, m, v, i32::from),
        "dot_block" => |t, m, v| block(t, m, v, |x| (x as i8).into()),
        "dot_block_u8" => |t, m, v| block(t, m, v, i32::from),
        "add_lanes" => |_, m, v| {
            let sum = |x: &Value| x.ints().iter().map(|x| i64::from(*x)).sum::<i64>();
            let sums = v
                .iter()
                .map(|x| i32::try_from(sum(x)).unwrap_or_else(|_| overflow(m)));
            Value::Ints(sums.collect())
        },
        "pair_low" => |_, _, v| Value::Bytes(halves(v[0].bytes(), v[1].bytes(), 0)),
        "pair_high" => |_, _, v| Value::Bytes(halves(v[0].bytes(), v[1].bytes(), 1)),
        "pair_low_i32" => |_, _, v| Value::Ints(halves(v[0].ints(), v[1].ints(), 0)),
        "pair_high_i32" => |_, _, v| Value::Ints(halves(v[0].ints(), v[1].ints(), 1)),
        "pair_products" => |_, m, v| {
            let none = vec![0; v[0].bytes().len() / 2];
            let sums = products(m, &none, 2, |pair, k| {
                let at = 2 * pair + k;
                (v[0].bytes()[at].into(), (v[1].bytes()[at] as i8).into())
            });
            let narrow = sums.ints().iter().all(|sum| i16::try_from(*sum).is_ok());
            if narrow { sums } else { overflow(m) }
        },
        "mul_low" => |t, m, v| multiplied(m, &vec![0; t.bytes / 2], v, 0),
        "mul_high" => |t, m, v| multiplied(m, &vec![0; t.bytes / 2], v, 1),
        "mul_add_low" => |_, m, v| multiplied(m, v[0].ints(), &v[1..], 0),
        "mul_add_high" => |_, m, v| multiplied(m, v[0].ints(), &v[1..], 1),
        "widen_add_low" => |_, m, v| widened_sum(m, v, 0),
        "widen_add_high" => |_, m, v| widened_sum(m, v, 1),
        "add_low" => |_, m, v| added(m, v, 0),
        "add_high" => |_, m, v| added(m, v, 1),
        "join_u8" => |_, _, v| joined(v, 0, 255),
        "join_i8" => |_, _, v| joined(v, -128, 127),
        _ => return None,
    })
}

/// Of each block of both arguments one half, `size` bytes of one beside `size` bytes of the other.
fn zipped(v: &[Value], size: usize, half: usize) -> Value {
    let (a, b) = (v[0].bytes(), v[1].bytes());
    let mut zipped = vec![];
    for block in (0..a.len()).step_by(BLOCK) {
        let first = block + half * BLOCK / 2;
        for at in (first..first + BLOCK / 2).step_by(size) {
            zipped.extend(&a[at..at + size]);
            zipped.extend(&b[at..at + size]);
        }
    }
    Value::Bytes(zipped)
}

/// Sums of 16 bits plus the products of one half of two vectors of i8.
fn multiplied(memory: &Memory, sums: &[i32], v: &[Value], half: usize) -> Value {
    let first = half * sums.len();
    let sums = products(memory, sums, 1, |i, _| {
        let [a, w] = [0, 1].map(|arg: usize| v[arg].bytes()[first + i] as i8);
        (a.into(), w.into())
    });
    let narrow = sums.ints().iter().all(|sum| i16::try_from(*sum).is_ok());
    if narrow { sums } else { overflow(memory) }
}

/// Sums of 32 bits plus one half of those of 16 bits.
fn widened_sum(memory: &Memory, v: &[Value], half: usize) -> Value {
    let sums = v[0].ints();
    let added = v[1].ints()[half * sums.len()..].iter().zip(sums);
    let sums = added.map(|(a, b)| a.checked_add(*b).unwrap_or_else(|| overflow(memory)));
    Value::Ints(sums.collect())
}

/// One half of both.
fn halves<T: Copy>(a: &[T], b: &[T], half: usize) -> Vec<T> {
    let part = |v: &[T]| v.chunks(v.len() / 2).nth(half).map(<[T]>::to_vec);
    [a, b].into_iter().filter_map(part).flatten().collect()
}

/// Sums plus the products of one part of the activations.
fn part(t: &Target, memory: &Memory, v: &[Value], read: fn(u8) -> i32) -> Value {
    let (k, part) = (t.dot.k, v[3].int() as usize);
    products(memory, v[0].ints(), k, |lane, i| {
        let a = v[1].bytes()[part * k + i];
        (read(a), v[2].ints()[lane * k + i])
    })
}

/// Sums plus the products of a block: of several pixels, channels and parts.
fn block(t: &Target, memory: &Memory, v: &[Value], read: fn(u8) -> i32) -> Value {
    let Block {
        pixels,
        channels,
        k,
        ..
    } = t.dot.block.expect("the machine has blocks");
    let parts = t.lanes / (pixels * channels);
    products(memory, v[0].ints(), k, |lane, i| {
        let (of, part) = (lane / parts, lane % parts);
        let (pixel, channel) = (of / channels, of % channels);
        let weight = v[2].ints()[channel * k + i];
        let here = i / 2 % parts == part;
        let a = read(v[1].bytes()[pixel * k + i]);
        (a, if here { weight } else { 0 })
    })
}

/// Of each block one half.
fn widened(v: &[Value], half: usize) -> Value {
    let blocks = v[0].bytes().chunks(BLOCK);
    let halves = blocks.flat_map(|block| &block[half * BLOCK / 2..][..BLOCK / 2]);
    Value::Ints(halves.map(|x| i32::from(*x)).collect())
}

/// Sums of 32 bits plus those of 16 bits in one half of each block of two arguments.
fn added(memory: &Memory, v: &[Value], half: usize) -> Value {
    let quarter = BLOCK / 4;
    let place = |lane: usize| lane / quarter * 2 * quarter + half * quarter + lane % quarter;
    let lanes = v[0].ints().iter().enumerate();
    let sums = lanes.map(|(lane, sum)| {
        let more = v[1].ints()[place(lane)] + v[2].ints()[place(lane)];
        sum.checked_add(more).unwrap_or_else(|| overflow(memory))
    });
    Value::Ints(sums.collect())
}

/// Vectors of which each has a quarter of each block, saturated.
fn joined(v: &[Value], low: i32, high: i32) -> Value {
    let quarters: Vec<_> = v.iter().map(|x| saturated(x.ints(), low, high)).collect();
    let size = BLOCK / quarters.len();
    let blocks = quarters[0].len() / size;
    let bytes = (0..blocks).flat_map(|block| {
        let quarters = quarters.iter();
        quarters.flat_map(move |quarter| quarter[block * size..][..size].to_vec())
    });
    Value::Bytes(bytes.collect())
}
