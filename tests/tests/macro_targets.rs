//! `include_model!` takes the kernels that the crate's build asks for: the example crate, built for each target
//! that this machine runs, recognises its digit.

#![expect(clippy::print_stdout, reason = "a test says what it skipped")]

use std::process::Command;

use qcc_compiler::harness;
use qcc_compiler::target::{self, Target};

/// The machine that rustc compiles for by itself.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output();
    let text = String::from_utf8(output.expect("rustc starts").stdout).expect("it is text");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_string()
}

#[test]
fn the_example_runs_on_every_target() {
    let host = host();
    // With --target, flags are for the example alone, not for the compiler that its macro runs.
    let flags = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        host.to_uppercase().replace('-', "_")
    );
    for name in target::names() {
        let target = Target::load(name).expect("a machine of the list");
        if let Err(skipped) = harness::runs_here(&target) {
            println!("skipped {}: {}", skipped.name, skipped.reason);
            continue;
        }
        let features = target.rust.features.iter().map(|f| format!("+{f}"));
        let features = features.collect::<Vec<_>>().join(",");
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "example-digits", "--target"])
            .arg(&host)
            .env(&flags, format!("-Ctarget-feature={features}"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo starts");
        let (shown, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(shown.ends_with("This is a 0.\n"), "{name}:\n{shown}{error}");
    }
}
