//! The two ways in which a sum of products becomes an 8-bit integer, and tables.

use crate::ir::QuantParams;

pub(super) use qcc_runtime_support::{scale_add_round, scale_round};

/// A function of the integers of a type with few of them, evaluated once for each.
pub(super) struct Table {
    first: i32,
    entries: Vec<i32>,
}

impl Table {
    /// `f` at every integer of the storage type of `params`.
    pub(super) fn new(params: &QuantParams, f: impl Fn(i32) -> i32) -> Table {
        let (first, last) = (params.int.min() as i32, params.int.max() as i32);
        Table {
            first,
            entries: (first..=last).map(f).collect(),
        }
    }

    /// The function's value.
    pub(super) fn get(&self, integer: i32) -> i32 {
        self.entries[(integer - self.first) as usize]
    }

    /// The function's value at each element.
    pub(super) fn map(&self, integers: &[i32]) -> Vec<i32> {
        integers.iter().map(|q| self.get(*q)).collect()
    }
}

/// `from` integers as `to` integers: `to.quantize(from.dequantize(q))`, the identity on equal parameters.
pub(super) fn requantize(from: &QuantParams, to: &QuantParams, integers: &[i32]) -> Vec<i32> {
    if from == to {
        return integers.to_vec();
    }
    Table::new(from, |q| to.quantize(from.dequantize(q))).map(integers)
}

/// Exact inner product. `check` proves that it fits, so the wrapping never happens; it lets the loop
/// vectorise.
pub(super) fn dot(a: &[i16], b: &[i16]) -> i32 {
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
    products.fold(0, i32::wrapping_add)
}

/// `integer − zero_point` of every element, in 16 bits, which hold every difference of 8-bit integers.
pub(super) fn centred(integers: &[i32], zero_point: i32) -> Vec<i16> {
    integers.iter().map(|q| (q - zero_point) as i16).collect()
}
