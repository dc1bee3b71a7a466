//! Whole networks on real samples: the float evaluator against another runtime, the emitted programs against
//! the integer evaluator bit for bit, under real compilers and under sanitizers, and accuracy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use qcc_compiler::data::{Options as DataOptions, Sample, Samples};
use qcc_compiler::harness::{self, Compiler};
use qcc_compiler::ir::{Array, Data, Model};
use qcc_compiler::passes::calibrate::Method;
use qcc_compiler::passes::quantize::{LayerTexts, Texts};
use qcc_compiler::pipeline;
use qcc_compiler::target::{self, Language, Target};
use qcc_compiler::{Result, eval, integer};
use qcc_tests::parallel;
use qcc_tests::programs::{Oracle, Place};
use qcc_tests::trained::{self, Network, skipped};

/// Found networks that need operators beyond those of a CNN; refused with a reason or run, never run wrongly.
const BEYOND: [&str; 2] = ["ultraface_rfb320", "oww_embedding"];

/// Sums in another order differ by rounding: some hundred layers of it.
const FLOAT_TOLERANCE: f32 = 1e-3;

/// Programs of each network from elsewhere.
const PROGRAMS: usize = 2;

/// A network on its way: as reals, as integers, and what it is fed.
struct Prepared {
    float: Model,
    integer: Model,
    samples: Vec<Sample>,
}

impl Prepared {
    fn oracle<'a>(&'a self, network: &'a Network) -> Oracle<'a> {
        let oracle = Oracle::ask(&self.integer, &network.name, &self.samples);
        oracle.expect("the integer evaluator takes every network")
    }
}

fn prepare(network: &Network, limit: usize) -> Result<Prepared> {
    let mut float = pipeline::load(&network.model, &network.options())?;
    let open = |model: &Model| calibration(network, model);
    pipeline::calibrate(&mut float, open, Method::MinMax, &Default::default())?;
    let integer = pipeline::quantize(float.clone(), &Default::default())?;
    let samples = samples(&network.test, &float, limit)?;
    Ok(Prepared {
        float,
        integer,
        samples,
    })
}

/// What a network is calibrated with.
fn calibration(
    network: &Network,
    model: &Model,
) -> Result<impl Iterator<Item = Result<Sample>> + use<>> {
    let samples = samples(&network.calibration, model, usize::MAX)?;
    Ok(samples.into_iter().map(Ok))
}

fn samples(path: &Path, model: &Model, limit: usize) -> Result<Vec<Sample>> {
    let options = DataOptions {
        limit: Some(limit),
        ..DataOptions::default()
    };
    Samples::open(&[path.to_path_buf()], model, &options)?.collect()
}

fn reals(array: &Array) -> &[f32] {
    match &array.data {
        Data::F32(v) => v,
        _ => panic!("a float network gives reals"),
    }
}

/// The largest difference from another runtime's answers, as a part of an output's largest number.
fn float_error(network: &Network, expected: &Path, prepared: &Prepared) -> Result<f32> {
    let bytes = fs::read(expected).expect("samples.py writes it beside the samples");
    let mut rest = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
    let mut worst = 0.0_f32;
    for sample in &prepared.samples {
        for output in eval::run(&prepared.float, &sample.inputs)? {
            let found = reals(&output);
            let wanted: Vec<_> = rest.by_ref().take(found.len()).collect();
            assert_eq!(
                wanted.len(),
                found.len(),
                "{}: sizes of outputs",
                network.name
            );
            let largest = wanted.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
            for (f, w) in found.iter().zip(&wanted) {
                let error = (f - w).abs() / largest;
                assert!(error.is_finite(), "{}: {f} instead of {w}", network.name);
                worst = worst.max(error);
            }
        }
    }
    assert_eq!(rest.next(), None, "{}: number of outputs", network.name);
    Ok(worst)
}

