//! Unary functions, binary arithmetic and PRelu.

use crate::integer::{self, tflite::Sum};
use crate::ir::{Array, Clamp, Data, Node, Numerics, QuantParams, TensorId};
use crate::kernel::{Expr, Scalar, int, op};
use crate::kernels::Scale;
use crate::kernels::elementwise::{splat, subtract};
use crate::lower::Lowering;
use crate::lower::movement::unsigned;
use crate::lower::whole::{Meaning, WholeSum};
use crate::ops::{Binary, BinaryFunction, Operator, Unary};
use crate::{Result, bail};
use qcc_runtime_support::{scale_add_round, scale_round};

/// A function of one number: a table of its 256 or 65,536 values.
pub(super) fn unary(cx: &mut Lowering, node: &Node, function: &Unary) -> Result<()> {
    let x = node.inputs[0].expect("a unary node has an operand");
    let images = integer::function(cx.model, node, function);
    let (from, first) = (cx.params(x), cx.params(x).int.min() as i32);
    let table = integers(from).map(|q| images[(q - first) as usize]);
    let table = cx.table(node.output, table);
    look_up(cx, x, node.output, &table, "function");
    Ok(())
}

/// The integers that the 256 bytes, or the 65,536 halves, stand for, in the order of their bits.
pub(super) fn integers(params: &QuantParams) -> impl Iterator<Item = i32> + use<> {
    let (signed, wide) = (params.int.signed, params.int.bits > 8);
    let last = if wide { u16::MAX } else { u8::MAX.into() };
    (0..=last).map(move |bits| match (signed, wide) {
        (false, _) => bits.into(),
        (true, false) => (bits as i8).into(),
        (true, true) => (bits as i16).into(),
    })
}

impl Lowering<'_> {
    /// The name of a table of integers as `y` stores them.
    pub(super) fn table(&mut self, y: TensorId, integers: impl Iterator<Item = i32>) -> String {
        let elem = unsigned(self.scalar(y));
        let bytes = integers.flat_map(|q| q.to_le_bytes().into_iter().take(elem.bytes()));
        self.constant("table", elem, bytes.collect())
    }
}

/// Calls a table kernel from one tensor to another of the same shape.
fn look_up(cx: &mut Lowering, x: TensorId, y: TensorId, table: &str, what: &str) {
    let sources = cx.sources(&[x], y);
    let name = cx.name(what);
    let mut kernel = sources.space.table(&name, table);
    let (entries, bytes) = match (cx.scalar(x).bytes(), cx.scalar(y).bytes()) {
        (1, 1) => ("256", "bytes"),
        (1, _) => ("256", "numbers of 16 bits"),
        (_, 1) => ("65,536", "bytes"),
        _ => ("65,536", "numbers of 16 bits"),
    };
    kernel.comment = vec![format!("{:?}: a table of {entries} {bytes}.", cx.shape(y))];
    cx.call(kernel, &sources.places, 0);
}

