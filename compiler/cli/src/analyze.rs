//! `qcc analyze`: what quantization costs, layer by layer.

use std::path::PathBuf;

use qcc_compiler::Result;
use qcc_compiler::data::Samples;
use qcc_compiler::passes::analyse::{Activations, Analysis, Layer, Noise, Report, Weights};

use crate::args::{DataArgs, ModelArgs, QuantizeArgs};
use crate::json::Json;
use crate::output;
use crate::prepare::{self, Fallback};
use crate::repair;

/// Samples that are evaluated where no number is given: ratios settle after a few.
const SAMPLES: usize = 8;

/// How many layers are named as those to look at first.
const FIRST: usize = 5;

/// Arguments of `qcc analyze`.
#[derive(clap::Args)]
#[command(after_help = "\
All ratios are signal to noise in decibel: 6 more are one bit more, 40 are noise of a hundredth.

  weights    the layer's weights beside the integers that stand for them
  result     its result on reals beside the integers nearest to it
  worst      the same of the channel that suffers most, with its number
  clipped    share of the result that lies beyond what the integers represent
  so far     the integer network's result beside the float network's: the noise of all layers before
  alone      the network's outputs when only this layer's weights, or only its result, are quantized

Each layer is evaluated alone, on 8 samples where --samples does not say otherwise.

Examples:
  qcc analyze digits.onnx --calibrate digits.npz
  qcc analyze net.onnx --ranges net.json --data photos/ --preset imagenet --resize 256 --samples 4
  qcc analyze net.onnx --calibrate photos/ --preset imagenet --resize 256 --json > layers.json")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples to evaluate; those of --calibrate where not given
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    samples: DataArgs,
}

/// Prints tables or JSON.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let mut float = qcc_compiler::pipeline::load(&args.model.model, &args.model.options())?;
    let fallback = Fallback::BatchNorm;
    let say = |text: &str| eprint!("{text}");
    let quantize = &repair::repaired(&float, &args.quantize, &args.samples, &say)?;
    prepare::calibrate(&mut float, quantize, &args.samples, fallback)?;
    let options = prepare::options(&mut float, quantize, &args.samples, prepare::ANY)?;
    let mut analysis = Analysis::new(&float, &options)?;
    let data = match args.data.is_empty() {
        true => &args.quantize.calibrate,
        false => &args.data,
    };
    if data.is_empty() {
        qcc_compiler::bail!("no samples to analyze with"; hint: "pass them with --data");
    }
    let mut options = args.samples.options();
    options.limit.get_or_insert(SAMPLES);
    let samples = Samples::open(data, &float, &options)?;
    let bar = output::progress(samples.len() * analysis.layers(), "analyzing");
    for sample in samples {
        analysis.observe(&sample?.inputs, || bar.inc(1))?;
    }
    bar.finish_and_clear();
    let report = analysis.finish();
    output::print(&match args.json {
        true => json(&report).text(0) + "\n",
        false => text(&report),
    });
    Ok(0)
}

fn text(report: &Report) -> String {
    let header = [
        "layer",
        "operator",
        "weights",
        "worst",
        "result",
        "worst",
        "clipped",
        "so far",
        "alone: weights",
        "result",
    ];
    let rows: Vec<_> = report.layers.iter().map(row).collect();
    let mut text = output::table(&header, &rows, 2);
    let (samples, ratio) = (report.samples, decibel(report.outputs.decibel()));
    text += &format!("\noutputs    {ratio} dB beside the float network, {samples} samples\n");
    for (i, layer) in first(report).into_iter().enumerate() {
        let lead = if i == 0 { "look at" } else { "" };
        text += &format!("{lead:<9}  {}\n", reason(layer));
    }
    text
}

fn row(layer: &Layer) -> Vec<String> {
    let weights = layer.weights.as_ref();
    let result = layer.result.as_ref();
    let ratio = |noise: Option<Noise>| noise.map_or(String::new(), |n| decibel(n.decibel()));
    let worst = |channels: Option<Option<(usize, f64)>>| {
        channels
            .flatten()
            .map_or(String::new(), |(channel, ratio)| match ratio {
                f64::INFINITY => decibel(ratio),
                _ => format!("{} #{channel}", decibel(ratio)),
            })
    };
    vec![
        output::shortened(&layer.name),
        layer.operator.to_string(),
        ratio(weights.map(|w| w.noise.all())),
        worst(weights.map(|w| w.noise.worst())),
        ratio(result.map(|r| r.noise.all())),
        worst(result.map(|r| r.noise.worst())),
        result.map_or(String::new(), |r| percent(clipped(r))),
        ratio(result.and_then(|r| r.so_far)),
        ratio(weights.map(|w| w.alone)),
        ratio(result.map(|r| r.alone)),
    ]
}

