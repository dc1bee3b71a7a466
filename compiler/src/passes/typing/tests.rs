use super::*;
use crate::ir::{Granularity, IntType, verify};
use crate::ops::{
    BatchNorm, BinaryFunction, Dequantize, Dynamic, MatMul, Pool, PoolKind, Quantize, Scales,
    Transpose,
};
use crate::passes::testing::{Sketch, conv};
use crate::passes::{Stage, quantize};
use crate::{eval, integer, passes};

/// Types everything; the operators that are left, in order.
fn typed(model: &mut Model) -> Vec<&'static str> {
    run(model).expect("the model is typed");
    verify(model).expect("the typed model is sound");
    model.nodes.iter().map(|n| n.op.name()).collect()
}

fn uniform(model: &Model, id: TensorId) -> (f32, i32) {
    match &model[id].ty.elem {
        Elem::Quantized(params) => params.uniform(),
        other => panic!("{other:?} is not quantized"),
    }
}

#[test]
fn a_group_becomes_one_node_on_integers() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 1, 2, 2]);
    let x8 = sketch.qdq("x8", x, (0.5, 3));
    let w = sketch.integers("w", &[1, 1, 1, 1], IntType::U8, &[130]);
    let w = sketch.dq("wr", w, (0.25, 128));
    let sum = sketch.node("conv", conv(), &[x8, w]);
    let relu = sketch.relu("relu", sum);
    let y = sketch.qdq("y", relu, (2.0, 7));
    let mut model = sketch.model(&[y]);
    passes::run(&mut model, Stage::Float).unwrap();
    assert!(quantize::Imported::of(&model).unwrap().is_whole());
    let reals = eval::run(
        &model,
        &[Array::f32([1, 1, 2, 2], vec![1.0, 8.0, -5.0, 60.0])],
    )
    .unwrap();
    let float = model.clone();
    assert_eq!(typed(&mut model), ["Conv"]);
    assert_eq!(uniform(&model, model.inputs[0]), (0.5, 3));
    assert_eq!(uniform(&model, model.outputs[0]), (2.0, 7));
    assert_eq!(model[model.outputs[0]].name, "y");
    let inputs = [Array::f32([1, 1, 2, 2], vec![1.0, 8.0, -5.0, 60.0])];
    let integer = crate::pipeline::quantize(float, &Default::default()).unwrap();
    let outputs = integer::run(&integer, &integer::quantize_inputs(&integer, &inputs)).unwrap();
    assert_eq!(integer::dequantize_outputs(&integer, outputs), reals);
}

#[test]
fn rounding_moves_ahead_of_what_chooses() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 4, 2, 2]);
    let flat = sketch.reshape("flat", &[1, 16], x);
    let x8 = sketch.q("x8", flat, (0.5, 3));
    let back = sketch.node(
        "back",
        Reshape {
            shape: vec![1, 4, 2, 2],
        },
        &[x8],
    );
    let reals = sketch.dq("reals", back, (0.5, 3));
    let pool = Pool::whole(PoolKind::Max, [2, 2]);
    let largest = sketch.node("pool", pool, &[reals]);
    let y = sketch.q("y", largest, (0.5, 3));
    let mut model = sketch.model(&[y]);
    assert_eq!(typed(&mut model), ["Reshape", "Reshape", "MaxPool"]);
    assert_eq!(uniform(&model, model.inputs[0]), (0.5, 3));
}

#[test]
fn another_scale_is_a_table_and_contradicting_scales_keep_the_bits() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[2]);
    let x8 = sketch.q("x8", x, (0.5, 3));
    let told_otherwise = sketch.dq("reals", x8, (0.25, 0));
    let y = sketch.q("y", told_otherwise, (1.0, 10));
    let model = sketch.model(&[y]);
    let integer = crate::pipeline::quantize(model, &Default::default()).unwrap();
    let names: Vec<_> = integer.nodes.iter().map(|n| n.op.name()).collect();
    assert_eq!(names, ["Reshape", "Requantize"]);
    let outputs = integer::run(&integer, &[Array::i32([2], vec![0, 200])]).unwrap();
    assert_eq!(outputs[0].quantized(), [10, 60]);
}

