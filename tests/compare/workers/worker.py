"""Times one network of one input in another runtime, on one thread; speaks with timing.py as emitted.c does.

    python worker.py RUNTIME MODEL   # for each number of seconds on stdin: nanoseconds of the median evaluation, and how many
"""

import sys
import time

import numpy as np


def noise(shape, kind):
    """Any input takes the same time."""
    random = np.random.default_rng(0)
    if np.issubdtype(kind, np.integer):
        return random.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)
    return random.standard_normal(shape, np.float32)


def onnxruntime(path, exact=False):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if exact:
        # Its kernels saturate sums on x86 without VNNI.
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    kind = np.uint8 if port.type == "tensor(uint8)" else np.float32
    feed = {port.name: noise(port.shape, kind)}
    return lambda: session.run(None, feed)


def openvino(path):
    from openvino import Core, Tensor

    options = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",  # of what is not quantized: not bf16
    }
    model = Core().compile_model(path, "CPU", options)
    request = model.create_infer_request()
    port = model.input(0)
    request.set_input_tensor(Tensor(noise(list(port.shape), port.element_type.to_dtype().type)))
    return lambda: request.infer(share_outputs=True)


def litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    interpreter.set_tensor(port["index"], noise(port["shape"], port["dtype"]))
    return interpreter.invoke


RUNTIMES = {
    "onnxruntime": onnxruntime,
    "onnxruntime-exact": lambda path: onnxruntime(path, exact=True),
    "openvino": openvino,
    "litert": litert,
}


def main(runtime, path):
    evaluate = RUNTIMES[runtime](path)
    evaluate()
    for line in sys.stdin:
        times, end = [], time.perf_counter_ns() + float(line) * 1e9
        while len(times) < 3 or time.perf_counter_ns() < end:
            start = time.perf_counter_ns()
            evaluate()
            times.append(time.perf_counter_ns() - start)
        print(sorted(times)[len(times) // 2], len(times), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
