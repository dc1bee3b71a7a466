//! Pool, whose padding is a halo of zeros or of −∞, and bilinear Resize.

use crate::Result;
use crate::ir::Node;
use crate::kernel::{Scalar, op};
use crate::kernels::fold::{Axis, Combine, Finish, Step};
use crate::lower::pool::pads;
use crate::lower::real::{Folding, NOTHING, REALS, axis, constant, memory};
use crate::lower::{Lowering, product};
use crate::ops::{Pads, Pool, PoolKind, Resize};
use qcc_runtime_support::functions::Arithmetic;

/// Lowers a pool: elements of a window are combined row by row.
pub(super) fn lower(cx: &mut Lowering, node: &Node, pool: &Pool) -> Result<()> {
    let (x, y) = (
        node.inputs[0].expect("`infer` demands the operand"),
        node.output,
    );
    let (largest, fill) = match pool.kind {
        PoolKind::Max => (true, f32::NEG_INFINITY),
        PoolKind::Average { .. } => (false, 0.0),
    };
    let shape = cx.shape(x);
    let (from, input) = product::image_with(cx, x, pads(pool, shape), fill.to_bits() as i32);
    let (to, output) = product::result(cx, y);
    let image = [shape[2], shape[3]];
    let [rows, columns] = pool.output;
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
    let counts: Vec<f32> = places
        .map(|place| pool.counted(image, place) as f32)
        .collect();
    let uniform = counts.iter().all(|count| *count == counts[0]);
    let mut operands = vec![memory("x", Scalar::F32, true)];
    let varying = !largest && !uniform;
    if varying {
        operands.push(constant(cx, "counts", &counts, false));
    }
    let steps = |x: usize, count: usize, y: usize| {
        let count = varying.then_some(count);
        [x].into_iter().chain(count).chain([y])
    };
    let [n, h, w, c] = output.extent;
    let axes = vec![
        axis(n, steps(input.strides[0], 0, output.strides[0])),
        axis(
            h,
            steps(
                pool.strides[0] * input.strides[1],
                columns,
                output.strides[1],
            ),
        ),
        axis(
            w,
            steps(pool.strides[1] * input.strides[2], 1, output.strides[2]),
        ),
        axis(c, steps(1, 0, 1)),
    ];
    let along = |i: usize| {
        let step = pool.dilations[i] * input.strides[1 + i];
        let mut steps: Vec<Step> = vec![Step::By(step)];
        steps.extend(varying.then_some(Step::By(0)));
        Axis {
            extent: pool.kernel[i],
            steps,
        }
    };
    // A window of one element still begins with what padding holds.
    let combined = vec![along(0), along(1)];
    let combine: Combine = &|_, acc, v| match largest {
        true => op("max_f32", [v[0].clone(), acc]),
        false => op("add_f32", [acc, v[0].clone()]),
    };
    let count = counts[0];
    let finish: Finish = &|m, acc, others| {
        let acc = acc.expect("a window is combined");
        if largest {
            return acc;
        }
        let count = others.first().cloned().unwrap_or_else(|| m.number(count));
        m.div(&acc, &count)
    };
    let [kh, kw] = pool.kernel;
    let folding = Folding {
        what: if largest { "max" } else { "mean" },
        comment: vec![format!(
            "{:?} to {:?}: windows of {kh}×{kw}, strides {:?}.",
            shape,
            cx.shape(y),
            pool.strides
        )],
        axes,
        combined,
        operands,
        output: REALS,
        start: fill,
        macs: 0,
    };
    folding.call(cx, &[from, to], combine, finish);
    product::deliver(cx, y, to);
    Ok(())
}

/// Lowers a bilinear resize: `(a·l + b·r)·t + (c·l + d·r)·u`, the two pixels above and the two below.
pub(super) fn resize(cx: &mut Lowering, node: &Node, resize: &Resize) -> Result<()> {
    let (x, y) = (
        node.inputs[0].expect("`infer` demands the operand"),
        node.output,
    );
    let (from, input) = product::image(cx, x, Pads::default());
    let (to, output) = product::result(cx, y);
    let shape = cx.shape(x);
    let taps = [0, 1].map(|axis| {
        let extent = shape[2 + axis];
        let count = resize.output[axis];
        let taps = (0..count).map(|i| crate::integer::real_taps(resize, axis, i, extent));
        taps.collect::<Vec<_>>()
    });
    let mut table = |axis: usize, side: usize| {
        let places = taps[axis]
            .iter()
            .map(|tap| tap[side].0 * input.strides[1 + axis]);
        let bytes = places
            .flat_map(|place| (place as i32).to_le_bytes())
            .collect();
        Step::Table(cx.constant("offsets", Scalar::I32, bytes))
    };
    let tables = [0, 1].map(|axis| [table(axis, 0), table(axis, 1)]);
    let mut operands: Vec<_> = (0..4).map(|_| memory("x", Scalar::F32, false)).collect();
    for axis in [1, 0] {
        for side in [0, 1] {
            let shares: Vec<f32> = taps[axis].iter().map(|tap| tap[side].1).collect();
            operands.push(constant(cx, "shares", &shares, false));
        }
    }
    // Pixels: above left, above right, below left, below right; shares: left, right, above, below.
    let vertical = [0, 0, 1, 1].map(|side: usize| tables[0][side].clone());
    let horizontal = [0, 1, 0, 1].map(|side: usize| tables[1][side].clone());
    let by = |steps: [usize; 5]| steps.map(Step::By).to_vec();
    let [n, h, w, c] = output.extent;
    let axes = vec![
        Axis {
            extent: n,
            steps: [
                vec![Step::By(input.strides[0]); 4],
                by([0, 0, 0, 0, output.strides[0]]),
            ]
            .concat(),
        },
        Axis {
            extent: h,
            steps: [vertical.to_vec(), by([0, 0, 1, 1, output.strides[1]])].concat(),
        },
        Axis {
            extent: w,
            steps: [horizontal.to_vec(), by([1, 1, 0, 0, output.strides[2]])].concat(),
        },
        Axis {
            extent: c,
            steps: [vec![Step::By(1); 4], by([0, 0, 0, 0, 1])].concat(),
        },
    ];
    let folding = Folding {
        what: "linear",
        comment: vec![format!("{:?} to {:?}, bilinear.", shape, cx.shape(y))],
        axes,
        combined: vec![],
        operands,
        output: REALS,
        start: 0.0,
        macs: 0,
    };
    folding.call(cx, &[from, to], NOTHING, &|m, _, v| {
        let mut mix = |[a, b]: [&crate::kernel::Expr; 2],
                       [left, right]: [&crate::kernel::Expr; 2]| {
            let (a, b) = (m.mul(a, left), m.mul(b, right));
            m.add(&a, &b)
        };
        let above = mix([&v[0], &v[1]], [&v[4], &v[5]]);
        let below = mix([&v[2], &v[3]], [&v[4], &v[5]]);
        mix([&above, &below], [&v[6], &v[7]])
    });
    product::deliver(cx, y, to);
    Ok(())
}
