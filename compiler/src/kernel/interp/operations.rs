//! The meaning of each operation of `targets/README.md`.

use qcc_runtime_support as meaning;

use super::blocks;
use super::memory::Memory;
use super::reals;
use super::value::Value;
use crate::target::Target;

/// What an operation does with its arguments.
pub(super) type Operation = fn(&Target, &mut Memory, &[Value]) -> Value;

/// What a `_part` load leaves in lanes that it does not define.
const ANYTHING: i32 = 91;

/// The operation of that name.
pub(super) fn operation(name: &str) -> Option<Operation> {
    memory_operation(name)
        .or_else(|| vector_operation(name))
        .or_else(|| blocks::operation(name))
        .or_else(|| scalar_operation(name))
        .or_else(|| reals::operation(name))
}

/// One of two sums of 24 bits.
fn of_two(m: &Memory, v: &[Value], which: usize) -> i32 {
    let sum = v[0].ints()[which];
    assert!(
        (-1 << 23..1 << 23).contains(&sum),
        "{}: {sum} does not fit 24 bits",
        m.kernel
    );
    sum
}

fn memory_operation(name: &str) -> Option<Operation> {
    Some(match name {
        "load_i32" => |t, m, v| {
            Value::Ints(
                m.read_words(v[0].address(), t.lanes)
                    .iter()
                    .map(|x| *x as i32)
                    .collect(),
            )
        },
        "load_u8" => |t, m, v| Value::Ints(unsigned(m.read(v[0].address(), t.lanes))),
        "load_i8" => |t, m, v| Value::Ints(signed(m.read(v[0].address(), t.lanes))),
        "load_u8_part" => |t, m, v| Value::Ints(filled(unsigned(part(m, v, 1)), t.lanes, 0)),
        "load_i8_part" => |t, m, v| Value::Ints(filled(signed(part(m, v, 1)), t.lanes, 0)),
        "load_u16" => |t, m, v| Value::Ints(unsigned_halves(m.read(v[0].address(), 2 * t.lanes))),
        "load_i16" => |t, m, v| Value::Ints(halves(m.read(v[0].address(), 2 * t.lanes))),
        "load_u16_part" => |t, m, v| {
            let bytes = m.read(v[0].address(), 2 * part_len(v));
            Value::Ints(filled(unsigned_halves(bytes), t.lanes, 0))
        },
        "load_i16_part" => |t, m, v| {
            let bytes = m.read(v[0].address(), 2 * part_len(v));
            Value::Ints(filled(halves(bytes), t.lanes, 0))
        },
        "store_u16" => |_, m, v| store(m, v, &saturated_halves(v[1].ints(), 0, 65535)),
        "store_i16" => |_, m, v| store(m, v, &saturated_halves(v[1].ints(), -32768, 32767)),
        "store_u16_part" => |_, m, v| {
            let halves = saturated_halves(v[1].ints(), 0, 65535);
            store(m, v, &halves[..2 * part_len(v)])
        },
        "store_i16_part" => |_, m, v| {
            let halves = saturated_halves(v[1].ints(), -32768, 32767);
            store(m, v, &halves[..2 * part_len(v)])
        },
        "store_i32" => |_, m, v| {
            let words: Vec<_> = v[1].ints().iter().flat_map(|x| x.to_le_bytes()).collect();
            store(m, v, &words)
        },
        "store_u8" => |_, m, v| store(m, v, &saturated(v[1].ints(), 0, 255)),
        "store_i8" => |_, m, v| store(m, v, &saturated(v[1].ints(), -128, 127)),
        "store_u8_part" => |_, m, v| store(m, v, first(&saturated(v[1].ints(), 0, 255), &v[2])),
        "store_i8_part" => |_, m, v| store(m, v, first(&saturated(v[1].ints(), -128, 127), &v[2])),
        "load_bytes" => |t, m, v| Value::Bytes(m.read(v[0].address(), t.bytes).to_vec()),
        "load_bytes_part" => |t, m, v| {
            let mut bytes = part(m, v, 1).to_vec();
            bytes.resize(t.bytes, 0);
            Value::Bytes(bytes)
        },
        "store_bytes" => |_, m, v| store(m, v, v[1].bytes()),
        "store_bytes_part" => |_, m, v| store(m, v, first(v[1].bytes(), &v[2])),
        "lookup" => |_, m, v| {
            let table = m.read(v[0].address(), 256);
            Value::Bytes(
                v[1].bytes()
                    .iter()
                    .map(|x| table[usize::from(*x)])
                    .collect(),
            )
        },
        "load_a_u8" => |t, m, v| {
            Value::Ints(plus(
                unsigned(m.read(v[0].address(), t.dot.k)),
                t.dot.offset_u8,
            ))
        },
        "load_a_i8" => |t, m, v| {
            Value::Ints(plus(
                signed(m.read(v[0].address(), t.dot.k)),
                t.dot.offset_i8,
            ))
        },
        "load_a_aligned_u8" => |t, m, v| {
            let bytes = m.read_aligned(v[0].address(), t.dot.k);
            Value::Ints(plus(unsigned(bytes), t.dot.offset_u8))
        },
        "load_a_aligned_i8" => |t, m, v| {
            let bytes = m.read_aligned(v[0].address(), t.dot.k);
            Value::Ints(plus(signed(bytes), t.dot.offset_i8))
        },
        "load_a_u8_part" => |t, m, v| {
            Value::Ints(filled(
                plus(unsigned(part(m, v, 1)), t.dot.offset_u8),
                t.dot.k,
                ANYTHING,
            ))
        },
        "load_a_i8_part" => |t, m, v| {
            Value::Ints(filled(
                plus(signed(part(m, v, 1)), t.dot.offset_i8),
                t.dot.k,
                ANYTHING,
            ))
        },
        "load_unsigned_u8" => |t, m, v| Value::Ints(unsigned(m.read(v[0].address(), t.dot.k))),
        "load_unsigned_i8" => {
            |t, m, v| Value::Ints(plus(signed(m.read(v[0].address(), t.dot.k)), 128))
        }
        "store_spread" => |_, m, v| {
            let [a, b, c, d] = v[1].ints() else {
                panic!("a step has four activations")
            };
            let halves = [a, c, b, d].map(|x| (*x as i16).to_le_bytes()).concat();
            store(m, v, &halves)
        },
        "load_spread" => |_, m, v| {
            let halves = halves(m.read(v[0].address(), 8));
            Value::Ints([0, 2, 1, 3].map(|i| halves[i]).into())
        },
        "load_two" => |_, m, v| {
            let both = halves(m.read(v[0].address(), 8));
            let both = [0, 2, 1, 3].map(|i| both[i]);
            let first = both.map(|both| i32::from(both as i8));
            let second = std::array::from_fn::<_, 4, _>(|i| (both[i] - first[i]) / 256);
            Value::Ints([first, second].concat())
        },
        "load_b" => |t, m, v| {
            let bytes = m.read(v[0].address(), t.dot.lanes * t.dot.k);
            Value::Ints(match t.dot.raised {
                true => unsigned(bytes),
                false => signed(bytes),
            })
        },
        "load_fields" => {
            |t, m, v| Value::Ints(unsigned(m.read(v[0].address(), t.dot.lanes * t.dot.k)))
        }
        "taps_u8" => |t, m, v| Value::Ints(taps(t, m, v, t.lanes, unsigned)),
        "taps_i8" => |t, m, v| Value::Ints(taps(t, m, v, t.lanes, signed)),
        "taps_u8_part" => |t, m, v| Value::Ints(taps(t, m, v, part_len(v), unsigned)),
        "taps_i8_part" => |t, m, v| Value::Ints(taps(t, m, v, part_len(v), signed)),
        "taps_u16" => {
            |t, m, v| Value::Ints(plus(taps(t, m, v, 2 * t.lanes, unsigned_halves), -32768))
        }
        "taps_i16" => |t, m, v| Value::Ints(taps(t, m, v, 2 * t.lanes, halves)),
        "tap_weights" => {
            |t, m, v| Value::Ints(signed(m.read(v[0].address(), t.lanes * t.depthwise.taps)))
        }
        "widen_u8" => |t, m, v| Value::Ints(unsigned(m.read(v[0].address(), sixteens(t)))),
        "load_taps" => |t, m, v| Value::Ints(halves(m.read(v[0].address(), 2 * sixteens(t)))),
        "splat_i16" => |t, m, v| {
            let taps = halves(m.read(v[0].address(), 2 * t.depthwise.taps));
            Value::Ints(taps.repeat(t.lanes))
        },
        "splat_u16" => |t, m, v| {
            let taps = unsigned_halves(m.read(v[0].address(), 2 * t.depthwise.taps));
            Value::Ints(plus(taps, -32768).repeat(t.lanes))
        },
        "store_taps" => |_, m, v| {
            let bytes: Vec<_> = v[1]
                .ints()
                .iter()
                .flat_map(|x| (*x as i16).to_le_bytes())
                .collect();
            store(m, v, &bytes)
        },
        "read_u8" => |_, m, v| Value::Int(unsigned(m.read(v[0].address(), 1))[0].into()),
        "read_i8" => |_, m, v| Value::Int(signed(m.read(v[0].address(), 1))[0].into()),
        "read_u16" => |_, m, v| Value::Int(unsigned_halves(m.read(v[0].address(), 2))[0].into()),
        "read_i16" => |_, m, v| Value::Int(halves(m.read(v[0].address(), 2))[0].into()),
        "read_i32" => |_, m, v| Value::Int((m.read_words(v[0].address(), 1)[0] as i32).into()),
        "write_byte" => |_, m, v| store(m, v, &[v[1].int() as u8]),
        "write_half" => |_, m, v| store(m, v, &(v[1].int() as u16).to_le_bytes()),
        "write_i32" => |_, m, v| store(m, v, &(v[1].int() as i32).to_le_bytes()),
        _ => return None,
    })
}

