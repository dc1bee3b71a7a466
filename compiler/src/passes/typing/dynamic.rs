//! DynamicQuantizeLinear: scale and zero point are computed on reals; the integers less their zero point, which
//! products are made of, are integers of 9 bits with a scale of 1, known at compile time.
//!
//! ```text
//! s = (max − min)/255    z = round(clamp(−min/s, 0, 255))    d = round(min(max(x/s, −z), 255 − z))
//! ```
//!
//! `d` is `saturate(round(x/s) + z) − z`, since the limits are integers and rounding is monotone.

use super::Typing;
use crate::Result;
use crate::ir::{Array, Clamp, Elem, IntType, Node, QuantParams, TensorId, Type};
use crate::ops::{
    Binary, BinaryFunction, Dynamic, Function, Op, Reduce, Reduction, STEPS, Scales, Unary,
};
use crate::passes::rewrite::{single, subject};

impl Typing<'_> {
    /// A scale or a zero point, by operators on reals.
    pub(super) fn dynamic(&mut self, node: Node, op: Dynamic) -> Result<()> {
        let x = subject(&node);
        match op {
            Dynamic::Scale => {
                let smallest = self.extreme(&node.name, x, Reduction::Min)?;
                let largest = self.extreme(&node.name, x, Reduction::Max)?;
                let what = format!("{}_range", node.name);
                let range = self.binary(&what, BinaryFunction::Sub, largest, smallest)?;
                let steps = self.number("steps", STEPS);
                let inputs = [Some(range), Some(steps)];
                self.push(&node.name, plain(BinaryFunction::Div), &inputs, node.output);
            }
            Dynamic::ZeroPoint => {
                let scale = node.inputs[1].expect("`infer` demands the scale");
                let smallest = self.extreme(&node.name, x, Reduction::Min)?;
                let named = |what: &str| format!("{}_{what}", node.name);
                let negated = self.compute(&named("negated"), unary(Function::Neg), &[smallest])?;
                let quotient =
                    self.binary(&named("quotient"), BinaryFunction::Div, negated, scale)?;
                let limits = Clamp {
                    min: 0.0,
                    max: STEPS,
                };
                let clamped = self.compute(
                    &named("clamped"),
                    unary(Function::Clamp(limits)),
                    &[quotient],
                )?;
                let zero_point = self.compute(&node.name, unary(Function::Round), &[clamped])?;
                self.zero_points.insert(node.output, zero_point);
                // The integer itself, if anything else reads it, is refused later.
                self.model.nodes.push(node);
            }
        }
        Ok(())
    }

    /// The integers less their zero point that a DQ with a scale of 1 reads, if scale and zero point are dynamic.
    pub(super) fn centred(&mut self, dequantize: &Node) -> Result<Option<TensorId>> {
        let q = subject(dequantize);
        let Some(quantize) = self.producer.get(&q).map(|at| self.old[*at].clone()) else {
            return Ok(None);
        };
        let operand = |node: &Node, slot: usize| node.inputs.get(slot).copied().flatten();
        let zero_point = operand(&quantize, 2);
        let known = zero_point.and_then(|id| self.zero_points.get(&id).copied());
        let one = matches!(&dequantize.op, Op::Dequantize(op) if op.scales == Scales::One);
        let whole = one && single(self.model, dequantize, 1) == Some(1.0);
        let (Op::Quantize(_), Some(zero_point), true) = (
            &quantize.op,
            known,
            whole && operand(dequantize, 2) == zero_point,
        ) else {
            return Ok(None);
        };
        if let Some(known) = self.centred.get(&q) {
            return Ok(Some(*known));
        }
        let scale = operand(&quantize, 1).expect("`infer` demands the scale");
        let x = subject(&quantize);
        let named = |what: &str| format!("{}_{what}", quantize.name);
        let quotient = self.binary(&named("quotient"), BinaryFunction::Div, x, scale)?;
        let low = self.compute(&named("low"), unary(Function::Neg), &[zero_point])?;
        let steps = self.number("steps", STEPS);
        let high = self.binary(&named("high"), BinaryFunction::Add, low, steps)?;
        let above = self.binary(&named("above"), BinaryFunction::Max, quotient, low)?;
        let reach = STEPS as i32;
        let params = QuantParams {
            low: -reach,
            high: reach,
            ..QuantParams::per_tensor(IntType::I16, 1.0, 0)
        };
        let y = self.tensor(q, params, None);
        let inputs = [Some(above), Some(high)];
        self.push(&quantize.name, plain(BinaryFunction::Min), &inputs, y);
        self.centred.insert(q, y);
        Ok(Some(y))
    }

    /// The smallest or the largest element of a tensor and zero.
    fn extreme(&mut self, of: &str, x: TensorId, reduction: Reduction) -> Result<TensorId> {
        let least = reduction == Reduction::Min;
        if let Some(known) = self.extremes.get(&(x, least)) {
            return Ok(*known);
        }
        let (what, function) = match least {
            true => ("smallest", BinaryFunction::Min),
            false => ("largest", BinaryFunction::Max),
        };
        let name = format!("{of}_{what}");
        let reduce = Reduce {
            reduction,
            axes: (0..self.model[x].ty.shape.len()).collect(),
            keep_axes: false,
        };
        let found = self.compute(&name, reduce, &[x])?;
        let zero = self.number("zero", 0.0);
        let found = self.binary(&name, function, found, zero)?;
        self.extremes.insert((x, least), found);
        Ok(found)
    }

    fn binary(
        &mut self,
        name: &str,
        function: BinaryFunction,
        a: TensorId,
        b: TensorId,
    ) -> Result<TensorId> {
        self.compute(name, plain(function), &[a, b])
    }

    /// A node on reals.
    fn compute(&mut self, name: &str, op: impl Into<Op>, x: &[TensorId]) -> Result<TensorId> {
        let op = op.into();
        let types: Vec<_> = x.iter().map(|id| Some(&self.model[*id].ty)).collect();
        let ty = op.infer(&types)?;
        let y = self.model.add_tensor(name, ty, None);
        let x: Vec<_> = x.iter().copied().map(Some).collect();
        self.push(name, op, &x, y);
        Ok(y)
    }

    fn number(&mut self, name: &str, real: f32) -> TensorId {
        let ty = Type {
            shape: vec![],
            elem: Elem::Float,
        };
        let value = Array::f32([], vec![real]);
        self.model.add_tensor(name, ty, Some(value))
    }
}

fn plain(function: BinaryFunction) -> Binary {
    Binary {
        function,
        activation: Clamp::NONE,
    }
}

fn unary(function: Function) -> Unary {
    Unary { function }
}
