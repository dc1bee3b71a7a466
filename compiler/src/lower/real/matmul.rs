//! MatMul: `acc = 0; acc = acc + a·b` in the order of the inner axis; then the weights' scale, the bias, the clamp.

use crate::Result;
use crate::ir::Node;
use crate::kernel::{Scalar, op};
use crate::kernels::Window;
use crate::lower::matmul::{Batches, dense_rows, matrix, rows};
use crate::lower::product::Windows;
use crate::lower::real::product::{Ending, emit};
use crate::lower::real::weights::Weights;
use crate::lower::real::{Folding, REALS, axis, constant, memory};
use crate::lower::{Lowering, layout};
use crate::ops::{MatMul, Pads, broadcast};

/// Lowers a matrix product.
pub(super) fn lower(cx: &mut Lowering, node: &Node, op: &MatMul) -> Result<()> {
    match cx.model.constant(node, 1) {
        Some(_) => by_constant(cx, node, op),
        None => {
            of_activations(cx, node, op);
            Ok(())
        }
    }
}

/// A product by constant matrices is one of windows of a pixel; one call for all rows that meet the same matrix.
fn by_constant(cx: &mut Lowering, node: &Node, op: &MatMul) -> Result<()> {
    let [a, b] = [0, 1].map(|i| node.inputs[i].expect("`infer` demands both"));
    let batches = Batches::new(cx, node);
    let (shape, inputs, y_shape) = (cx.shape(a), cx.shape(b), cx.shape(node.output));
    let [depth, columns] = [inputs[inputs.len() - 2], inputs[inputs.len() - 1]];
    let own = layout::dense(inputs, false, Pads::default()).strides;
    let (from, a_strides) = rows(cx, a);
    let (to, y_strides) = cx.strided(node.output);
    let weights = Weights::of(cx, node, columns)?;
    let ending = Ending::of(cx, node, &weights, op.activation);
    let alone = inputs[..inputs.len() - 2].iter().all(|extent| *extent == 1);
    let joined = alone && dense_rows(shape, &a_strides) && dense_rows(y_shape, &y_strides);
    let calls = if joined { 1 } else { batches.count() };
    let height: usize = y_shape[y_shape.len() - 2] * if joined { batches.count() } else { 1 };
    let macs = (y_shape.iter().product::<usize>() * depth / calls.max(1)) as u64;
    for batch in 0..calls {
        let first = batches.offset(batch, inputs, &own);
        let windows = Windows {
            window: Window::POINT,
            groups: 1,
            input: (
                from.plus(batches.offset(batch, shape, &a_strides)),
                matrix([height, depth], &a_strides),
            ),
            output: (
                to.plus(batches.offset(batch, y_shape, &y_strides)),
                matrix([height, columns], &y_strides),
            ),
        };
        let order = |column: usize, _tap: usize, row: usize| first + row * columns + column;
        emit(cx, node, &windows, &weights, &ending, &order, macs);
    }
    Ok(())
}

/// A product of two activations, or of a constant and one.
fn of_activations(cx: &mut Lowering, node: &Node, product: &MatMul) {
    let [a, b] = [0, 1].map(|i| node.inputs[i].expect("`infer` demands both"));
    let shape = cx.shape(node.output);
    let lead = &shape[..shape.len() - 2];
    let (height, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let depth = cx.shape(b)[cx.shape(b).len() - 2];
    let (to, y_strides) = cx.strided(node.output);
    let mut places = vec![];
    let (left, a_strides) = match cx.model[a].value {
        Some(_) => {
            let reals = cx.model[a].value.as_ref().expect("just seen").reals();
            let strides = layout::dense(cx.shape(a), false, Pads::default()).strides;
            (constant(cx, "left", reals, true), strides)
        }
        None => {
            let (place, strides) = cx.strided(a);
            places.push(place);
            (memory("a", Scalar::F32, true), strides)
        }
    };
    let (b_place, b_strides) = rows(cx, b);
    let mut operands = vec![left];
    // The same memory is one buffer.
    if cx.model[a].value.is_none() && places[0] == b_place {
        operands.push(memory("a", Scalar::F32, true));
    } else {
        operands.push(memory("b", Scalar::F32, true));
        places.push(b_place);
    }
    places.push(to);
    let bias = cx.model.constant(node, 2).map(|bias| bias.reals().to_vec());
    let zeros = usize::from(bias.is_some());
    if let Some(bias) = &bias {
        operands.push(constant(cx, "bias", bias, false));
    }
    let own = |strides: &[usize], shape: &[usize]| {
        let leading = shape.len() - 2;
        let repeated = broadcast::repeated_strides(&shape[..leading], lead);
        let missing = lead.len() - leading;
        let steps = repeated.iter().enumerate().map(|(axis, step)| match step {
            0 => 0,
            _ => strides[axis - missing],
        });
        steps.collect::<Vec<usize>>()
    };
    let (a_lead, b_lead) = (own(&a_strides, cx.shape(a)), own(&b_strides, cx.shape(b)));
    let none = || std::iter::repeat_n(0, zeros);
    let last = |strides: &[usize], from_end: usize| strides[strides.len() - from_end];
    let steps = |a: usize, b: usize, y: usize| [a, b].into_iter().chain(none()).chain([y]);
    let mut axes: Vec<_> = (0..lead.len())
        .map(|i| axis(lead[i], steps(a_lead[i], b_lead[i], y_strides[i])))
        .collect();
    axes.push(axis(
        height,
        steps(last(&a_strides, 2), 0, last(&y_strides, 2)),
    ));
    let across = [0, last(&b_strides, 1)]
        .into_iter()
        .chain(std::iter::repeat_n(1, zeros));
    axes.push(axis(columns, across.chain([last(&y_strides, 1)])));
    let inner = [last(&a_strides, 1), last(&b_strides, 2)]
        .into_iter()
        .chain(none());
    let ending = Ending {
        scales: None,
        bias,
        residual: None,
        activation: product.activation,
    };
    let folding = Folding {
        what: "products",
        comment: vec![format!(
            "MatMul of reals: {:?} by {:?}.",
            cx.shape(a),
            cx.shape(b)
        )],
        axes,
        combined: vec![axis(depth, inner)],
        operands,
        output: REALS,
        start: 0.0,
        macs: (shape.iter().product::<usize>() * depth) as u64,
    };
    folding.call(
        cx,
        &places,
        &|_, acc, v| {
            op(
                "add_f32",
                [acc, op("mul_f32", [v[0].clone(), v[1].clone()])],
            )
        },
        &|steps, sum, others| ending.finish(steps, sum, others),
    );
}
