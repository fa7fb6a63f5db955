"""Trains the digits generator, quantises it to 8 bits and writes generator.onnx and samples.png.

A small DCGAN on scikit-learn's 8x8 digits, enlarged to 16x16. Batch normalisation is folded into the
weights before the export; onnxruntime's static quantiser makes the 8-bit model: uint8 activations, and
symmetric int8 weights with one scale per tensor. Everything is seeded and nothing is downloaded. Run from
the root of the repository: ``python -m examples.digits_gan.train``. It takes about 5 minutes on one core.
"""

import argparse
import copy
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from examples.digits_gan.layers import GENERATOR, NOISE, noise
from examples.exporting import Calibration, outputs, quantise, relu, save

SEED = 7
CALIBRATION_SEED = 1000
EVALUATION_SEED = 2000
START = (64, 2, 2)  # the map that the dense layer makes
BATCH = 64


class Generator(nn.Module):
    """Noise, N x 32, to images of -1 .. 1, N x 1 x 16 x 16."""

    def __init__(self) -> None:
        super().__init__()
        channels, height, width = START
        self.dense = nn.Linear(NOISE, channels * height * width, bias=False)
        self.dense_norm = nn.BatchNorm2d(channels)
        self.up1 = nn.ConvTranspose2d(channels, 32, 4, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.up2 = nn.ConvTranspose2d(32, 16, 5, stride=2, padding=2, output_padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.up3 = nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.dense_norm(self.dense(vectors).view(-1, *START)))
        x = functional.relu(self.norm1(self.up1(x)))
        x = functional.relu(self.norm2(self.up2(x)))
        return torch.tanh(self.up3(x))


def discriminator() -> nn.Module:
    """Images, N x 1 x 16 x 16, to a score each, N x 1.

    Batch normalisation shows it when the digits of a batch are all alike. With spectral norms instead the
    generator made nothing but eights.
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(512, 1),
    )


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images of -1 .. 1, N x 1 x 16 x 16, and their labels, N."""
    images, labels = load_digits(return_X_y=True)
    small = torch.tensor(images / 8 - 1, dtype=torch.float32).view(-1, 1, 8, 8)
    return functional.interpolate(small, scale_factor=2, mode="bilinear").numpy(), labels


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Moves a batch, N x 1 x 16 x 16, by up to 2 pixels: with so few digits, real and fake need it alike."""
    down, right = (int(i) for i in torch.randint(0, 5, (2,)))
    return functional.pad(images, (2, 2, 2, 2), value=-1.0)[:, :, down : down + 16, right : right + 16]


def entropy(scores: torch.Tensor, target: float) -> torch.Tensor:
    """Mean binary cross entropy of scores, N x 1, where all should be ``target``, 1 for real."""
    return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def train(images: np.ndarray, steps: int) -> Generator:
    """The running average of a generator trained with the GAN loss, real labels smoothed to 0.9."""
    real = torch.from_numpy(images)
    maker, judge = Generator(), discriminator()
    average = copy.deepcopy(maker)
    maker_step = torch.optim.Adam(maker.parameters(), lr=3e-4, betas=(0.5, 0.99))
    judge_step = torch.optim.Adam(judge.parameters(), lr=3e-4, betas=(0.5, 0.99))
    losses = np.zeros((steps, 2))
    for step in range(steps):
        batch = real[torch.randint(0, len(real), (BATCH,))]
        fakes = maker(torch.randn(BATCH, NOISE))
        judged = judge(shifted(batch)), judge(shifted(fakes.detach()))
        judge_loss = entropy(judged[0], 0.9) + entropy(judged[1], 0)
        judge_step.zero_grad()
        judge_loss.backward()
        judge_step.step()
        maker_loss = entropy(judge(shifted(fakes)), 1)
        maker_step.zero_grad()
        maker_loss.backward()
        maker_step.step()
        follow(average, maker)
        losses[step] = judge_loss.item(), maker_loss.item()
        if (step + 1) % 1000 == 0:
            mean = losses[step - 999 : step + 1].mean(0)
            print(f"step {step + 1}: discriminator loss {mean[0]:.3f}, generator loss {mean[1]:.3f}", flush=True)
    return average.eval()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float = 0.998) -> None:
    """Moves the averaged weights and statistics a little towards the model's."""
    state = model.state_dict()
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(state[key], 1 - decay)
        else:
            value.copy_(state[key])


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """The normalisation as y = scale x + shift, both per channel."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale.detach().numpy(), (norm.bias - norm.running_mean * scale).detach().numpy()


def folded(model: Generator) -> dict[str, np.ndarray]:
    """Weights and biases by ONNX name, with the normalisations folded in."""
    size = START[1] * START[2]
    scale, shift = scale_and_shift(model.dense_norm)
    tensors = {
        "dense.weight": model.dense.weight.detach().numpy().T * np.repeat(scale, size),
        "dense.bias": np.repeat(shift, size),
        "up3.weight": model.up3.weight.detach().numpy(),
        "up3.bias": model.up3.bias.detach().numpy(),
    }
    for name, up, norm in (("up1", model.up1, model.norm1), ("up2", model.up2, model.norm2)):
        scale, shift = scale_and_shift(norm)
        tensors[f"{name}.weight"] = up.weight.detach().numpy() * scale[:, None, None]
        tensors[f"{name}.bias"] = shift
    return tensors


def upsample(name: str, source: str, layer: nn.ConvTranspose2d) -> onnx.NodeProto:
    """The ONNX node of a transposed convolution."""
    return helper.make_node(
        "ConvTranspose",
        [source, f"{name}.weight", f"{name}.bias"],
        [f"{name}.sum"],
        name=name,
        kernel_shape=layer.kernel_size,
        strides=layer.stride,
        pads=layer.padding * 2,
        output_padding=layer.output_padding,
        group=layer.groups,
    )


def export(model: Generator, path: Path) -> None:
    """Writes the generator as float ONNX."""
    nodes = [
        helper.make_node("Gemm", ["noise", "dense.weight", "dense.bias"], ["dense.sum"], name="dense"),
        relu("dense"),
        helper.make_node("Reshape", ["dense.relu", "map_shape"], ["map"], name="reshape"),
        upsample("up1", "map", model.up1),
        relu("up1"),
        upsample("up2", "up1.relu", model.up2),
        relu("up2"),
        upsample("up3", "up2.relu", model.up3),
        helper.make_node("Tanh", ["up3.sum"], ["image"], name="tanh"),
    ]
    constants = {**folded(model), "map_shape": np.array([-1, *START], dtype=np.int64)}
    save(path, "digits_generator", nodes, ("noise", [NOISE]), ("image", [1, 16, 16]), constants)


def calibration() -> Calibration:
    """Noise from a fixed seed, in 8 batches of 64."""
    return Calibration("noise", noise(512, CALIBRATION_SEED).reshape(8, 64, NOISE))


def report(images: np.ndarray, labels: np.ndarray, made: dict[str, np.ndarray]) -> None:
    """Prints how a digit classifier, fitted on 70 % of the real digits, sees the others and the made ones."""
    flat = images.reshape(len(images), -1)
    known, held, known_labels, held_labels = train_test_split(
        flat, labels, test_size=0.3, random_state=SEED, stratify=labels
    )
    classifier = LogisticRegression(C=0.1, max_iter=5000).fit(known, known_labels)
    print(f"classifier accuracy on held-out digits: {classifier.score(held, held_labels):.3f}")
    for name, batch in {"held-out digits": held, **made}.items():
        batch = batch.reshape(len(batch), -1)
        sure = classifier.predict_proba(batch)
        shares = np.bincount(sure.argmax(1), minlength=10) / len(batch)
        nearest = euclidean_distances(batch, known).min(1).mean() / np.sqrt(known.shape[1])
        print(
            f"{name}: mean confidence {sure.max(1).mean():.3f},"
            f" RMS distance to the nearest digit {nearest:.3f},"
            f" classes {' '.join(f'{share:.2f}' for share in shares)}"
        )


def save_png(images: np.ndarray, path: Path, columns: int = 16, zoom: int = 2) -> None:
    """Writes images of -1 .. 1, N x 1 x 16 x 16, as one greyscale picture, ``columns`` to a row."""
    grey = np.rint((images[:, 0] + 1) * 127.5).astype(np.uint8)
    grey = np.pad(grey, ((0, 0), (1, 1), (1, 1)), constant_values=96)
    rows = [np.concatenate(list(row), axis=1) for row in grey.reshape(-1, columns, *grey.shape[1:])]
    picture = np.concatenate(rows).repeat(zoom, 0).repeat(zoom, 1)
    height, width = picture.shape
    lines = np.pad(picture, ((0, 0), (1, 0))).tobytes()  # each line begins with its filter, 0
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--output", type=Path, default=GENERATOR, help="samples.png is written beside it")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    images, labels = digits()
    model = train(images, arguments.steps)
    vectors = noise(512, EVALUATION_SEED)
    with tempfile.TemporaryDirectory() as directory:
        plain = Path(directory) / "float.onnx"
        export(model, plain)
        quantise(plain, arguments.output, calibration(), per_channel=False)
        made = {"float generator": outputs(plain, vectors)}
    made["8-bit generator"] = outputs(arguments.output, vectors)
    difference = np.abs(made["8-bit generator"] - made["float generator"])
    with torch.no_grad():
        exported = np.abs(model(torch.from_numpy(vectors)).numpy() - made["float generator"]).max()
    report(images, labels, made)
    print(f"torch to float ONNX, largest difference: {exported:.1e}")
    print(f"float to 8 bits, of a range of 2: mean {difference.mean():.4f}, largest {difference.max():.4f}")
    print(f"{arguments.output.name}: {arguments.output.stat().st_size} bytes")
    save_png(made["8-bit generator"][:128], arguments.output.with_name("samples.png"))


if __name__ == "__main__":
    main()
