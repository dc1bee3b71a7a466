//! Kernels that move bytes: strided copies, halos, fills.

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::elements::elements;
use crate::kernels::nest::{Axis, Nest, Piece, sweep, sweep_bytes};
use crate::ops::Pads;
use crate::target::Target;

/// Copies the elements of a tensor from one striding to another. Buffers: `x`, `y`.
pub(crate) fn copy(
    name: &str,
    scalar: Scalar,
    extents: &[usize],
    from: &[usize],
    to: &[usize],
    target: &Target,
) -> Kernel {
    let (outer, inner) = Nest::new(extents, &[from, to]).split_inner();
    let body = outer.wrap(|positions| {
        let (from, to) = (positions[0].clone(), positions[1].clone());
        copy_axis(scalar, "x", from, to, &inner, target)
    });
    Kernel {
        name: name.to_string(),
        comment: vec![],
        buffers: vec![buffer("x", scalar, false), buffer("y", scalar, true)],
        constants: vec![],
        body,
    }
}

/// Copies a constant of the program. Buffer: `y`.
pub(crate) fn copy_constant(
    name: &str,
    scalar: Scalar,
    constant: &str,
    elements: usize,
    target: &Target,
) -> Kernel {
    let (_, axis) = Nest::new(&[elements], &[&[1], &[1]]).split_inner();
    Kernel {
        name: name.to_string(),
        comment: vec![],
        buffers: vec![buffer("y", scalar, true)],
        constants: vec![constant.to_string()],
        body: copy_axis(scalar, constant, int(0), int(0), &axis, target),
    }
}

/// Copies a constant of reals to a striding. Buffer: `y`.
pub(crate) fn copy_from_constant(
    name: &str,
    constant: &str,
    extents: &[usize],
    from: &[usize],
    to: &[usize],
    target: &Target,
) -> Kernel {
    let (outer, inner) = Nest::new(extents, &[from, to]).split_inner();
    let body = outer.wrap(|positions| {
        let (from, to) = (positions[0].clone(), positions[1].clone());
        copy_axis(Scalar::F32, constant, from, to, &inner, target)
    });
    Kernel {
        name: name.to_string(),
        comment: vec![],
        buffers: vec![buffer("y", Scalar::F32, true)],
        constants: vec![constant.to_string()],
        body,
    }
}

pub(crate) fn copy_axis(
    scalar: Scalar,
    source: &str,
    from: Expr,
    to: Expr,
    axis: &Axis,
    target: &Target,
) -> Vec<Stmt> {
    if axis.strides == [1, 1] && matches!(scalar, Scalar::I8 | Scalar::U8 | Scalar::F32) {
        return copy_run(scalar, source, from, to, axis.extent, target);
    }
    if scalar.bytes() == 2 && axis.strides == [1, 1] {
        return copy_halves(source, from, to, axis.extent, target);
    }
    axis.each(&[from, to], |each| {
        let (from, to) = (at(source, each[0].clone()), at("y", each[1].clone()));
        vec![move_one(scalar, from, to, target)]
    })
}

fn copy_run(
    scalar: Scalar,
    source: &str,
    x: Expr,
    y: Expr,
    extent: usize,
    target: &Target,
) -> Vec<Stmt> {
    let pass = |piece: &Piece, names: [[&'static str; 2]; 2]| {
        let from = at(source, x.clone() + piece.at.clone());
        let to = at("y", y.clone() + piece.at.clone());
        let [load, store] = names;
        let elements = piece.op(load[0], load[1], [from]);
        vec![Stmt::Do(piece.op(store[0], store[1], [to, elements]))]
    };
    let bytes = [
        ["load_bytes", "load_bytes_part"],
        ["store_bytes", "store_bytes_part"],
    ];
    let lanes = [["load_u8", "load_u8_part"], ["store_u8", "store_u8_part"]];
    let reals = [
        ["load_f32", "load_f32_part"],
        ["store_f32", "store_f32_part"],
    ];
    if scalar == Scalar::F32 {
        return sweep("j", extent, target.lanes, |p| pass(p, reals));
    }
    sweep_bytes(extent, target, |p| pass(p, bytes), |p| pass(p, lanes))
}

/// The same for elements of 16 bits, whose value does not matter.
fn copy_halves(source: &str, x: Expr, y: Expr, extent: usize, target: &Target) -> Vec<Stmt> {
    let halves = elements(Scalar::U16);
    sweep("j", extent, target.lanes, |piece| {
        let from = at(source, x.clone() + piece.at.clone());
        let to = at("y", y.clone() + piece.at.clone());
        vec![halves.put(to, halves.get(from, piece.part), piece.part)]
    })
}

fn move_one(scalar: Scalar, from: Expr, to: Expr, target: &Target) -> Stmt {
    if scalar == Scalar::F32 {
        return Stmt::Do(match target.lanes {
            1 => op("store_f32", [to, op("load_f32", [from])]),
            _ => {
                let one = op("load_f32_part", [from, int(1)]);
                op("store_f32_part", [to, one, int(1)])
            }
        });
    }
    let (read, write) = match scalar.bytes() {
        1 => ("read_u8", "write_byte"),
        2 => ("read_u16", "write_half"),
        _ => ("read_i32", "write_i32"),
    };
    Stmt::Do(op(write, [to, op(read, [from])]))
}

/// An image in channels-last memory with a halo around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Images, rows, columns, channels, without the halo.
    pub(crate) extent: [usize; 4],
    /// The halo.
    pub(crate) pads: Pads,
}

