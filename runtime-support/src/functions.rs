//! Functions of one real, in steps of f32: what networks with layers in floating point compute.
//!
//! Each function is written once, over an [`Arithmetic`]: on numbers it is evaluated, on expressions it becomes
//! a kernel. Each step is one IEEE operation, so every machine gets the same bits.
//! Errors were measured against f64 arithmetic on all exponents (`tests/functions.rs`): [`exp`], [`sigmoid`] and
//! [`tanh`] stay within 4 units in the last place, [`erf`] within 2⁻²² and [`log`] within 2⁻²¹ of the result or
//! of 1, whichever is larger.

/// The steps that functions are made of.
pub trait Arithmetic {
    /// A number, or what stands for one.
    type Real: Clone;
    /// A constant.
    fn number(&mut self, x: f32) -> Self::Real;
    /// `a + b`.
    fn add(&mut self, a: &Self::Real, b: &Self::Real) -> Self::Real;
    /// `a − b`.
    fn sub(&mut self, a: &Self::Real, b: &Self::Real) -> Self::Real;
    /// `a · b`.
    fn mul(&mut self, a: &Self::Real, b: &Self::Real) -> Self::Real;
    /// `a / b`.
    fn div(&mut self, a: &Self::Real, b: &Self::Real) -> Self::Real;
    /// `a` where it is greater than `b`, else `b`.
    fn max(&mut self, a: &Self::Real, b: &Self::Real) -> Self::Real;
    /// `a` where it is less than `b`, else `b`.
    fn min(&mut self, a: &Self::Real, b: &Self::Real) -> Self::Real;
    /// The square root.
    fn sqrt(&mut self, x: &Self::Real) -> Self::Real;
    /// `x` where `a < b`, else `y`.
    fn select_less(
        &mut self,
        a: &Self::Real,
        b: &Self::Real,
        x: &Self::Real,
        y: &Self::Real,
    ) -> Self::Real;
    /// The bits, read as an i32 and rounded to f32.
    fn bits(&mut self, x: &Self::Real) -> Self::Real;
    /// `2ⁿ` for an integer `n` from −126 to 127.
    fn power(&mut self, n: &Self::Real) -> Self::Real;
}

/// Adding and subtracting it rounds a number below 2²² to an integer, ties to even.
const ROUNDER: f32 = 12_582_912.0;

/// `sum · x + next`, for each coefficient.
fn polynomial<A: Arithmetic>(m: &mut A, x: &A::Real, coefficients: &[f32]) -> A::Real {
    let mut sum = m.number(coefficients[0]);
    for coefficient in &coefficients[1..] {
        let next = m.number(*coefficient);
        let product = m.mul(&sum, x);
        sum = m.add(&product, &next);
    }
    sum
}

/// The nearest integer, of a number below 2²².
fn nearest<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let rounder = m.number(ROUNDER);
    let shifted = m.add(x, &rounder);
    m.sub(&shifted, &rounder)
}

/// `x` with each limit that is finite.
pub fn clamp<A: Arithmetic>(m: &mut A, x: &A::Real, low: f32, high: f32) -> A::Real {
    let mut x = x.clone();
    if low > f32::NEG_INFINITY {
        let low = m.number(low);
        x = m.max(&low, &x);
    }
    if high < f32::INFINITY {
        let high = m.number(high);
        x = m.min(&high, &x);
    }
    x
}

/// `|x|`.
pub fn abs<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let negated = negate(m, x);
    m.max(x, &negated)
}

/// `−x`.
pub fn negate<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let minus = m.number(-1.0);
    m.mul(x, &minus)
}

