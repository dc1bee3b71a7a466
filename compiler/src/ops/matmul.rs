//! MatMul and Gemm (<https://onnx.ai/onnx/operators/onnx__MatMul.html>).
//!
//! Gemm is imported as MatMul: transposed constants are transposed at import, `alpha` and `beta` are folded
//! into constants or become Mul nodes.

use crate::Result;
use crate::bail;
use crate::ir::{Array, Clamp, Data, Elem, TensorId, Type, strides};
use crate::ops::export::{Exporter, Operand, named};
use crate::ops::product::{Matrix, accumulate};
use crate::ops::{
    Binary, BinaryFunction, Import, Importer, Operator, Reshape, SourceNode, Transpose,
};
use crate::ops::{broadcast, check};

/// ONNX operators of this family.
pub(super) const IMPORTS: &[(&str, Import)] = &[("Gemm", gemm), ("MatMul", matmul)];

/// Matrix product with NumPy's broadcasting of leading axes.
///
/// Operands: `a [.., M, K]`, `b [.., K, N]`, optional `bias [N]`; 1-D operands as in `numpy.matmul`
/// are reshaped at import, so both have at least two axes here.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul {
    /// What the result saturates to.
    pub activation: Clamp,
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let (a, b) = (check::real(operands, 0)?, check::real(operands, 1)?);
        let ([a_lead @ .., m, k], [b_lead @ .., rows, n]) = (&a.shape[..], &b.shape[..]) else {
            bail!(
                "operands of shapes {:?} and {:?} are not matrices",
                a.shape,
                b.shape
            )
        };
        if k != rows {
            bail!(
                "the product of {:?} and {:?} does not exist: {k} columns meet {rows} rows",
                a.shape,
                b.shape
            )
        }
        if let Some(bias) = operands.get(2).copied().flatten()
            && bias.shape != [*n]
        {
            bail!(
                "the bias has shape {:?}, one number for each of {n} columns is needed",
                bias.shape
            )
        }
        let mut shape = broadcast::shape(a_lead, b_lead)?;
        shape.extend([*m, *n]);
        check::reals(shape)
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let [Some(a), Some(b), ref bias @ ..] = operands[..] else {
            unreachable!("infer demands both operands")
        };
        let ([a_lead @ .., m, k], [b_lead @ .., _, n]) = (&a.shape[..], &b.shape[..]) else {
            unreachable!("infer demands matrices")
        };
        let lead = broadcast::shape(a_lead, b_lead).expect("infer checked the shapes");
        let count: usize = lead.iter().product();
        let mut out = match bias.first().copied().flatten() {
            Some(bias) => bias.reals().repeat(count * m),
            None => vec![0.0; count * m * n],
        };
        if out.is_empty() {
            return Array::f32([lead, vec![*m, *n]].concat(), out);
        }
        // One matrix for all of `a`: its leading axes are more rows.
        let (products, rows) = match b_lead.iter().product() {
            1 => (1, count * m),
            _ => (count, *m),
        };
        let place = |own: &[usize], index: usize| -> usize {
            let axes = broadcast::repeated_strides(own, &lead)
                .into_iter()
                .zip(strides(&lead));
            axes.zip(&lead)
                .map(|((own, dense), extent)| index / dense % extent * own)
                .sum()
        };
        for index in 0..products {
            let left = Matrix::rows(&a.reals()[place(a_lead, index) * m * k..], *k);
            let right = Matrix::rows(&b.reals()[place(b_lead, index) * k * n..], *n);
            let out = &mut out[index * m * n..][..rows * n];
            accumulate([rows, *k, *n], left, right, out, *n);
        }
        if self.activation != Clamp::NONE {
            out.iter_mut().for_each(|y| *y = self.activation.apply(*y));
        }
        Array::f32([lead, vec![*m, *n]].concat(), out)
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let inputs = [0, 1, 2].map(|i| named(operands, i));
        let matrices = operands
            .iter()
            .take(2)
            .flatten()
            .all(|x| x.ty.shape.len() == 2);
        let y = match inputs[2] {
            "" => to.node("MatMul", &inputs[..2], vec![]),
            _ if matrices => to.node("Gemm", &inputs, vec![]),
            bias => {
                let y = to.node("MatMul", &inputs[..2], vec![]);
                to.node("Add", &[&y, bias], vec![])
            }
        };
        to.clamp(&y, self.activation)
    }
}