/// Arithmetic of two tensors: by a formula that was compared with the operator's meaning on all 65,536 pairs of
/// bytes, or by a table of them.
pub(super) fn binary(cx: &mut Lowering, node: &Node, function: &Binary) -> Result<()> {
    let (a, b) = match node.inputs[..] {
        [Some(a), Some(b)] => (a, b),
        _ => bail!("an operand is missing"),
    };
    let y = node.output;
    if cx.model.numerics == Numerics::Tflite {
        return fixed_sum(cx, function.activation, [a, b, y]);
    }
    if [a, b, y].iter().any(|id| cx.scalar(*id).bytes() > 1) {
        return steps_of_reals(cx, function, [a, b, y]);
    }
    let images = images(cx, function, a, b, y);
    let whole = whole(cx, function, [a, b, y], &images);
    let Some(formula) = Formula::find(cx, function, [a, b, y], &images) else {
        return pairs(cx, images, a, b, y);
    };
    let ((s_a, z_a), (s_b, z_b), (s_y, z_y)) = (cx.quant(a), cx.quant(b), cx.quant(y));
    let mut limits = cx.limits(y, function.activation.quantized(cx.params(y)));
    if whole.is_some() {
        limits.zero_point = 0;
    }
    let what = function.function.name().to_lowercase();
    let sources = cx.sources(&[a, b], y);
    let name = cx.name(&what);
    let mut kernel = sources.space.arithmetic(&name, &limits, &|v| {
        if let Some(whole) = &whole {
            return whole.of([v[0].clone(), v[1].clone()]);
        }
        let (a, b) = (subtract(v[0].clone(), z_a), subtract(v[1].clone(), z_b));
        match formula {
            Formula::Product(m) => op("scale_round", [op("mul_i32", [a, b]), splat(m)]),
            Formula::Sum(ma, mb) => op("scale_add_round", [a, splat(ma), b, splat(mb)]),
        }
    });
    kernel.comment = vec![format!(
        "{:?} {what} {:?}: scales {s_a} and {s_b} to {s_y}, zero points {z_a} and {z_b} to {z_y}.",
        cx.shape(a),
        cx.shape(b)
    )];
    cx.call(kernel, &sources.places, 0);
    Ok(())
}

/// The sum or the difference by whole factors, on machines that scale by those.
fn whole(
    cx: &Lowering,
    function: &Binary,
    [a, b, y]: [TensorId; 3],
    images: &[i32],
) -> Option<WholeSum> {
    let sign = match function.function {
        BinaryFunction::Add => 1.0,
        BinaryFunction::Sub => -1.0,
        _ => return None,
    };
    let ((s_a, z_a), (s_b, z_b), (s_y, z_y)) = (cx.quant(a), cx.quant(b), cx.quant(y));
    let [first, second] = [a, b].map(|id| integers(cx.params(id)).collect::<Vec<i32>>());
    let meaning = Meaning {
        factors: [f64::from(s_a / s_y), sign * f64::from(s_b / s_y)],
        integers: [&first, &second],
        zero_points: [z_a, z_b],
        zero_point: z_y,
        limits: function.activation.quantized(cx.params(y)),
        images,
    };
    let integers = cx.target.scales_integers();
    integers.then(|| WholeSum::find(&meaning)).flatten()
}

/// TFLite's sum: both operands in steps of twice the larger scale, with 20 bits more, and their sum in those of the
/// result.
fn fixed_sum(cx: &mut Lowering, activation: Clamp, [a, b, y]: [TensorId; 3]) -> Result<()> {
    let ((s_a, z_a), (s_b, z_b), (s_y, z_y)) = (cx.quant(a), cx.quant(b), cx.quant(y));
    let sum = Sum::new([s_a, s_b], s_y);
    prove_fits(2.0 * 256.0 * f64::from(s_a.max(s_b) / s_y))?;
    let limits = cx.limits(y, cx.model.numerics.limits(activation, cx.params(y)));
    let sources = cx.sources(&[a, b], y);
    let name = cx.name("add");
    let mut kernel = sources.space.arithmetic(&name, &limits, &|v| {
        let operand = |i: usize, zero: i32| {
            let unit = op("splat_i32", [int(Sum::UNIT.into())]);
            let shifted = op("mul_i32", [subtract(v[i].clone(), zero), unit]);
            Scale::Twice(sum.operands[i]).of(shifted)
        };
        let both = op("add_i32", [operand(0, z_a), operand(1, z_b)]);
        Scale::Twice(sum.result).of(both)
    });
    kernel.comment = vec![format!(
        "{:?} add {:?} in fixed point: scales {s_a} and {s_b} to {s_y}, zero points {z_a} and {z_b} to {z_y}.",
        cx.shape(a),
        cx.shape(b)
    )];
    cx.call(kernel, &sources.places, 0);
    Ok(())
}

