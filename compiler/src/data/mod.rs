//! Samples for calibration and evaluation, streamed: memory does not grow with their number.
//!
//! A source is a `.npz` file (one array an input, first axis the sample), a `.npy` file for a model of one
//! input, or a folder of images.
//! In an archive an input is fed by the array of its name; a model of one input also by the only array that
//! fits it, or one called `x`; [`Options::arrays`] decides otherwise.
//! Labels are the integers of an array called `labels`, `label` or `y`.

mod answers;
mod fit;
mod images;
mod numpy;
mod preprocess;
mod range;
mod source;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::ir::{Array, Model};
use crate::{Result, bail};

pub use answers::answers;
pub use preprocess::{Channels, Layout, Preprocess, Preset, Resize, number, numbers};
pub use range::{InputRange, state_ranges};
pub use write::write_npz;

/// How samples are found and prepared.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// From stored numbers to the model's input.
    pub preprocess: Preprocess,
    /// Array of each input, by input name; the empty name is the only input's.
    pub arrays: BTreeMap<String, String>,
    /// Name of the array of labels, where it is unusual.
    pub labels: Option<String>,
    /// Added to every label: 1 for networks whose class 0 is the background.
    pub label_offset: i64,
    /// At most this many samples of each source.
    pub limit: Option<usize>,
}

/// What one evaluation of a model takes.
#[derive(Clone, Debug)]
pub struct Sample {
    /// One array of the input's shape for each input.
    pub inputs: Vec<Array>,
    /// One label for each sample in the batch, where the source has labels.
    pub labels: Vec<i64>,
}

/// Samples of one or more sources, in order.
pub struct Samples {
    sources: std::collections::VecDeque<source::Source>,
    len: usize,
}

impl Samples {
    /// Opens the sources and checks that they fit the model's inputs.
    pub fn open(paths: &[PathBuf], model: &Model, options: &Options) -> Result<Samples> {
        options.preprocess.check()?;
        let mut sources = std::collections::VecDeque::new();
        for path in paths {
            sources.push_back(source::Source::open(path, model, options)?);
        }
        let len = sources.iter().map(|s| s.evaluations()).sum();
        if len == 0 {
            bail!("no samples"; hint: "pass a .npz or .npy file, or a folder of images");
        }
        Ok(Samples { sources, len })
    }

    /// How many evaluations are left.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the current source says what its samples show.
    pub fn labelled(&self) -> bool {
        self.sources.front().is_some_and(source::Source::labelled)
    }
}

impl Iterator for Samples {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Result<Sample>> {
        while self.sources.front()?.len() == 0 {
            self.sources.pop_front();
        }
        let source = self.sources.front_mut()?;
        self.len = self.len.saturating_sub(1);
        let sample = source.next_batch();
        if sample.is_err() {
            // What follows a broken sample cannot be trusted.
            self.sources.clear();
        }
        Some(sample)
    }
}

#[cfg(test)]
mod tests;
