"""Products of quantized networks on inputs that bring their sums as far as they go: qcc's integers and ONNX Runtime's.

    python adversarial.py [--qcc FILE] [--native] [word ...]

Each convolution and dense layer of a network becomes a network of its own, its weights, bias and activations
quantized as they are; the scale of its result is the smallest with which no sum is cut off. Each activation is at the
end of its type that the weight of a chosen channel asks for; channels take turns over windows and samples, and each
has its largest and its smallest sum. A further sample has random ends.
All are evaluated by qcc's emitted C for x86_64-avx2, and by ONNX Runtime as it comes and with
`session.x64quantprecision`, held to AVX2 (held.py) unless `--native` is given.
NumPy computes the sums in f64, in which they are exact, and their rescaling: f32(sum) · f32((s_x · s_w) / s_y), to the
nearest integer. Prints how many outputs differ from that, and how many of these are not even a neighbour that the sum's
real lies next to a tie of: sums that are wrong.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import held
from tasks import OWN, REPOSITORY, SHARED, WORK

TARGET = "x86_64-avx2"
WORKER = Path(__file__).parent / "workers" / "evaluate.py"
QUANTIZED = [
    "mlperf_ic_resnet8_int8_qdq",
    "mlperf_kws_dscnn_int8_qdq",
    "mlperf_vww_mbv1_int8_qdq",
    "mlperf_ad_autoencoder_int8_qdq",
    "mobilenet_v1_0.25_224_qat_uint8_qdq",
    "mobilenet_v2_1.0_224_ptq_int8pc_qdq",
]
SAMPLES = 16
# What rounding each step of the rescaling to f32 moves a result of at most 128 by.
ROUNDING = 1e-4


class Layer:
    """A product of integers, cut out of a network."""

    def __init__(self, name, node, x, w, bias):
        self.name, self.node = name, node
        (self.kind, self.shape, self.x_scale, self.x_zero) = x
        (self.w, self.w_scale, self.w_zero) = w
        self.bias = bias
        self.dense = node.op_type != "Conv"
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if self.dense and attributes.get("transB"):
            self.columns = self.w.T
        else:
            self.columns = self.w
        self.groups = attributes.get("group", 1)
        self.strides = attributes.get("strides", [1, 1])
        self.dilations = attributes.get("dilations", [1, 1])
        self.pads = attributes.get("pads", [0, 0, 0, 0])
        ends = np.iinfo(self.kind)
        self.ends = [ends.min, ends.max]
        channels = self.columns.shape[1] if self.dense else len(self.w)
        # One scale and zero point for each output channel.
        self.scales = np.broadcast_to(self.w_scale, channels).astype(np.float32)
        zeros = np.broadcast_to(self.w_zero, channels).astype(np.int64)
        self.offset_w = self.columns.astype(np.int64) - (zeros if self.dense else zeros[:, None, None, None])
        reach = max(abs(end - self.x_zero) for end in self.ends)
        axes = 0 if self.dense else (1, 2, 3)
        most = np.abs(self.offset_w).sum(axis=axes) * reach + np.abs(bias)
        real = np.max(most * self.scales.astype(np.float64)) * float(self.x_scale)
        self.y_scale = np.float32(real / 127)
        self.y_zero = 128 if self.kind == np.uint8 else 0

    def inputs(self, random):
        """Integers, sample by sample."""
        x = np.array(self.ends)[random.integers(0, 2, (SAMPLES, *self.shape[1:]))]
        weight = np.abs(self.offset_w).sum(axis=0 if self.dense else (1, 2, 3))
        order = np.argsort(-weight, kind="stable")
        bend = self.bend_rows if self.dense else self.bend_windows
        bend(x[:-1], order)
        return x

    def end(self, weights, largest):
        return np.where((weights > 0) == largest, self.ends[1], self.ends[0])

    def bend_rows(self, x, order):
        rows = x.reshape(-1, x.shape[-1])
        for i, row in enumerate(rows):
            row[:] = self.end(self.offset_w[:, order[i // 2 % len(order)]], i % 2 == 0)

    def bend_windows(self, x, order):
        """Windows that have no element in common, each for a channel of each group."""
        spans = [(k - 1) * d + 1 for k, d in zip(self.w.shape[2:], self.dilations)]
        corners = []
        for axis, span in enumerate(spans):
            stride, before = self.strides[axis], self.pads[axis]
            first = -(-before // stride) * stride - before
            corners.append(range(first, x.shape[2 + axis] - span + 1, -(-span // stride) * stride))
        each = len(self.w) // self.groups
        depth = self.w.shape[1]
        of_group = [[c for c in order if c // each == group] for group in range(self.groups)]
        at = 0
        for image in x:
            for row in corners[0]:
                for column in corners[1]:
                    taps = [slice(c, c + s, d) for c, s, d in zip((row, column), spans, self.dilations)]
                    for group, channels in enumerate(of_group):
                        wanted = self.end(self.offset_w[channels[at // 2 % each]], at % 2 == 0)
                        image[group * depth : (group + 1) * depth, taps[0], taps[1]] = wanted
                    at += 1

    def sums(self, x):
        """Exact: an f64 holds integers of 53 bits."""
        x = (x - self.x_zero).astype(np.float64)
        w = self.offset_w.astype(np.float64)
        if self.dense:
            return (x @ w).astype(np.int64) + self.bias
        top, left, bottom, right = self.pads
        x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
        spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], self.dilations)]
        height, width = [(x.shape[2 + a] - spans[a]) // self.strides[a] + 1 for a in (0, 1)]
        count, groups = len(x), self.groups
        out = np.zeros((count, groups, len(w) // groups, height * width))
        w = w.reshape(groups, len(w) // groups, *w.shape[1:])
        for i in range(w.shape[3]):
            for j in range(w.shape[4]):
                y0, x0 = i * self.dilations[0], j * self.dilations[1]
                rows = slice(y0, y0 + (height - 1) * self.strides[0] + 1, self.strides[0])
                columns = slice(x0, x0 + (width - 1) * self.strides[1] + 1, self.strides[1])
                part = x[:, :, rows, columns].reshape(count, groups, -1, height * width)
                out += w[None, :, :, :, i, j] @ part
        return out.reshape(count, -1, height, width).astype(np.int64) + self.bias[:, None, None]

    def rescaled(self, sums):
        """The integers of ONNX's QLinearConv, and the reals that they round."""
        trailing = (slice(None),) if self.dense else (slice(None), None, None)
        factor = (self.x_scale * self.scales) / self.y_scale
        rounded = np.rint(sums.astype(np.float32) * factor[trailing]).astype(np.int64)
        real = sums * (float(self.x_scale) * self.scales.astype(np.float64) / float(self.y_scale))[trailing]
        ends = np.iinfo(self.kind)
        return np.clip(rounded + self.y_zero, ends.min, ends.max), real

    def add_to(self, graph, index):
        """Writes the layer between conversions from and to reals."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.kind))
        name = f"layer{index}"

        def constant(label, array):
            graph.initializer.append(numpy_helper.from_array(np.asarray(array), f"{name}/{label}"))
            return f"{name}/{label}"

        def node(op, inputs, output, **attributes):
            graph.node.append(helper.make_node(op, inputs, [output], name=output, **attributes))
            return output

        graph.input.append(helper.make_tensor_value_info(f"{name}_x", TensorProto.FLOAT, self.shape))
        ends = [constant("x_scale", self.x_scale), constant("x_zero", self.kind(self.x_zero))]
        x = node("QuantizeLinear", [f"{name}_x", *ends], f"{name}/x_q")
        x = node("DequantizeLinear", [x, *ends], f"{name}/x_dq")
        w_parts = [constant("w", self.w), constant("w_scale", self.w_scale), constant("w_zero", self.w_zero)]
        per_channel = np.ndim(self.w_scale) == 1
        axis = 1 if self.dense and self.w is self.columns else 0
        w = node("DequantizeLinear", w_parts, f"{name}/w_dq", **({"axis": axis} if per_channel else {}))
        scale = np.asarray(self.x_scale * self.w_scale, np.float32)
        bias_parts = [constant("bias", self.bias.astype(np.int32)), constant("bias_scale", scale)]
        bias_parts.append(constant("bias_zero", np.zeros(scale.shape, np.int32)))
        bias = node("DequantizeLinear", bias_parts, f"{name}/bias_dq", **({"axis": 0} if per_channel else {}))
        product = onnx.NodeProto()
        product.CopyFrom(self.node)
        del product.input[:], product.output[:]
        product.op_type = "Gemm" if self.dense else "Conv"
        product.name = name
        product.input.extend([x, w, bias])
        product.output.append(f"{name}/sum")
        graph.node.append(product)
        ends = [constant("y_scale", self.y_scale), constant("y_zero", self.kind(self.y_zero))]
        y = node("QuantizeLinear", [f"{name}/sum", *ends], f"{name}/y_q")
        node("DequantizeLinear", [y, *ends], f"{name}_y")
        graph.output.append(helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None))
        assert kind == graph.initializer[-1].data_type


def layers(path):
    """The products of a QDQ network."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    ports = [*graph.value_info, *graph.input]
    shapes = {port.name: [d.dim_value or 1 for d in port.type.tensor_type.shape.dim] for port in ports}

    def dequantized(name):
        """What stands before a DequantizeLinear."""
        node = producers.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        x, w = dequantized(node.input[0]), dequantized(node.input[1])
        if x is None or w is None or w.input[0] not in constants:
            continue
        scale, zero = [constants[name] for name in x.input[1:3]]
        weights = [constants[name] for name in w.input]
        bias = np.int64(0)
        if len(node.input) > 2:
            bias_node = dequantized(node.input[2])
            if bias_node is None:
                continue
            bias = constants[bias_node.input[0]].astype(np.int64)
        channels = len(weights[0]) if node.op_type == "Conv" else None
        shape = shapes[node.input[0]]
        if channels is None:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            channels = weights[0].shape[0 if transposed else 1]
            shape = [int(np.prod(shape[:-1])), shape[-1]]
        parameters = (zero.dtype.type, shape, np.float32(scale), int(zero))
        yield Layer(node.name or node.output[0], node, parameters, weights, np.broadcast_to(bias, channels))


