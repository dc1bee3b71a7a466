#!/usr/bin/env bash
# Sets up what is needed and passes all tests: formatting, lints, documentation, every test of the workspace.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/setup.sh
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
cargo test --workspace --no-fail-fast
