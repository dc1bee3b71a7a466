//! `qcc bench`: how long the emitted program takes, in total and for each layer; or, in an emulator, what it executes.

use qcc_compiler::harness::{self, Layers, Runner, Timing};
use qcc_compiler::target::Language;
use qcc_compiler::{Result, integer, pipeline};

use crate::args::{DataArgs, LanguageArg, ModelArgs, QuantizeArgs, TargetArgs};
use crate::compile::{Cost, summary};
use crate::counted;
use crate::json::Json;
use crate::limit::Counted;
use crate::output;
use crate::prepare::{self, Fallback};
use crate::programs::Lowered;

/// Arguments of `qcc bench`.
#[derive(clap::Args)]
#[command(after_help = "\
The program is compiled with -O3 and evaluated on one thread. Cycles follow from times and the processor's clock,
which is timed with a chain of additions. Times of layers include some nanoseconds each for reading the time.

Operations are counted from the kernels' loops, each as the instructions that it is spelled with; `peak` is the
MACs of an operation if there were only products, `op/cycle` how many are executed. `limited by` is what most of a
layer's operations are for:
  products      multiplying and adding up; chains of so many steps are summed in 16 bits
  padding       products with nothing: channels or depth that fill no vector
  unsafe pairs  products that 16 bits hold only for activations less 128
  operands      bringing activations and weights to registers
  rescaling     from sums to results
  memory        waiting for constants beyond the nearest cache: each is hardly used again, and less than 2
                operations are executed a cycle
  tables, moves, arithmetic   layers without products

Where the processor lacks the machine's instructions, QEMU runs the program once and counts what it executes:
instructions, or packets of them (Hexagon). Counts are the same in every run. `products` is the part of the
instructions that multiply integers and add up. Times in an emulator would say nothing. For an AVR, simavr counts
the processor's cycles.

Examples:
  qcc bench net.onnx --target x86_64-avx2
  qcc bench net.onnx --target x86_64-avx2 --lang rust --repeats 1000
  qcc bench net.onnx --compiler clang-19
  qcc bench net.onnx --target aarch64-neon-dotprod
  qcc bench net.onnx --target aarch64-neon-dotprod --precision f32")]
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
    /// Count in the machine's emulator even if the processor has its instructions
    #[arg(long)]
    emulate: bool,
    /// How often the network is evaluated; counts are of one evaluation
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    let runner = lowered.runner(args.emulate)?;
    let language = Language::from(args.lang);
    let compiler = lowered.compiler(&runner, language, args.compiler.as_deref())?;
    let noise = pipeline::noise(&prepared.float, 1);
    let inputs = integer::quantize_inputs(&prepared.integer, &noise[0]);
    let sample = harness::to_ports(&lowered.program, &inputs);
    let report = match runner {
        Runner::Processor => {
            let repeats = args.repeats as usize;
            let total = lowered.build(&compiler, Layers::Untold)?;
            let total = total.time(&sample, repeats)?;
            let layers = lowered.build(&compiler, Layers::Timed)?;
            let rows = rows(&lowered, &layers.time(&sample, repeats)?);
            match args.json {
                true => json(&lowered, &rows, &total).text(0) + "\n",
                false => text(&lowered, &rows, &total),
            }
        }
        Runner::Emulator(..) => counted::report(&lowered, &compiler, &sample, args.json)?,
    };
    output::print(&report);
    eprintln!(
        "{} on {}: {}",
        compiler.name,
        lowered.target.name,
        summary(&lowered.program)
    );
    Ok(0)
}

/// A layer: its calls together.
struct Row {
    layer: String,
    time: f64,
    counted: Counted,
}

impl Row {
    /// Operations of a cycle.
    fn rate(&self, total: &Timing) -> Option<f64> {
        let cycles = total.rate? * self.time;
        (cycles > 0.0).then(|| self.counted.work.total() as f64 / cycles)
    }
}

fn rows(lowered: &Lowered, layers: &Timing) -> Vec<Row> {
    let calls = lowered.program.calls.iter().zip(&layers.calls);
    let mut rows: Vec<Row> = vec![];
    for (call, time) in calls {
        let counted = Counted::of(call, &lowered.program, &lowered.target);
        match rows.last_mut().filter(|row| row.layer == call.layer) {
            Some(row) => {
                row.time += time;
                row.counted = row.counted.and(counted);
            }
            None => rows.push(Row {
                layer: call.layer.clone(),
                time: *time,
                counted,
            }),
        }
    }
    rows
}

fn text(lowered: &Lowered, rows: &[Row], total: &Timing) -> String {
    let sum: f64 = rows.iter().map(|row| row.time).sum();
    let rate = |count: u64, time: f64| match total.rate {
        Some(cycles) if count > 0 => format!("{:.2}", count as f64 / (time * cycles)),
        _ => String::new(),
    };
    let row = |row: &Row| {
        let Counted { work, macs, .. } = row.counted;
        vec![
            output::shortened(&row.layer),
            micros(row.time),
            format!("{:.1}", 100.0 * row.time / sum.max(1.0)),
            output::grouped(macs),
            rate(macs, row.time),
            rate(work.total(), row.time),
            row.counted
                .peak()
                .map_or(String::new(), |peak| format!("{peak:.1}")),
            row.counted.text(row.rate(total)),
        ]
    };
    let mut table: Vec<_> = rows.iter().map(row).collect();
    let macs = Cost::of(&lowered.program).macs;
    let work: u64 = rows.iter().map(|row| row.counted.work.total()).sum();
    table.push(vec![
        "total".into(),
        micros(total.best),
        "100.0".into(),
        output::grouped(macs),
        rate(macs, total.best),
        rate(work, total.best),
        String::new(),
        String::new(),
    ]);
    let header = [
        "layer",
        "µs",
        "%",
        "MACs",
        "MAC/cycle",
        "op/cycle",
        "peak",
        "limited by",
    ];
    let table = output::table(&header, &table, 1);
    let clock = total.rate.map_or(String::new(), |cycles| {
        format!("; {cycles:.2} cycles a nanosecond, by timed additions")
    });
    let median = micros(total.median);
    format!("{table}median of the total: {median} µs{clock}\n")
}

fn json(lowered: &Lowered, rows: &[Row], total: &Timing) -> Json {
    let optional = |x: Option<f64>| x.map_or(Json::Null, Json::Number);
    let row = |row: &Row| {
        let (word, part) = row.counted.limit(row.rate(total));
        let work = row.counted.work;
        Json::Object(vec![
            ("name", Json::Text(row.layer.clone())),
            ("nanoseconds", Json::Number(row.time)),
            ("macs", Json::int(row.counted.macs)),
            ("operations", Json::int(work.total())),
            ("products", Json::int(work.products)),
            ("multiplied", Json::int(work.multiplied)),
            ("constant_bytes", Json::int(row.counted.constants)),
            ("peak", optional(row.counted.peak())),
            ("limit", Json::Text(word.to_string())),
            ("part", Json::Number(part)),
        ])
    };
    Json::Object(vec![
        ("target", Json::Text(lowered.target.name.clone())),
        ("nanoseconds", Json::Number(total.best)),
        ("median_nanoseconds", Json::Number(total.median)),
        ("cycles_a_nanosecond", optional(total.rate)),
        ("macs", Json::int(Cost::of(&lowered.program).macs)),
        ("layers", Json::List(rows.iter().map(row).collect())),
    ])
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