def write(found, folder):
    """One network of all layers, and what they are fed."""
    graph = onnx.GraphProto(name="layers")
    random = np.random.default_rng(0)
    feed = {}
    for index, layer in enumerate(found):
        layer.add_to(graph, index)
        layer.x = layer.inputs(random)
        feed[f"layer{index}_x"] = ((layer.x - layer.x_zero) * layer.x_scale).astype(np.float32)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "layers.onnx")
    np.savez(folder / "inputs.npz", **feed)


def evaluations(qcc, folder, environment):
    """The outputs of each way."""
    model, inputs = folder / "layers.onnx", folder / "inputs.npz"
    command = [qcc, "run", model, "--via", "c", "--target", TARGET, "--inputs", inputs]
    worker = [sys.executable, WORKER, model, inputs]
    ways = {
        "qcc": (lambda file: [*command, "-o", file], None),
        "default": (lambda file: [*worker, file], environment),
        "exact": (lambda file: [*worker, file, "exact"], environment),
    }
    for way, (arguments, variables) in ways.items():
        file = folder / f"{way}.npz"
        done = subprocess.run(arguments(file), capture_output=True, text=True, env=variables)
        if done.returncode != 0:
            raise SystemExit(f"{way} fails: {done.stderr.strip()[-1000:]}")
        yield way, dict(np.load(file))