#[test]
fn a_wide_constant_added_to_a_product_is_its_bias() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 2]);
    let x8 = sketch.qdq("x8", x, (0.5, 3));
    let w = sketch.integers("w", &[2, 3], IntType::I8, &[1, 2, 3, 4, 5, 6]);
    let w = sketch.dq("wr", w, (0.25, 0));
    let product = sketch.product("product", x8, w);
    let b = sketch.integers("b", &[1, 3], IntType::I32, &[100, 200, 300]);
    let b = sketch.dq("br", b, (0.125, 0));
    let sum = sketch.binary("sum", BinaryFunction::Add, b, product);
    let y = sketch.q("y", sum, (1.0, 0));
    let model = sketch.model(&[y]);
    let integer = crate::pipeline::quantize(model, &Default::default()).unwrap();
    assert_eq!(integer.nodes.len(), 1);
    assert_eq!(
        integer.constant(&integer.nodes[0], 2).unwrap().quantized(),
        [100, 200, 300]
    );
}

#[test]
fn what_nothing_quantizes_stays_in_floating_point() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[2]);
    let x8 = sketch.qdq("x8", x, (0.5, 3));
    let island = sketch.mul("island", x8, x8);
    let other = sketch.add("other", island, x8);
    let y = sketch.qdq("y", other, (1.0, 10));
    let model = sketch.model(&[y]);
    let imported = quantize::Imported::of(&model).unwrap();
    assert_eq!(imported.real, ["island (Mul)"]);
    let mixed = crate::pipeline::quantize(model, &Default::default()).unwrap();
    assert_eq!(
        crate::integer::reals(&mixed),
        ["island (Mul)", "other (Add)"]
    );
    let names: Vec<&str> = mixed.nodes.iter().map(|n| n.op.name()).collect();
    assert_eq!(names, ["DequantizeLinear", "Mul", "Add", "QuantizeLinear"]);
    // 2 · 2 + 2 and 126 · 126 + 126, of integers 7 and 255.
    let x = Array::i32([2], vec![7, 255]);
    let y = crate::integer::run(&mixed, &[x]).unwrap();
    assert_eq!(y[0].quantized(), [16, 255]);
}

#[test]
fn weights_that_came_quantized_alone_stay_so_in_floating_point() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 2]);
    let w = sketch.integers("w", &[2, 1], IntType::I8, &[5, -3]);
    let w = sketch.dq("wr", w, (0.5, 0));
    let y = sketch.product("product", x, w);
    let model = sketch.model(&[y]);
    let options = Default::default();
    assert!(!quantize::needs_ranges(&model, &options).unwrap());
    let mixed = crate::pipeline::quantize(model, &options).unwrap();
    let weights = mixed.constant(&mixed.nodes[0], 1).unwrap();
    assert_eq!(weights.quantized(), [5, -3]);
    let y = crate::integer::run(&mixed, &[Array::f32([1, 2], vec![1.5, 2.0])]).unwrap();
    // (1.5 · 5 − 2 · 3) · 0.5
    assert_eq!(y[0].reals(), [0.75]);
}

#[test]
fn a_negative_scale_of_weights_changes_their_sign() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 1]);
    let x8 = sketch.qdq("x8", x, (1.0, 0));
    let w = sketch.integers("w", &[1, 1], IntType::I8, &[5]);
    let w = sketch.dq("wr", w, (-0.5, 0));
    let product = sketch.product("product", x8, w);
    let y = sketch.q("y", product, (1.0, 100));
    let mut model = sketch.model(&[y]);
    typed(&mut model);
    let w = model.nodes[0].inputs[1].unwrap();
    assert_eq!(model[w].value.as_ref().unwrap().quantized(), [-5]);
    let Elem::Quantized(QuantParams { map, .. }) = &model[w].ty.elem else {
        panic!("weights are quantized");
    };
    let expected = Granularity::PerTensor {
        scale: 0.5,
        zero_point: 0,
    };
    assert_eq!(*map, expected);
}

