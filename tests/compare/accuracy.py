"""Accuracy of every known network: in float, as qcc's integers, and as ONNX Runtime's int8.

    python accuracy.py [--qcc FILE] [--via VIA] [--target TARGET] [word ...]

Both quantize the same float network, calibrated with the same samples, which are not evaluated.
Prints a table for Markdown; the words choose networks by their names.
"""

import argparse
import subprocess
import time

import numpy as np

import ort_int8
from tasks import REPOSITORY, WORK, available


def snr(outputs, truth):
    """Signal to noise of all outputs together, in decibels."""
    signal = sum(np.sum(t.astype(np.float64) ** 2) for t in truth)
    noise = sum(np.sum((t.astype(np.float64) - o.reshape(t.shape)) ** 2) for o, t in zip(outputs, truth))
    return float(10 * np.log10(signal / noise)) if noise else float("inf")


def judge(samples, truth):
    """What a network's outputs are worth: by labels, or else beside the float network's."""
    return samples.metric or (lambda outputs, _: snr(outputs, truth))


def by_qcc(qcc, task, samples):
    """The outputs of qcc's integer program."""
    folder = WORK / "accuracy" / task.name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "calibrate.npz", **samples.take(samples.calibration))
    np.savez(folder / "inputs.npz", **samples.take(samples.evaluation))
    dims = [part for name, extent in task.dims.items() for part in ("--dim", f"{name}={extent}")]
    command = [
        *qcc, task.model, *dims, "--calibrate", folder / "calibrate.npz",
        "--inputs", folder / "inputs.npz", "-o", folder / "outputs.npz",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    count = len(samples.evaluation)
    with np.load(folder / "outputs.npz") as file:
        outputs = [file[name] for name in file.files]
    return [o.reshape(count, len(o) // count, *o.shape[1:]) for o in outputs]


def by_ort(task, samples):
    """The outputs of ONNX Runtime's integer network, evaluated as it is written."""
    path = WORK / f"{task.name}-int8.onnx"
    ort_int8.quantize(task.model, samples.take(samples.calibration), path)
    return ort_int8.run(ort_int8.session(path, exact=True), samples.take(samples.evaluation))


def measure(task, qcc):
    """A row of the table."""
    samples = task.load()
    truth = ort_int8.run(ort_int8.session(task.model), samples.take(samples.evaluation))
    metric = judge(samples, truth)
    ways = {"qcc": lambda: by_qcc(qcc, task, samples), "ort": lambda: by_ort(task, samples)}
    values = {"float": metric(truth, samples.evaluation)}
    for name, way in ways.items():
        try:
            values[name] = metric(way(), samples.evaluation)
        except Exception as error:  # one network that fails must not hide the others
            text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            print(f"{task.name}: {name} fails: {text.strip()[:2000]}")
            values[name] = float("nan")
    return len(samples.evaluation), values


def verdict(values, unit):
    """Within a point of float, or no worse than ONNX Runtime."""
    if unit == "SNR dB":
        point = 40  # noise of a hundredth of the signal
    else:
        point = values["float"] - (0.1 if "dB" in unit else 0.01)
    if values["qcc"] >= point:
        return "within a point of float"
    if values["qcc"] >= values["ort"]:
        return "no worse than ONNX Runtime"
    return "worse"


def shown(value, unit):
    if not np.isfinite(value):
        return "–" if np.isnan(value) else "∞"
    return f"{value:.1f}" if "dB" in unit else f"{100 * value:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--via", default="integer", help="how qcc evaluates; all ways give the same bits")
    parser.add_argument("--target", default="generic", help="the machine, where an emitted program evaluates")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    qcc = [arguments.qcc, "run", "--via", arguments.via, "--target", arguments.target]
    rows = []
    for task in available(arguments.words):
        start = time.time()
        count, values = measure(task, qcc)
        cells = [shown(values[key], task.unit) for key in ("float", "qcc", "ort")]
        rows.append(f"| {task.name} | {task.unit} | {count} | {' | '.join(cells)} | {verdict(values, task.unit)} |")
        print(rows[-1], f"{time.time() - start:.0f} s", flush=True)
    print("\n| network | metric | samples | float | qcc int8 | ONNX Runtime int8 | |")
    print("|---|---|--:|--:|--:|--:|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