/// Arithmetic of 16 bits as it is meant: the operands' reals, the operation, the nearest integer.
fn steps_of_reals(cx: &mut Lowering, function: &Binary, [a, b, y]: [TensorId; 3]) -> Result<()> {
    let name = match function.function {
        BinaryFunction::Add => "add_f32",
        BinaryFunction::Sub => "sub_f32",
        BinaryFunction::Mul => "mul_f32",
        BinaryFunction::Max => "max_f32",
        BinaryFunction::Min => "min_f32",
        BinaryFunction::Div if function.activation.apply(0.0) == 0.0 => "div_f32",
        BinaryFunction::Div => bail!(
            "a division of 16-bit integers whose activation cuts 0 off has no kernel";
            hint: "give its operands and its result 8 bits"
        ),
        BinaryFunction::Pow => bail!(
            "Pow of 16-bit integers has no kernel";
            hint: "give its operands and its result 8 bits"
        ),
    };
    let divides = function.function == BinaryFunction::Div;
    let ((s_a, z_a), (s_b, z_b), (s_y, _)) = (cx.quant(a), cx.quant(b), cx.quant(y));
    let params = cx.params(y);
    let limits = cx.limits(y, (params.low, params.high));
    let clamp = function.activation;
    let sources = cx.sources(&[a, b], y);
    let kernel_name = cx.name(&function.function.name().to_lowercase());
    let mut kernel = sources.space.arithmetic(&kernel_name, &limits, &|v| {
        let [a, b] = [(0, z_a), (1, z_b)].map(|(i, zero)| subtract(v[i].clone(), zero));
        let b = if divides {
            no_zero_below_zero(&a, b)
        } else {
            b
        };
        let real = |difference, scale| op("mul_f32", [op("to_f32", [difference]), splat(scale)]);
        let y = op(name, [real(a, s_a), real(b, s_b)]);
        let y = limited(y, clamp);
        let y = op("div_f32", [y, splat(s_y)]);
        let y = op("max_f32", [y, splat(-MOST)]);
        op("round_i32", [op("min_f32", [y, splat(MOST)])])
    });
    kernel.comment = vec![format!(
        "{:?} {} {:?} in reals: scales {s_a} and {s_b} to {s_y}, zero points {z_a} and {z_b} to {}.",
        cx.shape(a),
        function.function.name().to_lowercase(),
        cx.shape(b),
        limits.zero_point
    )];
    cx.call(kernel, &sources.places, 0);
    Ok(())
}

/// The divisor, but 1 where it and the dividend are 0: QuantizeLinear makes of 0/0 what it makes of 0.
fn no_zero_below_zero(a: &Expr, b: Expr) -> Expr {
    let number = |n| op("splat_i32", [int(n)]);
    let magnitude = |d: &Expr| {
        op(
            "max_i32",
            [d.clone(), op("sub_i32", [number(0), d.clone()])],
        )
    };
    let larger = op("max_i32", [magnitude(a), magnitude(&b)]);
    let any = op("min_i32", [larger, number(1)]);
    op("add_i32", [b, op("sub_i32", [number(1), any])])
}

/// A real saturated to the limits that there are.
fn limited(y: Expr, clamp: Clamp) -> Expr {
    let y = match clamp.min == f32::NEG_INFINITY {
        true => y,
        false => op("max_f32", [y, splat(clamp.min)]),
    };
    match clamp.max == f32::INFINITY {
        true => y,
        false => op("min_f32", [y, splat(clamp.max)]),
    }
}

/// What quantized reals are saturated to before they are rounded, as `QuantParams::quantize` does.
const MOST: f32 = 2e9;

/// Arithmetic on differences from zero points that rounds once.
#[derive(Clone, Copy, Debug)]
enum Formula {
    /// `round(a·ma + b·mb)`
    Sum(f32, f32),
    /// `round(a·b·m)`
    Product(f32),
}

/// How many f32 numbers up and down a factor may be from the quotient of scales.
const NEARBY: i32 = 3;

