use super::*;
use crate::ir::IntType;
use crate::ops::testing::{OneNode, counting};
use crate::ops::{Attribute, Importer};

fn ints(values: &[i64]) -> Array {
    Array::i64([values.len()], values.to_vec())
}

fn folded(node: OneNode) -> Array {
    node.folded().expect("the import succeeds")
}

/// Folds a host operator of operands with the given types.
fn host(host: Host, operands: &[(Array, Elem)]) -> Array {
    let mut importer = Importer::new("test");
    let ids: Vec<_> = operands
        .iter()
        .map(|(array, elem)| importer.constant("x", array.clone(), elem.clone()))
        .collect();
    let id = importer.apply(host, &ids).expect("the operands fit");
    importer.value(id).expect("constants fold").clone()
}

#[test]
fn casts_truncate_and_wrap() {
    let x = Array::f32([3], vec![1.9, -1.9, 300.0]);
    let to = |elem| host(Host::Cast(elem), &[(x.clone(), Elem::Float)]);
    assert_eq!(to(Elem::Int(IntType::I64)), ints(&[1, -1, 300]));
    assert_eq!(to(Elem::Int(IntType::U8)), ints(&[1, 255, 44]));
    assert_eq!(to(Elem::Bool), ints(&[1, 1, 1]));
    let wide = (ints(&[200, -3, 1 << 40]), Elem::Int(IntType::I64));
    let narrow = host(
        Host::Cast(Elem::Int(IntType::I8)),
        std::slice::from_ref(&wide),
    );
    assert_eq!(narrow, ints(&[-56, -3, 0]));
    let reals = host(Host::Cast(Elem::Float), &[wide]);
    assert_eq!(
        reals,
        Array::f32([3], vec![200.0, -3.0, (1u64 << 40) as f32])
    );
}

#[test]
fn casts_between_reals_vanish() {
    for to in [1, 10, 11, 16] {
        let node = OneNode::new("Cast", 13)
            .inputs()
            .operand(counting(&[2]))
            .int("to", to);
        let (model, outputs) = node.import().unwrap();
        assert_eq!((model.nodes.len(), outputs), (0, model.inputs));
    }
}

#[test]
fn a_cast_of_inputs_is_refused_with_a_hint() {
    let node = OneNode::new("Cast", 13)
        .inputs()
        .operand(counting(&[2]))
        .int("to", 7);
    let error = node.import().unwrap_err();
    assert_eq!(
        error.diagnostics[0].message,
        "the operands of Cast depend on the input's values"
    );
    assert!(error.diagnostics[0].hint.is_some());
    let node = OneNode::new("Cast", 13)
        .operand(counting(&[2]))
        .int("to", 17);
    let message = "casts to floating-point types of 8 and 4 bits are not supported";
    assert_eq!(node.refusal(), message);
}

#[test]
fn comparisons_broadcast() {
    let i64s = Elem::Int(IntType::I64);
    let a = (Array::i64([2, 1], vec![1, 2]), i64s.clone());
    let b = (ints(&[1, 2]), i64s);
    let result = |comparison| {
        let operands = [a.clone(), b.clone()];
        host(Host::Compare(comparison), &operands).ints().to_vec()
    };
    assert_eq!(result(Comparison::Equal), [1, 0, 0, 1]);
    assert_eq!(result(Comparison::Less), [0, 1, 0, 0]);
    assert_eq!(result(Comparison::LessOrEqual), [1, 1, 0, 1]);
    assert_eq!(result(Comparison::Greater), [0, 0, 1, 0]);
    assert_eq!(result(Comparison::GreaterOrEqual), [1, 0, 1, 1]);
}

#[test]
fn truth_values_are_joined() {
    let (a, b) = (
        (ints(&[0, 0, 1, 1]), Elem::Bool),
        (ints(&[0, 1, 0, 1]), Elem::Bool),
    );
    let result = |logic| {
        host(Host::Logic(logic), &[a.clone(), b.clone()])
            .ints()
            .to_vec()
    };
    assert_eq!(result(Logic::And), [0, 0, 0, 1]);
    assert_eq!(result(Logic::Or), [0, 1, 1, 1]);
    assert_eq!(result(Logic::Xor), [0, 1, 1, 0]);
    assert_eq!(
        host(Host::Not, std::slice::from_ref(&a)),
        ints(&[1, 1, 0, 0])
    );
    let reals = (Array::f32([1], vec![0.0]), Elem::Float);
    let condition = (Array::i64([2, 1], vec![0, 1]), Elem::Bool);
    let chosen = host(
        Host::Where,
        &[condition, (counting(&[2]), Elem::Float), reals],
    );
    assert_eq!(chosen, Array::f32([2, 2], vec![0.0, 0.0, 1.0, 2.0]));
    let message = OneNode::new("Not", 13).operand(ints(&[1])).refusal();
    assert_eq!(
        message,
        "truth values are needed, the operand holds integers"
    );
}

