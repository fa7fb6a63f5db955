"""Import of functions that work on codes, between QuantizeLinear and DequantizeLinear, against onnxruntime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from bench.onnx_models import Build, outputs, saved
from selvage.base.errors import InputError
from selvage.base.graph import Matrix, Pool, Table
from selvage.frontend.onnx.graph import load_graph
from tb.models.onnx_graphs import UNIT, S, agreeing, codes, entered, inputs_of, kinds, whole

Between = Callable[[Build, str], str]  # codes of codes


def one(operator: str, *constants: Any, kind: Any = np.uint8, **attributes: Any) -> Between:
    """A node that reads codes and ``constants`` of their type, ``None`` for one that is left out."""

    def between(build: Build, x: str) -> str:
        rest = ["" if value is None else build.constant(value, kind) for value in constants]
        return build.add(operator, x, *rest, **attributes)

    return between


def chain(*parts: Between) -> Between:
    def between(build: Build, x: str) -> str:
        for part in parts:
            x = part(build, x)
        return x

    return between


SAME = one("Cast", to=TensorProto.UINT8)
FUNCTIONS: dict[str, tuple[Any, int, Between]] = {  # type and zero point of the codes, what becomes of them
    "four bits": (np.uint8, 0, one("Clip", 0, 15)),
    "a zero point": (np.uint8, 3, one("Clip", 1, 63)),
    "signed": (np.int8, -4, one("Clip", -8, 7, kind=np.int8)),
    "from above": (np.uint8, 9, one("Clip", None, 31)),
    "from below": (np.uint8, 9, one("Clip", 17)),
    "open": (np.uint8, 9, one("Clip")),
    "Min and Max": (np.uint8, 99, chain(one("Min", 180), one("Max", 70))),
    "Relu": (np.int8, -20, one("Relu")),
    "the same type": (np.uint8, 99, SAME),
    "Identity, Cast, Clip, Cast": (np.uint8, 99, chain(one("Identity"), SAME, one("Clip", 64, 127), SAME)),
    "Clip twice": (np.uint8, 99, chain(one("Clip", 64), one("Clip", 0, 127))),
}


def convolution(build: Build, x: str, shape: tuple[int, ...], name: str = "layer") -> str:
    """Weights of seven bits: with eight onnxruntime saturates sums of two products on processors without VNNI."""
    return build.add("Conv", x, build.weights(codes(shape) // 2, 0.0173), name=name)


def first(build: Build, zero: int = 99, kind: Any = np.uint8, name: str = "x") -> str:
    """Codes that a layer makes."""
    real = convolution(build, entered(build, name=name), (4, 3, 3, 3), f"first_{name}")
    return build.quantised(real, S, zero, kind)


def last(build: Build, x: str, channels: int = 4) -> None:
    build.output(build.through(convolution(build, x, (5, channels, 1, 1)), S, 99))


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions_of_codes(case: str, tmp_path: Path) -> None:
    """In a network: layers before and behind."""
    kind, zero, between = FUNCTIONS[case]
    build = Build()
    last(build, build.real(between(build, first(build, zero, kind)), S, zero, kind))
    tables = [] if case in ("the same type", "open") else [Table]
    assert kinds(agreeing(build, tmp_path)) == [Matrix, *tables, Matrix]


def test_codes_of_the_other_type(tmp_path: Path) -> None:
    """A Cast that wraps round, and DequantizeLinear with the zero point that takes it back."""
    build = Build()
    x = first(build, 128)
    half = build.add("Sub", x, build.constant(128, np.uint8))  # wraps
    x = build.real(build.add("Cast", half, to=TensorProto.INT8), S, 0, np.int8)
    last(build, x)
    agreeing(build, tmp_path)


def test_codes_that_become_numbers_by_hand(tmp_path: Path) -> None:
    """A Cast to float is a DequantizeLinear of scale 1."""
    build = Build()
    x = first(build)
    x = build.add("Cast", x, to=TensorProto.FLOAT)
    x = build.add("Mul", build.add("Sub", x, build.constant(99, np.float32)), build.constant(0.25, np.float32))
    build.output(build.through(build.add("Tanh", x), 1 / 256, 128))
    assert kinds(agreeing(build, tmp_path, 0.01)) == [Matrix, Table]


def test_moved_and_joined_codes(tmp_path: Path) -> None:
    """What moves codes reads a function of them too."""
    build = Build()
    x = one("Clip", 90, 120)(build, first(build))
    pools = [build.add("MaxPool", x, kernel_shape=(2, 2)) for _ in range(2)]
    last(build, build.real(build.add("Concat", *pools, axis=1), S, 99), 8)
    assert Pool in kinds(agreeing(build, tmp_path))


@pytest.mark.parametrize("given", ["floats", "codes"])
def test_codes_that_enter(given: str, tmp_path: Path) -> None:
    """The first codes of a network; what the host does to codes before them is its own."""
    build = Build()
    if given == "floats":
        x = build.quantised(build.input("x", ("N", 3, 6, 6)), UNIT, 120)
    else:
        x = build.input("x", ("N", 3, 6, 6), TensorProto.UINT8)
    x = build.real(chain(one("Clip", 100, 140), SAME)(build, x), UNIT, 120)
    last(build, x, 3)
    agreeing(build, tmp_path)


def test_codes_that_leave(tmp_path: Path) -> None:
    build = Build()
    x = one("Clip", 90, 110)(build, first(build))
    build.output(x, TensorProto.UINT8)
    imported = load_graph(saved(build.model(), tmp_path))
    feeds = inputs_of(imported)
    (ours,), (theirs,) = whole(imported, feeds).values(), outputs(build.model(), feeds).values()
    assert ours.dtype == theirs.dtype and (ours == theirs).all() and {90, 110} <= set(theirs.flat)


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_weights_of_few_bits(bits: int, tmp_path: Path) -> None:
    """Brevitas' form: float weights behind QuantizeLinear, Clip and DequantizeLinear."""
    build = Build(17)
    most = 2 ** (bits - 1) - 1
    stored = build.constant(np.random.default_rng(2).normal(0, 0.02 * most, (4, 3, 3, 3)), np.float32)
    narrow = build.quantised(stored, 0.01, 0, np.int8)
    weights = build.real(one("Clip", -most, most, kind=np.int8)(build, narrow), 0.01, 0, np.int8)
    build.output(build.through(build.add("Conv", entered(build), weights), S, 99))
    (node,) = agreeing(build, tmp_path).graph.nodes
    assert node.weights.min() == -most and node.weights.max() == most


def test_codes_of_two_maps_are_refused_by_name(tmp_path: Path) -> None:
    build = Build()
    build.nodes.append(helper.make_node("Max", [first(build, name=name) for name in "xy"], ["both"], name="both"))
    last(build, build.real("both", S, 99))
    sentence = "node 'both': operator 'Max' works on codes, and is no function of one code, and node 'layer' behind"
    with pytest.raises(InputError, match=sentence):
        load_graph(saved(build.model(), tmp_path))
