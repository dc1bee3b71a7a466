//! Functions of reals as expressions: the arithmetic of `runtime-support`, spelled in Kernel IR.

use qcc_runtime_support::functions::Arithmetic;

use crate::kernel::{Expr, int, op};
use crate::kernels::elementwise::splat;
use crate::kernels::fold::Steps;

impl Steps {
    fn step(&mut self, name: &'static str, args: &[&Expr]) -> Expr {
        let args: Vec<Expr> = args.iter().map(|a| (*a).clone()).collect();
        self.keep("v", "vf32", op(name, args))
    }
}

impl Arithmetic for Steps {
    type Real = Expr;

    fn number(&mut self, x: f32) -> Expr {
        splat(x)
    }

    fn add(&mut self, a: &Expr, b: &Expr) -> Expr {
        self.step("add_f32", &[a, b])
    }

    fn sub(&mut self, a: &Expr, b: &Expr) -> Expr {
        self.step("sub_f32", &[a, b])
    }

    fn mul(&mut self, a: &Expr, b: &Expr) -> Expr {
        self.step("mul_f32", &[a, b])
    }

    fn div(&mut self, a: &Expr, b: &Expr) -> Expr {
        self.step("div_f32", &[a, b])
    }

    fn max(&mut self, a: &Expr, b: &Expr) -> Expr {
        self.step("max_f32", &[a, b])
    }

    fn min(&mut self, a: &Expr, b: &Expr) -> Expr {
        self.step("min_f32", &[a, b])
    }

    fn sqrt(&mut self, x: &Expr) -> Expr {
        self.step("sqrt_f32", &[x])
    }

    fn select_less(&mut self, a: &Expr, b: &Expr, x: &Expr, y: &Expr) -> Expr {
        self.step("select_less_f32", &[a, b, x, y])
    }

    fn bits(&mut self, x: &Expr) -> Expr {
        let bits = op("as_i32", [x.clone()]);
        self.step("to_f32", &[&bits])
    }

    fn power(&mut self, n: &Expr) -> Expr {
        let whole = op("round_i32", [n.clone()]);
        let biased = op("add_i32", [whole, op("splat_i32", [int(127)])]);
        let bits = op("mul_i32", [biased, op("splat_i32", [int(1 << 23)])]);
        self.step("as_f32", &[&bits])
    }
}