impl Formula {
    /// The formula of Add, Sub or Mul that gives the results `images` of all pairs of bytes, if there is one.
    fn find(
        cx: &Lowering,
        function: &Binary,
        [a, b, y]: [TensorId; 3],
        images: &[i32],
    ) -> Option<Formula> {
        let ((s_a, _), (s_b, _), (s_y, z_y)) = (cx.quant(a), cx.quant(b), cx.quant(y));
        let (a_reach, b_reach) = (reach(cx.params(a)), reach(cx.params(b)));
        let (ma, mb) = (s_a / s_y, s_b / s_y);
        let (candidates, bound): (Vec<Formula>, f64) = match function.function {
            BinaryFunction::Add | BinaryFunction::Sub => {
                let mb = if function.function == BinaryFunction::Sub {
                    -mb
                } else {
                    mb
                };
                let sums = steps().flat_map(|i| steps().map(move |j| (i, j)));
                let sum = |(i, j)| Formula::Sum(nearby(ma, i), nearby(mb, j));
                let bound = a_reach * f64::from(ma) + b_reach * f64::from(mb.abs());
                (sums.map(sum).collect(), bound)
            }
            BinaryFunction::Mul => {
                let m = (s_a * s_b) / s_y;
                let products = steps().map(|i| Formula::Product(nearby(m, i)));
                (products.collect(), a_reach * b_reach * f64::from(m))
            }
            _ => return None,
        };
        prove_fits(bound).ok()?;
        let (low, high) = function.activation.quantized(cx.params(y));
        let differences = |id: TensorId| {
            let (_, zero) = cx.quant(id);
            integers(cx.params(id))
                .map(|q| q - zero)
                .collect::<Vec<i32>>()
        };
        let (a, b) = (differences(a), differences(b));
        let equal = |formula: &Formula| {
            let mut images = images.iter();
            a.iter().all(|a| {
                b.iter().all(|b| {
                    let y = (formula.apply(*a, *b) + z_y).clamp(low, high);
                    images.next() == Some(&y)
                })
            })
        };
        candidates.into_iter().find(equal)
    }

    fn apply(self, a: i32, b: i32) -> i32 {
        match self {
            Formula::Sum(ma, mb) => scale_add_round(a, ma, b, mb),
            Formula::Product(m) => scale_round(a * b, m),
        }
    }
}

/// 0, 1, −1, 2, −2, ..
fn steps() -> impl Iterator<Item = i32> {
    (0..=2 * NEARBY).map(|i| if i % 2 == 0 { -i / 2 } else { (i + 1) / 2 })
}

/// The f32 so many numbers further from zero.
fn nearby(x: f32, steps: i32) -> f32 {
    f32::from_bits(x.to_bits().wrapping_add_signed(steps))
}

/// The largest distance of an integer from the zero point.
pub(super) fn reach(params: &QuantParams) -> f64 {
    let (_, zero) = params.uniform();
    f64::from((params.high - zero).max(zero - params.low))
}

/// The largest distance between two integers.
pub(super) fn widest(params: &QuantParams) -> f64 {
    f64::from(params.high - params.low)
}

/// Rounding to i32 is defined below 2³¹ only; a zero point is added afterwards.
pub(super) fn prove_fits(bound: f64) -> Result<()> {
    if bound >= f64::from(i32::MAX - (1 << 17)) {
        bail!(
            "the result's scale is so small that results reach {bound:.0} before they are clamped";
            hint: "calibrate on samples that exercise this layer"
        );
    }
    Ok(())
}

/// What an operator makes of each of the 65,536 pairs of bytes.
fn images(cx: &Lowering, function: &Binary, a: TensorId, b: TensorId, y: TensorId) -> Vec<i32> {
    let (from_a, from_b, to) = (cx.params(a), cx.params(b), cx.params(y));
    let rows = integers(from_a).flat_map(|q| std::iter::repeat_n(from_a.dequantize(q), 256));
    let columns = integers(from_b).map(|q| from_b.dequantize(q));
    let columns: Vec<f32> = columns.collect::<Vec<_>>().repeat(256);
    let rows = Array::f32([65536], rows.collect::<Vec<_>>());
    let images = function.eval(&[Some(&rows), Some(&Array::f32([65536], columns))]);
    images.reals().iter().map(|y| to.quantize(*y)).collect()
}

