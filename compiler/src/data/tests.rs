use std::path::Path;

use super::*;
use crate::ir::{Data, Type};

fn model(inputs: &[(&str, &[usize])]) -> Model {
    let mut model = Model::new("test");
    for (name, shape) in inputs {
        let id = model.add_tensor(name, Type::float(*shape), None);
        model.inputs.push(id);
    }
    model
}

fn save(folder: &Path, arrays: &[(&str, Array)]) -> PathBuf {
    let path = folder.join("data.npz");
    let arrays: Vec<_> = arrays
        .iter()
        .map(|(n, a)| (n.to_string(), a.clone()))
        .collect();
    write_npz(std::fs::File::create(&path).unwrap(), &arrays).unwrap();
    path
}

fn ramp(shape: &[usize]) -> Array {
    let len = shape.iter().product::<usize>();
    Array::f32(shape, (0..len).map(|x| x as f32).collect())
}

fn read(path: &Path, model: &Model, options: &Options) -> Result<Vec<Sample>> {
    Samples::open(&[path.to_path_buf()], model, options)?.collect()
}

#[test]
fn an_array_is_scaled_transposed_and_labelled() {
    let folder = tempfile::tempdir().unwrap();
    let labels = Array::i64([2], vec![5, 7]);
    let path = save(folder.path(), &[("x", ramp(&[2, 1, 2, 3])), ("y", labels)]);
    let options = Options {
        preprocess: Preprocess {
            scale: 2.0,
            mean: vec![0.0, 1.0, 2.0],
            std: vec![4.0],
            ..Preprocess::default()
        },
        label_offset: 1,
        ..Options::default()
    };
    let samples = read(&path, &model(&[("image", &[1, 3, 1, 2])]), &options).unwrap();
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0].labels, [6]);
    assert_eq!(samples[1].labels, [8]);
    assert_eq!(samples[0].inputs[0].shape, [1, 3, 1, 2]);
    // Stored 0..6 as two pixels of three channels: (2x − mean) / 4.
    assert_eq!(
        samples[0].inputs[0].reals(),
        [0.0, 1.5, 0.25, 1.75, 0.5, 2.0]
    );
}

#[test]
fn several_inputs_are_matched_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), &[("b", ramp(&[3, 2])), ("a", ramp(&[3, 4]))]);
    let two = model(&[("a", &[1, 4]), ("b", &[1, 2])]);
    let samples = read(&path, &two, &Options::default()).unwrap();
    assert_eq!(samples[2].inputs[0].reals(), [8.0, 9.0, 10.0, 11.0]);
    assert_eq!(samples[2].inputs[1].reals(), [4.0, 5.0]);

    let wrong = model(&[("a", &[1, 4]), ("c", &[1, 2])]);
    let message = read(&path, &wrong, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("no array for input `c` [1, 2]; there are `b` [3, 2]"),
        "{message}"
    );
    assert!(message.contains("--array c=NAME"), "{message}");
}

#[test]
fn a_batch_takes_several_samples_and_repeats_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let labels = Array::i64([3], vec![0, 1, 2]);
    let path = save(folder.path(), &[("x", ramp(&[3, 2])), ("labels", labels)]);
    let samples = read(&path, &model(&[("x", &[2, 2])]), &Options::default()).unwrap();
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[1].inputs[0].reals(), [4.0, 5.0, 4.0, 5.0]);
    assert_eq!(samples[1].labels, [2]);
}

#[test]
fn samples_may_be_whole_inputs_of_a_model_without_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let labels = Array::i64([5], vec![0, 1, 2, 3, 4]);
    let path = save(
        folder.path(),
        &[("x", ramp(&[5, 2, 3])), ("labels", labels)],
    );
    let samples = read(&path, &model(&[("x", &[2, 3])]), &Options::default()).unwrap();
    assert_eq!(samples.len(), 5);
    assert_eq!(samples[1].inputs[0].shape, [2, 3]);
    assert_eq!(
        samples[1].inputs[0].reals(),
        [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    );
    assert_eq!(samples[4].labels, [4]);
}

#[test]
fn a_limit_stops_each_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), &[("x", ramp(&[5, 2]))]);
    let options = Options {
        limit: Some(2),
        ..Options::default()
    };
    let model = model(&[("x", &[1, 2])]);
    let samples = Samples::open(&[path.clone(), path], &model, &options).unwrap();
    assert_eq!(samples.len(), 4);
    assert_eq!(samples.count(), 4);
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), &[("x", ramp(&[5, 6, 4]))]);
    let message = read(&path, &model(&[("in", &[1, 4, 6])]), &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("array `x` of shape [5, 6, 4] does not fit input `in`"),
        "{message}"
    );
    let text = folder.path().join("x.npy");
    std::fs::write(&text, "not numpy").unwrap();
    let message = read(&text, &model(&[("in", &[1, 4])]), &Options::default()).unwrap_err();
    assert!(message.to_string().contains("x.npy"), "{message}");
}

#[test]
fn images_need_stated_arithmetic() {
    let folder = tempfile::tempdir().unwrap();
    let picture = image::RgbImage::from_fn(2, 1, |x, _| image::Rgb([255, 51 * x as u8, 0]));
    picture.save(folder.path().join("a.png")).unwrap();
    let model = model(&[("image", &[1, 3, 1, 2])]);
    let message = read(folder.path(), &model, &Options::default()).unwrap_err();
    assert!(
        message.to_string().contains("--preset imagenet"),
        "{message}"
    );
    let options = Options {
        preprocess: Preset::Unit.into(),
        ..Options::default()
    };
    let samples = read(folder.path(), &model, &options).unwrap();
    let Data::F32(pixels) = &samples[0].inputs[0].data else {
        panic!("reals")
    };
    for (found, expected) in pixels.iter().zip([1.0, 1.0, 0.0, 0.2, 0.0, 0.0]) {
        assert!((found - expected).abs() < 1e-6, "{pixels:?}");
    }
}
