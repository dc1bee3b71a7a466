//! Builders of kernels: one file a family, each a function from sizes and constants to Kernel IR.

mod view;

pub use view::View;
