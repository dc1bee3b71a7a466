//! The networks that whole-model tests run: those of the repository, and those found beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use qcc_compiler::onnx;

/// A network with samples.
#[derive(Clone, Debug)]
pub struct Network {
    /// For reports.
    pub name: String,
    /// The ONNX file.
    pub model: PathBuf,
    /// Dimensions that the file leaves open.
    pub dims: BTreeMap<String, usize>,
    /// Samples to calibrate with.
    pub calibration: PathBuf,
    /// Samples to compare on.
    pub test: PathBuf,
    /// What another runtime answers to each sample: the reals of all outputs.
    pub expected: Option<PathBuf>,
}

impl Network {
    /// For the importer.
    pub fn options(&self) -> onnx::Options {
        onnx::Options {
            dims: self.dims.clone(),
            ..onnx::Options::default()
        }
    }
}

/// The networks of the repository, in `models`, that have samples of their own.
pub fn own() -> Vec<Network> {
    let folder = root().join("models");
    let mut names = files(&folder, ".onnx");
    names.retain(|name| folder.join(format!("{name}.npz")).exists());
    names.sort();
    names.iter().map(|name| with_samples(name, name)).collect()
}

/// The digit recogniser for machines of little memory. Its samples are those of `digits`.
pub fn tiny() -> Network {
    with_samples("digits_tiny", "digits")
}

/// A network of the repository with the samples of one.
fn with_samples(name: &str, data: &str) -> Network {
    let folder = root().join("models");
    Network {
        name: name.to_string(),
        model: folder.join(format!("{name}.onnx")),
        dims: BTreeMap::new(),
        calibration: folder.join(format!("{data}.npz")),
        test: folder.join(format!("{data}-test.npz")),
        expected: None,
    }
}

/// All networks that `compare/samples.py` finds and writes samples for: the repository's, and those in
/// `$QCC_MODELS`, or in `shared/models` beside the repository.
/// `$QCC_NETWORKS` names some of them, separated by spaces. An error says why there are no samples.
pub fn found() -> Result<Vec<Network>, String> {
    listed("samples.py", "samples")
}

/// The networks quantized elsewhere that `compare/onnx_meaning.py` finds, with the answers that ONNX's operators
/// give; they are chosen as in [`found`].
pub fn quantized_elsewhere() -> Result<Vec<Network>, String> {
    listed("onnx_meaning.py", "quantized")
}

/// What a script of `compare` lists, and describes in a folder.
fn listed(script: &str, folder: &str) -> Result<Vec<Network>, String> {
    let folder = root().join("../target/compare").join(folder);
    let words = std::env::var("QCC_NETWORKS").unwrap_or_default();
    let output = Command::new(python())
        .arg(root().join("compare").join(script))
        .arg(&folder)
        .args(words.split_whitespace())
        .output()
        .map_err(|e| format!("python does not start: {e}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(text.lines().last().unwrap_or_default().to_string());
    }
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listed
        .lines()
        .map(|name| described(&folder, name))
        .collect())
}

/// A network as `samples.py` describes it.
fn described(folder: &Path, name: &str) -> Network {
    let text = fs::read_to_string(folder.join(format!("{name}.network")));
    let text = text.expect("samples.py describes what it lists");
    let (model, dims) = text.split_once('\n').unwrap_or((&text, ""));
    let dimension = |line: &str| {
        let (name, extent) = line.split_once('=').expect("a dimension is NAME=VALUE");
        let extent = extent.parse().expect("an extent is a number");
        (name.to_string(), extent)
    };
    Network {
        name: name.to_string(),
        model: PathBuf::from(model),
        dims: dims.lines().map(dimension).collect(),
        calibration: folder.join(format!("{name}-calibrate.npz")),
        test: folder.join(format!("{name}-test.npz")),
        expected: Some(folder.join(format!("{name}-expected.f32"))),
    }
}

/// Where networks that are not part of the repository are looked for: `$QCC_MODELS`, or `shared/models`
/// beside the repository.
pub fn shared() -> PathBuf {
    let beside = root().join("../../shared/models");
    std::env::var_os("QCC_MODELS").map_or(beside, PathBuf::from)
}

/// The Python that has the packages of `requirements.txt`: `$QCC_PYTHON`, else what `setup.sh` made,
/// else whatever is there.
pub fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("QCC_PYTHON") {
        return PathBuf::from(path);
    }
    let made = root().join("../target/venv/bin/python");
    match made.exists() {
        true => made,
        false => PathBuf::from("python3"),
    }
}

/// Says what a test leaves out, past the capture of test output.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// The stems of a folder's files with an ending.
fn files(folder: &Path, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is part of the repository");
    let names = entries.map(|e| e.expect("a readable folder").file_name());
    let names = names.filter_map(|n| n.into_string().ok());
    names
        .filter_map(|n| n.strip_suffix(ending).map(str::to_string))
        .collect()
}

/// The folder of the tests.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
