//! `qcc bench`: how long the emitted program takes, in total and for each layer.

use qcc_compiler::harness::{self, Timing};
use qcc_compiler::target::Language;
use qcc_compiler::{Result, integer, pipeline};

use crate::args::{DataArgs, LanguageArg, ModelArgs, QuantizeArgs, TargetArgs};
use crate::compile::{Cost, summary};
use crate::output;
use crate::prepare::{self, Fallback};
use crate::programs::Lowered;

/// Arguments of `qcc bench`.
#[derive(clap::Args)]
#[command(after_help = "\
The program is compiled with -O3 and evaluated on one thread. Cycles follow from times and the processor's clock,
which is timed with a chain of additions. Times of layers include some nanoseconds each for reading the time.

Examples:
  qcc bench net.onnx --target x86_64-avx2
  qcc bench net.onnx --target x86_64-avx2 --lang rust --repeats 1000
  qcc bench net.onnx --compiler clang-19")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Language of the program
    #[arg(long, value_enum, default_value = "c")]
    lang: LanguageArg,
    /// Command of the compiler; the newest one found where not given
    #[arg(long, value_name = "COMMAND")]
    compiler: Option<String>,
    /// How often the network is evaluated
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Prints a table of layers and the total.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let prepared = prepare::prepare(
        &args.model,
        &args.quantize,
        &args.data,
        Fallback::Noise,
        &args.target.target,
    )?;
    let lowered = Lowered::new(&prepared.integer, &args.target)?;
    lowered.check_runs_here()?;
    let language = Language::from(args.lang);
    let compiler = lowered.compiler(language, args.compiler.as_deref())?;
    let noise = pipeline::noise(&prepared.float, 1);
    let inputs = integer::quantize_inputs(&prepared.integer, &noise[0]);
    let sample = harness::to_ports(&lowered.program, &inputs);
    let repeats = args.repeats as usize;
    let total = lowered.build(&compiler, false)?.time(&sample, repeats)?;
    let layers = lowered.build(&compiler, true)?.time(&sample, repeats)?;
    output::print(&text(&lowered, &total, &layers));
    eprintln!(
        "{} on {}: {}",
        compiler.name,
        lowered.target.name,
        summary(&lowered.program)
    );
    Ok(0)
}

fn text(lowered: &Lowered, total: &Timing, layers: &Timing) -> String {
    let calls = lowered.program.calls.iter().zip(&layers.calls);
    let mut each: Vec<(String, f64, u64)> = vec![];
    for (call, time) in calls {
        // A layer of several calls is one row.
        match each.last_mut().filter(|(layer, ..)| *layer == call.layer) {
            Some((_, sum, macs)) => (*sum, *macs) = (*sum + time, *macs + call.macs),
            None => each.push((call.layer.clone(), *time, call.macs)),
        }
    }
    let sum: f64 = each.iter().map(|(_, time, _)| time).sum();
    let rate = |macs: u64, time: f64| match total.rate {
        Some(cycles) if macs > 0 => format!("{:.2}", macs as f64 / (time * cycles)),
        _ => String::new(),
    };
    let mut rows: Vec<_> = each
        .iter()
        .map(|(layer, time, macs)| {
            vec![
                output::shortened(layer),
                micros(*time),
                format!("{:.1}", 100.0 * time / sum.max(1.0)),
                output::grouped(*macs),
                rate(*macs, *time),
            ]
        })
        .collect();
    let macs = Cost::of(&lowered.program).macs;
    rows.push(vec![
        "total".into(),
        micros(total.best),
        "100.0".into(),
        output::grouped(macs),
        rate(macs, total.best),
    ]);
    let table = output::table(&["layer", "µs", "%", "MACs", "MAC/cycle"], &rows, 1);
    let clock = total.rate.map_or(String::new(), |cycles| {
        format!("; {cycles:.2} cycles a nanosecond, by timed additions")
    });
    let median = micros(total.median);
    format!("{table}median of the total: {median} µs{clock}\n")
}

/// Microseconds to three digits or more.
fn micros(nanoseconds: f64) -> String {
    let micros = nanoseconds / 1e3;
    match micros {
        0.0..1.0 => format!("{micros:.3}"),
        1.0..100.0 => format!("{micros:.2}"),
        _ => format!("{micros:.1}"),
    }
}