#[test]
fn emitted_programs_of_own_networks_equal_the_integer_evaluator() {
    for network in trained::own() {
        let prepared = prepare(&network, 32).unwrap();
        let ran = prepared.oracle(&network).check_all().unwrap();
        assert!(
            ran >= 2,
            "{}: a C and a Rust program at least",
            network.name
        );
    }
}

#[test]
fn emulators_run_programs_whose_instructions_the_processor_may_have() {
    // The second is for the machines that the first does not fit.
    let networks = [own("digits"), trained::tiny()];
    let prepared = networks.each_ref().map(|n| prepare(n, 3).unwrap());
    let oracles: Vec<_> = prepared
        .iter()
        .zip(&networks)
        .map(|(p, n)| p.oracle(n))
        .collect();
    for name in target::names() {
        let target = Target::load(name).unwrap();
        if target.emulator.is_none() {
            continue;
        }
        let runner = match harness::runner(&target, true) {
            Ok(runner) => runner,
            Err(why) => {
                skipped(&format!("digits on {name} emulated: {}", why.reason));
                continue;
            }
        };
        for language in target.languages.clone() {
            let (compilers, left_out) = runner.compilers(&target, language);
            for why in left_out {
                skipped(&format!("digits on {name}: {}: {}", why.name, why.reason));
            }
            for compiler in compilers {
                let place = Place {
                    target: target.clone(),
                    compiler,
                    emulated: true,
                };
                let fits = oracles.iter().any(|oracle| oracle.check(&place).unwrap());
                assert!(fits, "{name} is large enough");
            }
        }
    }
}

/// What a network is asked for, and how far its answers may be from the float evaluator's, as a part of the
/// largest: what another order of sums loses, and what a softmax makes of rounded weights.
const IN_FLOATING_POINT: [(&str, &[&str], f32); 4] = [
    ("f32", &[], 1e-5),
    ("f16", &[], 0.02),
    ("w8", &[], 0.1),
    // Borders on both sides of some layers.
    ("w8a8", &["down*=f32", "pool*=w8"], 0.1),
];

#[test]
fn networks_in_floating_point_are_near_the_float_evaluator_and_emitted_exactly() {
    for network in trained::own() {
        for (turn, (precision, layers, tolerance)) in IN_FLOATING_POINT.into_iter().enumerate() {
            let prepared = in_precision(&network, precision, layers).unwrap();
            let what = format!("{} {precision} {layers:?}", network.name);
            let real = integer::reals(&prepared.integer);
            match layers {
                [] => assert_eq!(real.len(), integer::layers(&prepared.integer), "{what}"),
                _ => assert!(!real.is_empty(), "{what}"),
            }
            let error = prepared
                .samples
                .iter()
                .map(|s| error(&prepared, s).unwrap());
            let error = error.fold(0.0, f32::max);
            assert!(error < tolerance, "{what}: {error}");
            prepared.oracle(&network).check_some(5 * turn, 6).unwrap();
        }
    }
}

/// A network as it is compiled for a precision; samples tell the ranges only where some layer needs them.
fn in_precision(network: &Network, precision: &str, layers: &[&str]) -> Result<Prepared> {
    let mut float = pipeline::load(&network.model, &network.options())?;
    let texts = Texts {
        precision: Some(precision.to_string()),
        layers: layers
            .iter()
            .map(|text| LayerTexts::parse(text))
            .collect::<Result<_>>()?,
        ..Texts::default()
    };
    let options = texts.options(false)?;
    match layers {
        [] => pipeline::calibrate_without_samples(&mut float, &options)?,
        _ => {
            let open = |model: &Model| calibration(network, model);
            pipeline::calibrate(&mut float, open, Method::MinMax, &options)?;
        }
    }
    let integer = pipeline::quantize(float.clone(), &options)?;
    let samples = samples(&network.test, &float, 8)?;
    Ok(Prepared {
        float,
        integer,
        samples,
    })
}

