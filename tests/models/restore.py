"""Trains a network that cleans noisy digits and writes restore.onnx, restore.npz and restore-test.npz beside itself.

    pip install -r requirements.txt && python restore.py

It has what the digit recogniser lacks: two ways down and two ways up again (strided convolution and MaxPool, transposed
convolution and Resize), dilation, Concat, and the activations of newer networks.
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
EPOCHS = 60
BATCH = 64
TEST = 64
CALIBRATION = 100
NOISE = 4.0  # standard deviation, where ink is 16

# name: outputs, inputs, kernel; the kernel of the transposed convolution has inputs first.
SHAPES = {
    "wide": (12, 1, 3),
    "down": (16, 12, 3),
    "bottom": (16, 28, 3),
    "up": (16, 12, 2),
    "merge": (16, 40, 3),
    "out": (1, 16, 1),
}


def initial(key):
    weights = {}
    for name, (outputs, inputs, kernel) in SHAPES.items():
        key, part = jax.random.split(key)
        bias = SHAPES["up"][1] if name == "up" else outputs
        weights[name] = {
            "kernel": jax.random.normal(part, (outputs, inputs, kernel, kernel)) * (2 / (inputs * kernel**2)) ** 0.5,
            "bias": jnp.zeros(bias),
        }
    return weights


def conv(x, w, stride=1, dilation=1):
    pad = dilation * (w["kernel"].shape[-1] // 2)
    y = jax.lax.conv_general_dilated(
        x,
        w["kernel"],
        (stride, stride),
        [(pad, pad), (pad, pad)],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    return y + w["bias"][:, None, None]


def transposed(x, w):
    """Kernel 2, stride 2: each pixel becomes a square of its own."""
    n, _, height, width = x.shape
    y = jnp.einsum("nchw,cokl->nohkwl", x, w["kernel"])
    return y.reshape(n, -1, 2 * height, 2 * width) + w["bias"][:, None, None]


def doubled(x):
    """Linear interpolation as Resize does it with half-pixel coordinates."""
    return jax.image.resize(x, (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]), "linear")


def hard_swish(x):
    return x * jnp.clip(x / 6 + 0.5, 0, 1)


def forward(weights, x):
    """The clean digits, 0..1."""
    wide = hard_swish(conv(x, weights["wide"]))
    down = jax.nn.leaky_relu(conv(wide, weights["down"], stride=2), 0.1)
    pooled = wide.reshape(*wide.shape[:2], 4, 2, 4, 2).max((3, 5))
    bottom = jnp.tanh(conv(jnp.concatenate([down, pooled], 1), weights["bottom"], dilation=2))
    up = [transposed(bottom, weights["up"]), doubled(bottom)]
    merge = jax.nn.elu(conv(jnp.concatenate([wide, *up], 1), weights["merge"]))
    return jax.nn.sigmoid(conv(merge, weights["out"]))


def loss(weights, noisy, clean):
    return jnp.mean((forward(weights, noisy) - clean) ** 2)


@jax.jit
def step(weights, state, noisy, clean, rate):
    return adam.step(weights, jax.grad(loss)(weights, noisy, clean), state, rate)


def with_noise(clean, random):
    """Pixels of 0..16 after noise, in whole numbers."""
    return np.clip(np.round(16 * clean + random.normal(0, NOISE, clean.shape)), 0, 16).astype(np.float32)


def train(clean):
    weights = initial(jax.random.key(SEED))
    state = adam.start(weights)
    random = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        rate = 0.004 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        shuffled = random.permutation(len(clean))
        for start in range(0, len(clean) - BATCH + 1, BATCH):
            batch = clean[shuffled[start : start + BATCH]]
            weights, state = step(weights, state, with_noise(batch, random), batch, rate)
    return weights


def export(weights):
    """The trained network as ONNX, with a symbolic batch."""
    nodes, constants = [], []

    def constant(name, value, dtype=np.float32):
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(operator, name, inputs, **attributes):
        nodes.append(helper.make_node(operator, inputs, [name + "_out"], name=name, **attributes))
        return name + "_out"

    def layer(name, x, operator="Conv", **attributes):
        inputs = [constant(f"{name}/{part}", weights[name][part]) for part in ("kernel", "bias")]
        return add(operator, f"{name}/conv", [x, *inputs], **attributes)

    wide = add("HardSwish", "wide/act", [layer("wide", "noisy", pads=[1] * 4)])
    down = add("LeakyRelu", "down/act", [layer("down", wide, pads=[1] * 4, strides=[2, 2])], alpha=0.1)
    pooled = add("MaxPool", "pool", [wide], kernel_shape=[2, 2], strides=[2, 2])
    both = add("Concat", "both", [down, pooled], axis=1)
    bottom = add("Tanh", "bottom/act", [layer("bottom", both, pads=[2] * 4, dilations=[2, 2])])
    up = layer("up", bottom, "ConvTranspose", strides=[2, 2])
    scales = constant("doubled/scales", [1, 1, 2, 2])
    doubled = add("Resize", "doubled", [bottom, "", scales], mode="linear")
    merged = add("Concat", "merged", [wide, up, doubled], axis=1)
    merge = add("Elu", "merge/act", [layer("merge", merged, pads=[1] * 4)])
    nodes.append(helper.make_node("Sigmoid", [layer("out", merge)], ["clean"], name="out/act"))
    graph = helper.make_graph(
        nodes,
        "restore",
        [helper.make_tensor_value_info("noisy", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("clean", TensorProto.FLOAT, ["N", 1, 8, 8])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="restore.py")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    random = np.random.default_rng(SEED)
    clean = random.permutation(load_digits().images.astype(np.float32))[:, None] / 16
    held_out, rest = clean[:TEST], clean[TEST:]
    weights = train(rest)
    folder = Path(__file__).parent
    onnx.save(export(weights), folder / "restore.onnx")
    noisy = with_noise(held_out, random)
    np.savez_compressed(folder / "restore.npz", noisy=with_noise(rest[:CALIBRATION], random).astype(np.uint8))
    np.savez_compressed(
        folder / "restore-test.npz", noisy=noisy.astype(np.uint8), clean=(16 * held_out).astype(np.uint8)
    )

    session = onnxruntime.InferenceSession(folder / "restore.onnx", providers=["CPUExecutionProvider"])
    (restored,) = session.run(None, {"noisy": noisy})
    assert np.abs(restored - forward(weights, noisy)).max() < 1e-4, "the exported graph differs from the trained one"
    before, after = (10 * np.log10(1 / np.mean((x - held_out) ** 2)) for x in (noisy / 16, restored))
    assert after > before + 3, f"{before:.1f} dB became {after:.1f} dB"
    print(f"peak signal to noise of {TEST} digits not trained on: {before:.1f} dB before, {after:.1f} dB after")


if __name__ == "__main__":
    main()
