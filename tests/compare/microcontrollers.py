"""MLPerf Tiny's networks and an MCUNet on Cortex-M4 and M55: memory, instructions, and the same outputs as on x86-64.

    python microcontrollers.py [--qcc FILE] [--samples N] [word ...]

Emitted C is compiled with `gcc -O2` for each machine and runs in QEMU; the same network for x86_64-avx2 is compiled
with this machine's gcc and gets the same integers. `qcc bench` counts the instructions. Flash is code and constants of
the network, stack what gcc says of it. Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi, qemu-system-arm and what
`qcc bench` counts with.
"""

import argparse
import hashlib
import json
import re
import subprocess

import numpy as np

from tasks import QUANTIZED, REPOSITORY, WORK, available

TEMPLATES = REPOSITORY / "codegen-templates"
GCC = "arm-none-eabi-gcc -std=c99 -O2 -mthumb".split()
# Options of the compiler, and a board of QEMU.
MACHINES = {
    "cortex-m4": ("-mcpu=cortex-m4", "mps2-an386"),
    "cortex-m55": ("-mcpu=cortex-m55 -mfloat-abi=hard", "mps3-an547"),
}
QEMU = (
    "qemu-system-arm -M {} -display none -serial none -monitor none "
    "-semihosting-config enable=on,target=native -kernel main"
)
# Milliseconds of X-CUBE-AI 10.2 on a Cortex-M4 at 120 MHz: MLPerf Tiny, closed division, single stream.
PUBLISHED = {"ic_resnet8": 165.7, "kws_dscnn": 43.4, "vww_mbv1": 89.4, "ad_autoencoder": 4.79}
# Networks of which no cycles of a Cortex-M4 were published.
OTHERS = ["mcunet_320kb"]
MAIN = """
#include "network.h"
#ifdef __arm__
#include "semihosting.h"
#else
#include <stdio.h>
#define read_bytes(p, n) fread(p, n, 1, stdin)
#define write_bytes(p, n) fwrite(p, n, 1, stdout)
#endif
static int8_t input[NETWORK_INPUT_SIZE], output[NETWORK_OUTPUT_SIZE];
static unsigned char arena[NETWORK_ARENA_BYTES + 1] __attribute__((aligned(64)));
int main(void) {
    while (read_bytes(input, sizeof input)) {
        network_run(input, output, arena);
        if (!write_bytes(output, sizeof output))
            return 1;
    }
    return 0;
}
"""


def run(command, folder, **more):
    return subprocess.run([str(word) for word in command], cwd=folder, check=True, capture_output=True, **more)


def emit(qcc, task, target):
    """The folder of a network's C for a machine, and the numbers that its header states."""
    folder = WORK / "microcontrollers" / f"{task.name}-{target}"
    folder.mkdir(parents=True, exist_ok=True)
    run([qcc, "compile", task.model, "--target", target, "--name", "network", "-o", folder / "network.c"], folder)
    (folder / "main.c").write_text(MAIN)
    for name in ["semihosting.h", "mps2-an386.ld", "mps3-an547.ld"]:
        (folder / name).write_text((TEMPLATES / f"{name}.j2").read_text())
    header = (folder / "network.h").read_text()
    return folder, dict(re.findall(r"#define NETWORK_(\w+) \(?(-?[0-9.e-]+)", header))


def integers(task, header, count):
    """The first samples as a network of 8-bit integers takes them."""
    samples = task.load()
    reals = next(iter(samples.take(samples.evaluation[:count]).values()))
    scale, zero_point = np.float32(header["INPUT_SCALE"]), np.float32(header["INPUT_ZERO_POINT"])
    return np.clip(np.rint(np.float32(reals) / scale) + zero_point, -128, 127).astype(np.int8).tobytes()


def stack(folder, gcc):
    """The bytes of stack that gcc counts from `network_run` down."""
    run([*gcc, "-DNETWORK_NO_FLOAT", "-fcallgraph-info=su", "-c", "network.c"], folder)
    own, calls = {}, {}
    for line in (folder / "network.ci").read_text().splitlines():
        quoted = line.split('"')[1::2]
        if line.startswith("node:"):
            own[quoted[0]] = int((re.findall(r"(\d+) bytes \(static", quoted[1]) or [64])[0])
        elif line.startswith("edge:"):
            calls.setdefault(quoted[0], set()).add(quoted[1])

    def depth(name):
        return own[name] + max((depth(called) for called in calls.get(name, ())), default=0)

    return depth("network_run")


def cortex(folder, machine, given):
    """Bytes of flash and stack, and the outputs."""
    options, board = MACHINES[machine]
    gcc = [*GCC, *options.split()]
    taken = stack(folder, gcc)
    size = run(["arm-none-eabi-size", "network.o"], folder, text=True).stdout.split()
    link = ["-nostartfiles", "-T", f"{board}.ld", "-DNETWORK_NO_FLOAT", "main.c", "network.c", "-o", "main"]
    run([*gcc, *link], folder)
    outputs = run(QEMU.format(board).split(), folder, input=given).stdout
    return int(size[6]) + int(size[7]), taken, outputs


def executed(qcc, task, machine):
    """Instructions of an evaluation."""
    done = run([qcc, "bench", task.model, "--target", machine, "--json"], WORK, text=True)
    return json.loads(done.stdout)["executed"]


def native(folder, given):
    run(["gcc", "-O2", "-mavx2", "-DNETWORK_NO_FLOAT", "main.c", "network.c", "-o", "main"], folder)
    return run([folder / "main"], folder, input=given).stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "debug" / "qcc")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    print("| network | MACs | machine | flash | arena | stack | instructions | a MAC | published, cycles | SHA-256 |")
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|---|")
    for task in available(arguments.words, QUANTIZED):
        short = re.sub("mlperf_|_int8_qdq", "", task.name)
        if short not in [*PUBLISHED, *OTHERS]:
            continue
        published = f"{PUBLISHED[short] * 120_000:,.0f}" if short in PUBLISHED else ""
        for machine in MACHINES:
            folder, header = emit(arguments.qcc, task, machine)
            given = integers(task, header, arguments.samples)
            flash, taken, outputs = cortex(folder, machine, given)
            expected = native(emit(arguments.qcc, task, "x86_64-avx2")[0], given)
            assert outputs == expected, f"{task.name}: {machine} differs from x86-64"
            count = executed(arguments.qcc, task, machine)
            sums = hashlib.sha256(outputs).hexdigest()[:12]
            macs, arena = int(header["MACS"]), int(header["ARENA_BYTES"])
            numbers = " | ".join(f"{x:,}" for x in (flash, arena, taken, count))
            cycles = published if machine == "cortex-m4" else ""
            line = f"| {task.name} | {macs:,} | `{machine}` | {numbers} | {count / macs:.2f} | {cycles} | `{sums}` |"
            print(line, flush=True)


if __name__ == "__main__":
    main()
