//! Builders of kernels: one file a family, each a function from sizes and constants to Kernel IR.

mod chains;
pub(crate) mod copy;
mod depthwise;
pub(crate) mod elements;
pub(crate) mod elementwise;
mod fields;
pub(crate) mod fold;
pub(crate) mod gather;
mod gemm;
pub(crate) mod magnitude;
pub(crate) mod nest;
mod pack;
mod pixels;
pub(crate) mod pool;
mod products;
pub(crate) mod real;
pub(crate) mod reduce;
mod requantize;
pub(crate) mod resize;
pub(crate) mod scale;
pub(crate) mod softmax;
#[cfg(test)]
mod tests;
mod tile;
mod unit;
mod view;
mod window;
pub(crate) mod winograd;

pub use chains::{Chained, chain};
pub use depthwise::{Blocks, Depthwise};
pub use fields::{Fields, Form};
pub use gemm::{Chains, Gemm, Names};
pub use pack::{Packed, Product, pack};
pub use products::Products;
pub use requantize::{Requantize, Residual};
pub use scale::{Behind, Scale, Shared};
pub use unit::{offset, unsigned_offset};
pub use view::View;
pub use window::{Level, Runs, Window};
pub use winograd::Winograd;
