//! Emitted programs execute no more instructions than the table of `compare/counts.md` says.

use std::process::Command;

use qcc_tests::command::binary;
use qcc_tests::trained::{python, root, skipped};

#[test]
fn no_count_of_instructions_grew() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skipped("counts of instructions: there is no valgrind");
    }
    let imported = Command::new(python())
        .args(["-c", "import onnx, PIL"])
        .output();
    if !imported.is_ok_and(|output| output.status.success()) {
        return skipped("counts of instructions: python has no onnx");
    }
    let output = Command::new(python())
        .arg(root().join("compare").join("counts.py"))
        .arg("--check")
        .arg("--qcc")
        .arg(binary())
        .output()
        .expect("python starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let reasons = text
        .lines()
        .filter_map(|line| line.strip_prefix("skipped: "));
    let skips = reasons.map(skipped).count();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let counted = text
        .lines()
        .filter(|line| line.contains(" instructions, "))
        .count();
    assert!(counted > 0 || skips > 0, "nothing was counted: {text}");
}