/// `eˣ = 2ⁿ · e^r` with `|r| ≤ ln 2 / 2`.
pub fn exp<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    // Beyond these the result is 0 or infinite.
    let x = clamp(m, x, -104.0, 89.0);
    let log2e = m.number(core::f32::consts::LOG2_E);
    let scaled = m.mul(&x, &log2e);
    let n = nearest(m, &scaled);
    // ln 2 in two parts, the first short enough that its product with n is exact.
    let high = m.number(0.693_359_4);
    let low = m.number(-2.121_944_4e-4);
    let part = m.mul(&n, &high);
    let r = m.sub(&x, &part);
    let part = m.mul(&n, &low);
    let r = m.sub(&r, &part);
    let p = polynomial(
        m,
        &r,
        &[
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ],
    );
    let square = m.mul(&r, &r);
    let p = m.mul(&p, &square);
    let p = m.add(&p, &r);
    let one = m.number(1.0);
    let p = m.add(&p, &one);
    // An exponent for what is no number, which the polynomial keeps.
    let least = m.number(-151.0);
    let n = m.max(&n, &least);
    // In two factors, so that neither leaves the exponents of f32.
    let half = m.number(0.5);
    let half = m.mul(&n, &half);
    let first = nearest(m, &half);
    let second = m.sub(&n, &first);
    let first = m.power(&first);
    let second = m.power(&second);
    let p = m.mul(&p, &first);
    m.mul(&p, &second)
}

/// `ln x`, of the fraction and the exponent.
pub fn log<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    // Away from both ends of the exponents, by factors that are undone in the sum.
    let (zero, smallest, largest) = (m.number(0.0), m.number(1e-37), m.number(1e30));
    let (up, down) = (m.number(16_777_216.0), m.number(5.960_464_5e-8));
    let (lift, drop) = (m.number(-24.0), m.number(24.0));
    let (raised, lowered) = (m.mul(x, &up), m.mul(x, &down));
    let y = m.select_less(x, &smallest, &raised, x);
    let y = m.select_less(&largest, x, &lowered, &y);
    let shift = m.select_less(x, &smallest, &lift, &zero);
    let shift = m.select_less(&largest, x, &drop, &shift);
    // The bits over 2²³ are the exponent plus most of the fraction.
    let bits = m.bits(&y);
    let unit = m.number(1.192_092_9e-7);
    let position = m.mul(&bits, &unit);
    let bias = m.number(-127.0);
    let position = m.add(&position, &bias);
    let position = clamp(m, &position, -126.0, 126.0);
    let n = nearest(m, &position);
    let opposite = negate(m, &n);
    let factor = m.power(&opposite);
    let fraction = m.mul(&y, &factor);
    // ln f = 2 · artanh((f − 1) / (f + 1)).
    let one = m.number(1.0);
    let (above, below) = (m.sub(&fraction, &one), m.add(&fraction, &one));
    let s = m.div(&above, &below);
    let square = m.mul(&s, &s);
    let p = polynomial(
        m,
        &square,
        &[0.181_818_18, 0.222_222_22, 0.285_714_3, 0.4, 0.666_666_7],
    );
    let p = m.mul(&p, &square);
    let p = m.mul(&p, &s);
    let two = m.number(2.0);
    let s = m.mul(&s, &two);
    let p = m.add(&s, &p);
    let n = m.add(&n, &shift);
    let low = m.number(-2.121_944_4e-4);
    let low = m.mul(&n, &low);
    let p = m.add(&p, &low);
    let high = m.number(0.693_359_4);
    let high = m.mul(&n, &high);
    let p = m.add(&high, &p);
    // Infinity stays, zero gives −∞, and what is negative no number.
    let greatest = m.number(f32::MAX);
    let p = m.select_less(&greatest, x, x, &p);
    let minus = m.number(-1.0);
    let (least, none) = (m.div(&minus, &zero), m.div(&zero, &zero));
    let rest = m.select_less(x, &zero, &none, &least);
    m.select_less(&zero, x, &p, &rest)
}

/// `1 / (1 + e^−x)`.
pub fn sigmoid<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let size = abs(m, x);
    let opposite = negate(m, &size);
    let e = exp(m, &opposite);
    let (zero, one) = (m.number(0.0), m.number(1.0));
    let total = m.add(&one, &e);
    let numerator = m.select_less(x, &zero, &e, &one);
    m.div(&numerator, &total)
}

