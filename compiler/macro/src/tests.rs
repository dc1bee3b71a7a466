//! What the macro says about wrong arguments, and where.

use qcc_compiler::target::{self, Language, Target};

use crate::arguments::Arguments;
use crate::expand::expand;

/// The error and the piece of source that it points at.
fn refusal(source: &str) -> (String, String) {
    let result = syn::parse_str::<Arguments>(source).and_then(|a| expand(&a));
    let error = result.expect_err(source);
    let columns = error.span().byte_range();
    (error.to_string(), source[columns].to_string())
}

#[test]
fn errors_point_at_the_argument() {
    let cases = [
        (
            r#""models/missing.onnx", calibrate = "models/samples.npz""#,
            r#""models/missing.onnx""#,
            "there is no `models/missing.onnx`; paths are relative to the crate's folder",
        ),
        (
            r#""Cargo.toml", calibrate = ["src", "missing.npz"]"#,
            r#""missing.npz""#,
            "there is no `missing.npz`",
        ),
        (
            r#""Cargo.toml", name = Model"#,
            r#""Cargo.toml""#,
            "not an ONNX model",
        ),
        (
            r#""model.onnx", calibration = "samples.npz""#,
            "calibration",
            "no argument is called `calibration`; there are calibrate, ranges, input_range",
        ),
        (
            r#""model.onnx", scale = "tiny""#,
            r#""tiny""#,
            "`tiny` is not a number; hint: write it as 0.5 or 1/255",
        ),
        (
            r#""model.onnx", preset = "photos""#,
            r#""photos""#,
            "no preset is called `photos`",
        ),
        (
            r#""model.onnx", input_range = ["0..1", "a=1..0"]"#,
            r#""a=1..0""#,
            "the range `1..0` is empty; hint: write the smaller number first",
        ),
        (
            r#""model.onnx", samples = 10, samples = 20"#,
            "samples",
            "`samples` is given twice",
        ),
        (
            r#""../../tests/models/digits.onnx", ranges = "Cargo.toml""#,
            r#""Cargo.toml""#,
            "the ranges cannot be read",
        ),
        (
            r#""../../tests/models/digits.onnx", calibrate = "src", ranges = "Cargo.toml""#,
            r#""src""#,
            "ranges take the place of samples; pass one of both",
        ),
        (
            r#""model.onnx", precision = "w5a8""#,
            r#""w5a8""#,
            "`w5a8` is no precision",
        ),
        (
            r#""model.onnx", layers = ["dense=w8a16", "stem/conv"]"#,
            r#""stem/conv""#,
            "`stem/conv` names no precision; hint: write NAME=PRECISION",
        ),
        (
            r#""../../tests/models/digits.onnx", calibrate = "../../tests/models/digits.npz", layers = "dens=w4a8""#,
            r#""../../tests/models/digits.onnx""#,
            "no node is called `dens`; hint: near are `dense`",
        ),
        (
            r#""model.onnx", batch = 0"#,
            "0",
            "a positive number is expected",
        ),
    ];
    for (source, place, message) in cases {
        let (found, at) = refusal(source);
        assert!(found.contains(message), "{source}: {found}");
        assert_eq!(at, place, "{source}");
    }
}

#[test]
fn samples_that_do_not_fit_are_reported_at_the_samples() {
    let source = r#""../../tests/models/digits.onnx", calibrate = "src""#;
    let (message, at) = refusal(source);
    assert_eq!(at, "\"src\"");
    assert!(
        message.contains("how pixels become the model's input"),
        "{message}"
    );
}

/// The expansion for the digits network, with more arguments.
fn digits(more: &str) -> String {
    let samples = r#"calibrate = "../../tests/models/digits.npz""#;
    let source = format!(r#""../../tests/models/digits.onnx", {samples}{more}"#);
    let arguments = syn::parse_str::<Arguments>(&source).unwrap();
    expand(&arguments).unwrap().to_string()
}

#[test]
fn precision_is_what_all_layers_have() {
    let eight = digits("");
    let four = digits(r#", precision = "w4a8", rounding = "gptq""#);
    assert!(four.len() < eight.len(), "weights of 4 bits take less text");
    let back = r#", precision = "w4a8", layers = ["*=w2a8", "*=w8a8"]"#;
    assert!(digits(back) == eight, "the last pattern counts");
    let analytic = digits(r#", bias_correction = "analytic""#);
    let samples = digits(r#", bias_correction = "samples""#);
    assert!(
        analytic == eight && samples != eight,
        "analytic where nothing is said"
    );
    let scales = digits(r#", equalisation = "scales""#);
    let none = digits(r#", equalisation = "none""#);
    assert!(
        scales == eight && none != eight,
        "scales where nothing is said"
    );
}

#[test]
fn a_module_is_made_for_every_machine() {
    let source = r#""../../tests/models/digits.onnx", calibrate = "../../tests/models/digits.npz""#;
    let arguments = syn::parse_str::<Arguments>(source).unwrap();
    let file: syn::File = syn::parse2(expand(&arguments).unwrap()).unwrap();
    let modules: Vec<_> = file
        .items
        .iter()
        .filter(|item| matches!(item, syn::Item::Mod(module) if module.ident == "digits"))
        .collect();
    let names = target::names().into_iter();
    let targets = names.map(|name| Target::load(name).unwrap());
    let known = |t: &Target| !t.is_freestanding() && t.speaks(Language::Rust).is_ok();
    assert_eq!(modules.len(), targets.filter(known).count());
}
