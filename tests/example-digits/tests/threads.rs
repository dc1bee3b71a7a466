//! The module that the macro makes for several threads computes what it does with one.

use std::io;

qcc::include_model!(
    "../models/digits.onnx",
    calibrate = "../models/digits.npz",
    name = Digits,
    threads = 4,
    thread_pool = true
);

fn scores(pixels: &[u8; 64]) -> io::Result<[u8; 10]> {
    let pool = Digits::ThreadPool::new(4)?;
    let mut arena = Digits::Arena::new();
    let mut scores = [0; 10];
    Digits::run_parallel(pixels, &mut scores, &mut arena, &pool);
    Ok(scores)
}

#[test]
fn threads_compute_the_same() {
    for pixels in [[0; 64], [255; 64], std::array::from_fn(|i| 4 * i as u8)] {
        let (mut arena, mut whole) = (Digits::Arena::new(), [0; 10]);
        Digits::run(&pixels, &mut whole, &mut arena);
        assert_eq!(scores(&pixels).expect("there are threads"), whole);
    }
}
