//! Pad.

use super::grid::picked;
use super::{Slice, ints_of, one};
use crate::ir::{Array, Data, Elem, TensorId, Type};
use crate::ops::export::{Exporter, Operand, named, text};
use crate::ops::import::operand;
use crate::ops::{Importer, Operator, SourceNode, check};
use crate::{Result, bail};

/// Adds elements around `x`. Operand: `x`. Negative pads are imported as a Slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Elements before, for each axis.
    pub before: Vec<usize>,
    /// Elements after, for each axis.
    pub after: Vec<usize>,
    /// What is added.
    pub mode: PadMode,
}

/// What Pad adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// One number.
    Constant(f32),
    /// The mirror image, the edge not repeated.
    Reflect,
    /// The edge.
    Edge,
    /// The other end.
    Wrap,
}

impl PadMode {
    /// The index along an axis of `extent` elements whose element lies at `position`, which may be
    /// outside; nothing for a constant.
    fn source(self, position: isize, extent: usize) -> Option<usize> {
        let n = extent as isize;
        if (0..n).contains(&position) {
            return Some(position as usize);
        }
        let index = match self {
            PadMode::Constant(_) => return None,
            PadMode::Edge => position.clamp(0, n - 1),
            PadMode::Wrap => position.rem_euclid(n),
            PadMode::Reflect if n == 1 => 0,
            PadMode::Reflect => {
                let period = 2 * (n - 1);
                let within = position.rem_euclid(period);
                within.min(period - within)
            }
        };
        Some(index as usize)
    }
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn infer(&self, operands: &[Option<&Type>]) -> Result<Type> {
        let x = operand(operands, 0)?;
        let rank = x.shape.len();
        if self.before.len() != rank || self.after.len() != rank {
            bail!("pads of {} axes for shape {:?}", self.before.len(), x.shape);
        }
        let added = self.before.iter().zip(&self.after);
        let mut shape = vec![];
        for (axis, (extent, (before, after))) in x.shape.iter().zip(added).enumerate() {
            let repeats = !matches!(self.mode, PadMode::Constant(_));
            if repeats && *extent == 0 && before + after > 0 {
                bail!("axis {axis} of {:?} has no element to repeat", x.shape);
            }
            shape.push(extent.saturating_add(*before).saturating_add(*after));
        }
        check::typed(shape, x.elem.clone())
    }

    fn eval(&self, operands: &[Option<&Array>]) -> Array {
        let x = operands[0].expect("infer demands the operand");
        if let PadMode::Constant(value) = self.mode {
            return self.surround(x, value);
        }
        let pads = self.before.iter().zip(&self.after);
        let picks = x
            .shape
            .iter()
            .zip(pads)
            .map(|(&extent, (&before, &after))| {
                let positions = -(before as isize)..(extent + after) as isize;
                let sources = positions.map(|p| self.mode.source(p, extent));
                sources
                    .map(|s| s.expect("every position repeats an element"))
                    .collect()
            });
        picked(x, picks.collect())
    }

    fn export(&self, operands: &[Option<Operand>], to: &mut Exporter) -> String {
        let pads = self.before.iter().chain(&self.after);
        let pads = to.ints("pads", pads.map(|pad| *pad as i64));
        let x = named(operands, 0);
        let (mode, value) = match self.mode {
            PadMode::Constant(value) => ("constant", Some(to.real("value", value))),
            PadMode::Reflect => ("reflect", None),
            PadMode::Edge => ("edge", None),
            PadMode::Wrap => ("wrap", None),
        };
        let attributes = vec![("mode", text(mode))];
        match value {
            Some(value) => to.node("Pad", &[x, &pads, &value], attributes),
            None => to.node("Pad", &[x, &pads], attributes),
        }
    }
}

impl Pad {
    fn surround(&self, x: &Array, value: f32) -> Array {
        let pads = self.before.iter().zip(&self.after);
        let shape: Vec<usize> = x
            .shape
            .iter()
            .zip(pads)
            .map(|(e, (b, a))| e + b + a)
            .collect();
        // The elements of `x`, then the padding as one more that most positions take.
        let mut source = x.clone();
        let fill = source.len();
        source.shape = vec![fill + 1];
        match &mut source.data {
            Data::F32(v) => v.push(value),
            Data::I64(v) => v.push(value as i64),
            Data::I32(v) => v.push(value as i32),
        }
        let mut from = vec![fill; shape.iter().product()];
        let strides = crate::ir::strides(&shape);
        let places = super::grid::Grid::new(
            (0..shape.len())
                .map(|axis| {
                    (0..x.shape[axis])
                        .map(|i| (i + self.before[axis]) * strides[axis])
                        .collect()
                })
                .collect(),
        );
        for (element, place) in places.enumerate() {
            from[place] = element;
        }
        source.pick(shape, from.into_iter())
    }
}

