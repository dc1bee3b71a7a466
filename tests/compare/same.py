"""The same bits everywhere: SHA-256 of a network's output integers, as emitted programs compute them for every machine.

    python same.py [--qcc FILE] [--samples N] [--targets WORD,..] [word ...]

Each network of tasks.py is calibrated with min/max, quantized networks as they are, and evaluated on samples that
did not calibrate it: by the integer evaluator, and by emitted C and Rust for every machine whose programs run here, on
the processor or in an emulator. Prints a table: the first 16 digits of the evaluator's SHA-256, and for each machine
the languages whose programs have the same; `differs` would stand for another, `small` for a machine whose memory does
not hold the program. Exits with 1 if anything differs.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tasks import QUANTIZED, REPOSITORY, TASKS, UNMEASURED, WORK, available

CALIBRATION = 8
LANGUAGES = ["c", "rust"]
# What linkers say of a program that a machine's memory does not hold.
SMALL = re.compile(r"will not fit|overflowed by|does not fit|is not within region|size of array .* is too large")


def machines(qcc, words):
    """The machines whose programs run here."""
    lines = subprocess.run([qcc, "targets"], check=True, capture_output=True, text=True).stdout.splitlines()
    column = lines[0].index("runs here")
    names = [line.split()[0] for line in lines[1:] if not line[column:].startswith("no:")]
    return [name for name in names if not words or any(word in name for word in words)]


def evaluate(qcc, task, folder, via, target):
    """SHA-256 of all output integers, or why there are none."""
    output = folder / f"{target}-{via}.npz"
    dims = [word for name, value in task.dims.items() for word in ("--dim", f"{name}={value}")]
    command = [qcc, "run", task.model, *dims, "--inputs", folder / "samples.npz", "--integers", "--via", via]
    command += ["--calibrate", folder / "calibrate.npz", "--target", target, "-o", output]
    found = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if found.returncode:
        if SMALL.search(found.stderr):
            return "small"
        return "" if "there is no" in found.stderr else f"error: {found.stderr.strip()[:300]}"
    digest = hashlib.sha256()
    with np.load(output) as arrays:
        for name in sorted(arrays.files):
            digest.update(name.encode() + str((arrays[name].dtype, arrays[name].shape)).encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    output.unlink()
    return digest.hexdigest()


def row(qcc, task, targets, count):
    """A line of the table, and whether all is the same."""
    folder = WORK / "same" / task.name
    folder.mkdir(parents=True, exist_ok=True)
    samples = task.load()
    np.savez(folder / "calibrate.npz", **samples.take(samples.calibration[:CALIBRATION]))
    chosen = samples.evaluation[np.linspace(0, len(samples.evaluation) - 1, count).astype(int)]
    np.savez(folder / "samples.npz", **samples.take(chosen))
    wanted = evaluate(qcc, task, folder, "integer", "generic")
    cells, same = [], True
    for target in targets:
        found = {language: evaluate(qcc, task, folder, language, target) for language in LANGUAGES}
        equal = [language for language, digest in found.items() if digest == wanted]
        small = "small" in found.values()
        wrong = [f"{language} {digest[:80]}" for language, digest in found.items() if digest not in ("", "small", wanted)]
        same &= not wrong and len(wanted) == len(hashlib.sha256().hexdigest())
        cells.append(", ".join(["differs: " + w for w in wrong] + equal) or ("small" if small else "none"))
    return f"| {task.name} | {wanted[:16]} | {' | '.join(cells)} |", same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qcc", type=Path, default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--targets", default="")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    targets = machines(arguments.qcc, [word for word in arguments.targets.split(",") if word])
    print(f"| network | SHA-256 | {' | '.join(f'`{target}`' for target in targets)} |")
    print("|---" * (2 + len(targets)) + "|")
    tasks = available(arguments.words, TASKS + QUANTIZED + UNMEASURED)
    with ThreadPoolExecutor(2) as pool:
        rows = pool.map(lambda task: row(arguments.qcc, task, targets, arguments.samples), tasks)
        correct = [print(line, flush=True) or same for line, same in rows]
    print(f"{sum(correct)} of {len(correct)} networks are the same everywhere")
    sys.exit(not all(correct))


if __name__ == "__main__":
    main()
