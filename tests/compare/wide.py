"""A small network of random weights that is quantized to widths which no network at hand has.

Activations have 16 bits, in one layer 8; weights have 8 and 4 bits, with and without a sign, one scale a channel.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

ACTIVATIONS = {"u16": TensorProto.UINT16, "i16": TensorProto.INT16, "u8": TensorProto.UINT8}
WEIGHTS = {(4, True): TensorProto.INT4, (4, False): TensorProto.UINT4, (8, True): TensorProto.INT8, (8, False): TensorProto.UINT8}
INPUT = (3, 14, 14)


class Graph:
    """A graph under construction; `activations` is the type of most of them."""

    def __init__(self, activations):
        self.activations = activations
        self.random = np.random.default_rng(7)
        self.nodes, self.constants = [], []

    def node(self, op_type, inputs, **attributes):
        name = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array, kind):
        name = f"constant_{len(self.constants)}"
        array = np.asarray(array)
        self.constants.append(helper.make_tensor(name, kind, array.shape, np.ravel(array).tolist()))
        return name

    def reals(self, array):
        return self.constant(np.float32(array), TensorProto.FLOAT)

    def quantized(self, x, width, below, kind=None):
        """Reals rounded to steps of an interval of `width` of which a share lies below zero; and their scale."""
        kind = kind or self.activations
        steps = 255 if kind == "u8" else 65535
        zero = int(below * steps) - (32768 if kind == "i16" else 0)
        scale = np.float32(width / steps)
        parameters = [self.reals(scale), self.constant(zero, ACTIVATIONS[kind])]
        q = self.node("QuantizeLinear", [x, *parameters])
        return self.node("DequantizeLinear", [q, *parameters]), scale

    def weights(self, shape, bits, signed, axis=0):
        low = -(1 << (bits - 1)) if signed else 0
        steps = (1 << bits) - 1
        kind, count = WEIGHTS[bits, signed], shape[axis]
        scales = np.float32(self.random.uniform(0.1, 0.3, count) / steps)
        zero = np.zeros(count, int) if signed else self.random.integers(low, low + steps + 1, count)
        integers = self.random.integers(low, low + steps + 1, shape)
        inputs = [self.constant(integers, kind), self.reals(scales), self.constant(zero, kind)]
        return self.node("DequantizeLinear", inputs, axis=axis), scales

    def conv(self, x, shape, bits, signed, group=1, relu=True, kind=None):
        x, scale = x
        w, scales = self.weights(shape, bits, signed)
        bias = self.constant(self.random.integers(-2000, 2000, shape[0]), TensorProto.INT32)
        bias = self.node("DequantizeLinear", [bias, self.reals(scale * scales)], axis=0)
        y = self.node("Conv", [x, w, bias], pads=[shape[2] // 2] * 4, group=group)
        y = self.node("Relu", [y]) if relu else y
        return self.quantized(y, 4, 0 if relu else 0.5, kind)


def write(path, activations):
    """Writes the network with activations `u16` or `i16`."""
    graph = Graph(activations)
    first = graph.conv(graph.quantized("x", 2, 0.5), (16, 3, 3, 3), 8, True)
    y = graph.conv(first, (16, 1, 3, 3), 4, True, group=16)
    y = graph.conv(y, (16, 16, 1, 1), 4, False, relu=False)
    y = graph.quantized(graph.node("Add", [first[0], y[0]]), 8, 0.25)
    y = graph.conv(y, (24, 16, 3, 3), 8, False, kind="u8")
    y, _ = graph.conv(y, (24, 24, 3, 3), 4, True)
    y = graph.node("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 2])
    y, _ = graph.quantized(graph.node("GlobalAveragePool", [y]), 4, 0)
    w, _ = graph.weights((24, 10), 4, True, axis=1)
    y, _ = graph.quantized(graph.node("MatMul", [graph.node("Flatten", [y]), w]), 8, 0.5)
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", [1, *INPUT]), (y, [1, 10]))
    ]
    model = helper.make_graph(graph.nodes, path.stem, *ports, graph.constants)
    onnx.save(helper.make_model(model, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