/// A table of all pairs of bytes.
fn pairs(cx: &mut Lowering, images: Vec<i32>, a: TensorId, b: TensorId, y: TensorId) -> Result<()> {
    let table = images.into_iter().map(|y| y as u8).collect();
    let table = cx.constant("table", Scalar::U8, table);
    let sources = cx.sources(&[a, b], y);
    let name = cx.name("pairs");
    let mut kernel = sources.space.pairs(&name, &table);
    kernel.comment = vec![format!("{:?}: a table of 65,536 bytes.", cx.shape(y))];
    cx.call(kernel, &sources.places, 0);
    Ok(())
}

/// `d = x − z_x; clamp(round(d · (d < 0 ? slope·s_x/s_y : s_x/s_y)) + z_y)`.
pub(super) fn prelu(cx: &mut Lowering, node: &Node) -> Result<()> {
    let (x, y) = (node.inputs[0].expect("x"), node.output);
    let ((s_x, z_x), (s_y, z_y)) = (cx.quant(x), cx.quant(y));
    let slope = cx
        .model
        .constant(node, 1)
        .expect("the slope is constant, as was checked");
    let Data::F32(slopes) = &slope.data else {
        bail!("the slope is not real")
    };
    let factors: Vec<f32> = slopes.iter().map(|slope| (slope * s_x) / s_y).collect();
    let largest = factors.iter().fold(s_x / s_y, |m, f| m.max(f.abs()));
    prove_fits(reach(cx.params(x)) * f64::from(largest))?;
    let params = cx.params(y);
    let limits = cx.limits(y, (params.low, params.high));
    let mut sources = cx.sources(&[x], y);
    let uniform = factors
        .iter()
        .all(|f| *f == factors[0])
        .then(|| splat(factors[0]));
    if uniform.is_none() {
        let varying = vary(cx, &slope.shape, &factors, y);
        sources.space.operands.push(varying);
    }
    let name = cx.name("prelu");
    let mut kernel = sources.space.arithmetic(&name, &limits, &|v| {
        let d = subtract(v[0].clone(), z_x);
        let negative = uniform.clone().unwrap_or_else(|| v[1].clone());
        let factor = op("select_f32", [d.clone(), negative, splat(s_x / s_y)]);
        op("scale_round", [d, factor])
    });
    kernel.comment = vec![format!(
        "{:?}: scale {s_x} to {s_y}, zero point {z_x} to {z_y}.",
        cx.shape(x)
    )];
    cx.call(kernel, &sources.places, 0);
    Ok(())
}

/// Factors as a constant whose innermost axis is the result's: one a channel where channels are last,
/// else one an element.
fn vary(
    cx: &mut Lowering,
    shape: &[usize],
    factors: &[f32],
    y: TensorId,
) -> crate::kernels::elementwise::Source {
    let result = cx.shape(y);
    let rank = result.len();
    let mut aligned = vec![1; rank - shape.len()];
    aligned.extend(shape);
    let per_channel = cx.channels_last(y) && aligned.iter().product::<usize>() == aligned[1];
    let (shape, factors) = if per_channel {
        (aligned, factors.to_vec())
    } else {
        let own = Array::f32(aligned, factors.to_vec());
        let strides = own.strides();
        let indices = indices(result).map(|index| {
            let at = index.iter().zip(&own.shape).zip(&strides);
            at.map(|((i, extent), stride)| (i % extent) * stride).sum()
        });
        let full = own.pick(result, indices.collect::<Vec<usize>>().into_iter());
        (result.to_vec(), full.reals().to_vec())
    };
    let bytes = factors.iter().flat_map(|f| f.to_le_bytes()).collect();
    cx.constant_source(Scalar::F32, &shape, bytes, (y, result))
}

/// All indices of a shape in row-major order.
fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let count: usize = shape.iter().product();
    (0..count).map(|flat| {
        let mut rest = flat;
        let mut index = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            index[axis] = rest % shape[axis];
            rest /= shape[axis];
        }
        index
    })
}
