"""Boxes of the face detectors: how a picture enters the network, how its outputs become boxes, how boxes are judged."""

import numpy as np
from PIL import Image

CERTAIN = 0.6
OVERLAP = 0.4


def overlap(a, b):
    """Intersection over union of every box of `a` with every box of `b`; a box is left, top, right, bottom."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), -1)
    area_a, area_b = (np.prod(q[:, 2:] - q[:, :2], -1) for q in (a, b))
    return both / (area_a[:, None] + area_b[None] - both + 1e-9)


def distinct(boxes, scores):
    """The certain boxes, without those that overlap a box of a higher score."""
    boxes, scores = boxes[scores > CERTAIN], scores[scores > CERTAIN]
    order, kept = np.argsort(-scores), []
    while len(order):
        kept.append(order[0])
        order = order[1:][overlap(boxes[order[:1]], boxes[order[1:]])[0] <= OVERLAP]
    return boxes[kept].reshape(-1, 4)


def face_score(found, truth):
    """The part of the true faces that overlap a found box."""
    hits = [overlap(t, f).max(1) > OVERLAP if len(f) else np.zeros(len(t), bool) for f, t in zip(found, truth)]
    return float(np.mean(np.concatenate(hits)))


def planar(pixels):
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)


def yunet_input(picture):
    """320 x 320, BGR, the picture's shape kept and the rest black."""
    scale = min(320 / side for side in picture.size)
    small = np.asarray(picture.resize([max(1, round(side * scale)) for side in picture.size], Image.BILINEAR))
    canvas = np.zeros((320, 320, 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return planar(canvas[..., ::-1])


def yunet_boxes(outputs, size):
    """Class and object scores, then boxes, each at the strides 8, 16 and 32; centres and logarithms of sides."""
    boxes, scores = [], []
    for level, stride in enumerate((8, 16, 32)):
        cells = 320 // stride
        y, x = (v.reshape(-1) for v in np.mgrid[:cells, :cells])
        kind, thing, box = (outputs[k + level].reshape(cells * cells, -1) for k in (0, 3, 6))
        centre = (box[:, :2] + np.stack([x, y], 1)) * stride
        half = np.exp(box[:, 2:]) * stride / 2
        boxes.append(np.concatenate([centre - half, centre + half], 1))
        scores.append(np.sqrt(np.clip(kind[:, 0], 0, 1) * np.clip(thing[:, 0], 0, 1)))
    return distinct(np.concatenate(boxes), np.concatenate(scores)) / min(320 / side for side in size)


def ultraface_input(picture):
    pixels = np.asarray(picture.resize((320, 240), Image.BILINEAR)).astype(np.float32)
    return planar((pixels - 127) / 128)


def ultraface_boxes(outputs, size):
    """Scores of background and face, and boxes as parts of the picture."""
    scores, boxes = (o.reshape(-1, o.shape[-1]) for o in outputs)
    return distinct(boxes * np.array([*size, *size]), scores[:, 1])


BOXES = {"yunet": (yunet_input, yunet_boxes), "ultraface": (ultraface_input, ultraface_boxes)}