fn vector_operation(name: &str) -> Option<Operation> {
    Some(match name {
        "splat_i32" => |t, _, v| Value::Ints(vec![i32_of(v[0].int()); t.lanes]),
        "splat_byte" => |t, _, v| Value::Bytes(vec![v[0].int() as u8; t.bytes]),
        "add_i32" => |_, m, v| zip(m, v, i32::checked_add),
        "sub_i32" => |_, m, v| zip(m, v, i32::checked_sub),
        "mul_i32" => |_, m, v| zip(m, v, i32::checked_mul),
        "max_i32" => |_, m, v| zip(m, v, |a, b| Some(a.max(b))),
        "shift_i32" => |_, _, v| {
            let bits = v[1].int();
            Value::Ints(v[0].ints().iter().map(|x| x >> bits).collect())
        },
        "and_i32" => |_, _, v| field(&v[0], 0, &v[1]),
        "min_i32" => |_, m, v| zip(m, v, |a, b| Some(a.min(b))),
        "add_i16" => |_, m, v| zip(m, v, |a, b| i16_of(a + b)),
        "sub_i16" => |_, m, v| zip(m, v, |a, b| i16_of(a - b)),
        "zero_pairs" => |t, _, _| Value::Ints(vec![0; t.dot.lanes * t.dot.k / 2]),
        "unsigned_pairs" | "signed_pairs" => |t, m, v| pairs(t, m, &v[0], &v[1]),
        "magnitude_pairs" => |t, m, v| pairs(t, m, &v[0], &v[2]),
        "add_pairs" => |t, m, v| {
            let pairs: Vec<i32> = v[1]
                .ints()
                .chunks(t.dot.k / 2)
                .map(|p| p.iter().sum())
                .collect();
            zip(m, &[v[0].clone(), Value::Ints(pairs)], i32::checked_add)
        },
        "first_field" => |_, _, v| field(&v[0], 0, &v[1]),
        "field" | "tap_field" => |_, _, v| field(&v[0], v[1].int(), &v[2]),
        "add_weights" => |t, m, v| match t.dot.raised {
            true => zip(m, v, |a, b| u8_of(a + b)),
            false => zip(m, v, |a, b| i8_of(a + b)),
        },
        "pack_u8" => |_, _, v| Value::Bytes(packed(v, 0, 255)),
        "pack_i8" => |_, _, v| Value::Bytes(packed(v, -128, 127)),
        "pack_add_u8" => |_, _, v| Value::Bytes(packed_sum(v, 0, 255)),
        "pack_add_i8" => |_, _, v| Value::Bytes(packed_sum(v, -128, 127)),
        "max_u8" => |_, _, v| bytes(v, |a, b| a.max(b)),
        "min_u8" => |_, _, v| bytes(v, |a, b| a.min(b)),
        "max_i8" => |_, _, v| bytes(v, |a, b| (a as i8).max(b as i8) as u8),
        "min_i8" => |_, _, v| bytes(v, |a, b| (a as i8).min(b as i8) as u8),
        "shift_u8" => |_, _, v| {
            let shifted = v[0].bytes().iter().map(|x| x.wrapping_sub(128));
            Value::Bytes(shifted.collect())
        },
        "magnitude_i8" => |_, _, v| {
            let bytes = v[0].bytes().iter();
            Value::Bytes(bytes.map(|x| (*x as i8).unsigned_abs()).collect())
        },
        "scale_round" => |_, m, v| {
            let products = scaled(m, &v[0], &v[1]).into_iter();
            Value::Ints(products.map(|(a, x)| meaning::scale_round(a, x)).collect())
        },
        "scale_twice" => |_, m, v| {
            let factors = v[1].ints().iter().zip(v[2].ints());
            let scaled = v[0].ints().iter().zip(factors).map(|(x, (m_, shift))| {
                let shifted = i64::from(*x) << (-shift).max(0);
                i32::try_from(shifted).unwrap_or_else(|_| panic!("{}: {shifted}", m.kernel));
                meaning::fixed::scale_twice(*x, *m_, *shift)
            });
            Value::Ints(scaled.collect())
        },
        "scale_once" => |_, m, v| {
            let factors = v[1].ints().iter().zip(v[2].ints());
            let scaled = v[0].ints().iter().zip(factors).map(|(x, (m_, shift))| {
                let product = f64::from(*x) * f64::from(*m_);
                defined(m, product / (1u64 << shift) as f64);
                meaning::fixed::scale_once(*x, *m_, *shift)
            });
            Value::Ints(scaled.collect())
        },
        "scale_shared" => |_, m, v| {
            let [added, right] = [3, 4].map(|i| v[i].int());
            let factors = v[1].ints().iter().zip(v[2].ints());
            let scaled = v[0].ints().iter().zip(factors).map(|(x, (factor, left))| {
                let shifted = i64::from(*x) << left;
                let sum = ((shifted * i64::from(*factor)) >> 32) + added;
                for number in [shifted, sum] {
                    i32::try_from(number).unwrap_or_else(|_| panic!("{}: {number}", m.kernel));
                }
                meaning::fixed::scale_shared(*x, *factor, *left, added as i32, right as i32)
            });
            Value::Ints(scaled.collect())
        },
        "two_sums" => |_, _, v| Value::Ints([v[0].ints(), v[1].ints()].concat()),
        "first_sum" => |_, m, v| Value::Ints(vec![of_two(m, v, 0)]),
        "second_sum" => |_, m, v| Value::Ints(vec![of_two(m, v, 1)]),
        "dot_two" => |_, _, v| {
            let (activations, weights) = (v[1].ints(), v[2].ints());
            let weights = weights.chunks(activations.len());
            let sums = v[0].ints().iter().zip(weights).map(|(sum, weights)| {
                let products = activations.iter().zip(weights).map(|(a, w)| a * w);
                sum + products.sum::<i32>()
            });
            Value::Ints(sums.collect())
        },
        "scale_real" => |_, _, v| {
            let [added, right] = [3, 4].map(|i| v[i].int() as i32);
            let factors = v[1].ints().iter().zip(v[2].ints());
            let scaled = v[0].ints().iter().zip(factors).map(|(x, (factor, left))| {
                meaning::integer::scale_real(*x, *factor, *left, added, right)
            });
            Value::Ints(scaled.collect())
        },
        "scale_even" => |_, _, v| {
            let places = i32_of(v[2].int());
            let products = v[0].ints().iter().zip(v[1].ints());
            let scaled = products.map(|(x, m)| meaning::fixed::scale_even(*x, *m, places));
            Value::Ints(scaled.collect())
        },
        "scale_add_round" => |_, m, v| {
            let pairs = scaled(m, &v[0], &v[1])
                .into_iter()
                .zip(scaled(m, &v[2], &v[3]));
            let sums = pairs.map(|((a, ma), (b, mb))| {
                defined(
                    m,
                    f64::from(a) * f64::from(ma) + f64::from(b) * f64::from(mb),
                );
                meaning::scale_add_round(a, ma, b, mb)
            });
            Value::Ints(sums.collect())
        },
        "scale_round_wide" => |_, m, v| {
            let sums = wide(&v[0], &v[1]).zip(v[2].reals());
            let rounded = sums.map(|(acc, scale)| {
                let scale = f32::from_bits(*scale);
                defined(m, acc as f64 * f64::from(scale));
                meaning::scale_round_wide(acc, scale)
            });
            Value::Ints(rounded.collect())
        },
        "scale_add_round_wide" => |_, m, v| {
            let sums = wide(&v[0], &v[1]).zip(v[2].reals());
            let rounded = sums.zip(scaled(m, &v[3], &v[4])).map(|((a, ma), (b, mb))| {
                let ma = f32::from_bits(*ma);
                let (x, y) = (a as f64 * f64::from(ma), f64::from(b) * f64::from(mb));
                defined(m, x);
                defined(m, x + y);
                meaning::scale_add_round_wide(a, ma, b, mb)
            });
            Value::Ints(rounded.collect())
        },
        "dot" | "dot_u8" => |t, m, v| {
            products(m, v[0].ints(), t.dot.k, |lane, k| {
                (v[1].ints()[k], v[2].ints()[lane * t.dot.k + k])
            })
        },
        "add_raised" => |t, m, v| products(m, v[0].ints(), t.dot.k, |_, k| (v[1].ints()[k], 128)),
        "dot_magnitude" => |t, m, v| {
            for k in 0..t.dot.k {
                // Padding may be anything, its weights are 0.
                let counts = v[3].ints().iter().skip(k).step_by(t.dot.k).any(|w| *w != 0);
                let same = v[1].ints()[k].abs() == i32::from(v[2].ints()[k] as u8);
                assert!(same || !counts, "{}: {v:?}: no magnitudes", m.kernel);
            }
            products(m, v[0].ints(), t.dot.k, |lane, k| {
                (v[1].ints()[k], v[3].ints()[lane * t.dot.k + k])
            })
        },
        "dot_taps" => |t, m, v| {
            let taps = t.depthwise.taps;
            products(m, v[0].ints(), taps, |lane, k| {
                (v[1].ints()[lane * taps + k], v[2].ints()[lane * taps + k])
            })
        },
        _ => return None,
    })
}