#[test]
fn remainders_have_the_sign_of_either_operand() {
    let node = |fmod| {
        let node = OneNode::new("Mod", 13).int("fmod", fmod);
        node.operand(ints(&[-7, 7, 7, 5]))
            .operand(ints(&[3, -3, 3, 0]))
    };
    assert_eq!(folded(node(0)), ints(&[2, -2, 1, 0]));
    assert_eq!(folded(node(1)), ints(&[-1, 1, 1, 0]));
}

#[test]
fn constants_come_in_every_form() {
    let node = |name: &str, value| OneNode::new("Constant", 13).with(name, value);
    let tensor = Attribute::Tensor(counting(&[2]), Elem::Float);
    assert_eq!(folded(node("value", tensor)), counting(&[2]));
    assert_eq!(
        folded(node("value_int", Attribute::Int(3))),
        Array::i64([], vec![3])
    );
    assert_eq!(
        folded(node("value_ints", Attribute::Ints(vec![3]))),
        ints(&[3])
    );
    assert_eq!(
        folded(node("value_float", Attribute::Float(0.5))),
        Array::f32([], vec![0.5])
    );
    let floats = Attribute::Floats(vec![0.5]);
    assert_eq!(
        folded(node("value_floats", floats)),
        Array::f32([1], vec![0.5])
    );
    let sparse = node("sparse_value", Attribute::Other("a sparse tensor"));
    assert_eq!(
        sparse.refusal(),
        "constants of the form `sparse_value` are not supported"
    );
}

#[test]
fn shapes_are_known_where_values_are_not() {
    let node = |op: &str| OneNode::new(op, 15).inputs().operand(counting(&[2, 3, 4]));
    assert_eq!(folded(node("Shape")), ints(&[2, 3, 4]));
    assert_eq!(
        folded(node("Shape").int("start", -2).int("end", 2)),
        ints(&[3])
    );
    assert_eq!(
        folded(node("Shape").int("start", 2).int("end", 1)),
        ints(&[])
    );
    assert_eq!(folded(node("Size")), Array::i64([], vec![24]));
}

#[test]
fn filled_shapes_are_bounded() {
    let node = |shape: &[i64]| OneNode::new("ConstantOfShape", 9).operand(ints(shape));
    assert_eq!(folded(node(&[2, 1])), Array::f32([2, 1], vec![0.0; 2]));
    assert_eq!(folded(node(&[])), Array::f32([], vec![0.0]));
    let one = Attribute::Tensor(ints(&[7]), Elem::Int(IntType::I64));
    assert_eq!(folded(node(&[3]).with("value", one)), ints(&[7, 7, 7]));
    let message = "values computed while importing have more than 67108864 elements together";
    assert_eq!(node(&[1 << 30]).refusal(), message);
    assert_eq!(node(&[-1]).refusal(), "shape [-1] has a negative extent");
}

#[test]
fn ranges_count_in_either_direction() {
    let scalar = |x: i64| Array::i64([], vec![x]);
    let node = |bounds: [i64; 3]| {
        let node = OneNode::new("Range", 11);
        bounds
            .into_iter()
            .fold(node, |node, bound| node.operand(scalar(bound)))
    };
    assert_eq!(folded(node([1, 6, 2])), ints(&[1, 3, 5]));
    assert_eq!(folded(node([3, 0, -2])), ints(&[3, 1]));
    assert_eq!(folded(node([3, 0, 1])), ints(&[]));
    assert_eq!(
        node([0, 1, 0]).refusal(),
        "no range goes from 0 to 1 in steps of 0"
    );
    let message = "a tensor of shape [1099511627776] has more than 2^31 elements";
    assert_eq!(node([0, 1 << 40, 1]).refusal(), message);
}

#[test]
fn dropout_vanishes_outside_training() {
    let node = || OneNode::new("Dropout", 13).operand(counting(&[2]));
    let (model, outputs) = node().outputs(&["y", "mask"]).import().unwrap();
    assert_eq!(model[outputs[0]].value, Some(counting(&[2])));
    assert_eq!(model[outputs[1]].value, Some(ints(&[1, 1])));
    let ratio = Array::f32([], vec![0.5]);
    let node = node().operand(ratio).operand(Array::i64([], vec![1]));
    assert_eq!(node.refusal(), "the model is in training mode");
}
