"""Writes what the tests of whole models feed to each network.

    python samples.py FOLDER [word ...]

For every network that is found (see tasks.py) and whose name contains one of the words:
NAME.onnx.path says where the network is (first line) and which dimensions to give it (NAME=VALUE, a line each),
NAME-calibrate.npz holds a few calibration samples, NAME-test.npz a few others, and
NAME-expected.npz the float outputs of ONNX Runtime for the latter, by position: out0, out1, ...
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

from tasks import available

CALIBRATION = 8
TEST = 4


def outputs(model, inputs):
    """What ONNX Runtime answers to each sample, the first axis being the sample."""
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    count = len(next(iter(inputs.values())))
    answers = [session.run(None, {name: x[i : i + 1] for name, x in inputs.items()}) for i in range(count)]
    return [np.stack(parts) for parts in zip(*answers)]


def main(folder, words):
    folder.mkdir(parents=True, exist_ok=True)
    for task in available(words):
        samples = task.load()
        calibration = samples.take(samples.calibration[:CALIBRATION])
        spread = np.linspace(0, len(samples.evaluation) - 1, TEST).astype(int)
        test = samples.take(samples.evaluation[spread])
        np.savez_compressed(folder / f"{task.name}-calibrate.npz", **calibration)
        np.savez_compressed(folder / f"{task.name}-test.npz", **test)
        expected = outputs(task.model, test)
        np.savez_compressed(folder / f"{task.name}-expected.npz", **{f"out{i}": o for i, o in enumerate(expected)})
        lines = [str(task.model), *(f"{name}={value}" for name, value in task.dims.items())]
        (folder / f"{task.name}.onnx.path").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
