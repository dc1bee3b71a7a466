//! `qcc choose`, and what `--precision auto` does: a width for each layer.

use std::path::PathBuf;

use qcc_compiler::data::{Sample, Samples};
use qcc_compiler::ir::Model;
use qcc_compiler::passes::choose::{Path, Point};
use qcc_compiler::passes::quantize::{self, Options};
use qcc_compiler::target::Target;
use qcc_compiler::{Result, lower, pipeline};

use crate::args::{DataArgs, ModelArgs, QuantizeArgs};
use crate::compile::Cost;
use crate::output;
use crate::prepare::{self, Fallback};
use crate::repair;

/// Networks of the table of --pareto.
const POINTS: usize = 9;

/// Arguments of `qcc choose`.
#[derive(clap::Args)]
#[command(after_help = "\
Networks are measured on --data, or on the samples of --calibrate, which flatter what has learned from them.
First repairs are tried on the samples of --calibrate, a quarter of which judges: how ranges follow from samples, how
channels are equalised, what biases make good, how weights are rounded. What is said of these stays as it is said.
With labels the answers are counted that the float network has right and the integer network wrong: the goal of
--min-accuracy allows so many, and not more where others became right by luck.
Layers named with --layer keep what is said of them.
The file written with -o is what --overrides reads; --precision auto, with the same goals, does both at once.

Examples:
  qcc choose net.onnx --calibrate digits.npz --min-accuracy float-0.5 -o widths.toml
  qcc compile net.onnx --calibrate digits.npz --overrides widths.toml -o net.c
  qcc choose net.onnx --calibrate photos/ --preset imagenet --max-flash 200k --pareto
  qcc compile net.onnx --calibrate digits.npz --precision auto --min-sqnr 30 -o net.c")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The machine whose constants are counted
    #[arg(long, value_name = "MACHINE", default_value = "generic")]
    target: String,
    /// Where the choice goes: a TOML file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also measure networks from the smallest to that of 8 bits everywhere
    #[arg(long)]
    pareto: bool,
    /// Samples that networks are measured on; those of --calibrate where not given
    #[arg(long = "data", value_name = "DATA")]
    measured: Vec<PathBuf>,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Prints the choice, and writes it.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let mut float = pipeline::load(&args.model.model, &args.model.options())?;
    let quantize = args.quantize.as_auto()?;
    let quantize = repair::repaired(&float, &quantize, &args.data, &output::print)?;
    prepare::calibrate(&mut float, &quantize, &args.data, Fallback::BatchNorm)?;
    let search = Search {
        target: &args.target,
        quantize: &quantize,
        data: &args.data,
        measured: match args.measured.is_empty() {
            true => &quantize.calibrate,
            false => &args.measured,
        },
    };
    search.path(&float, &mut |path| {
        if args.pareto {
            let bar = output::progress(POINTS, "measuring");
            for i in 0..POINTS {
                path.measure(path.middle() * i / (POINTS - 1))?;
                bar.inc(1);
            }
            bar.finish_and_clear();
        }
        let goal = args.quantize.goal();
        let chosen = match goal == Default::default() && args.pareto {
            true => None,
            false => Some(path.choose(&goal)?),
        };
        let mut text = points(path, args.pareto, chosen.as_ref());
        if let Some(point) = &chosen {
            text += &layers(path, point);
            if let Some(file) = &args.output {
                let toml = overrides(&quantize, path, point)?;
                output::write_files(&[(file, toml.as_bytes())])?;
            }
        }
        output::print(&text);
        Ok(())
    })?;
    Ok(0)
}

/// How `--precision auto` quantizes, said on stderr.
pub(crate) fn choose(
    float: &Model,
    target: &str,
    quantize: &QuantizeArgs,
    data: &DataArgs,
) -> Result<Options> {
    let search = Search {
        target,
        quantize,
        data,
        measured: &quantize.calibrate,
    };
    let mut options = None;
    search.path(float, &mut |path| {
        let point = path.choose(&quantize.goal())?;
        eprint!("{}", points(path, false, Some(&point)));
        options = Some(point.options);
        Ok(())
    })?;
    Ok(options.expect("the search gives one or fails"))
}

/// What a search needs.
struct Search<'a> {
    target: &'a str,
    quantize: &'a QuantizeArgs,
    data: &'a DataArgs,
    /// Samples that networks are measured on.
    measured: &'a [PathBuf],
}

