//! Times a network of one input in tract, on the one thread that tract uses.

use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    let path = std::env::args().nth(1).expect("tract MODEL");
    let plan = tract_onnx::onnx()
        .model_for_path(path)?
        .into_optimized()?
        .into_runnable()?;
    let fact = plan.model().input_fact(0)?;
    let shape: Vec<usize> = fact.shape.as_concrete().expect("shapes are fixed").to_vec();
    let len = shape.iter().product();
    let input = if fact.datum_type.is_float() {
        let values: Vec<f32> = workers::reals().take(len).collect();
        Tensor::from_shape(&shape, &values)?
    } else {
        let values: Vec<u8> = workers::bytes().take(len).collect();
        Tensor::from_shape(&shape, &values)?
    };
    let input = TValue::from(input);
    let mut state = plan.spawn()?;
    state.run(tvec!(input.clone()))?;
    workers::serve(|| {
        state.run(tvec!(input.clone())).expect("it ran before");
    });
    Ok(())
}
