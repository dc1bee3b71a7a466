"""What each network is measured on: its inputs, which samples calibrate it, and its metric.

The networks of the repository are always there; others are looked for in $QCC_MODELS, or in `../shared/models` beside
the repository, and are left out when they are not found.
A task's inputs hold one array an input of the network, the first axis being the sample.
A metric takes the outputs for some of the samples, the first axis being the sample again, and is better when higher.
"""

import csv
import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image

import wide as wide_networks
from boxes import BOXES, face_score

REPOSITORY = Path(__file__).resolve().parents[2]
OWN = REPOSITORY / "tests" / "models"
SHARED = Path(os.environ.get("QCC_MODELS", REPOSITORY.parent / "shared" / "models"))
WORK = REPOSITORY / "target" / "compare"
# The classes of the COCO data set, in order.
COCO = """
person bicycle car motorcycle airplane bus train truck boat traffic-light fire-hydrant stop-sign
parking-meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella
handbag tie suitcase frisbee skis snowboard sports-ball kite baseball-bat baseball-glove skateboard
surfboard tennis-racket bottle wine-glass cup fork knife spoon bowl banana apple sandwich orange
broccoli carrot hot-dog pizza donut cake chair couch potted-plant bed dining-table toilet tv laptop
mouse remote keyboard cell-phone microwave oven toaster sink refrigerator book clock vase scissors
teddy-bear hair-drier toothbrush
""".split()


@dataclass
class Samples:
    """Everything that is fed to a network and how its answers are judged."""

    inputs: dict[str, np.ndarray]
    calibration: np.ndarray
    evaluation: np.ndarray
    metric: Callable[[list[np.ndarray], np.ndarray], float] | None

    def take(self, indices):
        return {name: array[indices] for name, array in self.inputs.items()}


@dataclass
class Task:
    """One network and the function that reads its samples."""

    name: str
    model: Path
    unit: str
    load: Callable[[], Samples]
    dims: dict[str, int] = field(default_factory=dict)
    quantized: Path | None = None  # the quantized network that the float `model` is made from
    write: Callable[[Path], None] | None = None  # makes the network


