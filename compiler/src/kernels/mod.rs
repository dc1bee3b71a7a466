//! Builders of kernels: one file a family, each a function from sizes and constants to Kernel IR.

mod depthwise;
mod gemm;
mod pack;
mod pixels;
mod products;
mod requantize;
mod tile;
mod view;
mod window;

pub use depthwise::Depthwise;
pub use gemm::{Gemm, Names};
pub use pack::{Packed, Product, offset, pack};
pub use products::Products;
pub use requantize::{Requantize, Residual};
pub use view::View;
pub use window::{Level, Runs, Window};
