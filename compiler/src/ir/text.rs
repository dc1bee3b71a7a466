//! The text form of a model, for people and snapshots.
//!
//! ```text
//! model tiny
//! input x: f32[1, 2] in [0, 6]
//! const w: i8{-127..127}[2, 3] q·[0.01 .. 0.02 along axis 1]
//! y: u8[1, 3] (q - 3)·0.5 in [-1.5, 126] = fc: MatMul { activation: Clamp { .. } } (x, w)
//! output y
//! ```

use std::fmt;

use crate::ir::{Array, Data, Elem, Granularity, Model, Node, QuantParams, Tensor, TensorId};

/// Constants of at most this many elements are printed whole.
const SHORT: usize = 8;

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model {}", self.name)?;
        for id in &self.inputs {
            writeln!(f, "input {}", self[*id])?;
        }
        let mut seen = vec![false; self.tensors.len()];
        for node in &self.nodes {
            for id in node.operands().filter(|id| self[*id].value.is_some()) {
                if !std::mem::replace(&mut seen[id.0 as usize], true) {
                    writeln!(f, "const {}", self[id])?;
                }
            }
            write_node(self, node, f)?;
        }
        for id in &self.outputs {
            writeln!(f, "output {}", self[*id].name)?;
        }
        Ok(())
    }
}

/// `y: f32[1, 3] = name: Op { .. } (operands)`.
fn write_node(model: &Model, node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let result = &model[node.output];
    write!(f, "{result} = ")?;
    if node.name != result.name {
        write!(f, "{}: ", node.name)?;
    }
    let name = |operand: &Option<TensorId>| operand.map_or("-", |id| &model[id].name).to_string();
    let operands: Vec<String> = node.inputs.iter().map(name).collect();
    writeln!(f, "{} ({})", attributes(node), operands.join(", "))
}

/// The operator with its fields, shortened where a list is long.
fn attributes(node: &Node) -> String {
    const LONGEST: usize = 200;
    let text = format!("{:?}", node.op);
    // Debug of the enum wraps the operator's own in its name.
    let inner = text.split_once('(').and_then(|(_, t)| t.strip_suffix(')'));
    let inner = inner.unwrap_or(&text);
    match inner.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &inner[..end]),
        None => inner.to_string(),
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.ty.elem {
            Elem::Float => write!(f, "f32{:?}", self.ty.shape)?,
            Elem::Int(int) => write!(f, "{}{:?}", int_name(int.signed, int.bits), self.ty.shape)?,
            Elem::Bool => write!(f, "bool{:?}", self.ty.shape)?,
            Elem::Quantized(params) => {
                write!(f, "{}{:?} ", storage(params), self.ty.shape)?;
                write_map(&params.map, f)?;
            }
        }
        if let Some(range) = self.range {
            write!(f, " in [{}, {}]", range.min, range.max)?;
        }
        match &self.value {
            Some(value) if value.len() <= SHORT => write!(f, " = {}", elements(value)),
            _ => Ok(()),
        }
    }
}

fn int_name(signed: bool, bits: u8) -> String {
    format!("{}{bits}", if signed { 'i' } else { 'u' })
}

/// `u8`, or `i8{-127..127}` where not every value is in use.
fn storage(params: &QuantParams) -> String {
    let name = int_name(params.int.signed, params.int.bits);
    let (low, high) = (i64::from(params.low), i64::from(params.high));
    if (low, high) == (params.int.min(), params.int.max()) {
        name
    } else {
        format!("{name}{{{low}..{high}}}")
    }
}

fn write_map(map: &Granularity, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match map {
        Granularity::PerTensor {
            scale,
            zero_point: 0,
        } => write!(f, "q·{scale}"),
        Granularity::PerTensor { scale, zero_point } => write!(f, "(q - {zero_point})·{scale}"),
        Granularity::PerChannel { axis, scales, .. } => {
            let least = scales.iter().copied().fold(f32::INFINITY, f32::min);
            let largest = scales.iter().copied().fold(0.0, f32::max);
            write!(f, "q·[{least} .. {largest} along axis {axis}]")
        }
        Granularity::Blocks { axis, size, .. } => {
            write!(f, "q·[blocks of {size} along axis {axis}]")
        }
    }
}

fn elements(value: &Array) -> String {
    let texts: Vec<String> = match &value.data {
        Data::F32(v) => v.iter().map(f32::to_string).collect(),
        Data::I64(v) => v.iter().map(i64::to_string).collect(),
        Data::I32(v) => v.iter().map(i32::to_string).collect(),
    };
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Clamp, IntType, Range, Type};
    use crate::ops::MatMul;

    #[test]
    fn a_line_tells_all_about_a_node() {
        let mut model = Model::new("tiny");
        let quantized = |shape: &[usize], params| Type {
            shape: shape.to_vec(),
            elem: Elem::Quantized(params),
        };
        let x = model.add_tensor("x", Type::float([1, 2]), None);
        model[x].range = Some(Range { min: 0.0, max: 6.0 });
        let w = QuantParams::symmetric_per_channel(IntType::I8, 1, vec![0.25, 0.5]);
        let w_value = Array::i32([2, 2], vec![1, -2, 3, -4]);
        let w = model.add_tensor("w", quantized(&[2, 2], w), Some(w_value));
        let y = QuantParams::per_tensor(IntType::U8, 0.5, 3);
        let y = model.add_tensor("y", quantized(&[1, 2], y), None);
        model.inputs.push(x);
        model.outputs.push(y);
        model.nodes.push(Node {
            name: "fc".into(),
            op: MatMul {
                activation: Clamp::RELU,
            }
            .into(),
            inputs: vec![Some(x), Some(w), None],
            output: y,
        });
        insta::assert_snapshot!(model.to_string(), @r"
        model tiny
        input x: f32[1, 2] in [0, 6]
        const w: i8{-127..127}[2, 2] q·[0.25 .. 0.5 along axis 1] = 1 -2 3 -4
        y: u8[1, 2] (q - 3)·0.5 = fc: MatMul { activation: Clamp { min: 0.0, max: inf } } (x, w, -)
        output y
        ");
    }
}
