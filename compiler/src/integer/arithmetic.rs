//! The two ways in which a sum of products becomes an integer of 8 or 16 bits, and tables.

use crate::ir::QuantParams;

pub(super) use qcc_runtime_support::{scale_add_round_wide, scale_round, scale_round_wide};

/// A sum that `check` has shown to fit 32 bits.
pub(super) fn exact(sum: i64) -> i32 {
    i32::try_from(sum).expect("`check` bounds sums that are results")
}

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

/// A difference of an integer and its zero point, and exact sums of products of such.
pub(super) trait Term: Copy + Default {
    /// Holds the sums.
    type Sum: Copy + Default + Into<i64>;
    /// The difference itself.
    fn of(difference: i32) -> Self;
    /// A sum's start.
    fn start(bias: i32) -> Self::Sum;
    /// `sum + Σ a·b`.
    fn add(sum: Self::Sum, a: &[Self], b: &[Self]) -> Self::Sum;
}

/// Differences of 8-bit integers: sums fit i32, as `check` proves, so that the wrapping never happens; it lets the
/// loop vectorise.
impl Term for i16 {
    type Sum = i32;
    fn of(difference: i32) -> i16 {
        difference as i16
    }
    fn start(bias: i32) -> i32 {
        bias
    }
    fn add(sum: i32, a: &[i16], b: &[i16]) -> i32 {
        let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
        products.fold(sum, i32::wrapping_add)
    }
}

/// Differences of 16-bit integers.
impl Term for i32 {
    type Sum = i64;
    fn of(difference: i32) -> i32 {
        difference
    }
    fn start(bias: i32) -> i64 {
        bias.into()
    }
    fn add(sum: i64, a: &[i32], b: &[i32]) -> i64 {
        let products = a.iter().zip(b).map(|(a, b)| i64::from(*a) * i64::from(*b));
        sum + products.sum::<i64>()
    }
}

/// `integer − zero_point` of every element.
pub(super) fn centred<T: Term>(integers: &[i32], zero_point: i32) -> Vec<T> {
    integers.iter().map(|q| T::of(q - zero_point)).collect()
}
