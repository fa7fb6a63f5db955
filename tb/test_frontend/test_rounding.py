"""Halves: on which side of the zero point each operator rounds, against onnxruntime, whole models.

All scales are powers of two and zero points odd, so that onnxruntime's floats are exact and a quarter of the outputs or
more lie halfway between two codes. At its default level onnxruntime must give every code that the golden network gives;
with optimisation off, where QuantizeLinear rounds behind every operator in float, it may be one step off, at halves.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.onnx_models import MICROSOFT, TYPES, Build, saved
from selvage.base.graph import Activation, Tensor
from selvage.base.layer import InputFormat
from selvage.frontend.onnx.graph import load_graph
from selvage.golden.graph import run
from selvage.golden.requantize import exact, requantization, requantize

SHAPE = (4, 6, 8)
IN, OUT = (0.25, 5), (0.5, 7)
LEVELS = onnxruntime.GraphOptimizationLevel
Steps = Callable[["Model"], str]


class Model(Build):
    """A model of codes ``x`` and ``y``; its one result is quantised to OUT."""

    def __init__(self, kind: Any, opset: int = 17) -> None:
        super().__init__(opset)
        self.kind = np.dtype(kind)
        self.feeds: dict[str, NDArray] = {}

    def codes(self, name: str) -> str:
        if name not in self.feeds:
            info = np.iinfo(self.kind)
            rng = np.random.default_rng(len(self.feeds))
            self.feeds[name] = rng.integers(info.min, info.max + 1, (3, *SHAPE)).astype(self.kind)
            self.input(name, ("N", *SHAPE), TYPES[self.kind])
        return name

    def value(self, name: str) -> str:
        return self.real(self.codes(name), *IN, self.kind)

    def factor(self, *values: int) -> str:
        """A constant behind DequantizeLinear, one for each channel or one for all."""
        shape = (len(values), 1, 1) if len(values) > 1 else ()
        return self.real(self.constant(np.reshape(values, shape), self.kind), 1.0, 0, self.kind)

    def numbers(self, *values: float) -> str:
        return self.constant(np.reshape(values, (len(values), 1, 1) if len(values) > 1 else ()), np.float32)

    def linear(self, operator: str, *parts: str | tuple[float, int], **attributes: Any) -> str:
        names = [name for part in parts for name in ([part] if isinstance(part, str) else self.scale(*part, self.kind))]
        return self.add(operator, *names, domain=MICROSOFT, **attributes)

    def differences(self, result: str, tmp_path: Path, rank: int = 4) -> list[NDArray]:
        """Ours from onnxruntime's codes, by default and with optimisation off."""
        self.output(result, TYPES[self.kind], rank)
        model = self.model()
        imported = load_graph(saved(model, tmp_path))
        ours = imported.leave(run(imported.graph, imported.enter(self.feeds)))[result].astype(int)
        found = []
        for level in (LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level, options.log_severity_level = level, 4
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
            found.append(ours - session.run([result], self.feeds)[0].astype(int))
        return found


def q(model: Model, real: str) -> str:
    return model.quantised(real, *OUT, model.kind)


MEAN = {"kernel_shape": (2, 2), "strides": (2, 2)}
WHOLE = {"kernel_shape": SHAPE[1:], "count_include_pad": 1}
PADS = {"kernel_shape": (2, 4), "pads": (1, 1, 1, 1), "count_include_pad": 1}


def ours(operator: str, *inputs: str, **attributes: Any) -> Steps:
    """An operator between DequantizeLinear and QuantizeLinear; inputs: maps, or what makes one of a model."""
    return lambda m: q(m, m.add(operator, *(m.value(own) if len(own) == 1 else own for own in inputs), **attributes))


def behind(operator: str, before: Callable[[Model], str], *more: float, **attributes: Any) -> Steps:
    """One more operator between ``before`` and QuantizeLinear."""
    return lambda m: q(m, m.add(operator, before(m), *(m.numbers(own) for own in more), **attributes))


def plus(m: Model) -> str:
    return m.add("Add", m.value("x"), m.value("y"))


def mean(m: Model) -> str:
    return m.add("AveragePool", m.value("x"), **MEAN)


def doubled(m: Model) -> str:
    return m.add("Mul", m.value("x"), m.factor(1, 2, 3, 4))


def read_by_two(m: Model) -> str:
    both = plus(m)
    m.output(m.quantised(both, *IN, m.kind), TYPES[m.kind])
    return q(m, both)


CASES: dict[str, Steps] = {
    "sum": ours("Add", "x", "y"),
    "sum of QLinearAdd": lambda m: m.linear("QLinearAdd", m.codes("x"), IN, m.codes("y"), IN, OUT),
    "sum, Relu": behind("Relu", plus),
    "sum, Clip": behind("Clip", plus, -0.5, 30),
    "sum, Clip beyond all codes": behind("Clip", plus, -1000, 1000),
    "sum, Reshape": lambda m: q(m, m.add("Reshape", plus(m), m.constant([0, 8, 3, 8], np.int64))),
    "sum, Flatten": behind("Flatten", plus),
    "sum, MaxPool": behind("MaxPool", plus, kernel_shape=(2, 2)),
    "sum, Identity": behind("Identity", plus),
    "sum that two QuantizeLinear read": read_by_two,
    "sum behind a Relu": lambda m: q(m, m.add("Add", m.add("Relu", m.value("x")), m.value("y"))),
    "sum behind a MaxPool": lambda m: q(
        m, m.add("Add", *(m.add("MaxPool", m.value(own), kernel_shape=(2, 2)) for own in "xy"))
    ),
    "sum behind Resize": lambda m: q(
        m,
        m.add("Add", *(m.add("Resize", m.value(own), "", m.constant([1, 1, 2, 2], np.float32)) for own in "xy")),
    ),
    "sum of a map and itself": lambda m: q(m, m.add("Add", m.value("x"), m.value("x"))),
    "sum and a quantised number": lambda m: q(m, m.add("Add", m.value("x"), m.factor(3))),
    "sum and quantised numbers": lambda m: q(m, m.add("Add", m.value("x"), m.factor(1, 2, 3, 9))),
    "sum and a float number": lambda m: q(m, m.add("Add", m.value("x"), m.numbers(2.75))),
    "sum and float numbers": lambda m: q(m, m.add("Add", m.value("x"), m.numbers(1.25, 2.5, 3, 9))),
    "difference of quantised numbers": lambda m: q(m, m.add("Sub", m.value("x"), m.factor(1, 2, 3, 9))),
    "product": behind("Identity", doubled),
    "product, Relu": behind("Relu", doubled),
    "product of a quantised number, first": lambda m: q(m, m.add("Mul", m.factor(3), m.value("x"))),
    "product of float numbers": lambda m: q(m, m.add("Mul", m.value("x"), m.numbers(0.5, 1, 3, 2))),
    "product of a map and itself": lambda m: q(m, m.add("Mul", m.value("x"), m.value("x"))),
    "product, then sum": lambda m: q(m, m.add("Add", doubled(m), m.numbers(0.75))),
    "map over a number": lambda m: q(m, m.add("Div", m.value("x"), m.numbers(2))),
    "mean": behind("Identity", mean),
    "mean, Relu": behind("Relu", mean),
    "mean behind a Relu": lambda m: q(m, m.add("AveragePool", m.add("Relu", m.value("x")), **MEAN)),
    "mean with pads": lambda m: m.linear("QLinearAveragePool", m.codes("x"), IN, IN, **PADS),
    "mean of whole maps": ours("AveragePool", "x", **WHOLE),
    "mean of whole maps with pads": ours("AveragePool", "x", **WHOLE, pads=(1, 0, 1, 0)),
    "global mean": ours("GlobalAveragePool", "x"),
    "another scale": lambda m: q(m, m.value("x")),
    "Relu": ours("Relu", "x"),
    "LeakyRelu": ours("LeakyRelu", "x", alpha=0.25),
    "QLinearLeakyRelu": lambda m: m.linear("QLinearLeakyRelu", m.codes("x"), IN, OUT, alpha=0.25),
    "join": lambda m: q(m, m.add("Concat", m.value("x"), m.value("y"), axis=1)),
    "convolution": lambda m: q(
        m, m.add("Conv", m.value("x"), m.weights(np.arange(-6, 6, dtype=np.int8).reshape(3, 4, 1, 1), 0.25))
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("name", CASES)
def test_halves(name: str, kind: Any, tmp_path: Path) -> None:
    model = Model(kind)
    result = CASES[name](model)
    followed, plain = model.differences(result, tmp_path, 2 if "Flatten" in name else 4)
    assert not followed.any(), f"{(followed != 0).sum()} of {followed.size} differ"
    assert np.abs(plain).max() <= 1


SCALES = st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5, 1.0, 3.0, 0.007]) | st.floats(0.0078125, 4, width=32)
AREAS = st.sampled_from([1, 2, 3, 4, 6, 9, 10, 12, 25, 49])


@settings(derandomize=True, deadline=None, max_examples=200)
@given(SCALES, SCALES, AREAS, st.booleans(), st.integers(0, 255), st.sampled_from([1.0, 0.5, 0.25]))
def test_every_sum_is_rounded_exactly(
    scale: float, to: float, area: int, zero_first: bool, zero: int, slope: float
) -> None:
    """The means of all sums of a window, by fractions."""
    numbers = InputFormat(raw_bits=8, raw_signed=False, zero_point=zero)
    tensor = Tensor("y", (1, 1, 1), to, numbers)
    ratio = exact(np.float32(scale)) / exact(np.float32(to)) / area
    sums = np.arange(-255 * area, 255 * area + 1)
    bend = Activation(slope=float(np.float32(slope)))
    r = requantization([ratio], tensor, largest=255 * area, zero_first=zero_first, activation=bend)
    found = requantize(sums.reshape(-1, 1, 1, 1), r).reshape(-1)
    steps = [ratio * int(own) * (1 if own >= 0 else Fraction(bend.slope)) for own in sums]
    wanted = [round(own + zero) if zero_first else round(own) + zero for own in steps]
    np.testing.assert_array_equal(found, np.clip(wanted, 0, 255))
