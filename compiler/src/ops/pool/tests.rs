use super::*;
use crate::ops::Op;
use crate::ops::testing::{OneNode, counting};

const MEAN: PoolKind = PoolKind::Average {
    count_include_pad: false,
};
const PADDED_MEAN: PoolKind = PoolKind::Average {
    count_include_pad: true,
};

fn pool(kind: PoolKind) -> Pool {
    Pool {
        kind,
        kernel: [2, 2],
        strides: [2, 2],
        pads: Pads::default(),
        dilations: [1, 1],
        output: [2, 2],
    }
}

fn imported(node: OneNode) -> (Pool, Vec<usize>) {
    let (model, outputs) = node.import().unwrap();
    let op = model.nodes.iter().find_map(|node| match &node.op {
        Op::Pool(pool) => Some(pool.clone()),
        _ => None,
    });
    (op.expect("a Pool"), model[outputs[0]].ty.shape.clone())
}

#[test]
fn windows_that_reach_past_the_image() {
    // 1 2 3
    // 4 5 6
    // 7 8 9
    let x = counting(&[1, 1, 3, 3]);
    let eval = |op: &Pool| op.eval(&[Some(&x)]).reals().to_vec();
    assert_eq!(eval(&pool(PoolKind::Max)), [5.0, 6.0, 8.0, 9.0]);
    assert_eq!(eval(&pool(MEAN)), [3.0, 4.5, 7.5, 9.0]);
    // What lies outside the padded image is not counted, padding or not.
    assert_eq!(eval(&pool(PADDED_MEAN)), [3.0, 4.5, 7.5, 9.0]);
    let pads = Pads {
        top: 1,
        left: 1,
        bottom: 0,
        right: 0,
    };
    let padded = |kind| Pool { pads, ..pool(kind) };
    assert_eq!(eval(&padded(PoolKind::Max)), [1.0, 3.0, 7.0, 9.0]);
    assert_eq!(eval(&padded(MEAN)), [1.0, 2.5, 5.5, 7.0]);
    assert_eq!(eval(&padded(PADDED_MEAN)), [0.25, 1.25, 2.75, 7.0]);
}

#[test]
fn dilated_and_strided_windows() {
    let x = counting(&[1, 2, 3, 4]);
    let op = Pool {
        kernel: [2, 2],
        dilations: [2, 3],
        strides: [1, 1],
        output: [1, 1],
        ..pool(PoolKind::Max)
    };
    assert_eq!(op.eval(&[Some(&x)]).reals(), [12.0, 24.0]);
    // Corners 1, 4, 9, 12.
    let mean = Pool { kind: MEAN, ..op };
    assert_eq!(mean.eval(&[Some(&x)]).reals(), [6.5, 18.5]);
}

#[test]
fn negative_images_are_not_beaten_by_padding() {
    let x = Array::f32([1, 1, 1, 2], vec![-3.0, -5.0]);
    let op = Pool {
        kernel: [1, 3],
        strides: [1, 1],
        pads: Pads {
            left: 1,
            right: 1,
            ..Pads::default()
        },
        output: [1, 2],
        ..pool(PoolKind::Max)
    };
    assert_eq!(op.eval(&[Some(&x)]).reals(), [-3.0, -3.0]);
}

#[test]
fn integers_have_a_largest_element() {
    let x = Array::i64([1, 1, 2, 2], vec![3, -1, 7, 2]);
    let y = OneNode::new("MaxPool", 12)
        .ints("kernel_shape", &[1, 2])
        .operand(x)
        .folded();
    assert_eq!(y.unwrap(), Array::i64([1, 1, 2, 1], vec![3, 7]));
}

#[test]
fn ceil_mode_keeps_only_windows_that_begin_in_the_image() {
    let node = |side: usize, pads: &[i64]| {
        let node = OneNode::new("AveragePool", 19)
            .int("ceil_mode", 1)
            .ints("kernel_shape", &[3, 3])
            .ints("strides", &[3, 3])
            .ints("pads", pads)
            .inputs()
            .operand(counting(&[1, 1, side, side]));
        imported(node).1[2]
    };
    assert_eq!(node(7, &[0; 4]), 3);
    assert_eq!(node(6, &[0; 4]), 2);
    // A third window would begin at 6 of an image of 5 with one row before it.
    assert_eq!(node(5, &[1; 4]), 2);
}

#[test]
fn signals_and_whole_images() {
    let node = OneNode::new("MaxPool", 12)
        .ints("kernel_shape", &[2])
        .string("auto_pad", "SAME_UPPER")
        .inputs()
        .operand(counting(&[1, 2, 5]));
    let (op, shape) = imported(node);
    assert_eq!(
        (op.kernel, op.pads.right, shape),
        ([1, 2], 1, vec![1, 2, 5])
    );
    let node = OneNode::new("GlobalAveragePool", 7)
        .inputs()
        .operand(counting(&[2, 3, 4, 5]));
    let (op, shape) = imported(node);
    assert_eq!((op.kernel, shape), ([4, 5], vec![2, 3, 1, 1]));
    let node = OneNode::new("GlobalMaxPool", 7).operand(counting(&[1, 2, 2, 1, 2]));
    let expected = Array::f32([1, 2, 1, 1, 1], vec![4.0, 8.0]);
    assert_eq!(node.folded().unwrap(), expected);
}

#[test]
fn refusals_name_what_is_wrong() {
    let node = || OneNode::new("MaxPool", 12).operand(counting(&[1, 1, 2, 2]));
    assert_eq!(node().refusal(), "kernel_shape is missing");
    assert_eq!(
        node().ints("kernel_shape", &[3, 1]).refusal(),
        "window 3×1 is wider than the padded image 2×2"
    );
    assert_eq!(
        node()
            .ints("kernel_shape", &[1, 1])
            .ints("pads", &[0, 0, 2, 0])
            .refusal(),
        "a window of 1×1 lies wholly in the padding of an image of 2×2"
    );
    let empty = OneNode::new("MaxPool", 12).string("auto_pad", "SAME_UPPER");
    let empty = empty
        .ints("kernel_shape", &[1, 1])
        .operand(counting(&[1, 1, 0, 2]));
    assert_eq!(empty.refusal(), "an image of 0×2 has no window");
    assert_eq!(
        node()
            .ints("kernel_shape", &[1, 1])
            .outputs(&["y", "indices"])
            .refusal(),
        "the indices of the largest elements are used"
    );
}
