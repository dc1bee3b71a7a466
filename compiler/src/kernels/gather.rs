//! Copies whose source positions along some axes are tables: Gather, nearest Resize, reversed slices,
//! mirrored pads. And fills.

use crate::kernel::{Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::copy::{buffer, copy_axis, fill_run, real};
use crate::kernels::elements::elements;
use crate::kernels::elementwise::define;
use crate::kernels::nest::Nest;
use crate::target::Target;

/// One axis of a gathering copy.
#[derive(Clone, Debug)]
pub(crate) struct GatherAxis {
    /// Indices of the result.
    pub(crate) extent: usize,
    /// Elements from one index of the source to the next.
    pub(crate) from: usize,
    /// Elements from one index of the result to the next.
    pub(crate) to: usize,
    /// Name of a constant of i32: where in the source each index of the result lies, in elements; instead
    /// of `from`.
    pub(crate) table: Option<String>,
}

/// Copies elements from `x` to `y`. Buffers: `x`, `y`.
pub(crate) fn gather(name: &str, scalar: Scalar, axes: &[GatherAxis], target: &Target) -> Kernel {
    let mut tabled: Vec<&GatherAxis> = axes.iter().filter(|axis| axis.table.is_some()).collect();
    tabled.sort_by_key(|axis| std::cmp::Reverse(axis.to));
    let plain: Vec<&GatherAxis> = axes.iter().filter(|axis| axis.table.is_none()).collect();
    let extents: Vec<usize> = plain.iter().map(|axis| axis.extent).collect();
    let from: Vec<usize> = plain.iter().map(|axis| axis.from).collect();
    let to: Vec<usize> = plain.iter().map(|axis| axis.to).collect();
    let (outer, inner) = Nest::new(&extents, &[&from, &to]).split_inner();
    let mut body = outer.wrap(|positions| {
        let (mut x, mut y) = (positions[0].clone(), positions[1].clone());
        for (depth, axis) in tabled.iter().enumerate() {
            x = x + var(format!("from{depth}"));
            y = y + var(format!("t{depth}")) * axis.to as i64;
        }
        copy_axis(scalar, "x", x, y, &inner, target)
    });
    for (depth, axis) in tabled.iter().enumerate().rev() {
        let counter = format!("t{depth}");
        let table = axis.table.clone().expect("only axes with tables are here");
        let place = op("index", [op("read_i32", [at(table, var(&counter))])]);
        body.insert(0, define(&format!("from{depth}"), "index", place));
        body = vec![Stmt::For {
            var: counter,
            start: int(0),
            end: int(axis.extent as i64),
            step: 1,
            body,
        }];
    }
    let mut constants: Vec<String> = tabled
        .iter()
        .filter_map(|axis| axis.table.clone())
        .collect();
    constants.sort();
    constants.dedup();
    Kernel {
        name: name.to_string(),
        comment: vec![],
        buffers: vec![buffer("x", scalar, false), buffer("y", scalar, true)],
        constants,
        body,
    }
}

/// Writes one integer, or the bits of one real, to every element of a tensor. Buffer: `y`.
pub(crate) fn fill(
    name: &str,
    scalar: Scalar,
    extents: &[usize],
    strides: &[usize],
    value: i32,
    target: &Target,
) -> Kernel {
    let (outer, inner) = Nest::new(extents, &[strides]).split_inner();
    let body = outer.wrap(|positions| {
        if inner.strides == [1] {
            let start = positions[0].clone();
            return fill_run(scalar, "j", start, inner.extent, value, target);
        }
        inner.each(positions, |each| {
            let to = at("y", each[0].clone());
            vec![Stmt::Do(match (scalar, target.lanes) {
                (Scalar::F32, 1) => op("store_f32", [to, real(value as u32)]),
                (Scalar::F32, _) => op("store_f32_part", [to, real(value as u32), int(1)]),
                _ => {
                    let bits = int(i64::from(value) & ((1 << (8 * scalar.bytes())) - 1));
                    op(elements(scalar).write, [to, bits])
                }
            })]
        })
    });
    Kernel {
        name: name.to_string(),
        comment: vec![],
        buffers: vec![buffer("y", scalar, true)],
        constants: vec![],
        body,
    }
}
