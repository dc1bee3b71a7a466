"""The MLPerf Tiny networks on a Cortex-M4: memory, executed instructions, and the same outputs as on x86-64.

    python microcontrollers.py [--qcc FILE] [--samples N] [word ...]

Emitted C is compiled with `gcc -O2` for a Cortex-M4 and runs in QEMU, whose clock counts instructions; the same
network for x86_64-avx2 is compiled with this machine's gcc and gets the same integers. Flash is code and constants of
the network, stack what gcc says of it. Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm.
"""

import argparse
import hashlib
import re
import subprocess

import numpy as np

from tasks import QUANTIZED, REPOSITORY, WORK, available

TEMPLATES = REPOSITORY / "codegen-templates"
CORTEX = "arm-none-eabi-gcc -std=c99 -O2 -mcpu=cortex-m4 -mthumb".split()
QEMU = (
    "qemu-system-arm -M mps2-an386 -icount shift=0,sleep=off -display none -serial none -monitor none "
    "-semihosting-config enable=on,target=native -kernel"
).split()
# Milliseconds of X-CUBE-AI 10.2 on a Cortex-M4 at 120 MHz: MLPerf Tiny, closed division, single stream.
PUBLISHED = {"ic_resnet8": 165.7, "kws_dscnn": 43.4, "vww_mbv1": 89.4, "ad_autoencoder": 4.79}
MAIN = """
#include "network.h"
#ifdef __arm__
#include "semihosting.h"
/* The system's timer counts down once in 40 ns, in which QEMU is told to execute 40 instructions. */
#define TIMER ((volatile uint32_t *)0xe000e010)
#else
#include <stdio.h>
#define read_bytes(p, n) fread(p, n, 1, stdin)
#define write_bytes(p, n) fwrite(p, n, 1, stdout)
#endif
static int8_t input[NETWORK_INPUT_SIZE], output[NETWORK_OUTPUT_SIZE];
static unsigned char arena[NETWORK_ARENA_BYTES + 1] __attribute__((aligned(64)));
int main(void) {
    while (read_bytes(input, sizeof input)) {
#ifdef __arm__
        char text[12], *digit = text + 11;
        uint32_t ticks;
        TIMER[1] = 0xffffff;
        TIMER[2] = 0;
        TIMER[0] = 5;
        network_run(input, output, arena);
        ticks = 0xffffff - TIMER[2];
        for (*digit = 0; ticks != 0; ticks /= 10)
            *--digit = (char)('0' + ticks % 10);
        say(digit);
        say("\\n");
#else
        network_run(input, output, arena);
#endif
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
    for name in ["semihosting.h", "mps2-an386.ld"]:
        (folder / name).write_text((TEMPLATES / f"{name}.j2").read_text())
    header = (folder / "network.h").read_text()
    return folder, dict(re.findall(r"#define NETWORK_(\w+) \(?(-?[0-9.e-]+)", header))


def integers(task, header, count):
    """The first samples as a network of 8-bit integers takes them."""
    samples = task.load()
    reals = next(iter(samples.take(samples.evaluation[:count]).values()))
    scale, zero_point = np.float32(header["INPUT_SCALE"]), np.float32(header["INPUT_ZERO_POINT"])
    return np.clip(np.rint(np.float32(reals) / scale) + zero_point, -128, 127).astype(np.int8).tobytes()


def stack(folder):
    """The bytes of stack that gcc counts from `network_run` down."""
    run([*CORTEX, "-DNETWORK_NO_FLOAT", "-fcallgraph-info=su", "-c", "network.c"], folder)
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


def cortex(folder, given):
    """Bytes of flash and stack, instructions of an evaluation, and the outputs."""
    taken = stack(folder)
    size = run(["arm-none-eabi-size", "network.o"], folder, text=True).stdout.split()
    flash = int(size[6]) + int(size[7])
    link = ["-nostartfiles", "-T", "mps2-an386.ld", "-DNETWORK_NO_FLOAT", "main.c", "network.c", "-o", "main"]
    run([*CORTEX, *link], folder)
    done = run([*QEMU, "main"], folder, input=given)
    ticks = [int(word) for word in done.stderr.split()]
    return flash, taken, 40 * max(ticks), done.stdout


def native(folder, given):
    run(["gcc", "-O2", "-mavx2", "-DNETWORK_NO_FLOAT", "main.c", "network.c", "-o", "main"], folder)
    return run([folder / "main"], folder, input=given).stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "debug" / "qcc")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    print("| network | MACs | flash | arena | stack | `generic` | `cortex-m4` | a MAC | published, cycles | SHA-256 |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    for task in available(arguments.words, QUANTIZED):
        short = re.sub("mlperf_|_int8_qdq", "", task.name)
        if short not in PUBLISHED:
            continue
        folder, header = emit(arguments.qcc, task, "cortex-m4")
        given = integers(task, header, arguments.samples)
        flash, taken, count, outputs = cortex(folder, given)
        _, _, generic, others = cortex(emit(arguments.qcc, task, "generic")[0], given)
        assert outputs == others, f"{task.name}: generic differs"
        assert outputs == native(emit(arguments.qcc, task, "x86_64-avx2")[0], given), f"{task.name}: x86-64 differs"
        sums = hashlib.sha256(outputs).hexdigest()[:12]
        macs, arena = int(header["MACS"]), int(header["ARENA_BYTES"])
        numbers = [f"{x:,}" for x in (macs, flash, arena, taken, generic, count)]
        cycles = f"{PUBLISHED[short] * 120_000:,.0f}"
        print(f"| {task.name} | {' | '.join(numbers)} | {count / macs:.2f} | {cycles} | `{sums}` |", flush=True)


if __name__ == "__main__":
    main()
