//! Precision on the command line: what it changes, where it is written down, and what is refused.

use std::fs;
use std::path::Path;

use qcc_tests::command::{Run, model, qcc};

/// A command on the digits network, with its samples.
fn digits(folder: &Path, command: &str, more: &[&str]) -> Run {
    let (network, samples) = (model("digits.onnx"), model("digits.npz"));
    let all = [&[command, &network, "--calibrate", &samples], more].concat();
    qcc(folder, &all)
}

/// A number of the report of `qcc eval` on digits that the samples are not.
fn measured(row: &str, options: &[&str]) -> f64 {
    let labelled = model("digits-test.npz");
    let run = digits(
        Path::new("."),
        "eval",
        &[&["--data", &labelled], options].concat(),
    );
    assert_eq!(run.code, 0, "{run:?}");
    let line = run.stdout.lines().find(|line| line.starts_with(row));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap_or_else(|| panic!("{run:?}")).parse().unwrap()
}

#[test]
fn a_bit_less_costs_accuracy_and_learning_gives_it_back() {
    let fidelity = |options: &[&str]| measured("fidelity", options);
    let eight = fidelity(&[]);
    let seven = fidelity(&["--precision", "w8a7"]);
    let narrow = fidelity(&["--precision", "w7a8"]);
    let four = fidelity(&["--precision", "w4a8"]);
    let learned = fidelity(&["--precision", "w4a8", "--rounding", "gptq"]);
    let layers = fidelity(&["--precision", "w4a8", "--layer", "*=w8a8"]);
    assert!(
        eight > seven + 3.0 && seven > four && eight > narrow && narrow > seven,
        "{eight} {narrow} {seven} {four}"
    );
    assert!(learned > four + 3.0, "{learned} {four}");
    assert_eq!(layers, eight);
    let corrected = ["none", "analytic", "samples"].map(|kind| {
        let options = ["--precision", "w4a8", "--bias-correction", kind];
        fidelity(&options)
    });
    assert!(
        corrected.is_sorted() && corrected[1] == four,
        "{corrected:?}"
    );
    assert!(measured("integer", &["--precision", "w4a8", "--rounding", "gptq"]) > 98.0);
}

#[test]
fn a_file_of_overrides_says_what_the_command_line_says() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = r#"
        precision = "w4a8"
        weights = "asymmetric"
        [[layer]]
        match = "dense"
        precision = "w8a8,symmetric"
    "#;
    fs::write(folder.path().join("mixed.toml"), overrides).unwrap();
    let compiled = |more: &[&str]| {
        let run = digits(
            folder.path(),
            "compile",
            &[&["-o", "digits.c"], more].concat(),
        );
        assert_eq!(run.code, 0, "{run:?}");
        let text = fs::read_to_string(folder.path().join("digits.c")).unwrap();
        let (options, rest): (Vec<&str>, Vec<&str>) = text
            .lines()
            .partition(|line| line.starts_with("// Options:"));
        (options.concat(), rest.join("\n"))
    };
    let (options, by_file) = compiled(&["--overrides", "mixed.toml"]);
    assert!(options.ends_with(" --overrides mixed.toml"), "{options}");
    let words = [
        "--precision",
        "w4a8",
        "--weights",
        "asymmetric",
        "--layer",
        "dense=w8a8,symmetric",
    ];
    let (options, by_words) = compiled(&words);
    assert!(options.ends_with(&words.join(" ")), "{options}");
    assert!(by_file == by_words, "the sources differ");
    assert!(compiled(&[]).1 != by_words, "the options change nothing");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let compile = |more: &[&str]| {
        digits(
            folder.path(),
            "compile",
            &[&["-o", "digits.c"], more].concat(),
        )
    };
    let unknown = compile(&["--layer", "dens=w8a16"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(
        unknown.stderr.contains("no node is called `dens`"),
        "{unknown:?}"
    );
    assert!(unknown.stderr.contains("near are `dense`"), "{unknown:?}");
    for options in [
        ["--precision", "w5a8"],
        ["--weights", "gptq"],
        ["--rounding", "per-tensor"],
    ] {
        let run = compile(&options);
        assert_eq!(run.code, 2, "{run:?}");
    }

    let ranges = digits(folder.path(), "calibrate", &["-o", "digits.json"]);
    assert_eq!(ranges.code, 0, "{ranges:?}");
    let network = model("digits.onnx");
    let arguments = [
        "compile",
        &network,
        "--ranges",
        "digits.json",
        "-o",
        "digits.c",
        "--rounding",
        "gptq",
    ];
    let run = qcc(folder.path(), &arguments);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("gptq learns from samples"), "{run:?}");
    assert!(
        run.stderr.contains("pass samples with --calibrate"),
        "{run:?}"
    );
    assert!(!folder.path().join("digits.c").exists());
}