/// Writes the low bits of an integer, or the bits of a real, to the halo of an image and to nothing else.
/// Buffer: `y`, from the halo's first pixel on.
pub(crate) fn fill_halo(
    name: &str,
    scalar: Scalar,
    frame: &Frame,
    value: i32,
    target: &Target,
) -> Kernel {
    let fill_run =
        |counter: &str, start, count| fill_run(scalar, counter, start, count, value, target);
    let [images, rows, columns, channels] = frame.extent;
    let Pads {
        top,
        left,
        bottom,
        right,
    } = frame.pads;
    let pitch = (left + columns + right) * channels;
    let before = top * pitch + left * channels;
    let between = (left + right) * channels;
    let after = right * channels + bottom * pitch;
    let inside = columns * channels;
    let last_row = before + (rows - 1) * pitch + inside;
    let image = var("n") * ((top + rows + bottom) * pitch) as i64;
    let mut body = fill_run("i", image.clone(), before);
    if between > 0 && rows > 1 {
        let start = image.clone() + var("h") * pitch as i64 + int((before + inside) as i64);
        body.push(Stmt::For {
            var: "h".to_string(),
            start: int(0),
            end: int(rows as i64 - 1),
            step: 1,
            body: fill_run("j", start, between),
        });
    }
    body.extend(fill_run("k", image + int(last_row as i64), after));
    Kernel {
        name: name.to_string(),
        comment: vec![],
        buffers: vec![buffer("y", scalar, true)],
        constants: vec![],
        body: vec![Stmt::For {
            var: "n".to_string(),
            start: int(0),
            end: int(images as i64),
            step: 1,
            body,
        }],
    }
}

pub(crate) fn fill_run(
    scalar: Scalar,
    counter: &str,
    start: Expr,
    count: usize,
    value: i32,
    target: &Target,
) -> Vec<Stmt> {
    if scalar.bytes() == 2 {
        return sweep(counter, count, target.lanes, |piece| {
            let to = at("y", start.clone() + piece.at.clone());
            let vector = op("splat_i32", [int(i64::from(value & 0xffff))]);
            vec![elements(Scalar::U16).put(to, vector, piece.part)]
        });
    }
    let width = match scalar {
        Scalar::F32 => target.lanes,
        _ => target.bytes,
    };
    sweep(counter, count, width, |piece| {
        let to = at("y", start.clone() + piece.at.clone());
        vec![Stmt::Do(match scalar {
            Scalar::F32 => piece.op("store_f32", "store_f32_part", [to, real(value as u32)]),
            _ => {
                let bytes = op("splat_byte", [int(i64::from(value & 0xff))]);
                piece.op("store_bytes", "store_bytes_part", [to, bytes])
            }
        })]
    })
}

/// The real of these bits in each lane. Infinities have no literal.
pub(crate) fn real(bits: u32) -> Expr {
    match f32::from_bits(bits).is_finite() {
        true => op("splat_f32", [int(bits.into())]),
        false => op("as_f32", [op("splat_i32", [int((bits as i32).into())])]),
    }
}

pub(crate) fn buffer(name: &str, elem: Scalar, mutable: bool) -> Buffer {
    Buffer {
        name: name.to_string(),
        elem,
        mutable,
    }
}