/// `23.4`, or `exact` where nothing differs.
fn decibel(ratio: f64) -> String {
    match ratio {
        f64::INFINITY => "exact".to_string(),
        ratio => format!("{ratio:.1}"),
    }
}

fn percent(share: f64) -> String {
    match share {
        0.0 => "0".to_string(),
        share => format!("{:.2} %", 100.0 * share),
    }
}

fn clipped(result: &Activations) -> f64 {
    (result.below + result.above) as f64 / result.count.max(1) as f64
}

/// The layers that cost the outputs most.
fn first(report: &Report) -> Vec<&Layer> {
    let mut layers: Vec<_> = report.layers.iter().collect();
    layers.retain(|layer| layer.alone().noise > 0.0);
    // Layers of equal cost stay in the order of the network.
    layers.sort_by(|a, b| a.alone().decibel().total_cmp(&b.alone().decibel()));
    layers.truncate(FIRST);
    layers
}

/// What is wrong with a layer, from its numbers.
fn reason(layer: &Layer) -> String {
    let name = output::shortened(&layer.name);
    let costs = decibel(layer.alone().decibel());
    let noise = |noise: Option<Noise>| noise.map_or(0.0, |n| n.noise);
    let of_weights = noise(layer.weights.as_ref().map(|w| w.alone));
    let of_result = noise(layer.result.as_ref().map(|r| r.alone));
    let what = match (&layer.weights, &layer.result) {
        (Some(weights), _) if of_weights > of_result => format!(
            "mostly its {}-bit weights, {} dB{}",
            weights.bits,
            decibel(weights.noise.all().decibel()),
            worst(weights.noise.worst()),
        ),
        (_, Some(result)) => format!(
            "mostly its {}-bit result, {} dB{}, {} clipped",
            result.bits,
            decibel(result.noise.all().decibel()),
            worst(result.noise.worst()),
            percent(clipped(result)),
        ),
        _ => String::new(),
    };
    format!("{name}: {costs} dB alone, {what}")
}

fn worst(channel: Option<(usize, f64)>) -> String {
    channel.map_or(String::new(), |(channel, ratio)| {
        format!(" (channel {channel}: {})", decibel(ratio))
    })
}

fn json(report: &Report) -> Json {
    Json::Object(vec![
        ("samples", Json::int(report.samples as u64)),
        ("outputs_db", ratio(report.outputs)),
        (
            "layers",
            Json::List(report.layers.iter().map(layer).collect()),
        ),
        (
            "look_at",
            Json::List(
                first(report)
                    .iter()
                    .map(|l| Json::Text(l.name.clone()))
                    .collect(),
            ),
        ),
    ])
}

fn layer(layer: &Layer) -> Json {
    let mut fields = vec![
        ("name", Json::Text(layer.name.clone())),
        ("operator", Json::Text(layer.operator.to_string())),
    ];
    if let Some(Weights { bits, noise, alone }) = &layer.weights {
        let fields_of_weights = vec![
            ("bits", Json::int(u64::from(*bits))),
            ("db", ratio(noise.all())),
            (
                "channels_db",
                Json::List(noise.0.iter().map(|n| ratio(*n)).collect()),
            ),
            ("outputs_db", ratio(*alone)),
        ];
        fields.push(("weights", Json::Object(fields_of_weights)));
    }
    if let Some(result) = &layer.result {
        let channels = result.noise.0.iter().map(|n| ratio(*n));
        let mut fields_of_result = vec![
            ("bits", Json::int(u64::from(result.bits))),
            ("db", ratio(result.noise.all())),
            ("channels_db", Json::List(channels.collect())),
            ("elements", Json::int(result.count)),
            ("below", Json::int(result.below)),
            ("above", Json::int(result.above)),
            ("outputs_db", ratio(result.alone)),
        ];
        if let Some(so_far) = result.so_far {
            fields_of_result.push(("so_far_db", ratio(so_far)));
        }
        fields.push(("result", Json::Object(fields_of_result)));
    }
    Json::Object(fields)
}

/// A ratio in decibel; `null` where nothing differs.
fn ratio(noise: Noise) -> Json {
    match noise.decibel() {
        ratio if ratio.is_finite() => Json::Number((ratio * 1000.0).round() / 1000.0),
        _ => Json::Null,
    }
}
