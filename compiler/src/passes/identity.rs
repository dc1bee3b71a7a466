//! Functions that map every integer to itself.

use super::rewrite::{self, bypass, subject};
use crate::Result;
use crate::ir::{Elem, Model};
use crate::ops::Op;

/// Removes unary functions that change no integer.
pub(super) fn drop(model: &mut Model) -> Result<usize> {
    rewrite::each(model, |model, position| {
        Ok(changes_nothing(model, position) && bypass(model, position))
    })
}

fn changes_nothing(model: &Model, position: usize) -> bool {
    let node = &model.nodes[position];
    let Op::Unary(op) = &node.op else {
        return false;
    };
    let (x, y) = (&model[subject(node)].ty.elem, &model[node.output].ty.elem);
    let Elem::Quantized(params) = x else {
        return false;
    };
    let mut integers = params.low..=params.high;
    x == y && integers.all(|q| params.quantize(op.function.apply(params.dequantize(q))) == q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{IntType, QuantParams};
    use crate::passes::testing::Sketch;

    #[test]
    fn only_a_clamp_that_cuts_nothing_goes() {
        // From 0 the clamp cuts nothing, below 0 it cuts.
        for (zero_point, left) in [(0, 1), (3, 2)] {
            let mut sketch = Sketch::new();
            let x = sketch.input("x", &[4]);
            let first = sketch.relu("first", x);
            let y = sketch.relu("y", first);
            let mut model = sketch.model(&[y]);
            let params = QuantParams::per_tensor(IntType::U8, 0.5, zero_point);
            model[first].ty.elem = Elem::Quantized(params.clone());
            model[y].ty.elem = Elem::Quantized(params);
            drop(&mut model).unwrap();
            assert_eq!(model.nodes.len(), left);
        }
    }
}
