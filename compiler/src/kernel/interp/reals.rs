//! The meaning of the operations on f32: each is one IEEE operation, rounded to nearest, ties to even.

use qcc_runtime_support as meaning;

use super::memory::Memory;
use super::operations::{Operation, overflow};
use super::value::Value;

/// The operation of that name.
pub(super) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "load_f32" => |t, m, v| Value::Reals(m.read_words(v[0].address(), t.lanes)),
        "load_f32_part" => |t, m, v| {
            let mut words = m.read_words(v[0].address(), v[1].int() as usize);
            words.resize(t.lanes, 0);
            Value::Reals(words)
        },
        "load_f16" => |t, m, v| {
            let (halves, _) = m.read(v[0].address(), 2 * t.lanes).as_chunks::<2>();
            let reals = halves.iter().map(|x| meaning::half(u16::from_le_bytes(*x)));
            Value::Reals(reals.map(f32::to_bits).collect())
        },
        "repeat_f32" => |t, m, v| Value::Reals(m.read_words(v[0].address(), 1).repeat(t.lanes)),
        "splat_f32" => |t, _, v| Value::Reals(vec![v[0].int() as u32; t.lanes]),
        "store_f32" => |_, m, v| store(m, v, v[1].reals()),
        "store_f32_part" => |_, m, v| store(m, v, &v[1].reals()[..v[2].int() as usize]),
        "add_f32" => |_, _, v| zip(v, |a, b| a + b),
        "sub_f32" => |_, _, v| zip(v, |a, b| a - b),
        "mul_f32" => |_, _, v| zip(v, |a, b| a * b),
        "div_f32" => |_, _, v| zip(v, |a, b| a / b),
        "max_f32" => |_, _, v| zip(v, meaning::max),
        "min_f32" => |_, _, v| zip(v, meaning::min),
        "sqrt_f32" => |_, _, v| Value::Reals(each(&v[0], |x| x.sqrt().to_bits())),
        "to_f32" => |_, _, v| {
            let integers = v[0].ints().iter();
            Value::Reals(integers.map(|x| (*x as f32).to_bits()).collect())
        },
        "round_i32" => |_, m, v| {
            Value::Ints(each(&v[0], |x| {
                if x.is_nan() || x.abs() >= 2147483648.0 {
                    overflow(m);
                }
                meaning::round_ties_even(x)
            }))
        },
        "as_f32" => |_, _, v| Value::Reals(v[0].ints().iter().map(|x| *x as u32).collect()),
        "as_i32" => |_, _, v| Value::Ints(v[0].reals().iter().map(|x| *x as i32).collect()),
        "select_f32" => |_, _, v| {
            let sides = v[1].reals().iter().zip(v[2].reals());
            let chosen = v[0].ints().iter().zip(sides);
            Value::Reals(
                chosen
                    .map(|(x, (a, b))| if *x < 0 { *a } else { *b })
                    .collect(),
            )
        },
        "select_less_f32" => |_, _, v| {
            let sides = v[2].reals().iter().zip(v[3].reals());
            let pairs = v[0].reals().iter().zip(v[1].reals());
            let less = pairs.map(|(a, b)| f32::from_bits(*a) < f32::from_bits(*b));
            Value::Reals(
                less.zip(sides)
                    .map(|(less, (x, y))| if less { *x } else { *y })
                    .collect(),
            )
        },
        _ => return None,
    })
}

fn each<T>(v: &Value, f: impl Fn(f32) -> T) -> Vec<T> {
    v.reals().iter().map(|x| f(f32::from_bits(*x))).collect()
}

fn zip(v: &[Value], f: fn(f32, f32) -> f32) -> Value {
    let pairs = v[0].reals().iter().zip(v[1].reals());
    let results = pairs.map(|(a, b)| f(f32::from_bits(*a), f32::from_bits(*b)).to_bits());
    Value::Reals(results.collect())
}

fn store(memory: &mut Memory, v: &[Value], words: &[u32]) -> Value {
    let bytes: Vec<u8> = words.iter().flat_map(|x| x.to_le_bytes()).collect();
    memory.write(v[0].address(), &bytes);
    Value::None
}