fn scalar_operation(name: &str) -> Option<Operation> {
    Some(match name {
        "index" => |_, m, v| {
            assert!(v[0].int() >= 0, "{}: a negative index", m.kernel);
            v[0].clone()
        },
        "add" => |_, _, v| number(v[0].int() + v[1].int()),
        "sub" => |_, _, v| number(v[0].int() - v[1].int()),
        "mul" => |_, _, v| number(v[0].int() * v[1].int()),
        "times" => {
            |_, _, v| number(meaning::fixed::times(i32_of(v[0].int()), i32_of(v[1].int())).into())
        }
        "max" => |_, _, v| number(v[0].int().max(v[1].int())),
        "min" => |_, _, v| number(v[0].int().min(v[1].int())),
        "div" => |_, m, v| {
            let (a, b) = (v[0].int(), v[1].int());
            assert!(a >= 0 && b > 0, "{}: {a} / {b}", m.kernel);
            number(a / b)
        },
        "select_less" => |_, _, v| {
            if v[0].int() < v[1].int() {
                v[2].clone()
            } else {
                v[3].clone()
            }
        },
        _ => return None,
    })
}

fn unsigned(bytes: &[u8]) -> Vec<i32> {
    bytes.iter().map(|x| i32::from(*x)).collect()
}