/// The hyperbolic tangent: a polynomial near 0, else by [`exp`].
pub fn tanh<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let square = m.mul(x, x);
    let p = polynomial(
        m,
        &square,
        &[
            -5.704_988_7e-3,
            2.063_908_8e-2,
            -5.373_971_6e-2,
            1.333_144_2e-1,
            -3.333_328e-1,
        ],
    );
    let p = m.mul(&p, &square);
    let p = m.mul(&p, x);
    let near = m.add(&p, x);
    let size = abs(m, x);
    let (one, two) = (m.number(1.0), m.number(2.0));
    let twice = m.mul(&size, &two);
    let e = exp(m, &twice);
    let total = m.add(&e, &one);
    let rest = m.div(&two, &total);
    let far = m.sub(&one, &rest);
    let opposite = negate(m, &far);
    let zero = m.number(0.0);
    let far = m.select_less(x, &zero, &opposite, &far);
    let limit = m.number(0.625);
    m.select_less(&size, &limit, &near, &far)
}

/// The error function: a polynomial near 0, else `1 − e^p(|x|)`.
pub fn erf<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let size = abs(m, x);
    let square = m.mul(x, x);
    let p = polynomial(
        m,
        &square,
        &[
            -5.967_617e-4,
            4.991_194e-3,
            -2.676_813_5e-2,
            1.128_199_3e-1,
            -3.761_253_4e-1,
            1.283_791_7e-1,
        ],
    );
    let p = m.mul(&p, x);
    let near = m.add(&p, x);
    let p = polynomial(
        m,
        &size,
        &[
            -1.728_534_7e-5,
            3.831_971_3e-4,
            -3.883_964_4e-3,
            2.425_462_2e-2,
            -1.067_778_8e-1,
            -6.348_467e-1,
            -1.287_175_1e-1,
        ],
    );
    let p = m.mul(&p, &size);
    let p = m.sub(&p, &size);
    let e = exp(m, &p);
    let one = m.number(1.0);
    let far = m.sub(&one, &e);
    let opposite = negate(m, &far);
    let zero = m.number(0.0);
    let far = m.select_less(x, &zero, &opposite, &far);
    let limit = m.number(0.927_734_4);
    m.select_less(&size, &limit, &near, &far)
}

/// `ln(1 + eˣ)`.
pub fn softplus<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let size = abs(m, x);
    let opposite = negate(m, &size);
    let e = exp(m, &opposite);
    let (zero, one) = (m.number(0.0), m.number(1.0));
    let total = m.add(&one, &e);
    let small = log(m, &total);
    let positive = m.max(x, &zero);
    m.add(&positive, &small)
}

/// The nearest integer, ties to even; zero is +0.
pub fn round<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    // From 2²³ on every f32 is an integer; below, adding 2²³ leaves no bit for a fraction.
    let (zero, integers) = (m.number(0.0), m.number(8_388_608.0));
    let size = abs(m, x);
    let shifted = m.add(&size, &integers);
    let whole = m.sub(&shifted, &integers);
    let opposite = negate(m, &whole);
    let nearest = m.select_less(x, &zero, &opposite, &whole);
    m.select_less(&size, &integers, &nearest, x)
}

/// The largest integer that is not greater.
pub fn floor<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let nearest = round(m, x);
    let one = m.number(1.0);
    let below = m.sub(&nearest, &one);
    m.select_less(x, &nearest, &below, &nearest)
}

/// The smallest integer that is not less.
pub fn ceil<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let nearest = round(m, x);
    let one = m.number(1.0);
    let above = m.add(&nearest, &one);
    m.select_less(&nearest, x, &above, &nearest)
}

/// −1, 0 or 1.
pub fn sign<A: Arithmetic>(m: &mut A, x: &A::Real) -> A::Real {
    let (minus, zero, one) = (m.number(-1.0), m.number(0.0), m.number(1.0));
    let rest = m.select_less(&zero, x, &one, x);
    m.select_less(x, &zero, &minus, &rest)
}
