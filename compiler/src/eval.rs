//! The float evaluator: what a model computes on reals, one sample at a time and on one thread.

use crate::ir::{Array, Data, Elem, Model, TensorId, Type};
use crate::{Result, bail};

/// The model's outputs for one set of inputs, in the order of [`Model::inputs`].
pub fn run(model: &Model, inputs: &[Array]) -> Result<Vec<Array>> {
    run_with(model, inputs, &mut |_, _| ())
}

/// [`run`], showing every input and every node's result to `observe` as soon as it is known.
pub fn run_with(
    model: &Model,
    inputs: &[Array],
    observe: &mut dyn FnMut(TensorId, &Array),
) -> Result<Vec<Array>> {
    check(model, inputs)?;
    let mut given: Vec<Option<&Array>> = model.tensors.iter().map(|t| t.value.as_ref()).collect();
    for (id, array) in model.inputs.iter().zip(inputs) {
        observe(*id, array);
        given[id.0 as usize] = Some(array);
    }
    let mut uses = uses(model);
    let mut computed: Vec<Option<Array>> = vec![None; model.tensors.len()];
    for node in &model.nodes {
        let operands = node.inputs.iter();
        let operands = operands.map(|id| id.map(|id| known(&given, &computed, id)));
        let result = node.op.eval(&operands.collect::<Vec<_>>());
        observe(node.output, &result);
        computed[node.output.0 as usize] = Some(result);
        for id in node.operands() {
            uses[id.0 as usize] -= 1;
        }
        for id in node.operands().chain([node.output]) {
            if uses[id.0 as usize] == 0 {
                computed[id.0 as usize] = None;
            }
        }
    }
    let outputs = model.outputs.iter();
    Ok(outputs
        .map(|id| known(&given, &computed, *id).clone())
        .collect())
}

fn known<'a>(
    given: &[Option<&'a Array>],
    computed: &'a [Option<Array>],
    id: TensorId,
) -> &'a Array {
    let value = computed[id.0 as usize].as_ref();
    value
        .or(given[id.0 as usize])
        .expect("verify: defined before it is read")
}

/// How many operands each tensor is, an output of the model counting as one more that never ends.
fn uses(model: &Model) -> Vec<usize> {
    let mut uses = vec![0; model.tensors.len()];
    let operands = model.nodes.iter().flat_map(|node| node.operands());
    for id in operands.chain(model.outputs.iter().copied()) {
        uses[id.0 as usize] += 1;
    }
    uses
}

fn check(model: &Model, inputs: &[Array]) -> Result<()> {
    if inputs.len() != model.inputs.len() {
        bail!(
            "{} inputs are given, the model has {}",
            inputs.len(),
            model.inputs.len()
        )
    }
    for (id, array) in model.inputs.iter().zip(inputs) {
        let tensor = &model[*id];
        let Type { shape, elem } = &tensor.ty;
        if array.shape != *shape {
            bail!(
                "input `{}` has shape {:?}, the model takes {shape:?}", tensor.name, array.shape;
                hint: "one sample at a time is evaluated; --batch and --dim fix the model's shape"
            )
        }
        match (elem, &array.data) {
            (Elem::Float, Data::F32(_)) | (Elem::Int(_) | Elem::Bool, Data::I64(_)) => {}
            (Elem::Quantized(_), _) => bail!(
                "input `{}` is quantized, the float evaluator takes real numbers", tensor.name;
                hint: "evaluate the model before quantization, or its integers"
            ),
            (Elem::Float, _) => bail!("input `{}` needs real numbers", tensor.name),
            (Elem::Int(_) | Elem::Bool, _) => bail!("input `{}` needs integers", tensor.name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Clamp;
    use crate::ir::Node;
    use crate::ops::{Binary, BinaryFunction, Function, Op, Unary};

    /// y = relu(x) + c, z = relu(x)
    fn model() -> Model {
        let mut model = Model::new("test");
        let ty = Type::float([2]);
        let x = model.add_tensor("x", ty.clone(), None);
        let c = model.add_tensor("c", ty.clone(), Some(Array::f32([2], vec![10.0, 20.0])));
        let z = model.add_tensor("z", ty.clone(), None);
        let y = model.add_tensor("y", ty, None);
        let relu = Unary {
            function: Function::Clamp(Clamp::RELU),
        };
        let add = Binary {
            function: BinaryFunction::Add,
            activation: Clamp::NONE,
        };
        let node = |name: &str, op: Op, inputs: &[TensorId], output| Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|id| Some(*id)).collect(),
            output,
        };
        model.nodes.push(node("z", relu.into(), &[x], z));
        model.nodes.push(node("y", add.into(), &[z, c], y));
        model.inputs = vec![x];
        model.outputs = vec![y, z];
        model
    }

    #[test]
    fn outputs_and_observations_come_in_order() {
        let x = Array::f32([2], vec![-1.0, 1.0]);
        let mut seen = vec![];
        let outputs = run_with(&model(), &[x], &mut |id, array| {
            seen.push((id.0, array.reals().to_vec()));
        })
        .unwrap();
        assert_eq!(outputs[0].reals(), [10.0, 21.0]);
        assert_eq!(outputs[1].reals(), [0.0, 1.0]);
        let expected = [
            (0, vec![-1.0, 1.0]),
            (2, vec![0.0, 1.0]),
            (3, vec![10.0, 21.0]),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn inputs_are_checked() {
        let message = |inputs: &[Array]| {
            let error = run(&model(), inputs).unwrap_err();
            error.diagnostics[0].message.clone()
        };
        assert_eq!(message(&[]), "0 inputs are given, the model has 1");
        let wide = Array::f32([3], vec![0.0; 3]);
        assert_eq!(
            message(&[wide]),
            "input `x` has shape [3], the model takes [2]"
        );
        let integers = Array::i64([2], vec![0; 2]);
        assert_eq!(message(&[integers]), "input `x` needs real numbers");
    }
}
