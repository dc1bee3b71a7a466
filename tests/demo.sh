#!/usr/bin/env bash
# Compiles the digit recogniser of this repository to one C file, has it recognise digits that it has not seen,
# and measures its accuracy in float and in integers. The build is the one that the tests use.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo >/dev/null || { echo "demo: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
cargo build --quiet --package qcc-cli
out=target/demo
mkdir -p "$out"
target/debug/qcc compile tests/models/digits.onnx --calibrate tests/models/digits.npz -o "$out/digits.c"
gcc -O2 -Wall -Wextra -Werror -I"$out" tests/demo.c "$out/digits.c" -o "$out/digits"
"$out/digits"
target/debug/qcc eval tests/models/digits.onnx --calibrate tests/models/digits.npz --data tests/models/digits-test.npz
