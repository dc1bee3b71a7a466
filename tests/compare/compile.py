"""How long `qcc compile` takes for MobileNetV2 224 with 100 calibration images, and how much memory.

    python compile.py [--qcc FILE]
"""

import argparse
import resource
import subprocess
import time
from pathlib import Path

import numpy as np

from tasks import REPOSITORY, WORK, available

IMAGES = 100


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
    np.savez(folder / "images.npz", **{name: x[:IMAGES] for name, x in samples.inputs.items()})
    for file in ("network.c", "network.rs"):
        command = [
            arguments.qcc, "compile", task.model, "--calibrate", folder / "images.npz",
            "--target", "x86_64-avx2", "-o", folder / file,
        ]  # fmt: skip
        start = time.time()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.time() - start
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = (folder / file).stat().st_size / 1e6
        print(f"{file}: {seconds:.1f} s, at most {memory:.0f} MB of memory, {size:.1f} MB of source")


if __name__ == "__main__":
    main()
