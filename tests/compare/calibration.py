"""Methods of calibration: qcc's and ONNX Runtime's on the same samples, which are not evaluated.

    python calibration.py [--qcc FILE] [--via VIA] [--target TARGET] [word ...]

Prints a table for Markdown: the network's metric, and in brackets the signal to noise of the outputs in decibels, where
the float network is the signal. The words choose networks by their names.
"""

import argparse
import time

import accuracy
import ort_int8
from tasks import REPOSITORY, WORK, available

QCC = ("minmax", "moving-average", "percentile=99.99", "percentile=99.999", "entropy", "mse")
ORT = ("MinMax", "Entropy", "Percentile")


def by_ort(task, samples, method):
    path = WORK / f"{task.name}-{method}.onnx"
    ort_int8.quantize(task.model, samples.take(samples.calibration), path, method)
    return ort_int8.run(ort_int8.session(path, exact=True), samples.take(samples.evaluation))


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
        samples = task.load()
        truth = ort_int8.run(ort_int8.session(task.model), samples.take(samples.evaluation))
        ways = [lambda m=m: accuracy.by_qcc([*qcc, "--calibration", m], task, samples) for m in QCC]
        ways += [lambda m=m: by_ort(task, samples, m) for m in ORT]

        def cell(outputs, samples=samples, truth=truth, unit=task.unit):
            noise = f"({accuracy.snr(outputs, truth):.1f})"
            metric = samples.metric and accuracy.shown(samples.metric(outputs, samples.evaluation), unit)
            return f"{metric} {noise}" if metric else noise

        cells = [cell(truth).split(" ")[0] if samples.metric else "–"]
        for way in ways:
            try:
                cells.append(cell(way()))
            except Exception as error:  # one method that fails must not hide the others
                print(f"{task.name}: {str(getattr(error, 'stderr', error))[-300:]}", flush=True)
                cells.append("–")
        rows.append(f"| {task.name} | {task.unit} | {len(samples.evaluation)} | {' | '.join(cells)} |")
        print(rows[-1], f"{time.time() - start:.0f} s", flush=True)
    columns = [*(f"qcc {m}" for m in QCC), *(f"ONNX Runtime {m}" for m in ORT)]
    print(f"\n| network | metric | samples | float | {' | '.join(columns)} |")
    print(f"|---|---|--:|{'--:|' * (len(columns) + 1)}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
