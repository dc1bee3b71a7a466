//! `qcc eval`: accuracy on labelled samples, of the reals and of the integers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use qcc_compiler::data::{Sample, Samples, answers};
use qcc_compiler::ir::{Array, Data};
use qcc_compiler::{Result, eval, integer};
use rayon::prelude::*;

use crate::args::{DataArgs, ModelArgs, QuantizeArgs};
use crate::json::Json;
use crate::output;
use crate::prepare::{self, Fallback, Prepared};

/// Samples evaluated at a time: bounds memory and keeps a few cores busy.
const CHUNK: usize = 16;

/// Arguments of `qcc eval`.
#[derive(clap::Args)]
#[command(after_help = "\
The first output is taken as one score a class, and the largest score as the answer.
Without labels only the agreement of the two programs is shown.

Examples:
  qcc eval digits.onnx --calibrate digits.npz --data digits-test.npz
  qcc eval net.onnx --calibrate photos/ --data test/ --preset imagenet --resize 256
  qcc eval net.onnx --calibrate photos/ --data test/ --preset imagenet --resize 256 --json > accuracy.json")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Labelled samples: .npz, or a folder of images with labels.csv or one folder a class
    #[arg(long, value_name = "DATA", required = true)]
    data: Vec<PathBuf>,
    /// Print as JSON, without times: the same bytes for the same network and samples
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    samples: DataArgs,
}

/// Sums over samples.
#[derive(Default)]
struct Score {
    answers: usize,
    labelled: usize,
    float_right: usize,
    integer_right: usize,
    agreed: usize,
    signal: f64,
    noise: f64,
    float_time: Duration,
    integer_time: Duration,
}

/// Prints a small table.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let prepared = prepare::prepare(
        &args.model,
        &args.quantize,
        &args.samples,
        Fallback::BatchNorm,
        prepare::ANY,
    )?;
    let mut samples = Samples::open(&args.data, &prepared.float, &args.samples.options())?;
    let bar = output::progress(samples.len(), "evaluating");
    let mut score = Score::default();
    loop {
        let chunk: Vec<Sample> = samples.by_ref().take(CHUNK).collect::<Result<_>>()?;
        if chunk.is_empty() {
            break;
        }
        let scores: Vec<Score> = chunk
            .par_iter()
            .map(|s| one(&prepared, s, &bar))
            .collect::<Result<_>>()?;
        score = scores.into_iter().fold(score, Score::and);
    }
    bar.finish_and_clear();
    output::print(&match args.json {
        true => score.json().text(0) + "\n",
        false => score.text(),
    });
    Ok(0)
}

fn one(prepared: &Prepared, sample: &Sample, bar: &ProgressBar) -> Result<Score> {
    let start = Instant::now();
    let float = eval::run(&prepared.float, &sample.inputs)?;
    let float_time = start.elapsed();
    let start = Instant::now();
    let inputs = integer::quantize_inputs(&prepared.integer, &sample.inputs);
    let outputs = integer::run(&prepared.integer, &inputs)?;
    let integer_time = start.elapsed();
    let integer = integer::dequantize_outputs(&prepared.integer, outputs);
    bar.inc(1);
    let mut score = Score {
        float_time,
        integer_time,
        ..Score::default()
    };
    score.compare(&float[0], &integer[0]);
    let pairs = answers(&float[0]).into_iter().zip(answers(&integer[0]));
    for (i, (float, integer)) in pairs.enumerate() {
        // The batch's rest after the last label repeats a sample.
        if i > 0 && i >= sample.labels.len() {
            break;
        }
        score.answers += 1;
        score.agreed += usize::from(float == integer);
        if let Some(label) = sample.labels.get(i) {
            score.labelled += 1;
            score.float_right += usize::from(float == *label);
            score.integer_right += usize::from(integer == *label);
        }
    }
    Ok(score)
}

impl Score {
    fn and(self, other: Score) -> Score {
        Score {
            answers: self.answers + other.answers,
            labelled: self.labelled + other.labelled,
            float_right: self.float_right + other.float_right,
            integer_right: self.integer_right + other.integer_right,
            agreed: self.agreed + other.agreed,
            signal: self.signal + other.signal,
            noise: self.noise + other.noise,
            float_time: self.float_time + other.float_time,
            integer_time: self.integer_time + other.integer_time,
        }
    }

    fn compare(&mut self, float: &Array, integer: &Array) {
        if let (Data::F32(a), Data::F32(b)) = (&float.data, &integer.data) {
            for (a, b) in a.iter().zip(b) {
                self.signal += f64::from(*a).powi(2);
                self.noise += (f64::from(*a) - f64::from(*b)).powi(2);
            }
        }
    }

    fn text(&self) -> String {
        let per = |n: usize, of: usize| format!("{:.2} %", 100.0 * n as f64 / of.max(1) as f64);
        let each = |t: Duration| format!("{:.2?}", t / self.answers.max(1) as u32);
        let mut text = format!("samples    {}\n", self.answers);
        if self.labelled > 0 {
            text += &format!(
                "float      {} right, {} a sample\ninteger    {} right, {} a sample\n",
                per(self.float_right, self.labelled),
                each(self.float_time),
                per(self.integer_right, self.labelled),
                each(self.integer_time),
            );
        }
        text += &format!("agreement  {}\n", per(self.agreed, self.answers));
        if let Some(decibel) = self.decibel() {
            text += &format!("fidelity   {decibel:.1} dB\n");
        }
        text
    }

    /// Signal to noise of the integer network's outputs; none where no output differs.
    fn decibel(&self) -> Option<f64> {
        (self.noise > 0.0).then(|| 10.0 * (self.signal / self.noise).log10())
    }

    fn json(&self) -> Json {
        let count = |n: usize| Json::int(n as u64);
        Json::Object(vec![
            ("samples", count(self.answers)),
            ("labelled", count(self.labelled)),
            ("float_right", count(self.float_right)),
            ("integer_right", count(self.integer_right)),
            ("agreed", count(self.agreed)),
            ("sqnr_db", self.decibel().map_or(Json::Null, Json::Number)),
        ])
    }
}