def split(count):
    """At most 100 samples, evenly spread, calibrate; all others are evaluated."""
    calibration = np.unique(np.linspace(0, count - 1, min(100, max(2, count // 5))).astype(int))
    return calibration, np.setdiff1d(np.arange(count), calibration)


def top1(labels):
    def metric(outputs, indices):
        return float(np.mean(outputs[0].reshape(len(indices), -1).argmax(1) == labels[indices]))

    metric.labels = labels
    return metric


# What is done to pixels of 0..255 before they enter a network.
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
PIXELS = {
    "raw": lambda x: x,
    "unit": lambda x: x / np.float32(255),
    "signed": lambda x: x / np.float32(127.5) - np.float32(1),
    "imagenet": lambda x: (x / np.float32(255) - MEAN) / DEVIATION,
}


def planar(images, pixels):
    """NHWC bytes as the NCHW reals that a network takes."""
    images = images if images.ndim == 4 else images[..., None]
    return np.ascontiguousarray(PIXELS[pixels](images.astype(np.float32)).transpose(0, 3, 1, 2), np.float32)


def digits():
    calibration, test = np.load(OWN / "digits.npz"), np.load(OWN / "digits-test.npz")
    images = np.concatenate([calibration["image"], test["image"]]).astype(np.float32)
    count = len(calibration["image"])
    labels = np.concatenate([np.full(count, -1), test["labels"]])
    return Samples({"image": images}, np.arange(count), np.arange(count, len(images)), top1(labels))


def restored_digits():
    """Peak signal to noise of digits that were noisy, in decibels."""
    calibration, test = np.load(OWN / "restore.npz"), np.load(OWN / "restore-test.npz")
    noisy = np.concatenate([calibration["noisy"], test["noisy"]]).astype(np.float32)
    count = len(calibration["noisy"])

    def metric(outputs, indices):
        wanted = test["clean"][indices - count] / np.float32(16)
        return float(10 * np.log10(1 / np.mean((outputs[0].reshape(wanted.shape) - wanted) ** 2)))

    return Samples({"noisy": noisy}, np.arange(count), np.arange(count, len(noisy)), metric)


def images(name, file, pixels, layout="NCHW"):
    """Small labelled images in one file."""
    data = np.load(SHARED / "data" / file)
    x = planar(data["x"], pixels)
    x = x.transpose(0, 2, 3, 1) if layout == "NHWC" else x
    return Samples({name: x}, *split(len(x)), top1(data["y"]))


@functools.cache
def photographs(size):
    """One image a class of ImageNet, bytes."""
    folder = SHARED / "data" / "imagenet224"
    rows = list(csv.reader((folder / "labels.csv").open()))
    return np.stack([resized(Image.open(folder / row[0]), *size) for row in rows]), np.array([int(r[1]) for r in rows])


def resized(image, height, width):
    image = image.convert("RGB")
    return np.asarray(image if image.size == (width, height) else image.resize((width, height), Image.BILINEAR))


def imagenet(name, side, pixels, background=1):
    x, labels = photographs((side, side))
    return Samples({name: planar(x, pixels)}, *split(len(x)), top1(labels + background))


def features(name, file, shape, key="x"):
    """Labelled features of spoken words, stored as reals or as quantized integers."""
    data = np.load(SHARED / "data" / file)
    x = data[key].astype(np.float32)
    if "scale" in data:
        x = (x - np.float32(data["zp"])) * data["scale"]
    return Samples({name: x.reshape(len(x), *shape)}, *split(len(x)), top1(data["y"]))


def wake_word(name, layout="NHWC"):
    """The 45 samples that MLPerf calibrates with, and 200 others."""
    data = np.load(SHARED / "data" / "sww.npz")
    x = np.concatenate([data["cx"], data["nx"].astype(np.float32)])
    count = len(data["cx"])
    labels = np.concatenate([data["cy"], data["ny"]])
    x = x.transpose(0, 3, 1, 2) if layout == "NCHW" else x
    return Samples({name: np.ascontiguousarray(x)}, np.arange(count), np.arange(count, len(x)), top1(labels))


def area_under_curve(scores, positive):
    """The probability that a positive scores higher than a negative."""
    order = np.argsort(scores, kind="stable")
    rank = np.empty(len(scores))
    rank[order] = np.arange(1, len(scores) + 1)
    count = positive.sum()
    return (rank[positive].sum() - count * (count + 1) / 2) / (count * (len(scores) - count))


def anomalies(name):
    """Sound of machines in windows of five frames; a machine is odd when the network cannot reproduce it.

    Every fourth window is evaluated; windows that lie between those calibrate.
    """
    data = np.load(SHARED / "data" / "ad_toycar.npz")
    x = data["x"].astype(np.float32)
    recordings = len(x)
    evaluated = np.stack([x[:, i : i + 5].reshape(recordings, -1) for i in range(0, 196, 4)], 1)
    between = np.stack([x[:, i : i + 5].reshape(recordings, -1) for i in (50, 150)], 1).reshape(2 * recordings, -1)
    windows = np.concatenate([between, evaluated.reshape(-1, evaluated.shape[-1])])

    def metric(outputs, indices):
        error = np.mean((windows[indices] - outputs[0].reshape(len(indices), -1)) ** 2, 1)
        score = error.reshape(recordings, -1).mean(1)
        machines = [data["id"] == machine for machine in np.unique(data["id"])]
        return float(np.mean([area_under_curve(score[m], data["y"][m]) for m in machines]))

    count = len(between)
    return Samples({name: windows}, np.arange(count), np.arange(count, len(windows)), metric)


def super_resolution(name):
    """Peak signal to noise of three-fold enlarged photographs, in decibels."""
    originals = [Image.open(path).convert("L") for path in sorted((SHARED / "data" / "sr").glob("*.jpg"))]
    small = np.stack([np.asarray(image.resize((224, 224), Image.BICUBIC)) for image in originals])
    wanted = np.stack([np.asarray(image, np.float32) for image in originals])[:, 8:-8, 8:-8]

    def metric(outputs, indices):
        seen = np.clip(outputs[0].reshape(len(indices), 672, 672) * 255, 0, 255)[:, 8:-8, 8:-8]
        return float(np.mean(10 * np.log10(255**2 / np.mean((seen - wanted[indices]) ** 2, (1, 2)))))

    return Samples({name: planar(small, "unit")}, *split(len(small)), metric)


def text_regions(name):
    """Overlap of the pixels found to be text with those that are."""
    data = np.load(SHARED / "data" / "textdet.npz")
    masks = np.unpackbits(data["m"], axis=-1)[..., :320].astype(bool)

    def metric(outputs, indices):
        found = outputs[0].reshape(len(indices), 320, 320) > 0.3
        return float((found & masks[indices]).sum() / (found | masks[indices]).sum())

    return Samples({name: planar(data["x"], "imagenet")}, *split(len(masks)), metric)


def objects(name):
    """Is the class of the photograph the highest-scoring one that is not a person?"""
    paths = sorted((SHARED / "data" / "det").glob("*.jpg"))
    labels = np.array([COCO.index(path.stem[4:]) for path in paths])
    pictures = np.stack([resized(Image.open(path), 352, 352)[..., ::-1] for path in paths])

    def metric(outputs, indices):
        rows = outputs[0].reshape(len(indices), -1, outputs[0].shape[-1])
        scores = (rows[..., 12:15].max(-1, keepdims=True) * rows[..., 15:]).max(1)
        scores[labels[indices] != COCO.index("person"), COCO.index("person")] = 0
        return float(np.mean(scores.argmax(1) == labels[indices]))

    return Samples({name: planar(pictures, "unit")}, *split(len(paths)), metric)


def faces(name, kind):
    """The part of the marked faces that is found."""
    prepare, decode = BOXES[kind]
    folder = SHARED / "data" / "face"
    marked = json.loads((folder / "labels.json").read_text())
    pictures = [Image.open(folder / file).convert("RGB") for file in marked]
    truth = [np.array(boxes) for boxes in marked.values()]
    x = np.stack([prepare(picture) for picture in pictures])

    def metric(outputs, indices):
        found = [decode([o[k] for o in outputs], pictures[i].size) for k, i in enumerate(indices)]
        return face_score(found, [truth[i] for i in indices])

    return Samples({name: x}, *split(len(x)), metric)


def unlabelled(inputs):
    """No labels: the judge is the float network itself."""
    count = len(next(iter(inputs.values())))
    return Samples(inputs, *split(count), None)


def portraits(name):
    x, _ = photographs((144, 256))
    return unlabelled({name: x[:100].astype(np.float32) / np.float32(255)})


def noise(name, shape):
    return unlabelled({name: np.random.default_rng(0).standard_normal((40, *shape), np.float32)})


def shared(file, load, unit="top-1", **dims):
    return Task(Path(file).stem, SHARED / file, unit, load, dims)


def twin(file, load):
    """A network that is stored quantized and compared as the float network with the same weights."""
    name = Path(file).stem.rpartition("_")[0] + "_float"
    return Task(name, WORK / f"{name}.onnx", "top-1", load, quantized=SHARED / file)


def wide(activations):
    """A network of random weights with activations of 16 bits."""
    path = WORK / f"wide_{activations}.onnx"
    load = lambda: noise("x", wide_networks.INPUT)
    return Task(path.stem, path, "SNR dB", load, write=lambda path: wide_networks.write(path, activations))


def available(words=(), tasks=None):
    """Of the tasks, all float networks if none are given, those whose network is found and whose name contains one of the words (all tasks without words)."""
    WORK.mkdir(parents=True, exist_ok=True)
    for task in TASKS if tasks is None else tasks:
        if words and not any(word in task.name for word in words):
            continue
        if task.quantized and not task.quantized.exists():
            continue
        if task.quantized and not task.model.exists():
            tool = SHARED / "tools" / "qdq2float.py"
            subprocess.run([sys.executable, tool, task.quantized, task.model], check=True)
        if task.write:
            task.write(task.model)
        if task.model.exists():
            yield task


CIFAR, KWS = "cifar10_exact.npz", "kws_mlperf.npz"
KWT = "speech_features/normalizer/"
KWT = f"{KWT}truediv;{KWT}truediv/y;speech_features/dct/MatMul;{KWT}sub;{KWT}sub/y"
TASKS = [
    Task("digits", OWN / "digits.onnx", "top-1", digits),
    Task("restore", OWN / "restore.onnx", "PSNR dB", restored_digits),
    shared("mlperf_ic_resnet8_f32.onnx", lambda: images("input_1", CIFAR, "raw")),
    shared("mlperf_ic_resnet8_keras_nhwc.onnx", lambda: images("input_1", CIFAR, "raw", "NHWC")),
    shared("resnet20_cifar_bn_ts11.onnx", lambda: images("input", CIFAR, "imagenet")),
    shared("resnet20_dyn18_ext.onnx", lambda: images("input", CIFAR, "imagenet")),
    shared("mnist8_cntk.onnx", lambda: images("Input3", "mnist.npz", "raw")),
    shared("mlperf_vww_mbv1_f32.onnx", lambda: images("input_1", "vww96.npz", "unit")),
    shared("mlperf_kws_dscnn_f32.onnx", lambda: features("input_1", KWS, (49, 10, 1))),
    shared("he_dnn_s.onnx", lambda: features("Mfcc:0", "kws_mfcc_hello_edge.npz", (25, 10), "m25")),
    shared("mlperf_sww_streaming_f32.onnx", lambda: wake_word("input_1")),
    shared("mlperf_ad_autoencoder_f32.onnx", lambda: anomalies("input_1"), "AUC"),
    shared("mlperf_ad_autoencoder_keras_bn.onnx", lambda: anomalies("input_1"), "AUC"),
    shared("mobilenet_v1_0.25_224_f32.onnx", lambda: imagenet("input", 224, "signed")),
    twin("mobilenet_v2_1.0_224_ptq_int8pc_qdq.onnx", lambda: imagenet("input", 224, "signed")),
    twin("mobilenet_v2_1.0_224_qat_uint8_qdq.onnx", lambda: imagenet("input", 224, "signed")),
    shared("mcunet_320kb_bn_ts11.onnx", lambda: imagenet("input", 176, "signed", 0)),
    shared("yolo_fastestv2.onnx", lambda: objects("input.1"), "top class"),
    shared("yunet_n_320.onnx", lambda: faces("input", "yunet"), "recall"),
    shared("ultraface_rfb320.onnx", lambda: faces("input", "ultraface"), "recall"),
    shared("superres_espcn_pt.onnx", lambda: super_resolution("input"), "PSNR dB"),
    shared("ppocrv3_det_ch.onnx", lambda: text_regions("x"), "mask overlap", **{"x.2": 320, "x.3": 320}),
    shared("selfie_segmentation.onnx", lambda: portraits("input_1"), "SNR dB"),
    shared("micro_kws_m_f32.onnx", lambda: noise("serving_default_input:0", (1960,)), "SNR dB"),
    shared("oww_embedding.onnx", lambda: noise("input_1", (76, 32, 1)), "SNR dB"),
]
# Networks that were quantized elsewhere.
QUANTIZED = [
    shared("mlperf_ic_resnet8_int8_qdq.onnx", lambda: images("input_1_int8", CIFAR, "raw")),
    shared("mlperf_kws_dscnn_int8_qdq.onnx", lambda: features("input_1", KWS, (1, 49, 10))),
    shared("mlperf_vww_mbv1_int8_qdq.onnx", lambda: images("input_1_int8", "vww96.npz", "unit")),
    shared("mlperf_ad_autoencoder_int8_qdq.onnx", lambda: anomalies("input_1"), "AUC"),
    shared("mlperf_sww_streaming_int8_qdq.onnx", lambda: wake_word("input_1", "NCHW")),
    shared("mobilenet_v1_0.25_224_qat_uint8_qdq.onnx", lambda: imagenet("input", 224, "signed")),
    shared("mobilenet_v2_1.0_224_ptq_int8pc_qdq.onnx", lambda: imagenet("input", 224, "signed")),
    shared("mobilenet_v2_1.0_224_qat_uint8_qdq.onnx", lambda: imagenet("input", 224, "signed")),
    shared("mcunet_320kb_int8_qdq.onnx", lambda: imagenet("input", 176, "signed", 0)),
    shared("micro_kws_m_ort_qdq.onnx", lambda: noise("serving_default_input:0", (1960,)), "SNR dB"),
    shared("micro_kws_m_ort_qoperator.onnx", lambda: noise("serving_default_input:0", (1960,)), "SNR dB"),
    wide("u16"),
    wide("i16"),
]
# Networks whose accuracy the tables leave out: most are computed in floating point, wholly or in part.
UNMEASURED = [
    Task("digits_tiny", OWN / "digits_tiny.onnx", "top-1", digits),
    shared("kwt1_transformer.onnx", lambda: features(KWT, "kws_kwt_feat.npz", (98, 40))),
    shared("oww_melspectrogram.onnx", lambda: noise("input", (1280,)), "SNR dB", batch_size=1, samples=1280),
    shared("mlperf_kws_dscnn_weightonly_int8.onnx", lambda: features("input_1", KWS, (1, 49, 10))),
    shared("qonnx_jettag.onnx", lambda: noise("global_in", (16,)), "SNR dB"),
    shared("qonnx_jettag_fakequant.onnx", lambda: noise("global_in", (16,)), "SNR dB"),
]
