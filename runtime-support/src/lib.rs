#![no_std]
//! The meaning of quantized arithmetic.