fn signed(bytes: &[u8]) -> Vec<i32> {
    bytes.iter().map(|x| i32::from(*x as i8)).collect()
}

/// Numbers of 16 bits in a `vt`.
fn sixteens(t: &Target) -> usize {
    t.lanes * t.depthwise.taps
}

fn halves(bytes: &[u8]) -> Vec<i32> {
    let (halves, _) = bytes.as_chunks::<2>();
    halves
        .iter()
        .map(|x| i16::from_le_bytes(*x).into())
        .collect()
}

fn field(packed: &Value, shift: i64, mask: &Value) -> Value {
    let fields = packed.ints().iter();
    Value::Ints(fields.map(|x| x >> shift & mask.int() as i32).collect())
}

fn u8_of(value: i32) -> Option<i32> {
    u8::try_from(value).ok().map(i32::from)
}

fn i8_of(value: i32) -> Option<i32> {
    i8::try_from(value).ok().map(i32::from)
}

fn unsigned_halves(bytes: &[u8]) -> Vec<i32> {
    let (halves, _) = bytes.as_chunks::<2>();
    halves
        .iter()
        .map(|x| u16::from_le_bytes(*x).into())
        .collect()
}

fn saturated_halves(values: &[i32], low: i32, high: i32) -> Vec<u8> {
    let halves = values.iter().map(|x| (*x).clamp(low, high) as u16);
    halves.flat_map(u16::to_le_bytes).collect()
}

