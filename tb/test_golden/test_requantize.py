"""The golden network against onnxruntime, operator by operator on onnxruntime's own codes.

Equal are at least 99.99 % of the outputs, and none is further off than one step. What is not equal lies so near a
half that float32 rounds it to the other side. Means with the scale of their input have true halves (a quarter of all
with 2x2 windows), which onnxruntime breaks by the error of its float32 sums: no integer can follow that.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bench.onnx_models import EXAMPLES, MICROSOFT, TYPES, Build, Tally, compare, network_files, saved
from selvage.base.graph import Activation, Tensor
from selvage.base.layer import InputFormat
from selvage.base.requantization import Requantization
from selvage.frontend.onnx.graph import load_graph
from selvage.golden.requantize import dequantise, requantization, requantize, rounded

SHAPE = (8, 9, 10)
IMAGES = 48
Random = np.random.Generator


class Case:
    """A model of one operator, in either form, with random scales, zero points and types."""

    def __init__(self, random: Random, form: str, kind: Any, per_channel: bool) -> None:
        self.random, self.form, self.kind, self.per_channel = random, form, np.dtype(kind), per_channel
        self.build = Build()
        self.feeds: dict[str, NDArray] = {}

    def zero(self, kind: Any = None) -> int:
        info = np.iinfo(kind or self.kind)
        return int(self.random.integers(info.min, info.max + 1))

    def scale(self, about: float) -> float:
        return float(np.float32(about * self.random.uniform(0.7, 1.4)))

    def source(self, shape: tuple[int, ...] = SHAPE, images: int = IMAGES) -> tuple[str, float, int]:
        """Codes that enter: name, scale, zero point."""
        info, name = np.iinfo(self.kind), f"x{len(self.feeds)}"
        self.feeds[name] = self.random.integers(info.min, info.max + 1, (images, *shape)).astype(self.kind)
        self.build.input(name, ("N", *shape), TYPES[self.kind])
        return name, self.scale(0.02), self.zero()

    def weights(self, shape: tuple[int, ...], outputs: int, spread: float) -> tuple[NDArray, NDArray, NDArray]:
        """Codes, scales and zero points: for each channel of int8 and 0, for all of the activations' type and any.

        int8 ones are small: onnxruntime's QGemm adds two products in 16 bits, saturated, on processors without VNNI.
        """
        if self.per_channel:
            scales = self.random.uniform(0.3, 1, outputs).astype(np.float32) * np.float32(spread)
            return self.random.integers(-63, 64, shape).astype(np.int8), scales, np.zeros(outputs, np.int8)
        low, high = (0, 256) if self.kind == np.uint8 else (-63, 64)
        codes = self.random.integers(low, high, shape).astype(self.kind)
        return codes, np.array(self.scale(spread), np.float32), np.array(self.zero(), self.kind)

    def check(self, output: str, directory: Path, tally: Tally, rank: int = 4) -> None:
        self.build.output(output, TYPES[self.kind], rank)
        model = self.build.model()
        compare(model, load_graph(saved(model, directory)), self.feeds, tally)

    def layer(
        self,
        operator: str,
        shape: tuple[int, ...],
        outputs: int,
        axis: int,
        directory: Path,
        tally: Tally,
        source: tuple[int, ...] = SHAPE,
        images: int = IMAGES,
        quantised: str = "",
        **attributes: Any,
    ) -> None:
        """Conv, ConvTranspose, Gemm or MatMul with a bias."""
        x, scale, zero = self.source(source, images)
        codes, scales, zeros = self.weights(shape, outputs, 0.01)
        bias = self.random.integers(-20000, 20000, outputs).astype(np.int32)
        terms = codes.size / outputs
        to, to_zero = self.scale(scale * 0.006 * 75 * 80 * terms**0.5 / 60), self.zero()
        build, unit = self.build, (np.float32(scale) * scales).astype(np.float32)
        if self.form == "qdq":
            inputs = [build.real(x, scale, zero, self.kind), build.weights(codes, scales, zeros, axis)]
            inputs += [] if operator == "MatMul" else [build.weights(bias, unit)]
            result = build.quantised(build.add(operator, *inputs, **attributes), to, to_zero, self.kind)
        else:
            inputs = [x, *build.scale(scale, zero, self.kind), build.constant(codes), build.constant(scales)]
            inputs += [build.constant(zeros)] + ([build.constant(bias)] if operator == "Gemm" else [])
            inputs += build.scale(to, to_zero, self.kind) + ([build.constant(bias)] if operator == "Conv" else [])
            domain = MICROSOFT if operator == "Gemm" else ""
            result = build.add(quantised, *inputs, domain=domain, **attributes)
        self.check(result, directory, tally, len(source) + 1)


FORMS = [(form, kind, own) for form in ("qdq", "q") for kind in (np.uint8, np.int8) for own in (False, True)]
forms = pytest.mark.parametrize("form, kind, per_channel", FORMS)
kinds = pytest.mark.parametrize("kind", [np.uint8, np.int8])


def cases(form: str, kind: Any, per_channel: bool, count: int = 3) -> list[Case]:
    return [Case(np.random.default_rng(seed), form, kind, per_channel) for seed in range(count)]


@forms
def test_convolution(form: str, kind: Any, per_channel: bool, tmp_path: Path) -> None:
    tally = Tally()
    for case, (groups, attributes) in zip(
        cases(form, kind, per_channel),
        [(1, {"pads": (1, 1, 1, 1)}), (2, {"strides": (2, 1)}), (8, {"dilations": (2, 2), "pads": (1, 0, 2, 1)})],
        strict=True,
    ):
        shape = (16, 8 // groups, 3, 3)
        case.layer("Conv", shape, 16, 0, tmp_path, tally, quantised="QLinearConv", group=groups, **attributes)
    tally.check()


@forms
def test_big_sums(form: str, kind: Any, per_channel: bool, tmp_path: Path) -> None:
    """Sums beyond the 24 bits that float32 holds."""
    tally = Tally()
    for case in cases(form, kind, per_channel, 1):
        case.layer("Conv", (8, 1024, 3, 3), 8, 0, tmp_path, tally, (1024, 9, 10), 6, quantised="QLinearConv")
    tally.check()


@kinds
@pytest.mark.parametrize("per_channel", [False, True])
def test_transposed_convolution(kind: Any, per_channel: bool, tmp_path: Path) -> None:
    tally = Tally()
    for case in cases("qdq", kind, per_channel):
        given = {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_padding": (1, 1)}
        case.layer("ConvTranspose", (8, 12, 3, 3), 12, 1, tmp_path, tally, **given)
    tally.check()


@forms
def test_dense(form: str, kind: Any, per_channel: bool, tmp_path: Path) -> None:
    tally = Tally()
    for turned, case in enumerate(cases(form, kind, per_channel, 2)):
        shape, axis = ((20, 64), 0) if turned else ((64, 20), 1)
        case.layer("Gemm", shape, 20, axis, tmp_path, tally, (64,), 4096, quantised="QGemm", transB=turned)
    for case in cases(form, kind, per_channel, 1):
        case.layer("MatMul", (64, 20), 20, 1, tmp_path, tally, (64,), 4096, quantised="QLinearMatMul")
    tally.check()


@kinds
@pytest.mark.parametrize("form", ["qdq", "q"])
def test_sum(form: str, kind: Any, tmp_path: Path) -> None:
    """Also with scales that make halves of every second sum."""
    tally = Tally()
    for seed, case in enumerate(cases(form, kind, False, 4)):
        (a, scale_a, zero_a), (b, scale_b, zero_b), build = case.source(), case.source(), case.build
        scale_b = scale_b if seed else scale_a
        to, zero = (case.scale(0.03) if seed else 2 * scale_a), case.zero()
        if form == "qdq":
            both = build.add("Add", build.real(a, scale_a, zero_a, kind), build.real(b, scale_b, zero_b, kind))
            result = build.quantised(build.add("Relu", both) if seed > 2 else both, to, zero, kind)
        else:
            scales = [build.scale(*given, kind) for given in ((scale_a, zero_a), (scale_b, zero_b), (to, zero))]
            result = build.add("QLinearAdd", a, *scales[0], b, *scales[1], *scales[2], domain=MICROSOFT)
        case.check(result, tmp_path, tally)
    tally.check()


@kinds
@pytest.mark.parametrize("form", ["qdq", "q"])
@pytest.mark.parametrize(
    "operator, attributes",
    [
        ("AveragePool", {"kernel_shape": (2, 2), "strides": (2, 2)}),
        ("AveragePool", {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
    ],
)
def test_mean(form: str, kind: Any, operator: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    tally, halves = Tally(), Tally()
    for seed, case in enumerate(cases(form, kind, False, 4)):
        (x, scale, zero), build = case.source(), case.build
        to, to_zero = (case.scale(0.5 * scale) if seed else scale), case.zero()
        if form == "qdq":
            made = build.add(operator, build.real(x, scale, zero, kind), **attributes)
            result = build.quantised(made, to, to_zero, kind)
        else:
            scales = [*build.scale(scale, zero, kind), *build.scale(to, to_zero, kind)]
            result = build.add(f"QLinear{operator}", x, *scales, domain=MICROSOFT, **attributes)
        case.check(result, tmp_path, tally if seed else halves)
    tally.check()
    halves.check(0.85)


@kinds
@pytest.mark.parametrize("form", ["qdq", "q"])
def test_joined(form: str, kind: Any, tmp_path: Path) -> None:
    tally = Tally()
    for case in cases(form, kind, False):
        build, sources = case.build, [case.source() for _ in range(3)]
        to, zero = case.scale(0.02), case.zero()
        if form == "qdq":
            parts = [build.real(x, *scale, kind) for x, *scale in sources]
            result = build.quantised(build.add("Concat", *parts, axis=1), to, zero, kind)
        else:
            parts = [name for x, *scale in sources for name in (x, *build.scale(*scale, kind))]
            result = build.add("QLinearConcat", *build.scale(to, zero, kind), *parts, domain=MICROSOFT, axis=1)
        case.check(result, tmp_path, tally)
    tally.check()


FUNCTIONS = [("qdq", name) for name in ("Sigmoid", "Tanh", "LeakyRelu", "Relu", "HardSwish", "Exp", "Identity")]
FUNCTIONS += [("q", "Sigmoid"), ("q", "LeakyRelu")]


@kinds
@pytest.mark.parametrize("form, operator", FUNCTIONS)
def test_function(form: str, operator: str, kind: Any, tmp_path: Path) -> None:
    tally = Tally()
    for case in cases(form, kind, False):
        (x, scale, zero), build = case.source(), case.build
        to, to_zero = case.scale(0.008), case.zero()
        if form == "qdq":
            made = build.add(operator, build.real(x, scale, zero, kind))
            result = build.quantised(made, to, to_zero, kind)
        else:
            scales = [*build.scale(scale, zero, kind), *build.scale(to, to_zero, kind)]
            result = build.add(f"QLinear{operator}", x, *scales, domain=MICROSOFT)
        case.check(result, tmp_path, tally)
    tally.check()


@pytest.mark.parametrize("operator", ["Relu", "LeakyRelu", "Clip"])
def test_activation(operator: str, tmp_path: Path) -> None:
    """Between a layer and its QuantizeLinear."""
    tally = Tally()
    for case in cases("qdq", np.uint8, True):
        (x, scale, zero), build = case.source(), case.build
        codes, scales, _ = case.weights((16, 8, 3, 3), 16, 0.01)
        sums = build.add("Conv", build.real(x, scale, zero), build.weights(codes, scales))
        bounds = [build.constant(-1, np.float32), build.constant(2.5, np.float32)] if operator == "Clip" else []
        made = build.add(operator, sums, *bounds)
        case.check(build.quantised(made, case.scale(0.08), case.zero()), tmp_path, tally)
    tally.check()


@pytest.mark.parametrize("path", network_files(), ids=lambda path: path.stem)
def test_networks(path: Path) -> None:
    """Each node of the examples' networks on onnxruntime's own codes."""
    imported, random, tally = load_graph(str(path)), np.random.default_rng(3), Tally()
    feeds = {
        name: random.standard_normal((IMAGES, *shape[1:]), dtype=np.float32)
        for name, (_, shape) in imported.inputs.items()
    }
    compare(onnx.load(path), imported, feeds, tally)
    means = tally.counts.pop("Pool average", None)
    tally.check()
    if means is not None:
        print(f"Pool average: {means}")
        assert means[2] == 0 and means[0] >= 0.95 * means.sum()


def tensor(bits: int = 8, signed: bool = True, zero: int = 0) -> Tensor:
    return Tensor("y", (1, 1, 1), 1.0, InputFormat(raw_bits=bits, raw_signed=signed, zero_point=zero))


@pytest.mark.parametrize("odd, wanted", [(False, [-2, -2, 0, 0, 2, 2]), (True, [-3, -1, -1, 1, 1, 3])])
def test_halves(odd: bool, wanted: list[int]) -> None:
    r = Requantization((1,), 2, int(odd), -9, 9, zero_first=True)
    np.testing.assert_array_equal(rounded(np.array([-10, -6, -2, 2, 6, 10]), r), wanted)


def test_slope_follows_the_sign_of_the_value() -> None:
    """Where a folded normalisation turns the sign, sums above 0 are values below 0."""
    r = requantization([Fraction(1, 2), Fraction(-1, 2)], tensor(), largest=8, activation=Activation(slope=0.25))
    sums = np.array([[8, 8], [-8, -8]])[:, :, None, None]
    np.testing.assert_array_equal(requantize(sums, r)[:, :, 0, 0], [[4, -1], [-1, 4]])


def test_a_bias_for_each_pixel() -> None:
    r = requantization([Fraction(1), Fraction(2)], tensor(), largest=7, bias=range(8))
    found = requantize(np.zeros((1, 2, 2, 2), np.int64), r)
    np.testing.assert_array_equal(found.reshape(-1), [0, 1, 2, 3, 8, 10, 12, 14])


def test_one_scale_dequantises_any_shape() -> None:
    assert dequantise(np.arange(5), tensor()).shape == (5,)


FAULTS: dict[str, Callable[[Any], Any]] = {
    "bias": lambda node: {"bias": node.bias + np.arange(len(node.bias)) * 3000},
    "scale": lambda node: {"weight_scale": node.weight_scale * np.float32(1.01)},
    "weights": lambda node: {"weights": node.weights + (np.arange(len(node.weights)) == 5)[:, None, None, None]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    """The comparison can fail."""
    path = EXAMPLES / "digits" / "classifier.onnx"
    imported = load_graph(str(path))
    nodes = tuple(
        replace(node, **FAULTS[fault](node)) if node.name == "conv2" else node for node in imported.graph.nodes
    )
    broken = replace(imported, graph=replace(imported.graph, nodes=nodes))
    feeds = {"images": np.random.default_rng(0).random((IMAGES, 1, 8, 8), dtype=np.float32)}
    tally = Tally()
    compare(onnx.load(path), broken, feeds, tally)
    with pytest.raises(AssertionError):
        tally.check()
