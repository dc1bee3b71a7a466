//! What programs execute in an emulator, counted by a plugin.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::Skipped;
use crate::harness::compiler::C_COMPILERS;
use crate::harness::emulator::text;
use crate::target::{Counts, Emulator};
use crate::{Error, Result, bail};

/// A plugin of QEMU that counts; it goes away with this.
pub struct Counter {
    folder: tempfile::TempDir,
    counts: Counts,
}

/// What one call of a kernel executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Instructions, or packets of them where the processor has packets.
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
        let io = |e: std::io::Error| skipped(e.to_string());
        let folder = tempfile::tempdir().map_err(io)?;
        fs::write(folder.path().join("count.c"), text("count.c")).map_err(io)?;
        let mut reasons = vec![];
        for compiler in C_COMPILERS {
            let mut command = Command::new(compiler);
            command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]);
            command.args(["count.c", "-o", "count.so"]);
            match command.current_dir(folder.path()).output() {
                Ok(output) if output.status.success() => return Ok(Counter { folder, counts }),
                Ok(output) => reasons.push(String::from_utf8_lossy(&output.stderr).into_owned()),
                Err(_) => reasons.push(format!("{compiler} is not installed")),
            }
        }
        Err(skipped(format!("no plugin: {}", reasons.join("; "))))
    }

    /// What is counted: instructions or packets.
    pub fn unit(&self) -> &str {
        &self.counts.unit
    }

    /// An emulator's command, with the plugin, which writes to a file.
    pub(super) fn command(&self, run: &[String], out: &Path) -> Vec<String> {
        let file = self.folder.path().join("count.so");
        let products = self.counts.products.join(":");
        let plugin = format!(
            "file={},out={},products={products}",
            file.display(),
            out.display()
        );
        // QEMU looks up names of functions only where it keeps a log.
        let plugin = ["-plugin", &plugin, "-d", "plugin"].map(str::to_string);
        let (emulator, options) = run.split_at(1.min(run.len()));
        [emulator, &plugin, options].concat()
    }

    /// What the plugin has written.
    pub(super) fn read(out: &Path) -> Result<Vec<Count>> {
        let text = fs::read_to_string(out)
            .map_err(|e| Error::new(format!("the emulator counted nothing: {e}")))?;
        let count = |line: &str| {
            let mut numbers = line.split(' ').map(|n| n.parse().ok());
            match (numbers.next().flatten(), numbers.next().flatten()) {
                (Some(executed), Some(products)) => Ok(Count { executed, products }),
                _ => bail!("the emulator's plugin wrote `{line}`"),
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
