//! The README's commands run, and its code is part of programs that do.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use qcc_tests::command;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(file: &str) -> String {
    fs::read_to_string(repository().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The fenced blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let (readme, fence) = (text("README.md"), format!("```{language}\n"));
    let block = |part: &str| {
        let (block, _) = part.split_once("```").expect("a block ends");
        block.to_string()
    };
    readme.split(&fence).skip(1).map(block).collect()
}

#[test]
fn continuous_integration_runs_the_two_commands() {
    let ci = text(".ci/run");
    for command in blocks("sh")[0].lines() {
        assert!(ci.lines().any(|line| line == command), "{command}");
    }
}

#[test]
fn commands_of_the_examples_run() {
    // The first block is what continuous integration runs, this test included.
    for block in &blocks("sh")[1..] {
        let path = std::env::var("PATH").expect("there is a path");
        let qcc = command::binary()
            .parent()
            .expect("a folder")
            .display()
            .to_string();
        // The build may lie elsewhere.
        let block = block.replace("$PWD/target/debug", &qcc);
        let output = Command::new("bash")
            .args(["-euc", &block])
            .current_dir(repository())
            .env("PATH", format!("{qcc}:{path}"))
            .output()
            .expect("bash starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{error}");
    }
}

#[test]
fn code_of_the_examples_is_part_of_programs() {
    let programs: [(_, &[&str]); 2] = [
        ("c", &["tests/demo.c", "tests/compare/workers/emitted.c"]),
        (
            "rust",
            &[
                "tests/example-digits/src/lib.rs",
                "tests/example-digits/tests/threads.rs",
            ],
        ),
    ];
    for (language, files) in programs {
        let found = blocks(language);
        assert!(!found.is_empty(), "{language}");
        for block in found {
            let known = files.iter().any(|file| text(file).contains(&block));
            assert!(known, "{files:?} lack\n{block}");
        }
    }
}
