//! Functions in steps of f32 beside the same in f64.

use qcc_runtime_support::functions::{self, Arithmetic};
use qcc_runtime_support::{max, min};

/// Numbers.
struct Plain;

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
        assert!((-126.0..=127.0).contains(n) && n.fract() == 0.0, "{n}");
        f32::from_bits(((*n as i32 + 127) << 23) as u32)
    }
}

/// Reals of every exponent and sign below `limit`.
fn reals(limit: f32) -> impl Iterator<Item = f32> {
    let bits = (0u32..1 << 31).step_by(4_099).map(f32::from_bits);
    bits.filter(move |x| *x <= limit).flat_map(|x| [x, -x])
}

/// The largest error in units in the last place of the true value, and where.
fn worst(limit: f32, f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> (f64, f32) {
    let error = |x: f32| {
        let (y, truth) = (f64::from(f(x)), truth(f64::from(x)));
        let unit = (truth.abs().log2().floor() - 23.0).max(-149.0).exp2();
        let saturated = y.is_infinite() && truth > f64::from(f32::MAX);
        let error = if saturated {
            0.0
        } else {
            (y - truth).abs() / unit
        };
        (if error.is_nan() { f64::INFINITY } else { error }, x)
    };
    reals(limit)
        .map(error)
        .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
}

/// The largest distance from the true value over the larger of its size and 1.
fn distance(limit: f32, f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> (f64, f32) {
    let error = |x: f32| {
        let (y, truth) = (f64::from(f(x)), truth(f64::from(x)));
        let error = (y - truth).abs() / truth.abs().max(1.0);
        (if error.is_nan() { f64::INFINITY } else { error }, x)
    };
    reals(limit)
        .map(error)
        .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
}

/// By its series, whose terms have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 3.0);
    while term.abs() > 1e-18 {
        term *= 2.0 * x * x / odd;
        sum += term;
        odd += 2.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[test]
fn exp_sigmoid_and_tanh_are_near_in_the_last_place() {
    let exp = worst(120.0, |x| functions::exp(&mut Plain, &x), f64::exp);
    assert!(exp.0 <= 4.0, "exp {exp:?}");
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let sigmoid = worst(80.0, |x| functions::sigmoid(&mut Plain, &x), sigmoid);
    assert!(sigmoid.0 <= 4.0, "sigmoid {sigmoid:?}");
    let tanh = worst(f32::MAX, |x| functions::tanh(&mut Plain, &x), f64::tanh);
    assert!(tanh.0 <= 4.0, "tanh {tanh:?}");
}

#[test]
fn erf_log_and_softplus_are_near() {
    let erf = distance(f32::MAX, |x| functions::erf(&mut Plain, &x), erf);
    assert!(erf.0 <= 2f64.powi(-22), "erf {erf:?}");
    let positive = |x: f32| functions::log(&mut Plain, &x.abs().max(f32::from_bits(1)));
    let log = |x: f64| x.abs().max(f64::from(f32::from_bits(1))).ln();
    let log = distance(f32::MAX, positive, log);
    assert!(log.0 <= 2f64.powi(-21), "log {log:?}");
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let softplus = distance(f32::MAX, |x| functions::softplus(&mut Plain, &x), softplus);
    assert!(softplus.0 <= 2f64.powi(-22), "softplus {softplus:?}");
}

#[test]
fn logarithms_have_limits() {
    let log = |x: f32| functions::log(&mut Plain, &x);
    assert_eq!(log(0.0), f32::NEG_INFINITY);
    assert_eq!(log(f32::INFINITY), f32::INFINITY);
    assert!(log(-1.0).is_nan());
}

#[test]
fn roundings_are_exact() {
    for x in reals(f32::MAX).chain([0.5, 1.5, 2.5, -0.5, -1.5, 4_194_303.5]) {
        let found = [
            functions::round,
            functions::floor,
            functions::ceil,
            functions::sign,
        ]
        .map(|f| f(&mut Plain, &x));
        let sign = if x == 0.0 { 0.0 } else { x.signum() };
        assert_eq!(
            found,
            [x.round_ties_even(), x.floor(), x.ceil(), sign],
            "{x}"
        );
    }
}
