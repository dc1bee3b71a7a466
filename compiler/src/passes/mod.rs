//! Model to model. `PIPELINE` is one list.

pub mod calibrate;
pub mod quantize;
