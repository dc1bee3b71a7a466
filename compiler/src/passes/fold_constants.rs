//! Nodes whose operands are all known are evaluated.

use super::rewrite;
use crate::Result;
use crate::ir::{Array, Elem, Model};
use crate::ops::Op;

/// Evaluates nodes of constants.
pub(super) fn fold(model: &mut Model) -> Result<usize> {
    rewrite::each(model, fold_node)
}

fn fold_node(model: &mut Model, position: usize) -> Result<bool> {
    let node = &model.nodes[position];
    let known = |id| model[id].value.is_some();
    if matches!(node.op, Op::Host(_) | Op::Dequantize(_))
        || node.inputs.is_empty()
        || !node.operands().all(known)
    {
        return Ok(false);
    }
    let output = node.output;
    if matches!(model[output].ty.elem, Elem::Quantized(_)) {
        return Ok(false);
    }
    let values: Vec<Option<&Array>> = node
        .inputs
        .iter()
        .map(|operand| operand.and_then(|id| model[id].value.as_ref()))
        .collect();
    let value = node.op.eval(&values);
    model[output].value = Some(value);
    model.nodes.remove(position);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::Sketch;

    #[test]
    fn known_operands_fold() {
        let mut sketch = Sketch::new();
        let a = sketch.constant("a", &[2], &[1.0, 2.0]);
        let b = sketch.constant("b", &[2], &[10.0, 20.0]);
        let c = sketch.add("c", a, b);
        let x = sketch.input("x", &[2]);
        let y = sketch.add("y", x, c);
        let mut model = sketch.model(&[y]);
        assert_eq!(fold(&mut model).unwrap(), 1);
        assert_eq!(model.nodes.len(), 1);
        assert_eq!(model[c].value.as_ref().unwrap().reals(), [11.0, 22.0]);
    }
}
