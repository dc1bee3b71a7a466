"""Trains the digit recogniser of the tests and writes digits.onnx, digits.npz and digits-test.npz beside itself.

    pip install -r requirements.txt && python digits.py

The data are the 1797 handwritten digits of 8x8 pixels that come with scikit-learn.
The network has one of each thing a mobile network is made of: a convolution, depthwise-separable blocks, a residual
addition, global pooling and a dense layer; batch normalization stays a node of its own, as a training framework exports it.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

import adam

SEED = 1
EPOCHS = 120
BATCH = 64
TEST = 360
CALIBRATION = 100
EPSILON = 1e-3

# name, outputs, inputs per group, kernel, stride, activation; a depthwise layer has one input per group.
LAYERS = [
    ("stem", 16, 1, 3, 1, True),
    ("down/depthwise", 16, 1, 3, 2, True),
    ("down/pointwise", 32, 16, 1, 1, True),
    ("residual/depthwise", 32, 1, 3, 1, True),
    ("residual/pointwise", 32, 32, 1, 1, False),
    ("head/depthwise", 32, 1, 3, 1, True),
    ("head/pointwise", 64, 32, 1, 1, True),
]
CLASSES = 10


def groups(name, outputs):
    return outputs if name.endswith("depthwise") else 1


def initial(key):
    """He initialisation; the pixels are 0..16, so the first layer starts a tenth as large."""
    weights, running = {}, {}
    for name, outputs, inputs, kernel, _, _ in LAYERS:
        key, part = jax.random.split(key)
        fan = inputs * kernel * kernel * (10 if name == "stem" else 1)
        shape = (outputs, inputs, kernel, kernel)
        weights[name] = {
            "kernel": jax.random.normal(part, shape) * (2 / fan) ** 0.5,
            "gamma": jnp.ones(outputs),
            "beta": jnp.zeros(outputs),
        }
        running[name] = {"mean": jnp.zeros(outputs), "variance": jnp.ones(outputs)}
    features = LAYERS[-1][1]
    weights["dense"] = {
        "kernel": jax.random.normal(key, (CLASSES, features)) * (1 / features) ** 0.5,
        "bias": jnp.zeros(CLASSES),
    }
    return weights, running


def normalize(x, weights, running, training):
    """Batch normalization; also returns the updated running statistics."""
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
        running = {
            "mean": 0.9 * running["mean"] + 0.1 * mean,
            "variance": 0.9 * running["variance"] + 0.1 * variance,
        }
    else:
        mean, variance = running["mean"], running["variance"]
    scale = weights["gamma"] / jnp.sqrt(variance + EPSILON)
    return (x - mean[:, None, None]) * scale[:, None, None] + weights["beta"][:, None, None], running


def forward(weights, running, x, training):
    """The logits of a batch and the running statistics after it."""
    after = {}
    for name, outputs, _, kernel, stride, activation in LAYERS:
        if name == "residual/depthwise":
            shortcut = x
        pad = kernel // 2
        x = jax.lax.conv_general_dilated(
            x,
            weights[name]["kernel"],
            (stride, stride),
            [(pad, pad), (pad, pad)],
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=groups(name, outputs),
        )
        x, after[name] = normalize(x, weights[name], running[name], training)
        if name == "residual/pointwise":
            x = x + shortcut
        if activation:
            x = jnp.clip(x, 0, 6)
    return x.mean((2, 3)) @ weights["dense"]["kernel"].T + weights["dense"]["bias"], after


def loss(weights, running, x, y):
    logits, running = forward(weights, running, x, True)
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y]), running


@jax.jit
def step(weights, running, state, x, y, rate):
    gradient, running = jax.grad(loss, has_aux=True)(weights, running, x, y)
    weights, state = adam.step(weights, gradient, state, rate)
    return weights, running, state


def shifted(x, order):
    """The batch with every digit moved by at most one pixel, so that few samples teach more."""
    down, right = order.integers(-1, 2, (2, len(x)))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.stack([p[:, 1 - d : 9 - d, 1 - r : 9 - r] for p, d, r in zip(padded, down, right)])


def train(x, y):
    weights, running = initial(jax.random.key(SEED))
    state = adam.start(weights)
    order = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        rate = 0.004 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        shuffled = order.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            batch = shuffled[start : start + BATCH]
            weights, running, state = step(weights, running, state, shifted(x[batch], order), y[batch], rate)
    return weights, running


def export(weights, running):
    """The trained network as ONNX, with a symbolic batch."""
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def add(operator, name, inputs, **attributes):
        nodes.append(helper.make_node(operator, inputs, [name + "_out"], name=name, **attributes))
        return name + "_out"

    low, high = constant("relu6/low", 0.0), constant("relu6/high", 6.0)
    x = "image"
    for name, outputs, _, kernel, stride, activation in LAYERS:
        if name == "residual/depthwise":
            shortcut = x
        x = add(
            "Conv",
            f"{name}/conv",
            [x, constant(f"{name}/kernel", weights[name]["kernel"])],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups(name, outputs),
        )
        statistics = weights[name] | running[name]
        parts = [constant(f"{name}/{key}", statistics[key]) for key in ("gamma", "beta", "mean", "variance")]
        x = add("BatchNormalization", f"{name}/norm", [x, *parts], epsilon=EPSILON)
        if name == "residual/pointwise":
            x = add("Add", "residual/add", [x, shortcut])
        if activation:
            x = add("Clip", f"{name}/relu6", [x, low, high])
    x = add("GlobalAveragePool", "pool", [x])
    x = add("Flatten", "flatten", [x])
    dense = [constant("dense/kernel", weights["dense"]["kernel"]), constant("dense/bias", weights["dense"]["bias"])]
    x = add("Gemm", "dense", [x, *dense], transB=1)
    nodes.append(helper.make_node("Softmax", [x], ["probabilities"], name="softmax", axis=1))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="digits.py")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    images, labels = digits.images.astype(np.float32)[order, None], digits.target[order]
    held_out, rest = slice(0, TEST), slice(TEST, None)
    weights, running = train(images[rest], labels[rest])
    model = export(weights, running)

    folder = Path(__file__).parent
    onnx.save(model, folder / "digits.onnx")
    np.savez_compressed(folder / "digits.npz", image=images[rest][:CALIBRATION].astype(np.uint8))
    np.savez_compressed(
        folder / "digits-test.npz",
        image=images[held_out].astype(np.uint8),
        labels=labels[held_out].astype(np.uint8),
    )

    session = onnxruntime.InferenceSession(folder / "digits.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"image": images[held_out]})
    accuracy = np.mean(probabilities.argmax(1) == labels[held_out])
    expected = jax.nn.softmax(forward(weights, running, images[held_out], False)[0])
    assert np.abs(probabilities - expected).max() < 1e-4, "the exported graph differs from the trained one"
    assert accuracy >= 0.97, f"accuracy is only {accuracy:.3f}"
    print(f"accuracy on {TEST} digits not trained on: {accuracy:.4f}")


if __name__ == "__main__":
    main()
