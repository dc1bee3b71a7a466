"""What quantized networks mean: each operator's page of ONNX, one NumPy expression after the other.

    python onnx_meaning.py FOLDER [word ...]

Evaluates the quantized networks of tasks.py whose name contains one of the words, prints the names, and writes
NAME.network and NAME-test.npz as samples.py does, and what the network answers as NAME-expected.f32.

Sums of products are exact (64-bit integers), and rounded as the page of QLinearConv says: from Q(op(DQ, DQ)) too,
`saturate(round(f32(sum) * ((s_x * s_w) / s_y)) + z_y)`. A mean, whose page leaves the order of its sum open, is an
exact sum as well: `saturate(round(f32(sum) * ((s_x / s_y) / count)) + z_y)`.
Everything else is f32, one operation after the other.
An int32 bias is in units of the products. Functions of one number and Softmax are computed in f64 and rounded to f32.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

F = np.float32


@dataclass
class Real:
    """Reals that stand behind integers."""

    q: np.ndarray  # integers less their zero point, 64 bits
    scale: np.ndarray  # f32, a number or one an axis
    axis: int = 0

    @property
    def value(self):
        return self.q.astype(F) * along(self.scale, self.axis, self.q.ndim)


@dataclass
class Mean:
    """Exact sums of integers in units of `scale / count`."""

    q: np.ndarray
    scale: np.ndarray
    count: np.ndarray


@dataclass
class Sum:
    """Exact sums of products in units of `scale`, and what they saturate to."""

    q: np.ndarray
    scale: np.ndarray  # (s_x * s_w) in f32, a number or one a channel
    axis: int
    low: np.float32 = F(-np.inf)
    high: np.float32 = F(np.inf)


def along(vector, axis, ndim):
    """A vector as an array that broadcasts along one axis."""
    shape = [1] * ndim
    if np.ndim(vector) and np.size(vector) > 1:
        shape[axis] = -1
    return np.reshape(vector, shape if ndim else [])


def plain(x):
    """f32, whatever stands behind it."""
    if isinstance(x, Real):
        return x.value
    if isinstance(x, (Sum, Mean)):
        raise ValueError("a sum that is not quantized")
    return x


def limits(dtype):
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def saturate(x, z, dtype):
    low, high = limits(dtype)
    return np.clip(np.rint(x).astype(np.float64) + float(z), low, high).astype(dtype)


def quantize(x, scale, zero_point):
    scale, dtype = F(np.ravel(scale)[0]), zero_point.dtype
    z = int(np.ravel(zero_point)[0])
    if isinstance(x, Sum):
        m = along((x.scale / scale).astype(F), x.axis, x.q.ndim)
        y = saturate(x.q.astype(F) * m, z, dtype)
        low, high = saturate(x.low / scale, z, dtype), saturate(x.high / scale, z, dtype)
        return np.clip(y, low, high)
    if isinstance(x, Mean):
        return saturate(x.q.astype(F) * ((x.scale / scale) / x.count.astype(F)), z, dtype)
    return saturate(plain(x) / scale, z, dtype)


def dequantize(q, scale, zero_point=None, axis=1):
    scale = np.asarray(scale, F)
    if scale.size == 1:
        scale = scale.reshape(())
    zero_point = np.zeros(scale.shape, np.int64) if zero_point is None else np.asarray(zero_point, np.int64)
    zero_point = zero_point.reshape(scale.shape)
    return Real(q.astype(np.int64) - along(zero_point, axis, q.ndim), scale, axis)


def windows(x, kernel, strides, dilations, fill):
    """Views of a padded image: one for each tap."""
    size = [(x.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in (0, 1)]
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilations[0], j * dilations[1]
            rows = slice(top, top + (size[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (size[1] - 1) * strides[1] + 1, strides[1])
            yield i, j, x[:, :, rows, columns]


def padded(x, attributes, fill):
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=fill)


def image(attributes, kernel):
    return kernel, attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])


def conv(x, w, b=None, **attributes):
    groups, (m, depth) = attributes.get("group", 1), w.q.shape[:2]
    xq = padded(x.q, attributes, 0)
    total = 0
    for i, j, view in windows(xq, *image(attributes, w.q.shape[2:]), 0):
        taps = w.q[:, :, i, j].reshape(groups, m // groups, depth).astype(float)
        n, _, height, width = view.shape
        pixels = view.reshape(n, groups, depth, height * width).astype(float)
        # Products of 9 bits: f64 sums them exactly.
        total = total + np.einsum("gmd,ngdp->ngmp", taps, pixels, optimize=True)
    total = total.reshape(n, m, height, width).astype(np.int64)
    return with_bias(Sum(total, x.scale * w.scale, 1), b)


def with_bias(total, bias):
    if bias is None:
        return total
    if isinstance(bias, Real):
        assert np.allclose(bias.scale, total.scale, rtol=1e-5), "a bias in other units than its products"
        q = bias.q.reshape(-1)
    else:
        q = np.rint(np.float64(bias) / np.float64(total.scale)).astype(np.int64)
    return replace(total, q=total.q + along(q, total.axis, total.q.ndim))


def matmul(a, b, bias=None):
    total = (a.q.astype(float) @ b.q.astype(float)).astype(np.int64)
    return with_bias(Sum(total, a.scale * b.scale, total.ndim - 1), bias)


def gemm(a, b, c=None, transA=0, transB=0, alpha=1.0, beta=1.0):
    assert (alpha, beta) == (1, 1)
    flip = lambda x, yes: replace(x, q=x.q.T) if yes else x
    return matmul(flip(a, transA), flip(b, transB), c)


def add(a, b):
    for total, bias in ((a, b), (b, a)):
        if isinstance(total, Sum):
            return with_bias(total, bias)
    return plain(a) + plain(b)


def clip(x, low=None, high=None, **attributes):
    low = F(-np.inf if low is None else low)
    high = F(np.inf if high is None else high)
    if isinstance(x, Sum):
        return replace(x, low=max(x.low, low), high=min(x.high, high))
    return np.clip(plain(x), low, high)


def average_pool(x, kernel_shape, count_include_pad=0, **attributes):
    assert not any(attributes.get("pads", [])) or not count_include_pad
    ones = padded(np.ones_like(x.q), attributes, 0)
    total, count = 0, 0
    for (_, _, view), (_, _, one) in zip(
        windows(padded(x.q, attributes, 0), *image(attributes, kernel_shape), 0),
        windows(ones, *image(attributes, kernel_shape), 0),
    ):
        total, count = total + view, count + one
    # Windows without padding count alike.
    count = np.ravel(count)[0] if np.ptp(count) == 0 else count
    return Mean(total, x.scale, count)


def max_pool(x, kernel_shape, **attributes):
    q = x.q if isinstance(x, Real) else x
    lowest = np.iinfo(np.int64).min if isinstance(x, Real) else limits(q.dtype)[0]
    views = windows(padded(q, attributes, lowest), *image(attributes, kernel_shape), 0)
    q = np.maximum.reduce([view for _, _, view in views])
    return replace(x, q=q) if isinstance(x, Real) else q


def softmax(x, axis=-1, **attributes):
    x = np.float64(plain(x))
    e = np.exp(x - x.max(axis, keepdims=True))
    return (e / e.sum(axis, keepdims=True)).astype(F)


def unary(f):
    return lambda x, **attributes: f(np.float64(plain(x)), **attributes).astype(F)


def moved(f):
    """An operator that moves elements, of whatever kind."""

    def move(x, *operands, **attributes):
        if isinstance(x, (Real, Sum, Mean)):
            return replace(x, q=f(x.q, *operands, **attributes))
        return f(x, *operands, **attributes)

    return move


def reshape(x, shape, **attributes):
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def pad(x, pads, value=None, mode="constant"):
    n = len(pads) // 2
    assert value is None or not np.any(value), "zeros are padded"
    return np.pad(x, list(zip(pads[:n], pads[n:])))


def concat(*parts, axis):
    return np.concatenate([plain(part) for part in parts], axis)


OPERATORS = {
    "Add": add,
    "AveragePool": average_pool,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "DequantizeLinear": dequantize,
    "Flatten": moved(lambda x, axis=1: x.reshape(int(np.prod(x.shape[:axis])), -1)),
    "Gemm": gemm,
    "GlobalAveragePool": lambda x, **_: average_pool(x, x.q.shape[2:]),
    "Identity": lambda x: x,
    "LeakyRelu": lambda x, alpha=0.01: np.where(plain(x) < 0, F(alpha) * plain(x), plain(x)),
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": lambda a, b: plain(a) * plain(b),
    "Pad": moved(pad),
    "QuantizeLinear": quantize,
    "Relu": lambda x: clip(x, 0),
    "Reshape": moved(reshape),
    "Sigmoid": unary(lambda x: 1 / (1 + np.exp(-x))),
    "Softmax": softmax,
    "Transpose": moved(lambda x, perm: x.transpose(perm)),
}


def qlinear(name, operands, attributes):
    """An operator on integers: DQ of each operand, the operator, Q of the result."""
    if name == "Concat":
        scale, zero_point, *rest = operands
        reals = [dequantize(*rest[i : i + 3]) for i in range(0, len(rest), 3)]
        return quantize(OPERATORS[name](*reals, **attributes), scale, zero_point)
    reals, rest = [dequantize(*operands[:3])], operands[3:]
    if name in ("Conv", "MatMul", "Gemm", "Add", "Mul"):
        x, scale, zero_point, *rest = rest
        reals.append(dequantize(x, scale, zero_point, {"Conv": 0, "MatMul": -1}.get(name, 1)))
    bias = rest.pop(2) if name == "Conv" and len(rest) > 2 else rest.pop(0) if name == "Gemm" else None
    if bias is not None:
        reals.append(Real(bias.astype(np.int64), reals[0].scale * reals[1].scale))
    attributes.pop("opset", None), attributes.pop("channels_last", None)
    return quantize(OPERATORS[name](*reals, **attributes), *rest[:2])


def evaluate(graph, constants, feeds):
    """The graph's outputs as f32 or integers."""
    values = {"": None, **constants, **feeds}
    for node in graph.node:
        operands = [values[name] for name in node.input]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        name = node.op_type
        if name.startswith(("QLinear", "QGemm")):
            result = qlinear(name.removeprefix("QLinear").removeprefix("Q"), operands, attributes)
        else:
            result = OPERATORS[name](*operands, **attributes)
        values[node.output[0]] = result
    return [plain(values[output.name]) for output in graph.output]


def network(path):
    """A function from inputs to outputs."""
    graph = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    return lambda feeds: evaluate(graph, constants, feeds)


def main(folder, words):
    from samples import TEST, describe
    from tasks import available, QUANTIZED

    folder.mkdir(parents=True, exist_ok=True)
    for task in available(words, QUANTIZED):
        samples = task.load()
        spread = np.linspace(0, len(samples.evaluation) - 1, TEST).astype(int)
        test = samples.take(samples.evaluation[spread])
        run = network(task.model)
        answers = [
            np.concatenate([np.ravel(o).astype("<f4") for o in run({n: x[i : i + 1] for n, x in test.items()})])
            for i in range(TEST)
        ]
        np.savez_compressed(folder / f"{task.name}-test.npz", **test)
        np.concatenate(answers).tofile(folder / f"{task.name}-expected.f32")
        describe(folder, task)
        print(task.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
