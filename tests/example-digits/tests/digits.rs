//! The module that the macro makes recognises digits that it has not seen.

use std::path::PathBuf;

use example_digits::{Digits, recognise};
use qcc_compiler::data::{self, Samples};
use qcc_compiler::ir::{Model, Type};

/// Pixels and labels of the test set.
fn digits() -> Vec<([f32; 64], usize)> {
    let mut model = Model::new("digits");
    let image = model.add_tensor("image", Type::float([1, 1, 8, 8]), None);
    model.inputs.push(image);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/digits-test.npz");
    let samples = Samples::open(&[path], &model, &data::Options::default()).unwrap();
    samples
        .map(|sample| {
            let sample = sample.unwrap();
            let pixels = sample.inputs[0].reals().try_into().unwrap();
            (pixels, sample.labels[0] as usize)
        })
        .collect()
}

#[test]
fn unseen_digits_are_recognised() {
    let digits = digits();
    let right = digits.iter().filter(|(p, label)| recognise(p) == *label);
    let right = right.count();
    assert!(
        right * 100 >= digits.len() * 95,
        "{right} of {}",
        digits.len()
    );
}

#[test]
fn integers_and_reals_agree() {
    let (mut arena, mut scores) = (Digits::Arena::new(), [0; 10]);
    let (mut arena_f32, mut reals) = (Digits::ArenaF32::new(), [0.0; 10]);
    for (pixels, _) in digits().iter().take(20) {
        let quantize = |x: &f32| {
            let nearest = (x / Digits::INPUT.scale).round_ties_even() as i32;
            (nearest + Digits::INPUT.zero_point).clamp(0, 255) as u8
        };
        let image: Vec<u8> = pixels.iter().map(quantize).collect();
        let image: Digits::Input = image.try_into().unwrap();
        Digits::run(&image, &mut scores, &mut arena);
        Digits::run_f32(pixels, &mut reals, &mut arena_f32);
        for (score, real) in scores.iter().zip(reals) {
            let dequantized = f32::from(*score) * Digits::OUTPUT.scale;
            assert_eq!(dequantized, real, "softmax has zero point 0");
        }
    }
}

#[test]
fn costs_are_constants() {
    // Output pixels × outputs × inputs a group × window, layer by layer.
    let macs = 9216 + 2304 + 8192 + 4608 + 16384 + 4608 + 32768 + 640;
    assert_eq!(Digits::MACS, macs);
    assert_eq!(Digits::INPUT.shape, [1, 1, 8, 8]);
    assert!(size_of::<Digits::Arena>() >= Digits::ARENA_BYTES);
}
