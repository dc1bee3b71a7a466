#!/usr/bin/env bash
# Installs what the tests need beside Rust, gcc and python3: clang with its sanitizer runtime, valgrind, SIMDe, what
# compiles and runs programs for 64-bit ARM, Hexagon, Cortex-M and AVR (Debian packages and targets of rustup), and the
# Python packages of tests/requirements.txt (in target/venv). Does nothing when all of it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
    echo "setup: $1" >&2
    exit 1
}

command -v cargo >/dev/null || stop "cargo is missing; install Rust from https://rustup.rs"
for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 || rustup component add "${component/#fmt/rustfmt}" >/dev/null
done

for machine in aarch64-unknown-linux-gnu thumbv7em-none-eabi; do
    [ -d "$(rustc --print target-libdir --target $machine)" ] || rustup target add $machine >/dev/null 2>&1 ||
        stop "the Rust library of $machine is missing; install it with rustup"
done

missing=()
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
command -v g++ >/dev/null || missing+=(g++)
command -v clang-19 >/dev/null || missing+=(clang-19)
[ -e /usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.asan-x86_64.a ] || missing+=(libclang-rt-19-dev)
[ -e /usr/include/simde/x86/avx512.h ] || missing+=(libsimde-dev)
command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
command -v ld.lld-19 >/dev/null || missing+=(lld-19)
command -v qemu-system-arm >/dev/null || missing+=(qemu-system-arm)
command -v arm-none-eabi-gcc >/dev/null || missing+=(gcc-arm-none-eabi)
[ -e /usr/include/newlib/string.h ] || missing+=(libnewlib-arm-none-eabi)
command -v avr-gcc >/dev/null || missing+=(gcc-avr)
[ -e /usr/lib/avr/include/stdint.h ] || missing+=(avr-libc)
[ -e /usr/include/simavr/sim_avr.h ] || missing+=(libsimavr-dev)
command -v valgrind >/dev/null || missing+=(valgrind)
python3 -c "import ensurepip" 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || stop "no apt-get here; please install: ${missing[*]}"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# A copy of the list is left in the environment, so that a changed list is installed again.
venv=target/venv
if ! cmp -s tests/requirements.txt "$venv/installed.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
    cp tests/requirements.txt "$venv/installed.txt"
fi
