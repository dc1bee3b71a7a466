"""Size and speed of emitted programs at several widths of weights and activations, in one run.

    python widths.py [--target T] [--qcc FILE] [--rounds N] [--seconds S] [word ...]

Bytes of constants, and microseconds an evaluation of the C that gcc compiles: all widths of a network take turns, as in
peers.py. Ratios are to w8a8.
"""

import argparse
import re
import subprocess
import tomllib
from pathlib import Path

from tasks import REPOSITORY, WORK, available
from timing import AVX2, WORKERS, Worker, calibration, pin, processor

NETWORKS = ["mobilenet_v1_0.25", "mlperf_ic_resnet8_f32", "mlperf_kws_dscnn_f32", "mlperf_ad_autoencoder_f32"]
PRECISIONS = ["w8a8", "w7a8", "w7a7", "w4a8", "w2a8", "w8a16", "w4a16"]


def program(qcc, target, task, precision):
    """The emitted program as a process, and the size of its constants."""
    folder = WORK / "widths" / target / task.model.stem / precision
    folder.mkdir(parents=True, exist_ok=True)
    calibration(task, folder)
    options = ["--calibrate", folder / "calibrate.npz", "--target", target, "--precision", precision]
    command = [qcc, "compile", task.model, *options, "--name", "network", "-o", folder / "network.c"]
    subprocess.run(command, check=True, capture_output=True)
    flash = re.search(r"FLASH_BYTES (\d+)", (folder / "network.h").read_text())
    flags = tomllib.loads((REPOSITORY / "targets" / f"{target}.toml").read_text())["c"]["flags"]
    sources = [WORKERS / "emitted.c", folder / "network.c"]
    subprocess.run(["gcc", "-O3", *flags, f"-I{folder}", *sources, "-o", folder / "worker"], check=True)
    return Worker(precision, [folder / "worker"]), int(flash.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc", type=Path)
    parser.add_argument("--target", default=AVX2)
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--seconds", default=0.3, type=float)
    parser.add_argument("words", nargs="*", default=NETWORKS)
    arguments = parser.parse_args()
    pin()
    print(f"Bytes of constants and microseconds an evaluation on one core of {processor()}.\n")
    print(f"| network | {' | '.join(PRECISIONS)} |")
    print("|---|" + "--:|" * len(PRECISIONS))
    for task in available(arguments.words):
        programs = [program(arguments.qcc, arguments.target, task, p) for p in PRECISIONS]
        for turn in range(arguments.rounds + 1):
            for worker, _ in programs:
                # The first round warms up caches and clocks.
                worker.measure(arguments.seconds) if turn else worker.round(arguments.seconds)
        base = programs[0][0].median
        cells = [f"{size:,} B, {w.median:,.1f} µs ({base / w.median:.2f}×)" for w, size in programs]
        for worker, _ in programs:
            worker.stop()
        print(f"| {task.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
