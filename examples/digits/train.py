"""Trains the digits classifier, prunes it by patterns, and writes both as 8-bit ONNX.

Three small convolutions and a dense layer on scikit-learn's 8x8 digits. The pruned copy keeps 8 patterns of
4 weights in all convolutions but the first, 45 % of the kernels deleted, and is trained on with its masks
fixed. onnxruntime's static quantiser makes the 8-bit models: uint8 activations, and symmetric int8 weights
with one scale per tensor, so pruned weights stay exactly 0. Everything is seeded and nothing is downloaded.
Run from the root of the repository: ``python -m examples.digits.train``. It takes half a minute on one core.
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

from examples.digits.network import CLASSIFIER, PRUNED, QuantisedLayer, held_out, known, load, logits
from examples.exporting import Calibration, convolution, follow, max_pool, outputs, quantise, relu, save
from selvage.golden.pattern import prune

SEED = 7
BATCH = 64
PATTERNS = 8
ENTRIES = 4
KERNEL_SPARSITY = 0.45
PRUNED_LAYERS = ("conv2", "conv3")

Masks = dict[str, torch.Tensor]


class Classifier(nn.Module):
    """Images of 0 .. 1, N x 1 x 8 x 8, to scores, N x 10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.dense = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv1(images))
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv3(x)), 2)
        return self.dense(functional.dropout(x.flatten(1), 0.3, self.training))


def varied(images: torch.Tensor) -> torch.Tensor:
    """Turns, stretches and moves each image of a batch, N x 1 x 8 x 8, a little; half a pixel or so."""
    count = len(images)
    angle = torch.randn(count) * 0.1
    stretch = 1 + torch.randn(count, 2) * 0.06
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1) * stretch[:, None]
    move = torch.randn(count, 2, 1) * 0.12
    grid = functional.affine_grid(torch.cat([turn, move], 2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(model: Classifier, epochs: int, rate: float, masks: Masks | None = None) -> Classifier:
    """The running average of a model trained on; weights outside of ``masks``, by layer, stay 0."""
    images, labels = (torch.from_numpy(array) for array in known())
    average = copy.deepcopy(model).eval()
    batches = len(images) // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * batches)
    model.train()
    for epoch in range(epochs):
        losses = np.zeros(batches)
        for step, chosen in enumerate(torch.randperm(len(images))[: batches * BATCH].view(batches, BATCH)):
            loss = functional.cross_entropy(model(varied(images[chosen])), labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            apply_masks(model, masks or {})
            follow(average, model)
            losses[step] = loss.item()
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1}: loss {losses.mean():.3f}", flush=True)
    return average


@torch.no_grad()
def apply_masks(model: Classifier, masks: Masks) -> None:
    """Sets the weights outside of ``masks`` to 0."""
    for name, mask in masks.items():
        model.get_submodule(name).weight.mul_(mask)


def pruned(model: Classifier) -> tuple[Classifier, Masks]:
    """A copy with the kernels of `PRUNED_LAYERS` pruned, and the masks of the weights that stay."""
    model = copy.deepcopy(model)
    masks = {}
    for name in PRUNED_LAYERS:
        weights = model.get_submodule(name).weight.detach().numpy()
        masks[name] = torch.from_numpy(prune(weights, PATTERNS, KERNEL_SPARSITY, ENTRIES)[1])
    apply_masks(model, masks)
    return model, masks


def export(model: Classifier, path: Path) -> None:
    """Writes the classifier as float ONNX."""
    nodes = [
        convolution("conv1", "images", model.conv1),
        relu("conv1"),
        convolution("conv2", "conv1.relu", model.conv2),
        relu("conv2"),
        max_pool("pool2", "conv2.relu"),
        convolution("conv3", "pool2", model.conv3),
        relu("conv3"),
        max_pool("pool3", "conv3.relu"),
        helper.make_node("Flatten", ["pool3"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "dense.weight", "dense.bias"], ["logits"], name="dense"),
    ]
    constants = {name: value.detach().numpy() for name, value in model.named_parameters()}
    constants["dense.weight"] = constants["dense.weight"].T
    save(path, "digits_classifier", nodes, ("images", [1, 8, 8]), ("logits", [10]), constants)


def calibration() -> Calibration:
    """512 digits of the training, in 8 batches of 64."""
    return Calibration("images", known()[0][:512].reshape(8, 64, 1, 8, 8))


def accuracy(found: np.ndarray, labels: np.ndarray) -> str:
    """The share of scores, N x 10, whose largest is the label's."""
    right = int((found.argmax(1) == labels).sum())
    return f"{right / len(labels):.2%} ({right} of {len(labels)})"


def finish(name: str, model: Classifier, target: Path) -> None:
    """Writes the 8-bit model and prints how the float one, it and its integer network do on held-out digits."""
    images, labels = held_out()
    with tempfile.TemporaryDirectory() as directory:
        plain = Path(directory) / "float.onnx"
        export(model, plain)
        quantise(plain, target, calibration(), per_channel=False)
        whole = outputs(plain, images)
    with torch.no_grad():
        exported = np.abs(model(torch.from_numpy(images)).numpy() - whole).max()
    eight, integer = outputs(target, images), logits(target, images)
    print(f"{name}, float: {accuracy(whole, labels)}; torch to ONNX, largest difference {exported:.1e}")
    print(f"{name}, 8 bits: {accuracy(eight, labels)}")
    print(f"{name}, 8 bits in integers: {accuracy(integer, labels)};", end=" ")
    print(f"another class than onnxruntime's: {(eight.argmax(1) != integer.argmax(1)).sum()},", end=" ")
    print(f"largest difference of a score {np.abs(eight - integer).max():.1e}")
    print(f"{target.name}: {target.stat().st_size} bytes")


def check_zeros(target: Path, masks: Masks) -> None:
    """Raises RuntimeError unless the pruned weights of the 8-bit model are 0."""
    for layer in load(target):
        if (
            isinstance(layer, QuantisedLayer)
            and layer.name in masks
            and layer.weights[~masks[layer.name].numpy()].any()
        ):
            raise RuntimeError(f"{target.name}: a pruned weight of {layer.name} is not 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200, help="and as many again with the masks fixed")
    parser.add_argument("--output", type=Path, default=CLASSIFIER.parent, help="directory of the two files")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = train(Classifier(), arguments.epochs, rate=5e-3)
    finish("classifier", model, arguments.output / CLASSIFIER.name)
    sparse, masks = pruned(model)
    sparse = train(sparse, arguments.epochs, rate=3e-3, masks=masks)
    finish("pruned classifier", sparse, arguments.output / PRUNED.name)
    check_zeros(arguments.output / PRUNED.name, masks)


if __name__ == "__main__":
    main()
