//! Products of real networks, each on inputs of its own that bring its sums as far as they go: interpreted on every
//! machine and emitted, they are what the integer evaluator says, bit for bit.

use qcc_compiler::backend::Header;
use qcc_compiler::data::{Options as DataOptions, Samples};
use qcc_compiler::harness::{self, Executable, Layers};
use qcc_compiler::ir::{Array, Clamp, Elem, IntType, Model, QuantParams, verify};
use qcc_compiler::kernel::{Program, interp};
use qcc_compiler::ops::{Conv, Pads};
use qcc_compiler::passes::calibrate::Method;
use qcc_compiler::passes::quantize::Texts;
use qcc_compiler::target::{self, Language, Target};
use qcc_compiler::{Result, integer, lower, pipeline};
use qcc_tests::adversarial::{products, samples};
use qcc_tests::graph::{Graph, in_ports};
use qcc_tests::trained::{self, Network, shared, skipped};

/// A network that others quantized, most of whose products are summed in chains; it needs no samples.
const ELSEWHERE: &str = "mobilenet_v1_0.25_224_qat_uint8_qdq";

/// What own networks are compiled for: sums of 32 bits, chains of steps, and pairs of few bits.
const PRECISIONS: [&str; 3] = ["w8a8", "w8a7", "w4a8"];

/// Inputs of each product: emitted programs evaluate all, the interpreter, which is slow, the first.
const COUNT: usize = 24;

/// Inputs, and what the integer evaluator says of them.
struct Case {
    inputs: Vec<Array>,
    outputs: Vec<Array>,
}

fn cases(model: &Model) -> Vec<Case> {
    let samples = samples(model, 1, COUNT).into_iter();
    samples
        .map(|inputs| Case {
            outputs: integer::run(model, &inputs).expect("the products can be evaluated"),
            inputs,
        })
        .collect()
}

/// Checks the emitted programs of each machine with vectors, and returns what they claim to be proven.
/// With a turn the language is one in turn, and the interpreter, which is slow, runs the first inputs too.
fn check(name: &str, model: &Model, turn: Option<usize>) -> Vec<String> {
    verify(model).expect("what is cut out is a model");
    let cases = cases(model);
    let mut proven = vec![];
    for (index, target) in target::names().into_iter().enumerate() {
        let target = Target::load(target).expect("a machine of the list");
        let program = pipeline::lower(model, &target, &lower::Options::default(), "products");
        let program = program.expect("the products can be lowered");
        let claims = program.kernels.iter().flat_map(|kernel| kernel.proven());
        proven.extend(claims.map(str::to_string));
        let what = format!("{name} on {}", target.name);
        if turn.is_some() {
            interpret(&what, &program, &target, &cases[0]);
        }
        let due = |language: usize| turn.is_none_or(|turn| (turn + index) % 2 == language);
        // What has no vectors takes no sums in 16 bits.
        let languages = [Language::C, Language::Rust].into_iter().enumerate();
        let languages = languages.filter(|(i, _)| target.lanes > 1 && due(*i));
        match harness::runs_here(&target) {
            Ok(()) => {
                languages.for_each(|(_, language)| run(&what, &program, &target, language, &cases))
            }
            Err(why) => skipped(&format!("emitted products of {what}: {}", why.reason)),
        }
    }
    proven
}

fn interpret(what: &str, program: &Program, target: &Target, case: &Case) {
    let found = interp::run(program, target, &in_ports(&case.inputs, &program.inputs));
    compare(&format!("{what}, interpreted"), program, &found, case);
}

/// The emitted program, by one compiler that optimises.
fn run(what: &str, program: &Program, target: &Target, language: Language, cases: &[Case]) {
    let header = Header {
        model: "products".into(),
        options: String::new(),
        version: String::new(),
        trace: false,
        thread_pool: false,
    };
    let (compilers, _) = harness::compilers(target, language);
    let Some(compiler) = compilers.iter().find(|c| c.name.ends_with("-O3")) else {
        return skipped(&format!("emitted products of {what}: there is no compiler"));
    };
    let source = pipeline::print(program, target, language, &header);
    let executable = Executable::build(&source, program, target, compiler, Layers::Untold);
    let fed: Vec<_> = cases
        .iter()
        .map(|case| in_ports(&case.inputs, &program.inputs))
        .collect();
    let found = executable
        .and_then(|executable| executable.run(&fed))
        .expect("the emitted program runs");
    for (case, found) in cases.iter().zip(&found) {
        compare(&format!("{what}, {}", compiler.name), program, found, case);
    }
}

