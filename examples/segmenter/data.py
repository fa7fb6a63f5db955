"""Canvases with one or two digits, each pixel labelled: made of scikit-learn's 8x8 digits, nothing downloaded.

Needs numpy and scikit-learn only. The digits of the held-out canvases are never trained on.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

SIDE = 16
DIGIT = 8
BACKGROUND = 10  # the classes before it are the digits
CLASSES = 11
APART = 7  # rows or columns between two digits' corners, so their boxes share one at most
INK = 4 / 16  # a pixel of this brightness belongs to its digit
NOISE = 0.04
SPLIT_SEED = 11
CANVAS_SEED = 5
DIGITS_HELD_OUT = 599
CANVASES_HELD_OUT = 100

Images = NDArray[np.float32]
Labels = NDArray[np.uint8]
Digits = tuple[NDArray[np.float32], NDArray[np.int64]]


def held_out() -> tuple[Images, Labels]:
    """Images of 0 .. 1, 100 x 1 x 16 x 16, and the class of each pixel, 100 x 16 x 16."""
    return canvases(_digits(slice(DIGITS_HELD_OUT)), CANVASES_HELD_OUT, np.random.default_rng(CANVAS_SEED))


def known_digits() -> Digits:
    """The two thirds of the digits to train with: brightness of 0 .. 1, n x 8 x 8, and classes, n."""
    return _digits(slice(DIGITS_HELD_OUT, None))


def canvases(digits: Digits, count: int, random: np.random.Generator) -> tuple[Images, Labels]:
    """Images, count x 1 x 16 x 16, and labels, count x 16 x 16; every other canvas has two digits."""
    brightness, classes = digits
    images = np.zeros((count, SIDE, SIDE), np.float32)
    labels = np.full((count, SIDE, SIDE), BACKGROUND, np.uint8)
    for index in range(count):
        for top, left in _corners(1 + index % 2, random):
            chosen = random.integers(len(classes))
            box = (index, slice(top, top + DIGIT), slice(left, left + DIGIT))
            brighter = brightness[chosen] > images[box]
            images[box] = np.maximum(images[box], brightness[chosen])
            labels[box] = np.where(brighter & (brightness[chosen] >= INK), classes[chosen], labels[box])
    images += random.normal(0, NOISE, images.shape).astype(np.float32)
    return images.clip(0, 1)[:, None], labels


def _corners(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Tops and lefts of one or two digits, count x 2."""
    while True:
        corners = random.integers(0, SIDE - DIGIT + 1, (count, 2))
        if count == 1 or np.abs(corners[0] - corners[1]).max() >= APART:
            return corners


def _digits(part: slice) -> Digits:
    images, classes = load_digits(return_X_y=True)
    chosen = np.random.default_rng(SPLIT_SEED).permutation(len(classes))[part]
    return (images[chosen] / 16).astype(np.float32).reshape(-1, DIGIT, DIGIT), classes[chosen].astype(np.int64)
