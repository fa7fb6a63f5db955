"""Trains the segmenter, quantises it to 8 bits and writes segmenter.onnx.

A fully convolutional network in miniature on canvases made of scikit-learn's 8x8 digits. onnxruntime's static
quantiser makes the 8-bit model: uint8 activations, and symmetric int8 weights with one scale per channel.
Everything is seeded and nothing is downloaded. Run from the root of the repository:
``python -m examples.segmenter.train``. It takes two minutes on one core.
"""

import argparse
import copy
import tempfile
from pathlib import Path

import numpy as np
import torch
from onnx import helper
from torch import nn
from torch.nn import functional

from examples.exporting import Calibration, convolution, follow, max_pool, outputs, quantise, relu, save
from examples.segmenter.data import CLASSES, SIDE, canvases, held_out, known_digits

SEGMENTER = Path(__file__).with_name("segmenter.onnx")
SEED = 7
CALIBRATION_SEED = 1000
BATCH = 64
RATE = 6e-3


class Segmenter(nn.Module):
    """Images of 0 .. 1, N x 1 x 16 x 16, to scores of each pixel, N x 11 x 16 x 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 24, 3, padding=1)
        self.conv4 = nn.Conv2d(24, 26, 3, padding=1)
        self.score1 = nn.Conv2d(8, CLASSES, 1)
        self.score3 = nn.Conv2d(24, CLASSES, 1)
        self.score4 = nn.Conv2d(26, CLASSES, 1)
        self.up1 = nn.ConvTranspose2d(CLASSES, CLASSES, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(CLASSES, CLASSES, 4, stride=2, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        whole = functional.relu(self.conv1(images))
        half = functional.relu(self.conv2(functional.max_pool2d(whole, 2)))
        half = functional.relu(self.conv3(half))
        quarter = functional.relu(self.conv4(functional.max_pool2d(half, 2)))
        half_score = self.up1(self.score4(quarter)) + self.score3(half)
        return self.up2(half_score) + self.score1(whole)


def train(steps: int) -> Segmenter:
    """The running average of a model trained on canvases that are made anew for each step."""
    digits, random = known_digits(), np.random.default_rng(SEED)
    model = Segmenter()
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    losses = np.zeros(steps)
    for step in range(steps):
        images, labels = canvases(digits, BATCH, random)
        loss = functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        follow(average, model)
        losses[step] = loss.item()
        if (step + 1) % 1000 == 0:
            print(f"step {step + 1}: loss {losses[step - 999 : step + 1].mean():.4f}", flush=True)
    return average


def export(model: Segmenter, path: Path) -> None:
    """Writes the segmenter as float ONNX."""
    nodes = [
        convolution("conv1", "images", model.conv1),
        relu("conv1"),
        max_pool("pool1", "conv1.relu"),
        convolution("conv2", "pool1", model.conv2),
        relu("conv2"),
        convolution("conv3", "conv2.relu", model.conv3),
        relu("conv3"),
        max_pool("pool3", "conv3.relu"),
        convolution("conv4", "pool3", model.conv4),
        relu("conv4"),
        convolution("score4", "conv4.relu", model.score4),
        convolution("up1", "score4.sum", model.up1),
        convolution("score3", "conv3.relu", model.score3),
        helper.make_node("Add", ["up1.sum", "score3.sum"], ["fused3"], name="fuse3"),
        convolution("up2", "fused3", model.up2),
        convolution("score1", "conv1.relu", model.score1),
        helper.make_node("Add", ["up2.sum", "score1.sum"], ["scores"], name="fuse1"),
    ]
    constants = {name: value.detach().numpy() for name, value in model.named_parameters()}
    ends = ("images", [1, SIDE, SIDE]), ("scores", [CLASSES, SIDE, SIDE])
    save(path, "digits_segmenter", nodes, *ends, constants)


def calibration() -> Calibration:
    """512 canvases of the training's digits, in 8 batches of 64."""
    images, _ = canvases(known_digits(), 512, np.random.default_rng(CALIBRATION_SEED))
    return Calibration("images", images.reshape(8, 64, 1, SIDE, SIDE))


def quality(found: np.ndarray, labels: np.ndarray) -> str:
    """Of classes, N x 16 x 16: the share of right pixels, and the mean over classes of intersection over union."""
    confusion = np.bincount(labels.ravel() * CLASSES + found.ravel(), minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    right = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - right
    return f"pixel accuracy {right.sum() / labels.size:.2%}, mean IoU {(right / union).mean():.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--output", type=Path, default=SEGMENTER)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = train(arguments.steps)
    images, labels = held_out()
    with tempfile.TemporaryDirectory() as directory:
        plain = Path(directory) / "float.onnx"
        export(model, plain)
        quantise(plain, arguments.output, calibration(), per_channel=True)
        whole = outputs(plain, images)
    eight = outputs(arguments.output, images)
    with torch.no_grad():
        exported = np.abs(model(torch.from_numpy(images)).numpy() - whole).max()
    print(f"float: {quality(whole.argmax(1), labels)}; torch to ONNX, largest difference {exported:.1e}")
    print(f"8 bits: {quality(eight.argmax(1), labels)}")
    print(f"pixels of another class in 8 bits: {(whole.argmax(1) != eight.argmax(1)).mean():.2%}")
    print(f"weights: {sum(value.numel() for value in model.parameters() if value.ndim > 1)}")
    print(f"{arguments.output.name}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
