"""Networks quantized for TFLite: qcc with `--numerics tflite` beside LiteRT's interpreter, on all samples.

    python tflite.py [--qcc FILE] [--via VIA] [--target TARGET] [--limit N] [word ...]

Each network is an ONNX file with the scales of a .tflite file, which lies in the folder `tflite` beside it.
Prints, for each network, how many output integers of qcc differ from those of LiteRT's reference kernels, and beside
it how many of LiteRT's other kernels do: its optimized ones, and those of its default delegate, XNNPACK. The last
column counts the differences of XNNPACK to qcc with `--numerics onnx`.
"""

import argparse
import subprocess

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import numpy_helper

from tasks import QUANTIZED, REPOSITORY, WORK, available

RESOLVERS = {
    "reference": OpResolverType.BUILTIN_REF,
    "optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "XNNPACK": OpResolverType.AUTO,
}


def original(task):
    """The .tflite file that a network was converted from."""
    return task.model.parent / "tflite" / (task.model.stem.removesuffix("_qdq") + ".tflite")


def integers(reals, scale, zero_point, dtype):
    """The nearest integers under a scale and zero point."""
    limits = np.iinfo(dtype)
    steps = np.rint(np.float32(reals) / np.float32(scale)) + np.float32(zero_point)
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def output_scale(path):
    """Scale and zero point of the last activation: LiteRT may name others for the same bits behind a reshape."""
    graph = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    node = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] not in constants][-1]
    return [constants[name] for name in node.input[1:]]


def by_litert(path, inputs, resolver):
    """The integers of the only output, for reals in the layout of ONNX."""
    interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    if inputs.ndim == 4:
        inputs = inputs.transpose(0, 2, 3, 1)
    outputs = []
    for sample in integers(inputs, *source["quantization"], source["dtype"]):
        interpreter.set_tensor(source["index"], sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"]).copy())
    return np.stack(outputs)


def by_qcc(qcc, task, inputs, numerics):
    """The integers of qcc."""
    folder = WORK / "tflite" / task.name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "inputs.npz", **inputs)
    files = ["--inputs", folder / "inputs.npz", "-o", folder / "outputs.npz"]
    command = [*qcc, task.model, "--numerics", numerics, *files]
    subprocess.run(command, check=True, capture_output=True, text=True)
    scale, zero_point = output_scale(task.model)
    with np.load(folder / "outputs.npz") as file:
        return integers(file[file.files[0]], scale, zero_point, zero_point.dtype)


def measure(task, qcc, limit):
    """How many samples and outputs there are, and how many outputs differ, in the order of the columns."""
    inputs = {name: array[:limit] for name, array in task.load().inputs.items()}
    (samples,) = inputs.values()
    outputs = {name: by_litert(original(task), samples, resolver) for name, resolver in RESOLVERS.items()}
    reference = outputs["reference"]
    ours = {name: by_qcc(qcc, task, inputs, name).reshape(reference.shape) for name in ("tflite", "onnx")}
    pairs = [
        (ours["tflite"], reference),
        (outputs["optimized"], reference),
        (outputs["XNNPACK"], reference),
        (outputs["XNNPACK"], ours["onnx"]),
    ]
    return len(samples), reference.size, [int(np.sum(a != b)) for a, b in pairs]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--via", default="integer", help="how qcc evaluates; all ways give the same bits")
    parser.add_argument("--target", default="generic", help="the machine, where an emitted program evaluates")
    parser.add_argument("--limit", type=int, help="so many samples of each network")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    qcc = [arguments.qcc, "run", "--via", arguments.via, "--target", arguments.target]
    print("| network | samples | outputs | qcc | LiteRT, optimized | LiteRT, XNNPACK | XNNPACK to ONNX's numerics |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for task in available(arguments.words, QUANTIZED):
        if not original(task).exists():
            continue
        samples, outputs, differing = measure(task, qcc, arguments.limit)
        cells = " | ".join(f"{count:,}" for count in differing)
        print(f"| {task.model.stem} | {samples:,} | {outputs:,} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
