//! What an emitted program executes, layer by layer, as an emulator counts it.

use qcc_compiler::harness::{Compiler, Count, Counter, Layers};
use qcc_compiler::{Error, Result};

use crate::compile::Cost;
use crate::json::Json;
use crate::limit::Counted;
use crate::output;
use crate::programs::Lowered;

/// A layer: its calls together.
#[derive(Clone, Copy, Default)]
struct Row<'a> {
    layer: &'a str,
    count: Count,
    counted: Counted,
}

/// A table, or JSON.
pub(crate) fn report(
    lowered: &Lowered,
    compiler: &Compiler,
    sample: &[Vec<u8>],
    as_json: bool,
) -> Result<String> {
    let emulator = lowered.target.emulator.as_ref();
    let emulator = emulator.expect("its programs run in it");
    let counter = Counter::new(emulator).map_err(|why| {
        let machine = &lowered.target.name;
        let text = format!("what programs for {machine} execute is not counted here");
        Error::new(format!("{text}: {}", why.reason))
    })?;
    let executable = lowered.build(compiler, Layers::Marked)?;
    let counts = executable.count(&counter, sample)?;
    let rows = rows(lowered, &counts);
    let total = counts.into_iter().fold(Count::default(), |a, b| a + b);
    Ok(match as_json {
        true => json(lowered, counter.unit(), &rows, total).text(0) + "\n",
        false => text(lowered, counter.unit(), &rows, total),
    })
}

fn rows<'a>(lowered: &'a Lowered, counts: &[Count]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row> = vec![];
    for (call, count) in lowered.program.calls.iter().zip(counts) {
        let counted = Counted::of(call, &lowered.program, &lowered.target);
        if rows.last().is_none_or(|row| row.layer != call.layer) {
            rows.push(Row {
                layer: &call.layer,
                ..Row::default()
            });
        }
        let row = rows.last_mut().expect("it was pushed");
        row.count = row.count + *count;
        row.counted = row.counted.and(counted);
    }
    rows
}

fn text(lowered: &Lowered, unit: &str, rows: &[Row], total: Count) -> String {
    let line = |name: String, count: Count, macs: u64, peak: Option<f64>| {
        let executed = count.executed.max(1) as f64;
        let ratio = |macs: u64| match macs {
            0 => String::new(),
            macs => per(macs as f64 / executed),
        };
        vec![
            name,
            output::grouped(count.executed),
            format!("{:.1}", 100.0 * executed / total.executed.max(1) as f64),
            output::grouped(macs),
            ratio(macs),
            per(count.products as f64 / executed),
            peak.map_or(String::new(), |peak| format!("{peak:.1}")),
        ]
    };
    let mut table: Vec<_> = rows
        .iter()
        .map(|r| {
            let name = output::shortened(r.layer);
            line(name, r.count, r.counted.macs, r.counted.peak())
        })
        .collect();
    let macs = Cost::of(&lowered.program).macs;
    table.push(line("total".to_string(), total, macs, None));
    let one = unit.strip_suffix('s').unwrap_or(unit);
    let (macs, products) = (format!("MAC/{one}"), format!("products/{one}"));
    let header = ["layer", unit, "%", "MACs", &macs, &products, "peak"];
    output::table(&header, &table, 1)
}

/// Two digits or more.
fn per(ratio: f64) -> String {
    match ratio {
        0.0..0.1 => format!("{ratio:.3}"),
        _ => format!("{ratio:.2}"),
    }
}

fn json(lowered: &Lowered, unit: &str, rows: &[Row], total: Count) -> Json {
    let layer = |row: &Row| {
        Json::Object(vec![
            ("name", Json::Text(row.layer.to_string())),
            ("executed", Json::int(row.count.executed)),
            ("products", Json::int(row.count.products)),
            ("macs", Json::int(row.counted.macs)),
        ])
    };
    Json::Object(vec![
        ("target", Json::Text(lowered.target.name.clone())),
        ("unit", Json::Text(unit.to_string())),
        ("executed", Json::int(total.executed)),
        ("products", Json::int(total.products)),
        ("macs", Json::int(Cost::of(&lowered.program).macs)),
        ("layers", Json::List(rows.iter().map(layer).collect())),
    ])
}
