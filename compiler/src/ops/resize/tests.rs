use super::*;
use crate::ops::testing::{OneNode, counting};

fn line(coordinates: Coordinates, mode: ResizeMode, input: usize, scale: f32) -> Vec<f32> {
    let output = (input as f32 * scale) as usize;
    let op = Resize {
        mode,
        coordinates,
        scales: [1.0, scale],
        output: [1, output],
    };
    let x = counting(&[1, 1, 1, input]);
    op.eval(&[Some(&x)]).reals().to_vec()
}

#[test]
fn linear_between_pixels() {
    use Coordinates::*;
    let linear = |coordinates, input, scale| line(coordinates, ResizeMode::Linear, input, scale);
    assert_eq!(linear(HalfPixel, 2, 2.0), [1.0, 1.25, 1.75, 2.0]);
    assert_eq!(
        linear(AlignCorners, 3, 5.0 / 3.0),
        [1.0, 1.5, 2.0, 2.5, 3.0]
    );
    assert_eq!(linear(Asymmetric, 2, 2.0), [1.0, 1.5, 2.0, 2.0]);
    assert_eq!(linear(PytorchHalfPixel, 4, 0.25), [1.0]);
    assert_eq!(linear(HalfPixel, 4, 0.5), [1.5, 3.5]);
}

#[test]
fn halves_between_pixels_follow_the_mode() {
    // Points 0.5 and 2.5 of four pixels.
    let nearest = |nearest| line(Coordinates::HalfPixel, ResizeMode::Nearest(nearest), 4, 0.5);
    assert_eq!(nearest(Nearest::RoundPreferFloor), [1.0, 3.0]);
    assert_eq!(nearest(Nearest::RoundPreferCeil), [2.0, 4.0]);
    assert_eq!(nearest(Nearest::Floor), [1.0, 3.0]);
    assert_eq!(nearest(Nearest::Ceil), [2.0, 4.0]);
}

#[test]
fn rows_and_columns_differ() {
    let y = OneNode::new("Resize", 18)
        .ints("axes", &[3, 2])
        .string("mode", "linear")
        .string("coordinate_transformation_mode", "align_corners")
        .operand(counting(&[1, 1, 2, 2]))
        .absent()
        .absent()
        .operand(Array::i64([2], vec![3, 4]))
        .folded()
        .unwrap();
    let row = |start: f32| [start, start + 0.5, start + 1.0];
    let expected = [0.0, 2.0 / 3.0, 4.0 / 3.0, 2.0]
        .map(|down| row(1.0 + down))
        .concat();
    assert_eq!(y.shape, [1, 1, 4, 3]);
    for (y, expected) in y.reals().iter().zip(expected) {
        assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
    }
}

#[test]
fn older_forms() {
    let expected = Array::f32([1, 1, 1, 4], vec![1.0, 1.0, 2.0, 2.0]);
    let scales = vec![1.0, 1.0, 1.0, 2.0];
    let x = counting(&[1, 1, 1, 2]);
    let seven = OneNode::new("Upsample", 7)
        .with("scales", crate::ops::Attribute::Floats(scales.clone()))
        .operand(x.clone());
    assert_eq!(seven.folded().unwrap(), expected);
    for (name, opset) in [("Upsample", 9), ("Resize", 10)] {
        let node = OneNode::new(name, opset)
            .operand(x.clone())
            .operand(Array::f32([4], scales.clone()));
        assert_eq!(node.folded().unwrap(), expected, "{name}");
    }
    let eleven = OneNode::new("Resize", 11)
        .operand(x)
        .operand(Array::f32([0], vec![]))
        .operand(Array::f32([4], scales));
    assert_eq!(eleven.folded().unwrap(), expected);
}

#[test]
fn one_scale_keeps_the_aspect_ratio() {
    let shape = |policy: &str| {
        let node = OneNode::new("Resize", 18)
            .string("keep_aspect_ratio_policy", policy)
            .ints("axes", &[2, 3])
            .operand(counting(&[1, 1, 2, 4]))
            .absent()
            .absent()
            .operand(Array::i64([2], vec![7, 8]));
        node.folded().unwrap().shape
    };
    assert_eq!(shape("stretch"), [1, 1, 7, 8]);
    assert_eq!(shape("not_larger"), [1, 1, 4, 8]);
    assert_eq!(shape("not_smaller"), [1, 1, 7, 14]);
}

#[test]
fn refusals_name_what_is_wrong() {
    let node = |x: &[usize], scales: &[f32]| {
        let scales = Array::f32([scales.len()], scales.to_vec());
        OneNode::new("Resize", 13)
            .operand(counting(x))
            .absent()
            .operand(scales)
    };
    let image = || node(&[1, 1, 2, 2], &[1.0, 1.0, 2.0, 2.0]);
    let cases = [
        (
            image().string("mode", "cubic"),
            "mode `cubic` is not supported",
        ),
        (image().int("antialias", 1), "antialiasing is not supported"),
        (
            image().string("coordinate_transformation_mode", "tf_crop_and_resize"),
            "coordinate mode `tf_crop_and_resize` is not supported",
        ),
        (
            node(&[1, 2, 2, 2], &[1.0, 2.0, 1.0, 1.0]),
            "a tensor of shape [1, 2, 2, 2] is resized to [1, 4, 2, 2]",
        ),
        (
            node(&[1, 1, 2, 2], &[1.0, 1.0, 0.1, 1.0]),
            "an image of 2×2 is resized to 0×2",
        ),
        (
            node(&[1, 1, 2, 2], &[2.0]),
            "1 scales or sizes are given for 4 axes",
        ),
    ];
    for (node, message) in cases {
        assert_eq!(node.refusal(), message);
    }
}
