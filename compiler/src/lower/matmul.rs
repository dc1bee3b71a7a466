//! MatMul: by a constant it is a product of windows of one pixel, of two activations a kernel of its own.

use crate::ir::{Model, Node, TensorId};
use crate::kernel::Scalar;
use crate::kernels::{Product, Products, View, Window};
use crate::lower::product::{self, Windows};
use crate::lower::{Lowering, Needs, Place, layout};
use crate::ops::{MatMul, Pads};
use crate::target::Target;
use crate::{Result, prove};

/// What a matrix product asks of the memory of an operand.
pub(super) fn needs(_model: &Model, _target: &Target, _operand: TensorId) -> Needs {
    Needs {
        slack: true,
        ..Needs::default()
    }
}

/// Lowers a matrix product.
pub(super) fn lower(cx: &mut Lowering, node: &Node, op: &MatMul) -> Result<()> {
    let batches = Batches::new(cx, node);
    match cx.model.constant(node, 1) {
        Some(_) => by_constant(cx, node, op, &batches),
        None => of_activations(cx, node, op, &batches),
    }
}

/// The matrices of the leading axes: for each of the result, where its operands' matrices lie.
pub(super) struct Batches {
    /// Extents of the leading axes of the result.
    shape: Vec<usize>,
}

impl Batches {
    pub(super) fn new(cx: &Lowering, node: &Node) -> Batches {
        let shape = cx.shape(node.output);
        Batches {
            shape: shape[..shape.len() - 2].to_vec(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Offset of matrix `batch` in an operand of this shape, whose leading axes of extent 1 repeat.
    pub(super) fn offset(&self, batch: usize, shape: &[usize], strides: &[usize]) -> usize {
        let leading = shape.len() - 2;
        let mut rest = batch;
        let mut offset = 0;
        for (axis, extent) in self.shape.iter().enumerate().rev() {
            let index = rest % extent;
            rest /= extent;
            let Some(own) = (axis + leading).checked_sub(self.shape.len()) else {
                continue;
            };
            if shape[own] != 1 {
                offset += index * strides[own];
            }
        }
        offset
    }
}

/// A product by constant matrices; one call multiplies all rows that meet the same matrix.
fn by_constant(cx: &mut Lowering, node: &Node, op: &MatMul, batches: &Batches) -> Result<()> {
    let [a, b] = [0, 1].map(|i| node.inputs[i].expect("`infer` demands both"));
    let (shape, inputs) = (cx.shape(a), cx.shape(b));
    let [depth, columns] = [inputs[inputs.len() - 2], inputs[inputs.len() - 1]];
    let own = layout::dense(inputs, false, Pads::default()).strides;
    let (from, a_strides) = rows(cx, a);
    let (to, y_strides) = cx.strided(node.output);
    let weights = product::weights(cx, node, columns, |i| i % columns);
    let requantize = product::requantize(cx, node, op.activation);
    let numbers = product::numbers(cx, node, columns, &requantize)?;
    let y_shape = cx.shape(node.output);
    // One matrix for all: the leading axes are images and rows of one call where memory allows.
    let alone = inputs[..inputs.len() - 2].iter().all(|extent| *extent == 1);
    let joined = alone && dense_rows(shape, &a_strides) && dense_rows(y_shape, &y_strides);
    let calls = if joined { 1 } else { batches.count() };
    let height: usize = y_shape[y_shape.len() - 2] * if joined { batches.count() } else { 1 };
    let macs = (y_shape.iter().product::<usize>() * depth / calls.max(1)) as u64;
    for batch in 0..calls {
        let first = batches.offset(batch, inputs, &own);
        let w = &weights[first..first + depth * columns];
        let product = Product {
            weights: (0..w.len())
                .map(|i| w[i % depth * columns + i / depth])
                .collect(),
            ..numbers.clone()
        };
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
        product::emit(
            cx,
            node,
            &windows,
            &product,
            (None, requantize.clone()),
            macs,
        )?;
    }
    Ok(())
}

/// Rows of a matrix as pixels, columns as channels.
pub(super) fn matrix([rows, columns]: [usize; 2], strides: &[usize]) -> View {
    let row = strides[strides.len() - 2];
    View {
        extent: [1, 1, rows, columns],
        strides: [rows * row, rows * row, row, 1],
    }
}

/// Whether all rows of all matrices lie at one distance.
pub(super) fn dense_rows(shape: &[usize], strides: &[usize]) -> bool {
    let axes = shape.len() - 1;
    (1..axes).all(|axis| shape[axis - 1] == 1 || strides[axis - 1] == strides[axis] * shape[axis])
}

/// An operand whose rows are contiguous; copied only if they are not.
pub(super) fn rows(cx: &mut Lowering, id: TensorId) -> (Place, Vec<usize>) {
    let (place, strides) = cx.strided(id);
    let shape = cx.shape(id);
    if strides.last() == Some(&1) || shape.last() == Some(&1) {
        return (place, strides);
    }
    let dense = layout::dense(shape, false, Pads::default());
    let scalar = cx.scalar(id);
    let scratch = cx.scratch(scalar, dense.elements);
    cx.copy(scalar, shape, (place, &strides), (scratch, &dense.strides));
    (scratch, dense.strides)
}

/// A product of two activations, or of a constant and one, a matrix a call.
fn of_activations(cx: &mut Lowering, node: &Node, op: &MatMul, batches: &Batches) -> Result<()> {
    let [a, b] = [0, 1].map(|i| node.inputs[i].expect("`infer` demands both"));
    let (shapes, y_shape) = ([cx.shape(a), cx.shape(b)], cx.shape(node.output));
    let (columns, depth) = (y_shape[y_shape.len() - 1], shapes[0][shapes[0].len() - 1]);
    let left = match cx.model[a].value {
        Some(_) => {
            let name = cx.constant("left", cx.scalar(a), cx.bytes(a));
            Left::Constant(
                name,
                layout::dense(shapes[0], false, Pads::default()).strides,
            )
        }
        None => {
            let (place, strides) = rows(cx, a);
            Left::Memory(place, strides)
        }
    };
    let (b_place, b_strides) = rows(cx, b);
    let (to, y_strides) = cx.strided(node.output);
    let [(s_a, z_a), (s_b, z_b), (s_y, _)] = [a, b, node.output].map(|id| cx.quant(id));
    let bias = cx
        .model
        .constant(node, 2)
        .map(|bias| bias.quantized().to_vec());
    let ranges = [a, b].map(|id| cx.reached(id));
    let scale = (s_a * s_b) / s_y;
    let (bounds, moves) =
        prove::products_or_moves([z_a, z_b], ranges, depth, bias.as_deref(), scale)?;
    let bias = bias.map(|bias| {
        let padded = bias.len().next_multiple_of(cx.target.lanes);
        let mut bytes: Vec<u8> = bias.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes.resize(padded * 4, 0);
        cx.constant("bias", Scalar::I32, bytes)
    });
    let requantize = product::requantize(cx, node, op.activation);
    let height = y_shape[y_shape.len() - 2];
    for batch in 0..batches.count() {
        let (offset, a_strides) = (
            batches.offset(batch, shapes[0], left.strides()),
            left.strides(),
        );
        let name = cx.name("products");
        let kernel = Products {
            name,
            comment: vec![
                format!("MatMul: {:?} by {:?}.", shapes[0], shapes[1]),
                format!("Proven: sums stay within ±{}.", bounds.sum),
            ],
            size: [height, depth, columns],
            strides: [a_strides, &b_strides, &y_strides].map(|s| s[s.len() - 2]),
            zero_points: [z_a, z_b],
            elems: [a, b].map(|id| cx.scalar(id)),
            left: match &left {
                Left::Constant(name, _) => Some((name.clone(), offset)),
                Left::Memory(..) => None,
            },
            slack: !cx.ends_exactly(b),
            bias: bias.clone(),
            scale,
            moves,
            requantize: requantize.clone(),
        };
        let right = b_place.plus(batches.offset(batch, shapes[1], &b_strides));
        let result = to.plus(batches.offset(batch, y_shape, &y_strides));
        let args: Vec<Place> = match &left {
            Left::Constant(..) => vec![right, result],
            Left::Memory(place, _) => vec![place.plus(offset), right, result],
        };
        cx.call(
            kernel.kernel(cx.target),
            &args,
            (height * depth * columns) as u64,
        );
    }
    Ok(())
}

/// The left operand.
enum Left {
    Constant(String, Vec<usize>),
    Memory(Place, Vec<usize>),
}

impl Left {
    fn strides(&self) -> &[usize] {
        match self {
            Left::Constant(_, strides) | Left::Memory(_, strides) => strides,
        }
    }
}