/// `[2, 3]` integers in blocks of 2 along the second axis, as a file has them, and their reals.
fn blocks(sketch: &mut Sketch) -> (TensorId, [f32; 6]) {
    let w = sketch.integers("w", &[2, 3], IntType::I8, &[1, 2, 3, 4, 5, 6]);
    let scale = sketch.constant("scale", &[2, 2], &[1.0, 10.0, 100.0, 1000.0]);
    let zero = sketch.integers("zero", &[2, 2], IntType::I8, &[1, 0, 0, 7]);
    let scales = Scales::Blocks { axis: 1, size: 2 };
    let reals = sketch.node("reals", Dequantize { scales }, &[w, scale, zero]);
    (reals, [0.0, 1.0, 30.0, 400.0, 500.0, -1000.0])
}

#[test]
fn a_layer_with_scales_of_blocks_is_in_floating_point() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 3]);
    let x8 = sketch.qdq("x8", x, (0.5, 3));
    let (w, reals) = blocks(&mut sketch);
    let w = sketch.node("turned", Transpose { perm: vec![1, 0] }, &[w]);
    let activation = Clamp::NONE;
    let sum = sketch.node("sum", MatMul { activation }, &[x8, w]);
    let y = sketch.qdq("y", sum, (2.0, 7));
    let model = sketch.model(&[y]);
    let integer = crate::pipeline::quantize(model.clone(), &Default::default()).unwrap();
    assert_eq!(integer::reals(&integer), ["sum (MatMul)"]);
    let sum = integer
        .nodes
        .iter()
        .find(|node| node.name == "sum")
        .expect("it is there");
    let w = &integer[sum.inputs[1].expect("its weights")];
    let Elem::Quantized(params) = &w.ty.elem else {
        panic!("the weights stay integers");
    };
    let turned: Vec<f32> = (0..6).map(|i| reals[i % 2 * 3 + i / 2]).collect();
    let value = w.value.as_ref().expect("weights are known");
    assert_eq!(params.reals(value).reals(), turned);
    let x = Array::f32([1, 3], vec![0.5, -1.0, 0.24]);
    let outputs = integer::run(
        &integer,
        &integer::quantize_inputs(&integer, std::slice::from_ref(&x)),
    );
    let outputs = integer::dequantize_outputs(&integer, outputs.unwrap());
    assert_eq!(outputs, eval::run(&model, &[x]).unwrap());
}

#[test]
fn scales_of_blocks_of_an_activation_are_refused() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[2, 3]);
    let scale = sketch.constant("scale", &[2, 2], &[1.0, 10.0, 100.0, 1000.0]);
    let scales = Scales::Blocks { axis: 1, size: 2 };
    let int = IntType::I8;
    let y = sketch.node("y", Quantize { int, scales }, &[x, scale]);
    let mut model = sketch.model(&[y]);
    assert_eq!(
        run(&mut model).unwrap_err().to_string(),
        "y (QuantizeLinear): an activation has a scale for each channel or block; hint: quantize activations \
         per tensor; only weights may have several scales"
    );
}

/// MatMulInteger of what DynamicQuantizeLinear makes of `x`, times the scales, as exporters write it.
fn dynamic_product(sketch: &mut Sketch, x: TensorId) -> TensorId {
    let scale = sketch.node("scale", Dynamic::Scale, &[x]);
    let zero = sketch.node("zero", Dynamic::ZeroPoint, &[x, scale]);
    let (int, scales) = (IntType::U8, Scales::One);
    let q = sketch.node("q", Quantize { int, scales }, &[x, scale, zero]);
    let one = sketch.constant("one", &[], &[1.0]);
    let left = sketch.node("left", Dequantize { scales }, &[q, one, zero]);
    let w = sketch.integers("w", &[3, 2], IntType::U8, &[130, 0, 128, 255, 7, 100]);
    let right = sketch.dq("right", w, (1.0, 128));
    let activation = Clamp::NONE;
    let product = sketch.node("product", MatMul { activation }, &[left, right]);
    let int = IntType::I32;
    let sums = sketch.node("sums", Quantize { int, scales }, &[product, one]);
    let reals = sketch.node("reals", Dequantize { scales }, &[sums, one]);
    sketch.mul("y", reals, scale)
}

