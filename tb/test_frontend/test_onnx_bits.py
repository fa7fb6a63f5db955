"""Codes of other than eight bits: ONNX's types of 2, 4 and 16 bits, and QONNX's Quant, against onnxruntime."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bench.onnx_models import Build, outputs, saved
from selvage.base.errors import InputError
from selvage.frontend.onnx.graph import load_graph
from tb.models.onnx_graphs import UNIT, codes, inputs_of, whole

KINDS = {
    "int4": (ml_dtypes.int4, 8 * UNIT, -1),
    "uint4": (ml_dtypes.uint4, 8 * UNIT, 7),
    "uint2": (ml_dtypes.uint2, 30 * UNIT, 1),
    "int16": (np.int16, UNIT / 100, 5),
    "uint16": (np.uint16, UNIT / 100, 30000),
}


def few_codes(shape: tuple[int, ...]) -> NDArray:
    return np.clip(codes(shape), -8, 7).astype(ml_dtypes.int4)


@pytest.mark.parametrize("name", KINDS)
def test_activations(name: str, tmp_path: Path) -> None:
    """Activations of the type before and behind a layer of weights of four bits."""
    kind, scale, zero = KINDS[name]
    build = Build(opset=25 if name == "uint2" else 21)
    x = build.through(build.input("x", ("N", 3, 6, 6)), scale, zero, kind)
    x = build.add("Conv", x, build.weights(few_codes((4, 3, 3, 3)), 0.0103), name="layer")
    build.output(build.through(x, 4 * scale, zero, kind))
    model = build.model()
    imported = load_graph(saved(model, tmp_path))
    bits = 2 if "2" in name else 4 if "4" in name else 16
    assert {tensor.format.raw_bits for tensor in imported.graph.tensors.values()} == {bits}
    feeds = inputs_of(imported)
    ours, theirs = whole(imported, feeds), outputs(model, feeds)
    for output, value in theirs.items():
        np.testing.assert_allclose(ours[output], value, atol=4.01 * scale)
        assert np.isclose(ours[output], value, atol=scale).mean() > 0.999


def quant(build: Build, x: str, scale: NDArray, bits: float, **given: object) -> str:
    inputs = [x, build.constant(scale, np.float32), build.constant(0, np.float32), build.constant(bits, np.float32)]
    return build.add("Quant", *inputs, domain="qonnx.custom_op.general", **given)


def quantised(x: NDArray, scale: NDArray, low: int, high: int) -> NDArray[np.float64]:
    """As QONNX says it: in float, halves to even, then cut."""
    return np.clip(np.rint(x / np.float32(scale)), low, high) * np.float32(scale)


def test_quant_of_qonnx(tmp_path: Path) -> None:
    """Weights of three bits with a scale a channel, narrow; activations of four bits without a sign."""
    build, random = Build(), np.random.default_rng(3)
    scales = random.uniform(0.1, 0.2, (4, 1, 1, 1)).astype(np.float32)
    weights = random.normal(0, 0.3, (4, 3, 1, 1)).astype(np.float32)
    x = quant(build, build.input("x", ("N", 3, 5, 5)), np.array(0.21), 4, signed=0, narrow=0, rounding_mode="ROUND")
    w = quant(build, build.constant(weights), scales, 3, signed=1, narrow=1, rounding_mode="ROUND")
    bias = random.normal(0, 0.5, 4).astype(np.float32)
    unit = np.float32(0.21) * scales.reshape(-1)
    b = quant(build, build.constant(bias), unit, 32, signed=1, narrow=0, rounding_mode="ROUND")
    y = build.add("Conv", x, w, b, name="layer")
    build.output(quant(build, y, np.array(0.173), 6, signed=1, narrow=0, rounding_mode="ROUND"))
    model = build.model()
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    imported = load_graph(saved(model, tmp_path))
    images = random.normal(0, 2, (20, 3, 5, 5)).astype(np.float32)
    real = quantised(images, np.array(0.21), 0, 15), quantised(weights, scales, -3, 3)
    sums = np.einsum("nchw,mc->nmhw", real[0], real[1][:, :, 0, 0])
    sums += (np.rint(bias / unit) * unit).reshape(1, -1, 1, 1)
    wanted = quantised(sums, np.array(0.173), -32, 31)
    (found,) = whole(imported, {"x": images}).values()
    assert np.isclose(found, wanted, atol=1e-5).mean() > 0.999
    assert np.abs(found - wanted).max() < 0.18


@pytest.mark.parametrize(
    "bits, given, sentence",
    [
        (9, {}, r"bits = \[9.0\] of Quant must be one whole number from 1 to 8"),
        (2.5, {}, r"bits = \[2.5\] of Quant"),
        (4, {"rounding_mode": "FLOOR"}, "Quant must round halves to even"),
    ],
)
def test_quant_that_is_refused(bits: float, given: dict[str, str], sentence: str, tmp_path: Path) -> None:
    build = Build()
    x = quant(build, build.input("x", ("N", 3, 5, 5)), np.array(0.21), bits, **{"signed": 1, "narrow": 0, **given})
    build.output(build.add("Conv", x, build.weights(codes((4, 3, 1, 1)), 0.01), name="layer"), TensorProto.FLOAT)
    model = build.model()
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    with pytest.raises(InputError, match=sentence):
        load_graph(saved(model, tmp_path))
