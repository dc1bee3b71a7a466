"""A network of ResNet-18's shape for 224 x 224 images, with random weights: speed does not depend on what was learnt.

    python resnet18.py FILE
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self):
        self.nodes, self.constants = [], []
        self.random = np.random.default_rng(0)

    def add(self, operator, inputs, **attributes):
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, *shape, scale):
        name = f"weights{len(self.constants)}"
        values = self.random.normal(0, scale, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x, inputs, outputs, kernel, stride=1):
        """A convolution with bias, as batch normalization leaves it; weights keep the variance."""
        weights = self.constant(outputs, inputs, kernel, kernel, scale=(2 / (inputs * kernel**2)) ** 0.5)
        bias = self.constant(outputs, scale=0.1)
        return self.add("Conv", [x, weights, bias], strides=[stride] * 2, pads=[kernel // 2] * 4)

    def block(self, x, inputs, outputs, stride):
        """Two convolutions around which the input is added."""
        y = self.add("Relu", [self.conv(x, inputs, outputs, 3, stride)])
        y = self.conv(y, outputs, outputs, 3)
        shortcut = x if inputs == outputs else self.conv(x, inputs, outputs, 1, stride)
        return self.add("Relu", [self.add("Add", [y, shortcut])])


def make():
    graph = Graph()
    x = graph.add("Relu", [graph.conv("image", 3, 64, 7, 2)])
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = graph.block(x, inputs, outputs, stride)
        x = graph.block(x, outputs, outputs, 1)
        inputs = outputs
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    dense = [graph.constant(512, 1000, scale=0.04), graph.constant(1000, scale=0.1)]
    x = graph.add("Gemm", [x, *dense])
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", [1, 3, 224, 224]), (x, [1, 1000]))
    ]
    body = helper.make_graph(graph.nodes, "resnet18", ports[:1], ports[1:], graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    onnx.save(make(), sys.argv[1])