#[test]
fn dynamic_scales_are_computed_and_their_products_are_of_integers() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 3]);
    let y = dynamic_product(&mut sketch, x);
    let model = sketch.model(&[y]);
    let integer = crate::pipeline::quantize(model.clone(), &Default::default()).unwrap();
    let sums = integer
        .nodes
        .iter()
        .find(|node| node.name == "product")
        .expect("the product keeps its name");
    assert!(!integer::reals(&integer).contains(&sums.label()));
    for x in [
        [0.5, -1.0, 4.1],
        [0.0; 3],
        [3.0, 1.0, 2.0],
        [-1.0, -5.0, -0.1],
    ] {
        let x = [Array::f32([1, 3], x.to_vec())];
        let expected = eval::run(&model, &x).unwrap();
        assert_eq!(integer::run(&integer, &x).unwrap(), expected, "{x:?}");
    }
    // Integers 23, 0 and 255 of the scale 0.02 with the zero point 50, by weights less 128.
    let x = Array::f32([1, 3], vec![-0.54, -1.0, 4.1]);
    let y = integer::run(&integer, &[x]).unwrap();
    let sums = [-27 * 2 + 205 * -121, -27 * -128 + -50 * 127 + 205 * -28];
    let scale = (4.1f32 + 1.0) / 255.0;
    assert_eq!(y[0].reals(), sums.map(|sum: i32| sum as f32 * scale));
}

#[test]
fn ranges_do_not_change_what_is_dynamic() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 3]);
    let y = dynamic_product(&mut sketch, x);
    let mut model = sketch.model(&[y]);
    let without = crate::pipeline::quantize(model.clone(), &Default::default()).unwrap();
    crate::pipeline::calibrate_on_noise(&mut model, &Default::default()).unwrap();
    let with = crate::pipeline::quantize(model, &Default::default()).unwrap();
    assert_eq!(integer::reals(&with), integer::reals(&without));
}

#[test]
fn a_batch_normalization_beside_a_quantized_convolution_is_in_floating_point() {
    let mut sketch = Sketch::new();
    let x = sketch.input("x", &[1, 1, 2, 2]);
    let x8 = sketch.qdq("x8", x, (0.5, 3));
    let w = sketch.integers("w", &[1, 1, 1, 1], IntType::U8, &[130]);
    let w = sketch.dq("wr", w, (0.25, 128));
    let sum = sketch.node("conv", conv(), &[x8, w]);
    let numbers = [1.5, 0.25, -1.0, 4.0];
    let names = ["gamma", "beta", "mean", "variance"];
    let mut operands = vec![sum];
    operands.extend((0..4).map(|i| sketch.constant(names[i], &[1], &numbers[i..=i])));
    let norm = sketch.node("norm", BatchNorm { epsilon: 0.0 }, &operands);
    let y = sketch.qdq("y", norm, (0.75, 7));
    let mut model = sketch.model(&[y]);
    let inputs = [Array::f32([1, 1, 2, 2], vec![1.0, 8.0, -5.0, 60.0])];
    let expected = eval::run(&model, &inputs).unwrap();
    passes::run(&mut model, Stage::Float).unwrap();
    let integer = crate::pipeline::quantize(model, &Default::default()).unwrap();
    assert_eq!(integer::reals(&integer).len(), 2);
    let outputs = integer::run(&integer, &integer::quantize_inputs(&integer, &inputs)).unwrap();
    assert_eq!(integer::dequantize_outputs(&integer, outputs), expected);
}