/// Names every product that differs.
fn compare(what: &str, program: &Program, found: &[Vec<u8>], case: &Case) {
    let wanted = in_ports(&case.outputs, &program.outputs);
    let ports = program.outputs.iter().zip(found.iter().zip(&wanted));
    let differing: Vec<String> = ports
        .filter(|(_, (found, wanted))| found != wanted)
        .map(|(port, (found, wanted))| {
            let count = found.iter().zip(wanted).filter(|(f, w)| f != w).count();
            format!("{}: {count} of {} bytes", port.name, wanted.len())
        })
        .collect();
    assert!(differing.is_empty(), "{what}: {differing:#?}");
}

/// An own network for a precision.
fn own(network: &Network, precision: &str) -> Result<Model> {
    let texts = Texts {
        precision: Some(precision.to_string()),
        ..Texts::default()
    };
    let options = texts.options(true)?;
    let mut float = pipeline::load(&network.model, &network.options())?;
    let open = |model: &Model| {
        Samples::open(
            std::slice::from_ref(&network.calibration),
            model,
            &DataOptions::default(),
        )
    };
    pipeline::calibrate(&mut float, open, Method::MinMax, &options)?;
    pipeline::quantize(float, &options)
}

#[test]
fn products_of_own_networks() {
    let mut proven = vec![];
    let networks = trained::own();
    for (turn, precision) in PRECISIONS.into_iter().enumerate() {
        let network = &networks[turn % networks.len()];
        let model = own(network, precision).unwrap();
        let name = format!("{} {precision}", network.name);
        proven.extend(check(&name, &products(&model), Some(turn)));
    }
    for in_chains in [true, false] {
        let mut in_16_bits = proven.iter().filter(|claim| claim.contains("16 bits hold"));
        let found = in_16_bits.any(|claim| claim.contains("chains") == in_chains);
        assert!(
            found,
            "no product has sums of 16 bits, in chains: {in_chains}"
        );
    }
}

#[test]
fn products_whose_chains_end_next_to_16_bits() {
    // Smaller weights make longer chains, whose ends lie closer to the limit.
    for (turn, largest) in [9, 20, 40].into_iter().enumerate() {
        let mut graph = Graph::new(turn as u64);
        let u8 = |scale: f32| QuantParams::per_tensor(IntType::U8, scale, 128);
        let x = graph.input(&[1, 96, 8, 8], u8(0.1));
        let mut params = QuantParams::symmetric_per_channel(IntType::I8, 0, vec![0.1; 64]);
        (params.low, params.high) = (-largest, largest);
        let w = graph.constant(&[64, 96, 1, 1], params);
        if let Elem::Quantized(params) = &mut graph.model[w].ty.elem {
            (params.low, params.high) = (-127, 127);
        }
        let conv = Conv {
            strides: [1, 1],
            pads: Pads::default(),
            dilations: [1, 1],
            groups: 1,
            activation: Clamp::NONE,
        };
        // No sum is cut off.
        let y = graph.node(conv, &[x, w], u8(largest as f32));
        let proven = check(
            &format!("weights to {largest}"),
            &graph.finish(&[y]),
            Some(turn),
        );
        assert!(proven.iter().any(|claim| claim.contains("chains")));
    }
}

#[test]
fn products_of_a_network_quantized_elsewhere() {
    let path = shared().join(format!("{ELSEWHERE}.onnx"));
    if !path.exists() {
        let missing = format!("products of {ELSEWHERE}: {} is not there", path.display());
        return skipped(&missing);
    }
    let float = pipeline::load(&path, &Default::default()).unwrap();
    let model = pipeline::quantize(float, &Default::default()).unwrap();
    let proven = check(ELSEWHERE, &products(&model), None);
    let chains = proven.iter().filter(|claim| claim.contains("chains"));
    assert!(chains.count() > 1, "{ELSEWHERE} is no hard case");
}
