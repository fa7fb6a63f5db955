"""Quantised ONNX graphs of a few nodes, imported and held against onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from bench.onnx_models import Build, Tally, compare, outputs, saved
from selvage.frontend.onnx.graph import Imported, load_graph
from selvage.golden.graph import run

IMAGES = 24


UNIT = 0.0513  # scale of what enters


S = 0.1093  # scale of whatever has a scale of its own: no simple fraction of the other, which would make halves


def inputs_of(imported: Imported, seed: int = 0, images: int = IMAGES) -> dict[str, NDArray]:
    """Standard normal images, or any codes where codes enter."""
    random, found = np.random.default_rng(seed), {}
    for name, (kind, shape) in imported.inputs.items():
        size = (images, *shape[1:])
        if kind == TensorProto.FLOAT:
            found[name] = random.standard_normal(size, dtype=np.float32)
        else:
            found[name] = random.integers(0, 128, size).astype(np.uint8 if kind == TensorProto.UINT8 else np.int8)
    return found


def whole(imported: Imported, feeds: dict[str, NDArray]) -> dict[str, NDArray]:
    """The model's own outputs by the golden network and the host."""
    return imported.leave(run(imported.graph, imported.enter(feeds), late=imported.add_hosted))


def agreeing(
    build: Build, directory: Path, steps: float = 1.01 * S, least: float = 0.9999, near: float = 1e-5
) -> Imported:
    """The model's import, every node and the model's outputs compared with onnxruntime."""
    model = build.model()
    imported = load_graph(saved(model, directory))
    feeds, tally = inputs_of(imported), Tally()
    compare(model, imported, feeds, tally)
    tally.check(least)
    ours, theirs = whole(imported, feeds), outputs(model, feeds)
    for name, value in theirs.items():
        assert ours[name].shape == value.shape and ours[name].dtype == value.dtype
        np.testing.assert_allclose(ours[name], value, atol=steps)
        assert (np.abs(ours[name] - value) <= near * np.abs(value) + 1e-6).mean() > 0.98
    return imported


def codes(shape: tuple[int, ...], seed: int = 1) -> NDArray[np.int8]:
    """Weights: onnxruntime's QGemm adds two products in 16 bits, saturated, on processors without VNNI, and so fits."""
    return np.random.default_rng(seed).integers(-63, 64, shape).astype(np.int8)


def entered(build: Build, shape: tuple[int, ...] = (3, 6, 6), name: str = "x") -> str:
    """A float input behind QuantizeLinear and DequantizeLinear."""
    return build.through(build.input(name, ("N", *shape)), UNIT, 128)


def layer(build: Build, x: str, operator: str, shape: tuple[int, ...], *bias: str, **given: Any) -> str:
    """A layer with weights of ``shape``, its result in real numbers."""
    return build.add(operator, x, build.weights(codes(shape), 0.0103), *bias, name=given.pop("name", "layer"), **given)


def kinds(imported: Imported) -> list[type]:
    return [type(node) for node in imported.graph.nodes]


def normalised(build: Build, x: str, channels: int) -> str:
    random = np.random.default_rng(5)
    parts = [random.uniform(0.5, 2, channels) * random.choice([-1, 1], channels), random.standard_normal(channels)]
    parts += [random.standard_normal(channels), random.uniform(0.5, 2, channels)]
    constants = [build.constant(part, np.float32) for part in parts]
    return build.add("BatchNormalization", x, *constants, name="norm")