/// Sums of two parts, of which the first is in units of 2¹⁶.
fn wide<'a>(high: &'a Value, low: &'a Value) -> impl Iterator<Item = i64> + 'a {
    let parts = high.ints().iter().zip(low.ints());
    parts.map(|(high, low)| i64::from(*high) * 65536 + i64::from(*low))
}

fn i16_of(value: i32) -> Option<i32> {
    i16::try_from(value).ok().map(i32::from)
}

fn plus(mut values: Vec<i32>, offset: i32) -> Vec<i32> {
    values.iter_mut().for_each(|x| *x += offset);
    values
}

fn filled(mut values: Vec<i32>, len: usize, rest: i32) -> Vec<i32> {
    values.resize(len, rest);
    values
}

/// The bytes at address `v[0]`, as many as number `v[count]` says.
fn part<'a>(memory: &'a mut Memory, v: &[Value], count: usize) -> &'a [u8] {
    memory.read(v[0].address(), v[count].int() as usize)
}

fn part_len(v: &[Value]) -> usize {
    v[v.len() - 1].int() as usize
}

fn taps(
    t: &Target,
    memory: &mut Memory,
    v: &[Value],
    len: usize,
    widen: fn(&[u8]) -> Vec<i32>,
) -> Vec<i32> {
    let count = t.depthwise.taps;
    let mut values = vec![0; t.lanes * count];
    for (tap, address) in v[..count].iter().enumerate() {
        for (lane, x) in widen(memory.read(address.address(), len))
            .into_iter()
            .enumerate()
        {
            values[lane * count + tap] = x;
        }
    }
    values
}