/// The largest distance from the float evaluator's answer, as a part of the largest number.
fn error(prepared: &Prepared, sample: &Sample) -> Result<f32> {
    let wanted = eval::run(&prepared.float, &sample.inputs)?;
    let found = by_integers(&prepared.integer, &sample.inputs)?;
    let pairs = found.iter().zip(&wanted).map(|(found, wanted)| {
        let largest = reals(wanted)
            .iter()
            .fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let errors = reals(found).iter().zip(reals(wanted));
        errors.fold(0.0, |worst: f32, (f, w)| worst.max((f - w).abs() / largest))
    });
    Ok(pairs.fold(0.0, f32::max))
}

#[test]
fn known_networks_are_evaluated_as_elsewhere_and_emitted_exactly() {
    let found = match trained::found() {
        Ok(found) => found,
        Err(why) => return skipped(&format!("known networks: {why}")),
    };
    if found.iter().all(|n| n.model.starts_with(trained::root())) {
        skipped("no shared models");
    }
    parallel::each(found.iter().enumerate(), |(turn, network)| {
        check_known(turn, network)
    });
}

fn check_known(turn: usize, network: &Network) {
    let prepared = match prepare(network, 4) {
        Ok(prepared) => prepared,
        Err(e) if BEYOND.contains(&network.name.as_str()) => {
            return skipped(&format!("{}: {e}", network.name));
        }
        Err(e) => panic!("{}: {e}", network.name),
    };
    let expected = network.expected.as_deref().expect("found networks have it");
    let error = float_error(network, expected, &prepared).unwrap();
    assert!(
        error < FLOAT_TOLERANCE,
        "{}: reals differ by {error}",
        network.name
    );
    prepared.oracle(network).check_some(turn, PROGRAMS).unwrap();
}

#[test]
fn networks_quantized_elsewhere_mean_what_their_operators_say_and_are_emitted_exactly() {
    let found = match trained::quantized_elsewhere() {
        Ok(found) => found,
        Err(why) => return skipped(&format!("networks quantized elsewhere: {why}")),
    };
    if found.is_empty() {
        skipped("no shared models");
    }
    parallel::each(found.iter().enumerate(), |(turn, network)| {
        let prepared = without_calibration(network).unwrap();
        let expected = network.expected.as_deref().expect("found networks have it");
        let expected = fs::read(expected).expect("the script writes it beside the samples");
        let mut found = vec![];
        for sample in &prepared.samples {
            let outputs = by_integers(&prepared.integer, &sample.inputs).unwrap();
            found.extend(outputs.iter().flat_map(|o| reals(o).to_vec()));
        }
        let found: Vec<u8> = found.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(found.len(), expected.len(), "{}: outputs", network.name);
        let pairs = found.chunks(4).zip(expected.chunks(4));
        let count = pairs.filter(|(f, e)| f != e).count();
        assert_eq!(count, 0, "{}: outputs differ from ONNX's", network.name);
        let turn = 3 * turn + 1;
        prepared.oracle(network).check_some(turn, PROGRAMS).unwrap();
    });
}

/// A network that came quantized as a whole.
fn without_calibration(network: &Network) -> Result<Prepared> {
    let mut float = pipeline::load(&network.model, &network.options())?;
    pipeline::calibrate_without_samples(&mut float, &Default::default())?;
    let integer = pipeline::quantize(float.clone(), &Default::default())?;
    let samples = samples(&network.test, &float, usize::MAX)?;
    Ok(Prepared {
        float,
        integer,
        samples,
    })
}

#[test]
fn the_integers_recognise_digits_as_well_as_the_reals() {
    let prepared = prepare(&own("digits"), usize::MAX).unwrap();
    let real = accuracy(&prepared, |inputs| eval::run(&prepared.float, inputs));
    let whole = accuracy(&prepared, |inputs| by_integers(&prepared.integer, inputs));
    let figures = format!("float {real:.4}, integer {whole:.4}");
    assert!(real >= 0.97, "{figures}");
    assert!(whole >= real - 0.01, "{figures}");
}

