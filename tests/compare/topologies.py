"""Networks of well-known shapes with random weights, for comparisons of speed: that does not depend on what was learnt.

    python topologies.py FOLDER [name ...]   # writes FOLDER/name.onnx

Batch normalization is folded, as a compiler leaves it: each convolution has a bias.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes and constants in the order in which they are added; `shapes` holds channels, height and width."""

    def __init__(self, *shape):
        self.nodes, self.constants = [], []
        self.random = np.random.default_rng(0)
        self.shapes = {"input": shape}

    def add(self, operator, inputs, shape=None, **attributes):
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.shapes[name] = shape or self.shapes[inputs[0]]
        return name

    def constant(self, values):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def normal(self, *shape, scale):
        return self.constant(self.random.normal(0, scale, shape).astype(np.float32))

    def activate(self, x, activation):
        """By the name of an operator, or `Relu6`."""
        if activation == "Relu6":
            return self.add("Clip", [x, self.constant(np.float32(0)), self.constant(np.float32(6))])
        return self.add(activation, [x]) if activation else x

    def conv(self, x, outputs, kernel=1, stride=1, activation="Relu", groups=1, pads=None):
        """A convolution whose weights keep the variance of what a Relu lets through, and its activation.

        `pads` are before and after each axis; without them the extent is divided by the stride, rounded up.
        """
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        channels, *extents = self.shapes[x]
        if pads is None:
            ends = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(extents, kernel)]
            pads = [n // 2 for n in ends] + [n - n // 2 for n in ends]
        elif isinstance(pads, int):
            pads = [pads] * 4
        after = [(n + pads[i] + pads[i + 2] - k) // stride + 1 for i, (n, k) in enumerate(zip(extents, kernel))]
        inputs = channels // groups
        weights = self.normal(outputs, inputs, *kernel, scale=(2 / (inputs * kernel[0] * kernel[1])) ** 0.5)
        bias = self.normal(outputs, scale=0.1)
        options = {"kernel_shape": kernel, "strides": [stride] * 2, "pads": pads, "group": groups}
        return self.activate(self.add("Conv", [x, weights, bias], (outputs, *after), **options), activation)

    def depthwise(self, x, kernel=3, stride=1, activation="Relu"):
        channels = self.shapes[x][0]
        return self.conv(x, channels, kernel, stride, activation, groups=channels)

    def pool(self, operator, x, kernel, stride, pads=0, **options):
        channels, *extents = self.shapes[x]
        after = [(n + 2 * pads - kernel) // stride + 1 for n in extents]
        options |= {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pads] * 4}
        return self.add(operator, [x], (channels, *after), **options)

    def plus(self, x, y, activation=None):
        return self.activate(self.add("Add", [x, y]), activation)

    def concat(self, *parts):
        channels = sum(self.shapes[part][0] for part in parts)
        return self.add("Concat", list(parts), (channels, *self.shapes[parts[0]][1:]), axis=1)

    def mean(self, x):
        """One number a channel, spread over one axis."""
        channels = self.shapes[x][0]
        x = self.add("GlobalAveragePool", [x], (channels, 1, 1))
        return self.add("Flatten", [x], (channels,))

    def dense(self, x, outputs, activation=None):
        (inputs,) = self.shapes[x]
        constants = [self.normal(inputs, outputs, scale=(2 / inputs) ** 0.5), self.normal(outputs, scale=0.1)]
        return self.activate(self.add("Gemm", [x, *constants], (outputs,)), activation)

    def model(self, name, output):
        ports = [
            helper.make_tensor_value_info(port, TensorProto.FLOAT, [1, *self.shapes[port]])
            for port in ("input", output)
        ]
        body = helper.make_graph(self.nodes, name, ports[:1], ports[1:], self.constants)
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model


def mlp():
    graph = Graph(784)
    x = graph.dense(graph.dense("input", 256, "Relu"), 128, "Relu")
    return graph, graph.dense(x, 10)


def autoencoder():
    """Anomaly detection of MLPerf Tiny."""
    graph, x = Graph(640), "input"
    for outputs in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = graph.dense(x, outputs, "Relu")
    return graph, graph.dense(x, 640)


def dscnn():
    """Keyword spotting of MLPerf Tiny."""
    graph = Graph(1, 49, 10)
    x = graph.conv("input", 64, (10, 4), 2)
    for _ in range(4):
        x = graph.conv(graph.depthwise(x), 64)
    return graph, graph.add("Softmax", [graph.dense(graph.mean(x), 12)])


def resnet8():
    """Image classification of MLPerf Tiny."""
    graph = Graph(3, 32, 32)
    x = graph.conv("input", 16, 3)
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        x = basic_block(graph, x, outputs, stride)
    return graph, graph.add("Softmax", [graph.dense(graph.mean(x), 10)])


def basic_block(graph, x, outputs, stride):
    """Two convolutions around which the input is added."""
    y = graph.conv(graph.conv(x, outputs, 3, stride), outputs, 3, activation=None)
    if stride != 1 or graph.shapes[x][0] != outputs:
        x = graph.conv(x, outputs, 1, stride, activation=None)
    return graph.plus(y, x, "Relu")


def bottleneck(graph, x, outputs, stride):
    """The same of three, the middle one with a quarter of the channels; the first has the stride."""
    y = graph.conv(x, outputs // 4, 1, stride)
    y = graph.conv(graph.conv(y, outputs // 4, 3), outputs, activation=None)
    if graph.shapes[x][0] != outputs:
        x = graph.conv(x, outputs, 1, stride, activation=None)
    return graph.plus(y, x, "Relu")


def resnet(block, widths, depths):
    graph = Graph(3, 224, 224)
    x = graph.conv("input", 64, 7, 2, pads=3)
    x = graph.pool("MaxPool", x, 3, 2, 1)
    for i, (outputs, depth) in enumerate(zip(widths, depths)):
        for j in range(depth):
            x = block(graph, x, outputs, 2 if i > 0 and j == 0 else 1)
    return graph, graph.dense(graph.mean(x), 1000)


def mobilenet_v1(width=1.0, extent=224, classes=1000, activation="Relu6"):
    graph = Graph(3, extent, extent)
    x = graph.conv("input", int(32 * width), 3, 2, activation)
    steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for outputs, stride in steps:
        x = graph.conv(graph.depthwise(x, 3, stride, activation), int(outputs * width), activation=activation)
    return graph, graph.dense(graph.mean(x), classes)


def inverted(graph, x, inner, outputs, kernel, stride, activation="Relu6", squeeze=False):
    """A wide depthwise convolution between two 1 x 1 ones, and the input added where it has the same shape."""
    inputs = graph.shapes[x][0]
    y = graph.conv(x, inner, activation=activation) if inner != inputs else x
    y = graph.depthwise(y, kernel, stride, activation)
    if squeeze:
        y = excite(graph, y, int(inner / 4 + 4) // 8 * 8)
    y = graph.conv(y, outputs, activation=None)
    return graph.plus(x, y) if stride == 1 and inputs == outputs else y


def excite(graph, x, inner):
    """Multiplies channels by what their means say."""
    channels = graph.shapes[x][0]
    y = graph.add("GlobalAveragePool", [x], (channels, 1, 1))
    y = graph.conv(graph.conv(y, inner), channels, activation="HardSigmoid")
    return graph.add("Mul", [x, y])


def of_inverted(stages):
    """Stages of inverted residuals, each by its factor, channels, depth, stride and kernel."""
    graph = Graph(3, 224, 224)
    x = graph.conv("input", 32, 3, 2, "Relu6")
    for factor, outputs, depth, stride, kernel in stages:
        for j in range(depth):
            x = inverted(graph, x, factor * graph.shapes[x][0], outputs, kernel, stride if j == 0 else 1)
    x = graph.conv(x, 1280, activation="Relu6")
    return graph, graph.dense(graph.mean(x), 1000)


def mobilenet_v2():
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    return of_inverted([(*stage, 3) for stage in stages])


def efficientnet_lite0():
    return of_inverted([
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ])  # fmt: skip


def mobilenet_v3_small():
    graph = Graph(3, 224, 224)
    x = graph.conv("input", 16, 3, 2, "HardSwish")
    stages = [
        (3, 16, 16, True, "Relu", 2),
        (3, 72, 24, False, "Relu", 2),
        (3, 88, 24, False, "Relu", 1),
        (5, 96, 40, True, "HardSwish", 2),
        (5, 240, 40, True, "HardSwish", 1),
        (5, 240, 40, True, "HardSwish", 1),
        (5, 120, 48, True, "HardSwish", 1),
        (5, 144, 48, True, "HardSwish", 1),
        (5, 288, 96, True, "HardSwish", 2),
        (5, 576, 96, True, "HardSwish", 1),
        (5, 576, 96, True, "HardSwish", 1),
    ]
    for kernel, inner, outputs, squeeze, activation, stride in stages:
        x = inverted(graph, x, inner, outputs, kernel, stride, activation, squeeze)
    x = graph.mean(graph.conv(x, 576, activation="HardSwish"))
    return graph, graph.dense(graph.dense(x, 1024, "HardSwish"), 1000)


def squeezenet():
    """SqueezeNet 1.1."""
    graph = Graph(3, 224, 224)
    x = graph.pool("MaxPool", graph.conv("input", 64, 3, 2, pads=0), 3, 2)
    for inner, outputs, pool in (
        (16, 64, False), (16, 64, True), (32, 128, False), (32, 128, True),
        (48, 192, False), (48, 192, False), (64, 256, False), (64, 256, False),
    ):  # fmt: skip
        x = graph.conv(x, inner)
        x = graph.concat(graph.conv(x, outputs), graph.conv(x, outputs, 3))
        x = graph.pool("MaxPool", x, 3, 2) if pool else x
    return graph, graph.mean(graph.conv(x, 1000))


def chain(graph, x, *steps):
    """Convolutions one after the other: outputs, kernel, and stride without padding where it is not 1."""
    for outputs, kernel, *stride in steps:
        x = graph.conv(x, outputs, kernel, *stride, pads=0 if stride else None)
    return x


def inception_v3():
    """Without the auxiliary classifier."""
    graph = Graph(3, 299, 299)
    x = chain(graph, "input", (32, 3, 2), (32, 3, 1), (64, 3))
    x = chain(graph, graph.pool("MaxPool", x, 3, 2), (80, 1), (192, 3, 1))
    x = graph.pool("MaxPool", x, 3, 2)

    def pooled(x, outputs):
        return graph.conv(graph.pool("AveragePool", x, 3, 1, 1, count_include_pad=1), outputs)

    for last in (32, 64, 64):
        three = chain(graph, x, (64, 1), (96, 3), (96, 3))
        x = graph.concat(graph.conv(x, 64), chain(graph, x, (48, 1), (64, 5)), three, pooled(x, last))
    three = chain(graph, x, (64, 1), (96, 3), (96, 3, 2))
    x = graph.concat(chain(graph, x, (384, 3, 2)), three, graph.pool("MaxPool", x, 3, 2))
    wide, high = (1, 7), (7, 1)
    for n in (128, 160, 160, 192):
        one = chain(graph, x, (n, 1), (n, wide), (192, high))
        two = chain(graph, x, (n, 1), (n, high), (n, wide), (n, high), (192, wide))
        x = graph.concat(graph.conv(x, 192), one, two, pooled(x, 192))
    one = chain(graph, x, (192, 1), (320, 3, 2))
    two = chain(graph, x, (192, 1), (192, wide), (192, high), (192, 3, 2))
    x = graph.concat(one, two, graph.pool("MaxPool", x, 3, 2))
    for _ in range(2):
        one, two = chain(graph, x, (384, 1)), chain(graph, x, (448, 1), (384, 3))
        forks = [graph.conv(part, 384, kernel) for part in (one, two) for kernel in ((1, 3), (3, 1))]
        x = graph.concat(graph.conv(x, 320), *forks, pooled(x, 192))
    return graph, graph.dense(graph.mean(x), 1000)


TOPOLOGIES = {
    "mlp": mlp,
    "autoencoder": autoencoder,
    "dscnn": dscnn,
    "resnet8": resnet8,
    "mobilenet_v1_0.25_96": lambda: mobilenet_v1(0.25, 96, 2, "Relu"),
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v2": mobilenet_v2,
    "squeezenet_1.1": squeezenet,
    "efficientnet_lite0": efficientnet_lite0,
    "mobilenet_v1": mobilenet_v1,
    "resnet18": lambda: resnet(basic_block, (64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet50": lambda: resnet(bottleneck, (256, 512, 1024, 2048), (3, 4, 6, 3)),
    "inception_v3": inception_v3,
}


def make(name):
    graph, output = TOPOLOGIES[name]()
    return graph.model(name, output)


if __name__ == "__main__":
    for chosen in sys.argv[2:] or TOPOLOGIES:
        onnx.save(make(chosen), Path(sys.argv[1]) / f"{chosen}.onnx")
