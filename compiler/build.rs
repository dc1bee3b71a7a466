//! Embeds `targets/*.toml` and `codegen-templates/*`: adding a machine or a template is adding a file.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let mut text = String::new();
    embed(&mut text, "TARGETS", &root.join("targets"), "toml")?;
    embed(
        &mut text,
        "TEMPLATES",
        &root.join("codegen-templates"),
        "j2",
    )?;
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("embedded.rs"), text)
}

/// A table of the files with one extension: each file's stem and text, sorted.
fn embed(text: &mut String, table: &str, folder: &Path, extension: &str) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry?.path().canonicalize())
        .collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files.sort();
    let _ = writeln!(text, "pub(crate) const {table}: &[(&str, &str)] = &[");
    for path in files {
        let stem = path.file_stem().expect("a file has a name");
        let _ = writeln!(text, "    ({stem:?}, include_str!({path:?})),");
    }
    let _ = writeln!(text, "];");
    Ok(())
}
