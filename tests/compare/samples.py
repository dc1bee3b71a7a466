"""Writes what the tests of whole models feed to each network.

    python samples.py FOLDER [word ...]

Prints the name of every network that is found (see tasks.py) and whose name contains one of the words, and writes
NAME.network: where the network is (first line) and which dimensions to give it (NAME=VALUE, a line each),
NAME-calibrate.npz: a few calibration samples,
NAME-test.npz: a few others,
NAME-expected.f32: what ONNX Runtime answers to these in float, all outputs of the first sample, then the next.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

from tasks import available

CALIBRATION = 8
TEST = 4


def answers(model, inputs):
    """Each sample's outputs, one after the other."""
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for i in range(len(next(iter(inputs.values())))):
        outputs = session.run(None, {name: x[i : i + 1] for name, x in inputs.items()})
        yield np.concatenate([o.reshape(-1) for o in outputs])


def main(folder, words):
    folder.mkdir(parents=True, exist_ok=True)
    for task in available(words):
        samples = task.load()
        calibration = samples.take(samples.calibration[:CALIBRATION])
        spread = np.linspace(0, len(samples.evaluation) - 1, TEST).astype(int)
        test = samples.take(samples.evaluation[spread])
        np.savez_compressed(folder / f"{task.name}-calibrate.npz", **calibration)
        np.savez_compressed(folder / f"{task.name}-test.npz", **test)
        expected = np.concatenate(list(answers(task.model, test)))
        expected.astype("<f4").tofile(folder / f"{task.name}-expected.f32")
        describe(folder, task)
        print(task.name)


def describe(folder, task):
    """Writes where the network is and which dimensions to give it."""
    lines = [str(task.model), *(f"{name}={value}" for name, value in task.dims.items())]
    (folder / f"{task.name}.network").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
