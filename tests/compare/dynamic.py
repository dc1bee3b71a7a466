"""Networks with scales of run time: qcc's integers beside ONNX Runtime's.

    python dynamic.py [--qcc FILE] [--via VIA] [--target TARGET] [word ...]

ONNX Runtime's quantize_dynamic writes each network with DynamicQuantizeLinear before MatMulInteger and ConvInteger;
all sums of products become outputs as well. ONNX Runtime runs without graph optimisation. Prints how many sums
differ, by how much the networks' own outputs do at most, and the accuracy of the float network and of both.
"""

import argparse
import dataclasses

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

import ort_int8
from accuracy import by_qcc, shown
from tasks import REPOSITORY, WORK, available

# The weights of each: s8 with one scale a column or channel, or u8 with one scale and a zero point.
WEIGHTS = {
    "digits": QuantType.QUInt8,
    "mlperf_ic_resnet8_f32": QuantType.QUInt8,
    "mlperf_kws_dscnn_f32": QuantType.QUInt8,
    "he_dnn_s": QuantType.QUInt8,
    "mlperf_ad_autoencoder_f32": QuantType.QInt8,
}
# The sums of so many pictures.
MOST = 200


def dynamic(task, inputs):
    """The network with its own outputs first, then its sums."""
    path = WORK / f"{task.name}-dynamic.onnx"
    onnx.save(ort_int8.prepared(task.model, inputs), path)
    kind = WEIGHTS.get(task.name, QuantType.QUInt8)
    quantize_dynamic(path, path, weight_type=kind, per_channel=kind == QuantType.QInt8)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type in ("MatMulInteger", "ConvInteger"):
            sums = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.INT32, None)
            model.graph.output.append(sums)
    onnx.save(model, path)
    return path


def measure(task, qcc):
    samples = task.load()
    if task.unit == "top-1":
        samples.evaluation = samples.evaluation[:MOST]
    inputs = samples.take(samples.evaluation)
    truth = ort_int8.run(ort_int8.session(task.model), inputs)
    path = dynamic(task, inputs)
    theirs = ort_int8.run(ort_int8.session(path, exact=True), inputs)
    ours = by_qcc(qcc, dataclasses.replace(task, model=path, dims={}), samples)
    count = len(truth)
    sums = list(zip(ours[count:], theirs[count:]))
    differing = sum(int(np.sum(o.reshape(t.shape) != t)) for o, t in sums)
    own = zip(ours[:count], theirs[:count])
    largest = max(float(np.max(np.abs(o.reshape(t.shape) - t)) / np.max(np.abs(t))) for o, t in own)
    values = [samples.metric(outputs[:count], samples.evaluation) for outputs in (truth, ours, theirs)]
    size = sum(t.size for _, t in sums)
    return f"{len(samples.evaluation)} | {differing:,} of {size:,} | {largest:.0e}", values


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--via", default="integer", help="how qcc evaluates; all ways give the same bits")
    parser.add_argument("--target", default="generic", help="the machine, where an emitted program evaluates")
    parser.add_argument("words", nargs="*", default=list(WEIGHTS))
    arguments = parser.parse_args()
    qcc = [arguments.qcc, "run", "--via", arguments.via, "--target", arguments.target]
    print("| network | metric | samples | sums that differ | outputs differ by | float | qcc | ONNX Runtime |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for task in available(arguments.words):
        counts, values = measure(task, qcc)
        cells = " | ".join(shown(value, task.unit) for value in values)
        print(f"| {task.name} | {task.unit} | {counts} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
