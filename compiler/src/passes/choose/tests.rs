use super::*;
use crate::data::answers;
use crate::eval;
use crate::ir::Array;
use crate::passes::calibrate::{Calibration, Method};
use crate::passes::quantize::LayerTexts;
use crate::passes::testing::{Sketch, conv, noise};

/// Three convolutions; samples with the float network's own answers as labels.
fn network() -> (Model, Vec<Sample>) {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 4, 5, 5]);
    let a = sketch.conv("a", x, 16, 3, conv());
    let b = sketch.conv("b", a, 8, 3, conv());
    let y = sketch.conv("y", b, 3, 1, conv());
    let mut model = sketch.model(&[y]);
    let inputs = (1..7).map(|seed| vec![Array::f32([1, 4, 5, 5], noise(seed, 100))]);
    let inputs: Vec<_> = inputs.collect();
    let mut calibration = Calibration::new(&model, Method::MinMax);
    for sample in &inputs {
        calibration.observe(&model, sample).unwrap();
    }
    calibration.finish(&mut model).unwrap();
    let sample = |inputs: Vec<Array>| Sample {
        labels: answers(&eval::run(&model, &inputs).unwrap()[0]),
        inputs,
    };
    let samples = inputs.into_iter().map(sample).collect();
    (model, samples)
}

/// Bytes of packed weights.
fn flash(model: &Model) -> Result<u64> {
    let bits = model.nodes.iter().map(|node| {
        let id = node.inputs[1].expect("a convolution has weights");
        let crate::ir::Elem::Quantized(params) = &model[id].ty.elem else {
            panic!("weights are quantized");
        };
        u64::from(params.int.bits) * model[id].ty.len() as u64
    });
    Ok(bits.sum::<u64>() / 8)
}

fn with_path<T>(options: &Options, use_path: impl FnOnce(&mut Path) -> T) -> T {
    let (model, samples) = network();
    let base = (options, Rounding::Nearest);
    let mut path = Path::new(&model, base, &samples, &flash, &|| ()).unwrap();
    use_path(&mut path)
}

#[test]
fn the_path_leads_from_two_bits_to_sixteen() {
    with_path(&Options::default(), |path| {
        let sizes: Vec<u64> = (0..=path.end()).map(|p| path.size(p).unwrap()).collect();
        // Weights of 4·16·9, 16·8·9 and 8·3 numbers.
        let weights = 576 + 1152 + 24;
        assert_eq!(sizes[0], weights / 4);
        assert_eq!(sizes[path.middle()], weights);
        assert!(sizes.is_sorted(), "{sizes:?}");
        let ends = [0, path.middle(), path.end()];
        let ratios = ends.map(|p| path.measure(p).unwrap().noise.decibel());
        assert!(ratios.is_sorted(), "{ratios:?}");
        let last = path.options(path.end());
        assert!(last.layers.iter().all(|l| l.scheme.to_string() == "w8a16"));
        assert_eq!(path.float_accuracy(), Some(1.0));
    });
}

#[test]
fn the_smallest_good_network_is_found() {
    with_path(&Options::default(), |path| {
        for min_sqnr in [3.0, 20.0, 30.0] {
            let goal = Goal {
                min_sqnr: Some(min_sqnr),
                ..Goal::default()
            };
            let chosen = path.choose(&goal).unwrap();
            assert!(chosen.noise.decibel() >= min_sqnr);
            if let Some(before) = chosen.position.checked_sub(1) {
                let before = path.measure(before).unwrap();
                assert!(before.noise.decibel() < min_sqnr, "{min_sqnr}");
            }
        }
        let more = Goal {
            min_sqnr: Some(200.0),
            ..Goal::default()
        };
        let message = path.choose(&more).unwrap_err().to_string();
        assert!(message.contains("not enough"), "{message}");
    });
}

#[test]
fn the_best_network_that_fits_is_found() {
    with_path(&Options::default(), |path| {
        let goal = Goal {
            max_flash: Some(1000),
            ..Goal::default()
        };
        let chosen = path.choose(&goal).unwrap();
        assert!(chosen.flash <= 1000);
        assert!(path.size(chosen.position + 1).unwrap() > 1000);
        let both = Goal {
            max_flash: Some(500),
            min_sqnr: Some(40.0),
            min_accuracy: Some(Accuracy::BelowFloat(0.0)),
        };
        let message = path.choose(&both).unwrap_err().to_string();
        assert!(message.contains("500 are allowed"), "{message}");
        let message = path.choose(&Goal::default()).unwrap_err().to_string();
        assert!(message.contains("nothing says"), "{message}");
    });
}

#[test]
fn what_is_said_of_a_layer_stays() {
    let texts = quantize::Texts {
        layers: vec![LayerTexts::parse("a=w8a8").unwrap()],
        ..quantize::Texts::default()
    };
    with_path(&texts.options(false).unwrap(), |path| {
        assert_eq!(path.size(0).unwrap(), 576 + (1152 + 24) / 4);
        let steps = path.steps(0).iter().chain(path.steps(path.end()));
        assert!(steps.clone().all(|step| step.node != "a"));
        assert!(steps.count() > 2);
    });
}