fn matmul(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let (mut a, mut b) = (node.input(0)?, node.input(1)?);
    let vectors = [a, b].map(|id| importer.shape(id).len() == 1);
    if let [k] = *importer.shape(a) {
        a = importer.apply(Reshape { shape: vec![1, k] }, &[a])?;
    }
    if let [k] = *importer.shape(b) {
        b = importer.apply(Reshape { shape: vec![k, 1] }, &[b])?;
    }
    let y = importer.apply(
        MatMul {
            activation: Clamp::NONE,
        },
        &[a, b],
    )?;
    if vectors == [false, false] {
        return Ok(vec![y]);
    }
    let mut shape = importer.shape(y).to_vec();
    if vectors[1] {
        shape.pop();
    }
    if vectors[0] {
        shape.remove(shape.len() - 1 - usize::from(!vectors[1]));
    }
    Ok(vec![importer.apply(Reshape { shape }, &[y])?])
}

/// `alpha · a · b + beta · c`
fn gemm(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let a = oriented(node, importer, 0, "transA")?;
    let b = oriented(node, importer, 1, "transB")?;
    let b = scaled(importer, b, node.float("alpha", 1.0)?)?;
    let product = MatMul {
        activation: Clamp::NONE,
    };
    let beta = node.float("beta", 1.0)?;
    let Some(c) = node.optional(2).filter(|_| beta != 0.0) else {
        return Ok(vec![importer.apply(product, &[a, b])?]);
    };
    let c = scaled(importer, c, beta)?;
    let columns = importer.shape(b)[1];
    if let Some(bias) = as_bias(importer, c, columns)? {
        return Ok(vec![importer.apply(product, &[a, b, bias])?]);
    }
    let y = importer.apply(product, &[a, b])?;
    let shape = importer.shape(y);
    if broadcast::shape(shape, importer.shape(c)).ok().as_deref() != Some(shape) {
        bail!(
            "operand 2 of shape {:?} does not broadcast to {shape:?}",
            importer.shape(c)
        )
    }
    let add = Binary {
        function: BinaryFunction::Add,
        activation: Clamp::NONE,
    };
    Ok(vec![importer.apply(add, &[y, c])?])
}

/// A matrix operand of Gemm, transposed where the attribute says so.
fn oriented(
    node: &SourceNode,
    importer: &mut Importer,
    operand: usize,
    attribute: &str,
) -> Result<TensorId> {
    let id = node.input(operand)?;
    if importer.shape(id).len() != 2 {
        bail!(
            "operand {operand} of shape {:?} is not a matrix", importer.shape(id);
            hint: "the file breaks the ONNX specification of Gemm"
        )
    }
    match node.int(attribute, 0)? {
        0 => Ok(id),
        _ => importer.apply(Transpose { perm: vec![1, 0] }, &[id]),
    }
}

fn scaled(importer: &mut Importer, id: TensorId, factor: f32) -> Result<TensorId> {
    if factor == 1.0 {
        return Ok(id);
    }
    let factor = importer.constant("factor", Array::f32([], vec![factor]), Elem::Float);
    let mul = Binary {
        function: BinaryFunction::Mul,
        activation: Clamp::NONE,
    };
    importer.apply(mul, &[id, factor])
}

