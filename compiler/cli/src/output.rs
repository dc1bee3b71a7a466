//! What leaves the program: files written whole or not at all, text on stdout, sizes for people.

use std::io::{IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use qcc_compiler::{Error, Result, bail};
use tempfile::NamedTempFile;

/// Writes files so that all of them appear or none.
pub(crate) fn write_files(files: &[(&Path, &[u8])]) -> Result<()> {
    let mut ready = vec![];
    for (path, bytes) in files {
        let mut file = beside(path)?;
        file.write_all(bytes).map_err(|e| failed(path, &e))?;
        ready.push((file, path));
    }
    ready
        .into_iter()
        .try_for_each(|(file, path)| persist(file, path))
}

/// A file without a name yet, in the folder of the one that it becomes.
pub(crate) fn beside(path: &Path) -> Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!(
            "cannot write {}: there is no folder {}",
            path.display(),
            folder.display()
        );
    }
    let mut builder = tempfile::Builder::new();
    // A temporary file is private; what replaces the user's file has the usual permissions.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let made = builder.tempfile_in(folder);
    made.map_err(|e| failed(path, &e).hint("the folder of the output must be writable"))
}

/// Gives a finished file its name.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path).map_err(|e| failed(path, &e.error))?;
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!("cannot write {}: {error}", path.display()))
}

/// Prints a result. A reader that has gone away is no error.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// A bar on stderr, on a terminal only.
pub(crate) fn progress(len: usize, what: &'static str) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template("{msg:>11} {bar:32} {pos}/{len} {eta}")
        .expect("the template is valid");
    ProgressBar::with_draw_target(Some(len as u64), target)
        .with_style(style)
        .with_message(what)
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|g| std::str::from_utf8(g).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

/// `12.3 KiB`
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{} B", grouped(bytes)),
        10_240..10_485_760 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Exporters make names of a hundred characters, which differ at their ends.
pub(crate) fn shortened(name: &str) -> String {
    let count = name.chars().count();
    match count > 40 {
        true => format!("…{}", name.chars().skip(count - 39).collect::<String>()),
        false => name.to_string(),
    }
}

/// A table: columns as wide as their widest cell, the first ones left, numbers right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], left: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|r| r[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).enumerate().map(|(i, (cell, width))| {
            if i < left {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(size(2048), "2,048 B");
        assert_eq!(size(20_480), "20.0 KiB");
    }

    #[test]
    fn nothing_is_written_when_one_file_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("a"), folder.path().join("missing/b"));
        assert!(write_files(&[(&good, b"x"), (&bad, b"y")]).is_err());
        assert!(!good.exists());
        write_files(&[(&good, b"x")]).unwrap();
        assert_eq!(std::fs::read(&good).unwrap(), b"x");
    }
}
