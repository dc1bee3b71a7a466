"""Methods of calibration: qcc's and ONNX Runtime's on the same samples, which are not evaluated.

    python calibration.py [--qcc FILE] [--via VIA] [--target TARGET] [word ...]

Prints a table for Markdown: the network's metric, and in brackets the signal to noise of the outputs in decibels, where
the float network is the signal; and for classifiers a second one, where qcc's default stands beside the method of ONNX
Runtime with the most right answers: which of them answers like the float network, which samples only one of them has
right, and how probable so uneven a split of these were if neither was better (a sign test).
The words choose networks by their names.
"""

import argparse
import math
import time

import numpy as np

import accuracy
import ort_int8
from tasks import REPOSITORY, WORK, available

QCC = ("minmax", "moving-average", "percentile=99.99", "percentile=99.999", "entropy", "mse")
ORT = ("MinMax", "Entropy", "Percentile")


def by_ort(task, samples, method):
    path = WORK / f"{task.name}-{method}.onnx"
    ort_int8.quantize(task.model, samples.take(samples.calibration), path, method)
    return ort_int8.run(ort_int8.session(path, exact=True), samples.take(samples.evaluation))


def answers(outputs):
    return outputs[0].reshape(len(outputs[0]), -1).argmax(1)


def chance(a, b):
    """How probable it is that a fair coin falls on one side as often as max(a, b) of a + b times, or more often."""
    tail = sum(math.comb(a + b, k) for k in range(max(a, b), a + b + 1))
    return min(1.0, 2 * tail / 2 ** (a + b))


def duel(task, labels, truth, qcc, ort):
    """A row of the second table: qcc's outputs, and of each of ONNX Runtime's methods."""
    method = max(ort, key=lambda m: np.sum(answers(ort[m]) == labels))
    own, other, real = answers(qcc), answers(ort[method]), answers(truth)
    only_own = int(np.sum((own == labels) & (other != labels)))
    only_other = int(np.sum((own != labels) & (other == labels)))
    like = [f"{100 * np.mean(x == real):.1f}" for x in (own, other)]
    cells = [*like, only_own, only_other, f"{100 * chance(only_own, only_other):.0f}"]
    return f"| {task.name} | {method} | {' | '.join(map(str, cells))} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--via", default="integer", help="how qcc evaluates; all ways give the same bits")
    parser.add_argument("--target", default="generic", help="the machine, where an emitted program evaluates")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    qcc = [arguments.qcc, "run", "--via", arguments.via, "--target", arguments.target]
    rows, duels = [], []
    for task in available(arguments.words):
        start = time.time()
        samples = task.load()
        truth = ort_int8.run(ort_int8.session(task.model), samples.take(samples.evaluation))
        ways = [lambda m=m: accuracy.by_qcc([*qcc, "--calibration", m], task, samples) for m in QCC]
        ways += [lambda m=m: by_ort(task, samples, m) for m in ORT]

        def cell(outputs, samples=samples, truth=truth, unit=task.unit):
            noise = f"({accuracy.snr(outputs, truth):.1f})"
            metric = samples.metric and accuracy.shown(samples.metric(outputs, samples.evaluation), unit)
            return f"{metric} {noise}" if metric else noise

        cells = [cell(truth).split(" ")[0] if samples.metric else "–"]
        outputs = {}
        for method, way in zip((*QCC, *ORT), ways):
            try:
                outputs[method] = way()
                cells.append(cell(outputs[method]))
            except Exception as error:  # one method that fails must not hide the others
                print(f"{task.name}: {str(getattr(error, 'stderr', error))[-300:]}", flush=True)
                cells.append("–")
        rows.append(f"| {task.name} | {task.unit} | {len(samples.evaluation)} | {' | '.join(cells)} |")
        print(rows[-1], f"{time.time() - start:.0f} s", flush=True)
        labels = getattr(samples.metric, "labels", None)
        ort = {m: outputs[m] for m in ORT if m in outputs}
        if labels is not None and ort and QCC[0] in outputs:
            duels.append(duel(task, labels[samples.evaluation], truth, outputs[QCC[0]], ort))
    columns = [*(f"qcc {m}" for m in QCC), *(f"ONNX Runtime {m}" for m in ORT)]
    print(f"\n| network | metric | samples | float | {' | '.join(columns)} |")
    print(f"|---|---|--:|{'--:|' * (len(columns) + 1)}")
    print("\n".join(rows))
    columns = ("qcc like float", "ONNX Runtime like float", "only qcc right", "only ONNX Runtime right", "by chance")
    print(f"\n| network | method of ONNX Runtime | {' | '.join(columns)} |")
    print(f"|---|---|{'--:|' * len(columns)}")
    print("\n".join(duels))


if __name__ == "__main__":
    main()
