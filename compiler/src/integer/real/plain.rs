//! Steps of f32 on numbers.

use qcc_runtime_support::functions::Arithmetic;
use qcc_runtime_support::{max, min};

/// Evaluates.
pub(super) struct Plain;

impl Arithmetic for Plain {
    type Real = f32;

    fn number(&mut self, x: f32) -> f32 {
        x
    }

    fn add(&mut self, a: &f32, b: &f32) -> f32 {
        a + b
    }

    fn sub(&mut self, a: &f32, b: &f32) -> f32 {
        a - b
    }

    fn mul(&mut self, a: &f32, b: &f32) -> f32 {
        a * b
    }

    fn div(&mut self, a: &f32, b: &f32) -> f32 {
        a / b
    }

    fn max(&mut self, a: &f32, b: &f32) -> f32 {
        max(*a, *b)
    }

    fn min(&mut self, a: &f32, b: &f32) -> f32 {
        min(*a, *b)
    }

    fn sqrt(&mut self, x: &f32) -> f32 {
        x.sqrt()
    }

    fn select_less(&mut self, a: &f32, b: &f32, x: &f32, y: &f32) -> f32 {
        if a < b { *x } else { *y }
    }

    fn bits(&mut self, x: &f32) -> f32 {
        x.to_bits() as i32 as f32
    }

    fn power(&mut self, n: &f32) -> f32 {
        f32::from_bits(((*n as i32 + 127) << 23) as u32)
    }
}