pub(super) fn pad(node: &SourceNode, importer: &mut Importer) -> Result<Vec<TensorId>> {
    let x = node.input(0)?;
    let own = importer.shape(x).to_vec();
    let Some(pads) = ints_of(node, importer, "pads", 1)? else {
        bail!("`pads` is missing"; hint: "the file breaks the ONNX specification of Pad")
    };
    let axes = match node.optional(3) {
        Some(id) => importer.known_ints(id, "axes")?,
        None => (0..own.len() as i64).collect(),
    };
    if pads.len() != 2 * axes.len() {
        bail!("{} pads for {} axes", pads.len(), axes.len());
    }
    let (mut before, mut after) = (vec![0; own.len()], vec![0; own.len()]);
    for (i, &axis) in axes.iter().enumerate() {
        let axis = node.axis(axis, own.len())?;
        before[axis] = pads[i];
        after[axis] = pads[i + axes.len()];
    }
    let mode = mode(node, importer, x)?;
    let cut = cut(importer, x, &before, &after)?;
    let grown = |pads: &[i64]| pads.iter().map(|pad| (*pad).max(0) as usize).collect();
    let pad = Pad {
        before: grown(&before),
        after: grown(&after),
        mode,
    };
    if pad.before.iter().chain(&pad.after).all(|pad| *pad == 0) {
        return one(cut);
    }
    one(importer.apply(pad, &[cut])?)
}

/// What negative pads leave of the operand.
fn cut(importer: &mut Importer, x: TensorId, before: &[i64], after: &[i64]) -> Result<TensorId> {
    let own = importer.shape(x).to_vec();
    let mut slice = Slice::whole(&own);
    for (axis, &extent) in own.iter().enumerate() {
        let start = before[axis].min(0).unsigned_abs();
        let end = after[axis].min(0).unsigned_abs();
        let left = (extent as u64)
            .checked_sub(start)
            .and_then(|left| left.checked_sub(end));
        let Some(left) = left else {
            bail!(
                "pads {} and {} cut more than axis {axis} of {own:?}",
                before[axis],
                after[axis]
            );
        };
        slice.starts[axis] = if left == 0 { 0 } else { start as usize };
        slice.shape[axis] = left as usize;
    }
    if slice == Slice::whole(&own) {
        return Ok(x);
    }
    importer.apply(slice, &[x])
}

fn mode(node: &SourceNode, importer: &Importer, x: TensorId) -> Result<PadMode> {
    Ok(match node.string("mode", "constant")? {
        "constant" => PadMode::Constant(match node.optional(2) {
            Some(id) => number(importer, id, &importer.ty(x).elem)?,
            None => node.float("value", 0.0)?,
        }),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => {
            bail!("mode `{other}` is unknown"; hint: "`constant`, `reflect`, `edge` and `wrap` are known")
        }
    })
}

/// The padding as a real; integers are refused where a real cannot hold them.
fn number(importer: &Importer, id: TensorId, elem: &Elem) -> Result<f32> {
    let value = match elem {
        Elem::Float | Elem::Quantized(_) => {
            importer.known_reals(id, "constant value")?.first().copied()
        }
        Elem::Int(_) | Elem::Bool => match importer.known_ints(id, "constant value")?.first() {
            Some(integer) if integer.unsigned_abs() > 1 << 24 => {
                bail!("padding with {integer} is not supported"; hint: "pad with integers up to 2^24")
            }
            integer => integer.map(|integer| *integer as f32),
        },
    };
    Ok(value.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{OneNode, counting};

    fn padded(mode: &str, before: i64, after: i64) -> Vec<f32> {
        let node = OneNode::new("Pad", 13).operand(counting(&[3]));
        let pads = Array::i64([2], vec![before, after]);
        let node = node.operand(pads).string("mode", mode);
        node.folded().unwrap().reals().to_vec()
    }

    #[test]
    fn modes_repeat_or_fill() {
        assert_eq!(padded("constant", 1, 2), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
        assert_eq!(padded("edge", 2, 1), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
        assert_eq!(padded("reflect", 2, 2), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
        assert_eq!(padded("wrap", 1, 2), [3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
    }

    #[test]
    fn negative_pads_cut() {
        assert_eq!(padded("constant", -1, 1), [2.0, 3.0, 0.0]);
        assert_eq!(padded("edge", -1, -1), [2.0]);
        let node = OneNode::new("Pad", 13).operand(counting(&[3]));
        let message = node.operand(Array::i64([2], vec![-2, -2])).refusal();
        assert_eq!(message, "pads -2 and -2 cut more than axis 0 of [3]");
    }

    #[test]
    fn early_opsets_have_attributes() {
        let node = OneNode::new("Pad", 2).operand(counting(&[1, 2]));
        let node = node.ints("pads", &[0, 1, 1, 0]);
        let node = node.with("value", crate::ops::Attribute::Float(9.0));
        let expected = vec![9.0, 1.0, 2.0, 9.0, 9.0, 9.0];
        assert_eq!(node.folded().unwrap(), Array::f32([2, 3], expected));
    }

    #[test]
    fn axes_and_value_are_operands() {
        let node = OneNode::new("Pad", 18).operand(counting(&[1, 2]));
        let node = node.operand(Array::i64([2], vec![0, 1]));
        let node = node.operand(Array::f32([], vec![7.0]));
        let node = node.operand(Array::i64([1], vec![-1]));
        assert_eq!(
            node.folded().unwrap(),
            Array::f32([1, 3], vec![1.0, 2.0, 7.0])
        );
    }

    #[test]
    fn quantized_integers_are_padded_with_the_integer() {
        let pad = Pad {
            before: vec![1],
            after: vec![0],
            mode: PadMode::Constant(128.0),
        };
        let x = Array::i32([2], vec![3, 4]);
        assert_eq!(pad.eval(&[Some(&x)]), Array::i32([3], vec![128, 3, 4]));
    }
}
