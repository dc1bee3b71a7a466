//! Operators that exist only while compiling: shape arithmetic that folds to constants
//! (Shape, Size, ConstantOfShape, Range, Cast, Equal, Where, ...).
//!
//! Dropout and Identity vanish here too. One that depends on the input's values is refused.

use crate::Result;
use crate::ir::{Array, Type};
use crate::ops::{Import, Operator};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[];

/// An operator that must fold to a constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// ONNX name.
    pub name: &'static str,
}

impl Operator for Host {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, _operands: &[Option<&Type>]) -> Result<Type> {
        crate::bail!("not written")
    }

    fn eval(&self, _operands: &[Option<&Array>]) -> Array {
        unreachable!("not written")
    }
}

impl Host {
    /// Why the operator cannot run on a device.
    pub(super) fn refusal(&self) -> crate::Error {
        crate::Error::new("not written")
    }
}
