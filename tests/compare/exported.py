"""What `qcc quantize` writes, evaluated by ONNX Runtime and by qcc, beside the integers that it was written from.

    python exported.py [--qcc FILE] [word ...]

ONNX Runtime evaluates the file as it is written, in f32, where a sum next to a tie rounds to the other side; qcc
imports it without samples, and finds the same integers.
Prints, for each network, how many output numbers differ, by how many steps at most, and both accuracies.
"""

import argparse
import subprocess

import numpy as np

import ort_int8
from accuracy import by_qcc, shown, snr
from quantized import step
from tasks import REPOSITORY, WORK, available


def export(qcc, task, samples):
    """The network as qcc quantizes it, as a file."""
    folder = WORK / "exported" / task.name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "calibrate.npz", **samples.take(samples.calibration))
    dims = [part for name, extent in task.dims.items() for part in ("--dim", f"{name}={extent}")]
    path = folder / "network.qdq.onnx"
    command = [qcc, "quantize", task.model, *dims, "--calibrate", folder / "calibrate.npz", "-o", path]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return path


def imported(qcc, path, samples):
    """The file's outputs by qcc, which needs no samples for it."""
    np.savez(path.with_name("inputs.npz"), **samples.take(samples.evaluation))
    output = path.with_name("outputs.npz")
    command = [qcc, "run", "--via", "integer", path, "--inputs", path.with_name("inputs.npz"), "-o", output]
    subprocess.run(command, check=True, capture_output=True, text=True)
    with np.load(output) as file:
        return [file[name] for name in file.files]


def measure(task, qcc):
    samples = task.load()
    path = export(qcc, task, samples)
    ours = by_qcc([qcc, "run", "--via", "integer"], task, samples)
    again = imported(qcc, path, samples)
    theirs = ort_int8.run(ort_int8.session(path, exact=True), samples.take(samples.evaluation))
    differ = lambda a, b: sum(int(np.sum(x.reshape(y.shape) != y)) for x, y in zip(a, b))
    largest = max(float(np.max(np.abs(o.reshape(t.shape) - t))) for o, t in zip(ours, theirs)) / step(path)
    metric = samples.metric or (lambda outputs, _: snr(outputs, theirs))
    values = [metric(outputs, samples.evaluation) for outputs in (ours, theirs)]
    size = sum(t.size for t in theirs)
    counts = f"{differ(again, ours):,} | {differ(ours, theirs):,} of {size:,} | {round(largest)}"
    return f"{len(samples.evaluation)} | {counts}", values


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    print("| network | metric | samples | differ by qcc | differ by ONNX Runtime | steps at most | qcc | ONNX Runtime |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for task in available(arguments.words):
        try:
            counts, values = measure(task, arguments.qcc)
        except subprocess.CalledProcessError as error:
            print(f"| {task.name} | fails: {error.stderr.strip()[:500]} |")
            continue
        cells = " | ".join(shown(value, task.unit) for value in values)
        print(f"| {task.name} | {task.unit} | {counts} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