impl Search<'_> {
    /// Finds the path of a network and hands it to `use_path`.
    fn path(&self, float: &Model, use_path: &mut dyn FnMut(&mut Path) -> Result<()>) -> Result<()> {
        let data = Samples::open(self.measured, float, &self.data.options())?;
        let samples: Vec<Sample> = data.collect::<Result<_>>()?;
        let target = Target::load(self.target)?;
        let flash = |integer: &Model| {
            let program = lower::lower(integer, &target, &lower::Options::default())?;
            Ok(Cost::of(&program).constants)
        };
        let bar = output::progress(Path::work(float, samples.len()), "analyzing");
        let options = self.quantize.options()?;
        let rounding = self.quantize.narrow_rounding()?;
        let path = Path::new(float, (&options, rounding), &samples, &flash, &|| {
            bar.inc(1)
        });
        bar.finish_and_clear();
        use_path(&mut path?)
    }
}

/// The networks that were measured, or the chosen one alone.
fn points(path: &Path, all: bool, chosen: Option<&Point>) -> String {
    let is_chosen = |point: &Point| chosen.is_some_and(|c| c.position == point.position);
    let shown = path.points().iter().filter(|point| all || is_chosen(point));
    let rows = shown.map(|point| {
        let count = |word: &str| {
            let changed = path.options(point.position).layers;
            let own = changed.len() - path.options(path.middle()).layers.len();
            let changed = changed[..own].iter();
            changed
                .filter(|l| l.scheme.to_string().contains(word))
                .count()
                .to_string()
        };
        let percent = |share: Option<f64>| {
            share.map_or(String::new(), |share| format!("{:.2} %", 100.0 * share))
        };
        vec![
            output::size(point.flash),
            count("w4"),
            count("w2"),
            count("a16"),
            format!("{:.1}", point.noise.decibel()),
            percent(point.accuracy),
            percent(point.lost),
            if is_chosen(point) { "chosen" } else { "" }.to_string(),
        ]
    });
    let header = [
        "constants",
        "w4 layers",
        "w2 layers",
        "a16 layers",
        "SQNR dB",
        "right",
        "lost",
        "",
    ];
    let mut text = output::table(&header, &rows.collect::<Vec<_>>(), 0);
    if let Some(right) = path.float_accuracy() {
        text += &format!("float {:.2} % right\n", 100.0 * right);
    }
    if let Some((labelled, most)) = chosen.and_then(|point| path.lost_at_most(point)) {
        text += &format!(
            "{labelled} labels: of all samples at most {:.1} % are lost, with a certainty of 95 %\n",
            100.0 * most
        );
    }
    text
}

/// Each layer that is not as the others.
fn layers(path: &Path, point: &Point) -> String {
    let steps = path.steps(point.position);
    if steps.is_empty() {
        return String::from("\n8 bits everywhere\n");
    }
    let rows = steps.iter().map(|step| {
        vec![
            output::shortened(&step.node),
            step.scheme.to_string(),
            format!("{:+.1e}", step.noise),
            step.bytes.to_string(),
        ]
    });
    let header = ["layer", "becomes", "noise alone", "bytes"];
    format!("\n{}", output::table(&header, &rows.collect::<Vec<_>>(), 2))
}

/// The choice as `--overrides` reads it.
fn overrides(quantize: &QuantizeArgs, path: &Path, point: &Point) -> Result<String> {
    let quoted = |text: String| toml::Value::String(text).to_string();
    let quantize::Options { scheme, layers, .. } = path.options(point.position);
    let mut text = format!(
        "# Chosen by qcc: {} of constants, {:.1} dB beside the float network.\nprecision = {}\n",
        output::size(point.flash),
        point.noise.decibel(),
        // Its other words have keys of their own.
        quoted(scheme.to_string().split(',').take(1).collect()),
    );
    let texts = quantize.texts()?;
    let repairs = [
        ("weights", texts.weights),
        ("rounding", texts.rounding),
        ("calibration", texts.calibration),
        ("equalisation", texts.equalisation),
        ("bias_correction", texts.bias_correction),
    ];
    for (name, value) in repairs {
        if let Some(value) = value {
            text += &format!("{name} = {}\n", quoted(value));
        }
    }
    for layer in layers {
        let (name, scheme) = (quoted(layer.pattern), quoted(layer.scheme.beside(scheme)));
        text += &format!("\n[[layer]]\nmatch = {name}\nprecision = {scheme}\n");
    }
    Ok(text)
}