def measure(name, path, qcc, environment):
    folder = WORK / "adversarial" / name
    folder.mkdir(parents=True, exist_ok=True)
    found = list(layers(path))
    write(found, folder)
    answers = dict(evaluations(qcc, folder, environment))
    counts = {way: np.zeros(2, int) for way in answers}
    total = 0
    for index, layer in enumerate(found):
        wanted, real = layer.rescaled(layer.sums(layer.x))
        total += wanted.size
        for way, outputs in answers.items():
            y = outputs[f"layer{index}_y"].reshape(wanted.shape)
            y = np.rint(y / layer.y_scale).astype(np.int64) + layer.y_zero
            differ = y != wanted
            wrong = differ & (np.abs(y - layer.y_zero - real) > 0.5 + ROUNDING)
            counts[way] += [differ.sum(), wrong.sum()]
    cells = [f"{counts['qcc'][0]:,}"]
    cells += [f"{counts[way][0]:,} | {counts[way][1]:,}" for way in ("exact", "default")]
    print(f"| {name} | {len(found)} | {total:,} | {' | '.join(cells)} |", flush=True)


def networks(qcc, words):
    """The digit recogniser as qcc writes it, and networks that others quantized."""
    digits = WORK / "digits-int8.onnx"
    command = [qcc, "quantize", OWN / "digits.onnx", "--calibrate", OWN / "digits.npz", "-o", digits]
    digits.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, capture_output=True)
    paths = [("digits", digits), *((name, SHARED / f"{name}.onnx") for name in QUANTIZED)]
    for name, path in paths:
        if path.exists() and (not words or any(word in name for word in words)):
            yield name, path


def held_to_avx2():
    """The environment of ONNX Runtime without AVX-512 and VNNI."""
    folder = WORK / "adversarial" / "avx2"
    stamp = folder / "made-from.txt"
    if not stamp.exists() or stamp.read_text() != onnxruntime.__version__:
        shutil.rmtree(folder, ignore_errors=True)
        held.copy(Path(onnxruntime.__file__).parent, folder)
        stamp.write_text(onnxruntime.__version__)
    return held.environment(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--native", action="store_true", help="let ONNX Runtime use all that the processor has")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    environment = None if arguments.native else held_to_avx2()
    print("| network | layers | outputs | qcc | ONNX Runtime, exact | wrong sums | default | wrong sums |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, path in networks(arguments.qcc, arguments.words):
        measure(name, path, arguments.qcc, environment)


if __name__ == "__main__":
    main()
