//! Values of kernels.

use super::memory::Address;

/// What an expression is while a kernel runs.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Not yet defined, or the result of a store.
    None,
    /// A number: `index`, `i32` or an argument.
    Int(i64),
    /// A place in memory.
    Address(Address),
    /// Integers: `vi32`, `va`, `vw`, `vt`.
    Ints(Vec<i32>),
    /// Bits of f32: `vf32`.
    Reals(Vec<u32>),
    /// 8 bits each: `vb`.
    Bytes(Vec<u8>),
}

impl Value {
    pub(super) fn int(&self) -> i64 {
        match self {
            Value::Int(x) => *x,
            other => panic!("a number expected, found {other:?}"),
        }
    }

    pub(super) fn address(&self) -> Address {
        match self {
            Value::Address(x) => *x,
            other => panic!("an address expected, found {other:?}"),
        }
    }

    pub(super) fn ints(&self) -> &[i32] {
        match self {
            Value::Ints(x) => x,
            other => panic!("integers expected, found {other:?}"),
        }
    }

    pub(super) fn reals(&self) -> &[u32] {
        match self {
            Value::Reals(x) => x,
            other => panic!("reals expected, found {other:?}"),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Value::Bytes(x) => x,
            other => panic!("bytes expected, found {other:?}"),
        }
    }
}
