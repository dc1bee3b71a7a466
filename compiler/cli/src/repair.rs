//! Repairs of the quantization that `--precision auto` and `qcc choose` try before they choose widths.

use qcc_compiler::Result;
use qcc_compiler::data::{Sample, Samples, state_ranges};
use qcc_compiler::ir::Model;
use qcc_compiler::passes::choose::{self, Repaired, Trial, Verdict};

use crate::args::{DataArgs, QuantizeArgs};
use crate::output;

/// The arguments with what helps a network, if its precision is to be chosen; what was tried goes to `say`.
/// A file of ranges holds no samples to try repairs on.
pub(crate) fn repaired(
    float: &Model,
    quantize: &QuantizeArgs,
    data: &DataArgs,
    say: &dyn Fn(&str),
) -> Result<QuantizeArgs> {
    if !quantize.is_auto() || quantize.calibrate.is_empty() {
        return Ok(quantize.clone());
    }
    let mut float = float.clone();
    state_ranges(&mut float, &quantize.input_range)?;
    let samples = Samples::open(&quantize.calibrate, &float, &data.options())?;
    let samples: Vec<Sample> = samples.collect::<Result<_>>()?;
    let texts = quantize.texts()?;
    let answers = quantize.goal().min_accuracy.is_some();
    let bar = output::progress(choose::count(&texts), "repairing");
    let said = (&texts, quantize.signed());
    let repaired = choose::repair(&float, said, samples, answers, &|| bar.inc(1));
    bar.finish_and_clear();
    let repaired = repaired?;
    say(&table(&repaired, answers));
    Ok(quantize.with(repaired.texts))
}

/// What was tried, a line each.
fn table(repaired: &Repaired, answers: bool) -> String {
    if repaired.trials.is_empty() {
        return String::new();
    }
    let rows = repaired.trials.iter().map(|trial| {
        let Trial { before, after, .. } = trial;
        let mut row = vec![
            trial.repair.name().to_string(),
            trial.value.to_string(),
            format!("{:.1}", before.noise.decibel()),
            format!("{:.1}", after.noise.decibel()),
        ];
        if answers {
            row.extend([before, after].map(lost));
        }
        row.push(reason(trial).to_string());
        row
    });
    let mut header = vec!["repair", "tried", "dB before", "dB after"];
    if answers {
        header.extend(["lost before", "lost after"]);
    }
    header.push("");
    let table = output::table(&header, &rows.collect::<Vec<_>>(), 2);
    let samples = match repaired.held_out {
        true => "samples that were held out from it",
        false => "the samples of calibration, which are too few to hold any out",
    };
    format!(
        "{table}8 bits everywhere, judged on {} {samples}\n\n",
        repaired.judged
    )
}

fn lost(verdict: &Verdict) -> String {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    verdict.lost.map_or(String::new(), percent)
}

/// What became of a repair, and why.
fn reason(trial: &Trial) -> &'static str {
    let Trial { before, after, .. } = trial;
    match after.noise.decibel() - before.noise.decibel() {
        _ if trial.kept => "kept",
        won if won <= 0.0 => "no better",
        won if won <= choose::LEAST => "too little to be more than chance",
        _ if after.lost > before.lost => "loses answers, or another wins more",
        _ => "another wins more",
    }
}
