"""Trains a digit recogniser for a microcontroller of 2 KB RAM and writes digits_tiny.onnx beside itself.

    pip install -r requirements.txt && python digits_tiny.py

The data, and which of them are held out, are those of digits.py: digits.npz and digits-test.npz serve both networks.
The network has a convolution, a depthwise-separable block, pooling and a dense layer: 2,154 numbers.
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
from digits import BATCH, CLASSES, EPOCHS, SEED, TEST, shifted

# name, outputs, inputs per group, kernel, stride, groups.
LAYERS = [
    ("stem", 16, 1, 3, 2, 1),
    ("depthwise", 16, 1, 3, 1, 16),
    ("pointwise", 32, 16, 1, 1, 1),
]
FEATURES = 128


def initial(key):
    """He initialisation; the pixels are 0..16, so the first layer starts a tenth as large."""
    weights = {}
    for name, outputs, inputs, kernel, _, _ in LAYERS:
        key, part = jax.random.split(key)
        fan = inputs * kernel * kernel * (100 if name == "stem" else 1)
        shape = (outputs, inputs, kernel, kernel)
        weights[name] = jax.random.normal(part, shape) * (2 / fan) ** 0.5, jnp.zeros(outputs)
    dense = jax.random.normal(key, (CLASSES, FEATURES)) * (1 / FEATURES) ** 0.5
    return weights | {"dense": (dense, jnp.zeros(CLASSES))}


def forward(weights, x):
    """The logits of a batch."""
    for name, _, _, kernel, stride, groups in LAYERS:
        kernels, bias = weights[name]
        pads = [(kernel // 2, kernel // 2)] * 2
        x = jax.lax.conv_general_dilated(
            x,
            kernels,
            (stride, stride),
            pads,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=groups,
        )
        x = jax.nn.relu(x + bias[:, None, None])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    kernels, bias = weights["dense"]
    return x.reshape(len(x), -1) @ kernels.T + bias


def loss(weights, x, y):
    return -jnp.mean(jax.nn.log_softmax(forward(weights, x))[jnp.arange(len(y)), y])


@jax.jit
def step(weights, state, x, y, rate):
    return adam.step(weights, jax.grad(loss)(weights, x, y), state, rate)


def train(x, y):
    weights = initial(jax.random.key(SEED))
    state = adam.start(weights)
    order = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        rate = 0.004 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        shuffled = order.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            batch = shuffled[start : start + BATCH]
            weights, state = step(weights, state, shifted(x[batch], order), y[batch], rate)
    return weights


def export(weights):
    """The trained network as ONNX."""
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def add(operator, name, inputs, **attributes):
        nodes.append(helper.make_node(operator, inputs, [name + "_out"], name=name, **attributes))
        return name + "_out"

    def parameters(name):
        return [constant(f"{name}/{part}", value) for part, value in zip(("kernel", "bias"), weights[name])]

    x = "image"
    for name, _, _, kernel, stride, groups in LAYERS:
        x = add(
            "Conv",
            f"{name}/conv",
            [x, *parameters(name)],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )
        x = add("Relu", f"{name}/relu", [x])
    x = add("MaxPool", "pool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = add("Flatten", "flatten", [x])
    nodes.append(helper.make_node("Gemm", [x, *parameters("dense")], ["logits"], name="dense", transB=1))
    graph = helper.make_graph(
        nodes,
        "digits_tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="digits_tiny.py")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    images, labels = digits.images.astype(np.float32)[order, None], digits.target[order]
    held_out, rest = slice(0, TEST), slice(TEST, None)
    weights = train(images[rest], labels[rest])
    path = Path(__file__).parent / "digits_tiny.onnx"
    onnx.save(export(weights), path)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images[held_out]])
    accuracy = np.mean(logits.argmax(1) == labels[held_out])
    assert np.abs(logits - forward(weights, images[held_out])).max() < 1e-3, "the exported graph is not what was trained"
    assert accuracy >= 0.95, f"accuracy is only {accuracy:.3f}"
    print(f"accuracy on {TEST} digits not trained on: {accuracy:.4f}")


if __name__ == "__main__":
    main()
