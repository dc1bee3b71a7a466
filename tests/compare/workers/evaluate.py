"""Evaluates a network in ONNX Runtime, as it comes or with `session.x64quantprecision`.

    python evaluate.py MODEL INPUTS.npz OUTPUTS.npz [exact]   # the first axis of all arrays is the sample
"""

import sys

import numpy as np
import onnxruntime


def main(model, inputs, outputs, exact=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = dict(np.load(inputs))
    count = len(next(iter(feed.values())))
    answers = [session.run(None, {name: x[i : i + 1] for name, x in feed.items()}) for i in range(count)]
    names = [port.name for port in session.get_outputs()]
    np.savez(outputs, **{name: np.concatenate(parts) for name, parts in zip(names, zip(*answers))})


main(*sys.argv[1:])
