"""How long `qcc compile` and `qcc quantize` take for MobileNetV2 224 with 500 calibration images, and how much memory.

    python compile.py [--qcc FILE]
"""

import argparse
import re
import subprocess
import time
from pathlib import Path

import numpy as np

from tasks import REPOSITORY, WORK, available

IMAGES = 500


def run(command):
    """Seconds, and the largest resident set in MB: the kernel's account of a child would include this process."""
    start, most = time.time(), 0
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max([most, *map(int, re.findall(r"VmHWM:\s*(\d+) kB", status))])
        time.sleep(0.005)
    if process.returncode != 0:
        raise SystemExit(f"{command[1]} fails")
    return time.time() - start, most / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc", type=Path)
    arguments = parser.parse_args()
    tasks = list(available(["mobilenet_v2_1.0_224_ptq"]))
    if not tasks:
        raise SystemExit("MobileNetV2 is not there; set QCC_MODELS")
    (task,) = tasks
    folder = WORK / "compile"
    folder.mkdir(parents=True, exist_ok=True)
    samples = task.load()
    # Where there are fewer images, they come again.
    images = {name: x[np.arange(IMAGES) % len(x)] for name, x in samples.inputs.items()}
    np.savez(folder / "images.npz", **images)
    machine = ("--target", "x86_64-avx2")
    for file, name, options in (
        ("network.c", "compile", machine),
        ("network.rs", "compile", machine),
        ("network.onnx", "quantize", ()),
        ("narrow.onnx", "quantize", ("--precision", "w4a8", "--rounding", "gptq")),
    ):
        command = [arguments.qcc, name, task.model, "--calibrate", folder / "images.npz", *options]
        seconds, memory = run([*command, "-o", folder / file])
        size = (folder / file).stat().st_size / 1e6
        print(f"{file}: {seconds:.1f} s, at most {memory:.0f} MB of memory, {size:.1f} MB written")


if __name__ == "__main__":
    main()
