//! Recognises handwritten digits of 8×8 pixels, without heap and without a library at run time.

qcc::include_model!(
    "../models/digits.onnx",
    calibrate = "../models/digits.npz",
    name = Digits
);

/// The digit that a picture shows: 64 pixels from 0 (paper) to 16 (ink), row by row.
pub fn recognise(pixels: &[f32; 64]) -> usize {
    let mut arena = Digits::ArenaF32::new();
    let mut scores = [0.0; 10];
    Digits::run_f32(pixels, &mut scores, &mut arena);
    (0..10)
        .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
        .expect("there are ten digits")
}
