"""Times one network in ONNX Runtime, on one thread; speaks with speed.py as worker.c does.

    python worker_ort.py MODEL   # for each number of seconds on stdin: nanoseconds of the median evaluation
"""

import sys
import time

import numpy as np
import onnxruntime


def main(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    random = np.random.default_rng(0)
    shape = [n if isinstance(n, int) else 1 for n in port.shape]
    if port.type == "tensor(uint8)":
        x = random.integers(0, 256, shape, np.uint8)
    else:
        x = random.standard_normal(shape, np.float32)
    feed = {port.name: x}
    for line in sys.stdin:
        times, end = [], time.perf_counter_ns() + float(line) * 1e9
        while len(times) < 3 or time.perf_counter_ns() < end:
            start = time.perf_counter_ns()
            session.run(None, feed)
            times.append(time.perf_counter_ns() - start)
        print(sorted(times)[len(times) // 2], flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