/// A constant that adds the same to each row, as the bias of `columns` numbers.
fn as_bias(importer: &mut Importer, c: TensorId, columns: usize) -> Result<Option<TensorId>> {
    let Some(Array {
        shape,
        data: Data::F32(v),
    }) = importer.value(c)
    else {
        return Ok(None);
    };
    if *shape == [columns] {
        return Ok(Some(c));
    }
    let bias = match (&shape[..], &v[..]) {
        ([1, n], _) if *n == columns => v.clone(),
        ([] | [1] | [1, 1], [x]) => vec![*x; columns],
        _ => return Ok(None),
    };
    let bias = Array::f32([columns], bias);
    Ok(Some(importer.constant("bias", bias, Elem::Float)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Attribute;
    use crate::ops::testing::{OneNode, counting};

    fn product(a: &Array, b: &Array, bias: Option<&Array>) -> Array {
        MatMul {
            activation: Clamp::NONE,
        }
        .eval(&[Some(a), Some(b), bias])
    }

    #[test]
    fn matrices_with_bias() {
        let bias = Array::f32([2], vec![100.0, 200.0]);
        let y = product(&counting(&[2, 3]), &counting(&[3, 2]), Some(&bias));
        assert_eq!(y, Array::f32([2, 2], vec![122.0, 228.0, 149.0, 264.0]));
    }

    #[test]
    fn leading_axes_broadcast() {
        let one = product(&counting(&[2, 1, 2]), &counting(&[2, 1]), None);
        assert_eq!(one, Array::f32([2, 1, 1], vec![5.0, 11.0]));
        // a: [[1, 2]], [[3, 4]] under axes [2, 1]; b: [1, 2], [3, 4], [5, 6] under axes [3].
        let all = product(&counting(&[2, 1, 1, 2]), &counting(&[3, 2, 1]), None);
        let expected = vec![5.0, 11.0, 17.0, 11.0, 25.0, 39.0];
        assert_eq!(all, Array::f32([2, 3, 1, 1], expected));
    }

    #[test]
    fn empty_products() {
        let empty = |shape: &[usize]| Array::f32(shape, vec![]);
        assert_eq!(
            product(&empty(&[0, 2, 3]), &counting(&[3, 2]), None),
            empty(&[0, 2, 2])
        );
        assert_eq!(
            product(&empty(&[2, 0]), &empty(&[0, 1]), None).reals(),
            [0.0, 0.0]
        );
    }

    #[test]
    fn the_error_names_both_extents() {
        let types = [Type::float([2, 3]), Type::float([2, 3])];
        let op = MatMul {
            activation: Clamp::NONE,
        };
        let error = op.infer(&types.each_ref().map(Some)).unwrap_err();
        let message = "the product of [2, 3] and [2, 3] does not exist: 3 columns meet 2 rows";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn gemm_scales_and_adds() {
        let gemm = |c: Array| {
            OneNode::new("Gemm", 13)
                .with("alpha", Attribute::Float(2.0))
                .with("beta", Attribute::Float(0.5))
                .operand(counting(&[1, 2]))
                .operand(counting(&[2, 2]))
                .operand(c)
                .folded()
                .unwrap()
        };
        // 2·[1, 2]·[[1, 2], [3, 4]] = [14, 20]
        let expected = Array::f32([1, 2], vec![15.0, 22.0]);
        assert_eq!(gemm(Array::f32([2], vec![2.0, 4.0])), expected);
        assert_eq!(gemm(Array::f32([1, 2], vec![2.0, 4.0])), expected);
        let expected = Array::f32([1, 2], vec![15.0, 21.0]);
        assert_eq!(gemm(Array::f32([], vec![2.0])), expected);
    }

    #[test]
    fn a_bias_that_differs_by_row_becomes_an_add() {
        let (model, _) = OneNode::new("Gemm", 13)
            .inputs()
            .operand(counting(&[2, 2]))
            .constants()
            .operand(counting(&[2, 2]))
            .operand(counting(&[2, 1]))
            .import()
            .unwrap();
        let names: Vec<_> = model.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["MatMul", "Add"]);
    }
}
