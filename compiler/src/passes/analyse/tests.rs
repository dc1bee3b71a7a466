use super::*;
use crate::ir::Range;
use crate::passes::testing::{Sketch, conv};

/// y = x through a convolution by 1, z = 2·y; every tensor in steps of 1 up to 255.
fn model() -> Model {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 2, 1, 2]);
    let one = sketch.constant("one", &[2, 2, 1, 1], &[1.0, 0.0, 0.0, 1.0]);
    let y = sketch.node("y", conv(), &[x, one]);
    let two = sketch.constant("two", &[2, 2, 1, 1], &[2.0, 0.0, 0.0, 2.0]);
    let z = sketch.node("z", conv(), &[y, two]);
    let mut model = sketch.model(&[z]);
    let range = Range {
        min: 0.0,
        max: 255.0,
    };
    model.tensors.iter_mut().for_each(|t| t.range = Some(range));
    model
}

fn report(samples: &[[f32; 4]]) -> Report {
    let mut analysis = Analysis::new(&model(), &quantize::Options::default()).unwrap();
    for sample in samples {
        let input = Array::f32([1, 2, 1, 2], sample.to_vec());
        analysis.observe(&[input], || ()).unwrap();
    }
    analysis.finish()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
}

#[test]
fn noise_is_what_rounding_adds() {
    // 0.25 becomes 0, the channel of 7 and 9 loses nothing.
    let report = report(&[[0.25, 2.0, 7.0, 9.0]]);
    let names: Vec<_> = report.layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["x", "y", "z"]);
    let [x, y, z] = [0, 1, 2].map(|i| report.layers[i].result.clone().unwrap());
    close(x.noise.0[0].signal, 4.0625);
    close(x.noise.0[0].noise, 0.0625);
    close(x.noise.0[1].noise, 0.0);
    assert_eq!(x.noise.worst().unwrap().0, 0);
    // Behind the input the error doubles.
    close(x.alone.noise, 0.25);
    close(x.alone.signal, 4.0 * (4.0625 + 49.0 + 81.0));
    close(y.alone.noise, 0.25);
    // 0.5 lies halfway, and goes to the even 0.
    close(z.alone.noise, 0.25);
    close(z.so_far.unwrap().noise, 0.25);
    close(report.outputs.noise, 0.25);
    // 1 and 2 are integers of some scale.
    let weights = report.layers[2].weights.clone().unwrap();
    assert_eq!((weights.bits, weights.noise.0.len()), (8, 2));
    assert_eq!(weights.noise.all().decibel(), f64::INFINITY);
    close(weights.alone.noise, 0.0);
    close(report.layers[1].alone().noise, 0.25);
}

#[test]
fn what_is_beyond_the_integers_is_counted() {
    let report = report(&[[300.0, -1.0, 0.0, 255.25], [0.0, 1.0, 2.0, 3.0]]);
    let x = report.layers[0].result.clone().unwrap();
    assert_eq!((x.below, x.above, x.count), (1, 1, 8));
    close(x.noise.all().noise, 45.0 * 45.0 + 1.0 + 0.0625);
    assert_eq!(report.samples, 2);
}

#[test]
fn what_only_moves_costs_nothing() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 2, 1, 2]);
    let y = sketch.node("y", crate::ops::Reshape { shape: vec![4] }, &[x]);
    let mut model = sketch.model(&[y]);
    model[x].range = Some(Range { min: 0.0, max: 1.0 });
    model[y].range = model[x].range;
    let analysis = Analysis::new(&model, &quantize::Options::default()).unwrap();
    let mut analysis = analysis;
    let input = Array::f32([1, 2, 1, 2], vec![0.1; 4]);
    analysis.observe(&[input], || ()).unwrap();
    let report = analysis.finish();
    assert!(report.layers[0].result.is_some());
    assert_eq!(report.layers[1].result, None);
}
