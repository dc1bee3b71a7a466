"""Networks that were quantized elsewhere: qcc's integers beside ONNX Runtime, which evaluates them as written.

    python quantized.py [--qcc FILE] [--via VIA] [--target TARGET] [word ...]

ONNX Runtime runs without graph optimisation and with `session.x64quantprecision`: its DequantizeLinear, float
operator, QuantizeLinear add up in f32, in an order of its own, where qcc's sums are exact. A sum next to a tie then
rounds to the other side, and layers behind it see another integer.
Prints, for each network, how many output numbers differ, by how many steps at most, and both accuracies.
"""

import argparse
import subprocess

import numpy as np
import onnx
from onnx import numpy_helper

import ort_int8
from accuracy import by_qcc, shown, snr
from tasks import QUANTIZED, REPOSITORY, available


def step(path):
    """The scale of the last QuantizeLinear or DequantizeLinear, in which outputs are counted."""
    graph = onnx.load(path).graph
    constants = {i.name: i for i in graph.initializer}
    (node, *_) = [n for n in reversed(graph.node) if n.op_type == "DequantizeLinear" and n.input[1] in constants]
    return float(np.max(numpy_helper.to_array(constants[node.input[1]])))


def measure(task, qcc):
    samples = task.load()
    session = ort_int8.session(task.model, exact=True)
    theirs = ort_int8.run(session, samples.take(samples.evaluation))
    ours = by_qcc(qcc, task, samples)
    pairs = [(o.reshape(t.shape), t) for o, t in zip(ours, theirs)]
    differing = sum(int(np.sum(o != t)) for o, t in pairs)
    largest = max(float(np.max(np.abs(o - t))) for o, t in pairs) / step(task.model)
    metric = samples.metric or (lambda outputs, _: snr(outputs, theirs))
    values = [metric(outputs, samples.evaluation) for outputs in (ours, theirs)]
    size = sum(t.size for t in theirs)
    return f"{len(samples.evaluation)} | {differing:,} of {size:,} | {round(largest)}", values


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--via", default="integer", help="how qcc evaluates; all ways give the same bits")
    parser.add_argument("--target", default="generic", help="the machine, where an emitted program evaluates")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    qcc = [arguments.qcc, "run", "--via", arguments.via, "--target", arguments.target]
    print("| network | metric | samples | outputs that differ | steps at most | qcc | ONNX Runtime |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for task in available(arguments.words, QUANTIZED):
        try:
            counts, values = measure(task, qcc)
        except subprocess.CalledProcessError as error:
            print(f"| {task.name} | fails: {error.stderr.strip()[:500]} |")
            continue
        cells = " | ".join(shown(value, task.unit) for value in values)
        print(f"| {task.name} | {task.unit} | {counts} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