fn store(memory: &mut Memory, v: &[Value], bytes: &[u8]) -> Value {
    memory.write(v[0].address(), bytes);
    Value::None
}

fn first<'a>(bytes: &'a [u8], n: &Value) -> &'a [u8] {
    &bytes[..n.int() as usize]
}

pub(super) fn saturated(values: &[i32], low: i32, high: i32) -> Vec<u8> {
    values.iter().map(|x| (*x).clamp(low, high) as u8).collect()
}

fn packed(v: &[Value], low: i32, high: i32) -> Vec<u8> {
    v.iter()
        .flat_map(|vector| saturated(vector.ints(), low, high))
        .collect()
}

/// The same of vectors to which the last argument is added.
fn packed_sum(v: &[Value], low: i32, high: i32) -> Vec<u8> {
    let (added, vectors) = v.split_last().expect("a number comes last");
    let sum = |x: &i32| i64::from(*x) + added.int();
    let sums = vectors
        .iter()
        .flat_map(|vector| vector.ints().iter().map(sum));
    sums.map(|x| x.clamp(low.into(), high.into()) as u8)
        .collect()
}

fn zip(memory: &Memory, v: &[Value], f: fn(i32, i32) -> Option<i32>) -> Value {
    let pairs = v[0].ints().iter().zip(v[1].ints());
    Value::Ints(
        pairs
            .map(|(a, b)| f(*a, *b).unwrap_or_else(|| overflow(memory)))
            .collect(),
    )
}