#[test]
fn the_integers_restore_digits_like_the_reals() {
    let prepared = prepare(&own("restore"), usize::MAX).unwrap();
    let (mut signal, mut noise) = (0.0, 0.0);
    for sample in &prepared.samples {
        let wanted = eval::run(&prepared.float, &sample.inputs).unwrap();
        let found = by_integers(&prepared.integer, &sample.inputs).unwrap();
        for (w, f) in reals(&wanted[0]).iter().zip(reals(&found[0])) {
            signal += f64::from(w * w);
            noise += f64::from((w - f) * (w - f));
        }
    }
    // 25 dB: the integers err by less than a fifteenth of what they stand for.
    assert!(signal > noise * 10_f64.powf(2.5), "{signal} of {noise}");
}

fn own(name: &str) -> Network {
    let own = trained::own();
    let network = own.into_iter().find(|n| n.name == name);
    network.expect("the network is part of the repository")
}

fn by_integers(model: &Model, inputs: &[Array]) -> Result<Vec<Array>> {
    let outputs = integer::run(model, &integer::quantize_inputs(model, inputs))?;
    Ok(integer::dequantize_outputs(model, outputs))
}

/// The part of labelled samples whose label is the largest output.
fn accuracy(prepared: &Prepared, run: impl Fn(&[Array]) -> Result<Vec<Array>>) -> f64 {
    let right = prepared.samples.iter().filter(|sample| {
        let outputs = run(&sample.inputs).unwrap();
        let scores = reals(&outputs[0]).iter().enumerate();
        let best = scores
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(i, _)| i as i64);
        best == Some(sample.labels[0])
    });
    right.count() as f64 / prepared.samples.len() as f64
}

/// Networks whose programs are small enough to be built with sanitizers in a moment.
const SANITIZED: [&str; 4] = [
    "mnist8_cntk",
    "he_dnn_s",
    "mlperf_kws_dscnn_f32",
    "resnet20_dyn18_ext",
];

#[test]
fn c_programs_run_without_a_report_of_the_sanitizers() {
    if Command::new("clang-19").arg("--version").output().is_err() {
        return skipped("sanitizers of C: clang-19 is not installed");
    }
    let compilers = |target: &Target| {
        let options = [
            "-g",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
        ];
        let clang = Compiler::new(target, Language::C, Path::new("clang-19"), "1");
        clang.with(&options)
    };
    sanitize(&target::names(), compilers);
}

#[test]
fn rust_programs_run_without_a_report_of_the_sanitizer() {
    // The sanitizer's option is not stable, its runtime comes with the stable toolchain.
    // Miri is part of nightly toolchains only, so it is not asked here.
    let compiler = |target: &Target| {
        let mut rustc = Compiler::new(target, Language::Rust, Path::new("rustc"), "1");
        rustc = rustc.with(&["-Zsanitizer=address", "-Cdebug-assertions=on"]);
        rustc.command = PathBuf::from("env");
        let bootstrap = ["RUSTC_BOOTSTRAP=1", "rustc"].map(str::to_string);
        rustc.arguments.splice(0..0, bootstrap);
        rustc
    };
    sanitize(&["generic"], compiler);
}

/// Runs networks under a sanitizer; a report ends the program with an error.
fn sanitize(targets: &[&str], compiler: impl Fn(&Target) -> Compiler) {
    let mut all = trained::own();
    let found = trained::found().unwrap_or_default();
    all.extend(
        found
            .into_iter()
            .filter(|n| SANITIZED.contains(&n.name.as_str())),
    );
    for network in all {
        let prepared = prepare(&network, 4).unwrap();
        let oracle = prepared.oracle(&network);
        for name in targets {
            let target = Target::load(name).unwrap();
            if let Err(why) = harness::runs_here(&target) {
                skipped(&format!("{} on {name}: {}", network.name, why.reason));
                continue;
            }
            let place = Place {
                compiler: compiler(&target),
                target,
                emulated: false,
            };
            oracle
                .check(&place)
                .unwrap_or_else(|e| panic!("{} on {name}: {e}", network.name));
        }
    }
}
