//! What programs execute in an emulator, counted by its plugin or by itself.

use std::fs;
use std::path::Path;

use crate::harness::Skipped;
use crate::harness::compiler::compile_here;
use crate::target::{Counts, Emulator};
use crate::{Error, Result, bail};

/// What counts: a plugin of QEMU, which goes away with this, or a simulator that does so itself.
pub struct Counter {
    plugin: Option<tempfile::TempDir>,
    counts: Counts,
}

/// What one call of a kernel executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Instructions, or packets of them where the processor has packets; cycles where a simulator knows them.
    pub executed: u64,
    /// Instructions among them that multiply integers and add up.
    pub products: u64,
}

impl Counter {
    /// Compiles the plugin.
    ///
    /// # Errors
    ///
    /// Why there is none, and what to install.
    pub fn new(emulator: &Emulator) -> std::result::Result<Counter, Skipped> {
        let skipped = |reason: String| Skipped {
            name: format!("counts of {}", emulator.name),
            reason,
        };
        let Some(counts) = emulator.counts.clone() else {
            return Err(skipped("it does not count what it executes".to_string()));
        };
        if emulator.simulator.is_some() {
            let plugin = None;
            return Ok(Counter { plugin, counts });
        }
        let folder = tempfile::tempdir().map_err(|e| skipped(e.to_string()))?;
        let options = ["-fPIC", "-shared"];
        match compile_here(folder.path(), "count.c", &options, "count.so") {
            Ok(()) => Ok(Counter {
                plugin: Some(folder),
                counts,
            }),
            Err(reasons) => Err(skipped(format!("no plugin: {reasons}"))),
        }
    }

    /// What is counted: instructions, packets or cycles.
    pub fn unit(&self) -> &str {
        &self.counts.unit
    }

    /// An emulator's command that counts, and writes to a file.
    pub(super) fn command(&self, run: &[String], out: &Path) -> Vec<String> {
        let out = format!("out={}", out.display());
        let products = format!("products={}", self.counts.products.join(":"));
        let more = match &self.plugin {
            None => vec![out, products],
            Some(folder) => {
                let file = folder.path().join("count.so");
                let plugin = format!("file={},{out},{products}", file.display());
                // QEMU looks up names of functions only where it keeps a log.
                ["-plugin", &plugin, "-d", "plugin"]
                    .map(str::to_string)
                    .to_vec()
            }
        };
        let (emulator, options) = run.split_at(1.min(run.len()));
        [emulator, &more, options].concat()
    }

    /// What was written.
    pub(super) fn read(out: &Path) -> Result<Vec<Count>> {
        let text = fs::read_to_string(out)
            .map_err(|e| Error::new(format!("the emulator counted nothing: {e}")))?;
        let count = |line: &str| {
            let mut numbers = line.split(' ').map(|n| n.parse().ok());
            match (numbers.next().flatten(), numbers.next().flatten()) {
                (Some(executed), Some(products)) => Ok(Count { executed, products }),
                _ => bail!("the emulator's counts have `{line}`"),
            }
        };
        text.lines().map(count).collect()
    }
}

impl std::ops::Add for Count {
    type Output = Count;

    fn add(self, other: Count) -> Count {
        Count {
            executed: self.executed + other.executed,
            products: self.products + other.products,
        }
    }
}