fn bytes(v: &[Value], f: fn(u8, u8) -> u8) -> Value {
    Value::Bytes(
        v[0].bytes()
            .iter()
            .zip(v[1].bytes())
            .map(|(a, b)| f(*a, *b))
            .collect(),
    )
}

/// Sums of pairs of products, which 16 bits must hold: the instruction saturates.
fn pairs(t: &Target, memory: &Memory, a: &Value, w: &Value) -> Value {
    let lanes = w.ints().chunks(t.dot.k);
    let pairs = lanes.flat_map(|w| w.chunks(2).zip(a.ints().chunks(2)));
    let sum = |(w, a): (&[i32], &[i32])| w.iter().zip(a).map(|(w, a)| w * a).sum();
    let sums = pairs.map(|pair| i16_of(sum(pair)).unwrap_or_else(|| overflow(memory)));
    Value::Ints(sums.collect())
}

pub(super) fn products(
    memory: &Memory,
    acc: &[i32],
    k: usize,
    pair: impl Fn(usize, usize) -> (i32, i32),
) -> Value {
    let lane = |(lane, acc): (usize, &i32)| {
        let sum: i64 = (0..k)
            .map(|k| pair(lane, k))
            .map(|(a, w)| i64::from(a) * i64::from(w))
            .sum();
        i32::try_from(i64::from(*acc) + sum).unwrap_or_else(|_| overflow(memory))
    };
    Value::Ints(acc.iter().enumerate().map(lane).collect())
}

/// Each lane with its multiplier; their product must be below 2³¹, where scaling is defined.
fn scaled(memory: &Memory, acc: &Value, multipliers: &Value) -> Vec<(i32, f32)> {
    let lanes = acc.ints().iter().zip(multipliers.reals());
    let lanes = lanes.map(|(a, m)| (*a, f32::from_bits(*m)));
    lanes
        .inspect(|(a, m)| defined(memory, f64::from(*a) * f64::from(*m)))
        .collect()
}

fn defined(memory: &Memory, real: f64) {
    if real.is_nan() || real.abs() >= 2147483648.0 {
        overflow(memory);
    }
}

pub(super) fn overflow(memory: &Memory) -> ! {
    panic!("{}: {} leaves its range", memory.kernel, memory.operation)
}

fn number(value: i64) -> Value {
    Value::Int(i64::from(i32_of(value)))
}

fn i32_of(value: i64) -> i32 {
    i32::try_from(value).unwrap_or_else(|_| panic!("{value} is no i32"))
}
