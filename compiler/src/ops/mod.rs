//! The operators: one file a family, with the operator's meaning on reals.
//!
//! A family's file holds the structs, their import from ONNX and export to it, `infer`, `eval` and tests.
//! Attributes become typed fields at import (`axis: usize`, never an `axis: i64` that may be negative);
//! opset differences and spellings end there.
//! What an operator means on integers is in `crate::integer`, how it becomes a kernel in `crate::lower`:
//! these two and the family's file are all that an operator touches, besides its line in `ops!`.

pub(crate) mod broadcast;
pub(crate) mod check;
mod concat;
mod constant;
mod conv;
mod elementwise;
pub(crate) mod export;
mod import;
mod importer;
mod matmul;
mod movement;
mod norm;
mod pool;
pub(crate) mod product;
mod quantize;
mod reduce;
mod resize;
mod softmax;
#[cfg(test)]
mod testing;
mod window;

use crate::Result;
use crate::ir::{Array, Type};

pub use concat::Concat;
pub use constant::{Comparison, Host, Logic};
pub use conv::{Conv, ConvTranspose, Pads};
pub use elementwise::{Binary, BinaryFunction, Function, PRelu, Unary};
pub use export::{Constant, ExportedNode, Exporter, Operand};
pub use import::{Attribute, Import, SourceNode, import_of};
pub use importer::Importer;
pub use matmul::MatMul;
pub use movement::{Gather, Pad, PadMode, Reshape, Slice, Transpose};
pub use norm::BatchNorm;
pub use pool::{Pool, PoolKind};
pub use quantize::{Dequantize, Dynamic, Quantize, STEPS, Scales};
pub use reduce::{ArgMax, Reduce, Reduction};
pub use resize::{Coordinates, Nearest, Resize, ResizeMode};
pub use softmax::Softmax;

/// What every operator can do on its own; operands may be absent where the operator says so.
pub trait Operator {
    /// The operator's name in messages and dumps.
    fn name(&self) -> &'static str;

    /// The output's type. Everything that can be wrong with the operands is reported here.
    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type>;

    /// The output on reals and plain integers, for operands that `infer` accepts.
    fn eval(&self, operands: &[Option<&Array>]) -> Array;

    /// Adds the operator on reals to an ONNX graph and returns the name of its result.
    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String;
}

macro_rules! ops {
    ($($family:ident: $($op:ident),+;)+) => {
        /// An operation of the IR.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $($(
                #[allow(missing_docs, reason = "the struct of the same name is documented")]
                $op($family::$op),
            )+)+
        }

        impl std::ops::Deref for Op {
            type Target = dyn Operator;
            fn deref(&self) -> &Self::Target {
                match self {
                    $($(Op::$op(op) => op,)+)+
                }
            }
        }

        $($(
            impl From<$family::$op> for Op {
                fn from(op: $family::$op) -> Op {
                    Op::$op(op)
                }
            }
        )+)+

        /// ONNX operator names (`domain::name` outside ONNX's own domain) and how each is imported.
        const IMPORTS: &[&[(&str, Import)]] = &[$($family::IMPORTS),+];
    };
}

ops! {
    conv: Conv, ConvTranspose;
    matmul: MatMul;
    norm: BatchNorm;
    elementwise: Unary, Binary, PRelu;
    pool: Pool;
    reduce: Reduce, ArgMax;
    softmax: Softmax;
    resize: Resize;
    concat: Concat;
    movement: Reshape, Transpose, Slice, Gather, Pad;
    quantize: Quantize, Dequantize, Dynamic;
    constant: Host;
}

impl Op {
    /// Whether the result's elements are chosen among the first operand's, so that integers that stand for
    /// reals keep their scale and zero point.
    pub fn moves(&self) -> bool {
        match self {
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Gather(_) | Op::Pad(_) => true,
            Op::Pool(op) => op.kind == PoolKind::Max,
            Op::Resize(op) => op.mode != ResizeMode::Linear,
            Op::Reduce(op) => matches!(op.reduction, Reduction::Max | Reduction::Min),
            _ => false,
        }
    }
}
