//! Times a network of one input in rten, on one thread.

use std::error::Error;
use std::sync::Arc;

use rten::{DataType, Dimension, Model, RunOptions, ThreadPool, Value, ValueType};
use rten_tensor::Tensor;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).expect("rten MODEL");
    let model = Model::load_file(path)?;
    let (input, output) = (model.input_ids()[0], model.output_ids()[0]);
    let port = model.node_info(input).expect("the input has a node");
    let shape: Vec<usize> = port
        .shape()
        .expect("the input has a shape")
        .iter()
        .map(|n| match n {
            Dimension::Fixed(n) => *n,
            Dimension::Symbolic(name) => panic!("the dimension {name} is open"),
        })
        .collect();
    let len = shape.iter().product();
    let value: Value = match port.dtype() {
        Some(ValueType::Tensor(DataType::UInt8)) => Tensor::from_data(
            shape.as_slice(),
            workers::bytes().take(len).collect::<Vec<_>>(),
        )
        .into(),
        _ => Tensor::from_data(
            shape.as_slice(),
            workers::reals().take(len).collect::<Vec<_>>(),
        )
        .into(),
    };
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    let options = RunOptions::default().with_thread_pool(Some(pool));
    let evaluate = || {
        model.run(
            vec![(input, value.as_view().into())],
            &[output],
            Some(options.clone()),
        )
    };
    evaluate()?;
    workers::serve(|| {
        evaluate().expect("it ran before");
    });
    Ok(())
}
