"""The operators of random graphs: each draws its sources, its attributes and its form, and says what it computes."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.onnx_graphs import MICROSOFT, Codes, Draw, Drawn, convolved, transposed, windows
from tb.models.choices import Choices, Seeded

MOST_OPERATORS = 4


def seeded(seed: int, index: int) -> Drawn:
    """Graph ``index`` of ``seed``: the same whenever it is drawn."""
    return replace(draw_graph(Seeded(seed, index)), seed=(seed, index))


def draw_graph(choices: Choices) -> Drawn:
    """One graph."""
    drawing = Draw(choices)
    for _ in range(drawing.integers(1, MOST_OPERATORS)):
        drawing.pick(*OPERATORS)(drawing)
    return drawing.finish()


def _weights(d: Draw, shape: tuple[int, ...], outputs: int, axis: int) -> tuple[NDArray, NDArray, NDArray]:
    """Codes, scales and zero points, (outputs,) or one for all.

    int8 codes are small: onnxruntime adds two products in 16 bits, saturated, on processors without VNNI.
    """
    each = d.chance(0.5) and d.opset >= 13
    kind = np.dtype(np.int8) if each or d.chance(0.6) else d.kind
    low, high = (0, 255) if kind == np.uint8 else (-63, 63)
    codes = d.rng.integers(low, high + 1, shape).astype(kind)
    count = outputs if each else 1
    scales = np.array([d.scale(0.01) for _ in range(count)], np.float32)
    zeros = np.zeros(count, kind) if kind == np.int8 else d.rng.integers(low, high + 1, count).astype(kind)
    return codes, (scales if each else scales[0]), (zeros if each else zeros[0])


def _worth(codes: NDArray, scales: NDArray, zeros: NDArray, axis: int) -> NDArray[np.float64]:
    """What weights are worth."""
    spread = [1] * codes.ndim
    spread[axis] = -1
    scale, zero = (np.asarray(own).astype(np.float64).reshape(spread) for own in (scales, zeros))
    return (codes.astype(np.float64) - zero) * scale


def _layer(
    d: Draw,
    operator: str,
    source: Codes,
    stored: tuple[NDArray, NDArray, NDArray],
    axis: int,
    shape: tuple[int, ...],
    sums: Callable[[NDArray, NDArray], NDArray],
    linear: str = "",
    biased: bool = True,
    **attributes: object,
) -> None:
    """An operator with weights; ``linear``: its name in the other form, if it has one."""
    codes, scales, zeros = stored
    outputs = shape[0]
    real = _worth(codes, scales, zeros, axis)
    unit = np.broadcast_to(np.float32(source.scale) * np.asarray(scales, np.float32), (outputs,)).astype(np.float32)
    bias = d.rng.integers(-3000, 3000, outputs).astype(np.int32) if biased and d.chance(0.6) else None
    added = np.zeros(outputs) if bias is None else bias * unit.astype(np.float64)
    spread = added.reshape(1, -1, *(1,) * (len(shape) - 1))
    to = d.codes(shape, source.scale * float(np.mean(scales)) * 60 * math.sqrt(codes.size / outputs) + 1e-6)
    inputs = [d.constant(codes), d.constant(scales), d.constant(zeros)]
    if linear and d.linear:
        names = [source.name, *d.quantisation(source), *inputs]
        own = [] if bias is None else [d.constant(bias)]
        if linear == "QGemm":
            d.add(linear, [*names, *(own or [""]), *d.quantisation(to)], to.name, MICROSOFT, **attributes)
        else:
            d.add(linear, [*names, *d.quantisation(to), *own], to.name, **attributes)
        d.made(linear, (source,), to, lambda x: sums(x, real) + spread)
        return
    each = {"axis": axis} if np.ndim(scales) else {}
    parts = [d.real(source), d.add("DequantizeLinear", inputs, **each)]
    if bias is not None:
        own = unit if np.ndim(scales) else unit[0]
        names = [d.constant(bias), d.constant(own), d.constant(np.zeros(np.shape(own), np.int32))]
        parts.append(d.add("DequantizeLinear", names, **({"axis": 0} if each else {})))
    result = d.bound(d.add(operator, parts, **attributes), to)
    bend = d.bend
    d.quantised(result, to)
    # The bias is stored in products of the two scales, of which its own scale is the nearest float32.
    product = np.float64(np.float32(source.scale)) * np.asarray(scales, np.float64)
    lost = 0.0 if bias is None else float(np.abs(bias * (unit - product)).max() / to.scale)
    d.made(operator, (source,), to, lambda x: bend(sums(x, real) + spread), lost=lost)


def convolution(d: Draw) -> None:
    source = d.source()
    groups = source.shape[0] if d.chance(0.2) else 1
    each = d.integers(1, 3) if groups == 1 else 1
    kernel = d.within(source, 3)
    stride, pads = d.pair(1, 2), tuple(d.integers(0, 1) for _ in range(4))
    shape = (groups * each, source.shape[0] // groups, *kernel)
    stored = _weights(d, shape, shape[0], 0)
    sides = [(side + pads[k] + pads[k + 2] - kernel[k]) // stride[k] + 1 for k, side in enumerate(source.shape[1:])]
    given = {"strides": stride, "pads": pads, "group": groups}
    _layer(
        d, "Conv", source, stored, 0, (shape[0], *sides),
        lambda x, w: convolved(x, w, stride, pads, groups), "QLinearConv", **given,
    )  # fmt: skip


def transposed_convolution(d: Draw) -> None:
    source = d.source()
    kernel, stride = d.pair(1, 3), d.pair(1, 3)
    outputs = d.integers(1, 3)
    pads = tuple(d.integers(0, (own - 1) // 2) for own in (*kernel, *kernel))
    sides = [(s - 1) * stride[k] + kernel[k] - pads[k] - pads[k + 2] for k, s in enumerate(source.shape[1:])]
    if min(sides) < 1:
        return
    stored = _weights(d, (source.shape[0], outputs, *kernel), outputs, 1)
    given = {"strides": stride, "pads": pads}
    _layer(
        d, "ConvTranspose", source, stored, 1, (outputs, *sides), lambda x, w: transposed(x, w, stride, pads), **given
    )


def dense(d: Draw) -> None:
    source, outputs, turned = d.source(1), d.integers(1, 5), int(d.chance(0.5))
    shape, axis = ((outputs, source.shape[0]), 0) if turned else ((source.shape[0], outputs), 1)
    stored = _weights(d, shape, outputs, axis)
    _layer(
        d, "Gemm", source, stored, axis, (outputs,),
        lambda x, w: x @ (w.T if turned else w), "QGemm", transB=turned,
    )  # fmt: skip


def product(d: Draw) -> None:
    source, outputs = d.source(1), d.integers(1, 5)
    stored = _weights(d, (source.shape[0], outputs), outputs, 1)
    _layer(d, "MatMul", source, stored, 1, (outputs,), lambda x, w: x @ w, "QLinearMatMul", biased=False)


def _binary(d: Draw, operator: str, names: list[list[str]], to: Codes, linear: bool, reals: list[str]) -> Callable:
    """A sum or product in either form; what bends its result."""
    if linear:
        inputs = [name for own in names for name in own]
        d.add(f"QLinear{operator}", [*inputs, *d.quantisation(to)], to.name, MICROSOFT)
        return d.straight
    result = d.bound(d.add(operator, reals), to)
    bend = d.bend
    d.quantised(result, to)
    return bend


def total(d: Draw) -> None:
    """Of two maps."""
    a = d.source(d.pick(1, 3))
    same = [own for own in (*d.inputs, *(s.output for s in d.steps)) if own.shape == a.shape and own.name != a.name]
    b = same[-1] if same else d.enter(a.shape)
    to, linear = d.codes(a.shape, 1.3 * max(a.scale, b.scale)), d.linear
    reals = [] if linear else [d.real(a), d.real(b)]
    bend = _binary(d, "Add", [[own.name, *d.quantisation(own)] for own in (a, b)], to, linear, reals)
    d.made("QLinearAdd" if linear else "Add", (a, b), to, lambda x, y: bend(x + y))


def with_constant(d: Draw) -> None:
    """A map plus or times one number, or one for each channel: quantised, or in floats."""
    source, operator = d.source(), d.pick("Add", "Mul")
    count = d.pick(1, source.shape[0])
    shape = (count, 1, 1) if count > 1 else d.pick((), (1,), (1, 1, 1))
    first = d.chance(0.4)
    if d.linear or d.chance(0.6):
        codes = d.rng.integers(1, 20, shape).astype(d.kind)
        scale = d.scale(source.scale if operator == "Add" else 0.5)
        zero = d.integers(0, 2)
        value = (codes.astype(np.float64) - zero) * np.float64(np.float32(scale))
        held = [d.constant(codes), d.constant(scale, np.float32), d.constant(zero, d.kind)]
    else:
        value = np.float32(d.rng.integers(1, 20, shape) * d.scale(source.scale if operator == "Add" else 0.5))
        held = [d.constant(value)]
    largest = float(np.abs(value).max(initial=1e-3))
    to = d.codes(source.shape, source.scale * (1.2 if operator == "Add" else max(largest, 0.1)))
    linear = d.linear and len(held) == 3
    reals = [] if linear else [d.real(source), held[0] if len(held) == 1 else d.add("DequantizeLinear", held)]
    names = [[source.name, *d.quantisation(source)], held]
    if first:
        reals.reverse()
        names.reverse()
    bend = _binary(d, operator, names, to, linear, reals)
    value = value.astype(np.float64)
    d.made(
        f"QLinear{operator} with constant" if linear else f"{operator} with {'codes' if len(held) == 3 else 'floats'}",
        (source,), to, lambda x: bend(x + value if operator == "Add" else x * value),
    )  # fmt: skip


def join(d: Draw) -> None:
    a = d.source()
    b = d.enter((d.integers(1, 3), *a.shape[1:]))
    to = d.codes((a.shape[0] + b.shape[0], *a.shape[1:]), d.pick(a.scale, 1.5 * a.scale))
    if d.linear:
        names = [name for own in (a, b) for name in (own.name, *d.quantisation(own))]
        d.add("QLinearConcat", [*d.quantisation(to), *names], to.name, MICROSOFT, axis=1)
    else:
        d.quantised(d.add("Concat", [d.real(a), d.real(b)], axis=1), to)
    d.made("Concat", (a, b), to, lambda x, y: np.concatenate([x, y], axis=1))


def mean(d: Draw) -> None:
    source = d.source()
    kernel = d.within(source, 4)
    if d.chance(0.2):
        kernel = source.shape[1:]
    stride = d.pick(kernel, d.pair(1, 2))
    pads = tuple(d.integers(0, (own - 1) // 2) for own in (*kernel, *kernel)) if d.chance(0.4) else (0,) * 4
    sides = [(s + pads[k] + pads[k + 2] - kernel[k]) // stride[k] + 1 for k, s in enumerate(source.shape[1:])]
    to = d.codes((source.shape[0], *sides), source.scale)
    if d.chance(0.6):
        to = Codes(to.name, to.shape, source.scale, to.zero, to.kind)
    given = {"kernel_shape": kernel, "strides": stride, "pads": pads, "count_include_pad": 1}
    early, d.bend = False, d.straight
    if d.linear:
        names = [source.name, *d.quantisation(source), *d.quantisation(to)]
        d.add("QLinearAveragePool", names, to.name, MICROSOFT, **given)
    else:
        early = d.chance(0.2)
        before = d.add("Relu", [d.real(source)]) if early else d.real(source)
        d.quantised(d.bound(d.add("AveragePool", [before], **given), to, 0.2), to)
    bend, floor = d.bend, 0 if early else -np.inf

    def rule(x: NDArray) -> NDArray:
        return bend(windows(np.maximum(x, floor), kernel, stride, pads, 0.0).mean(axis=(-2, -1)))

    area = math.prod(kernel)
    name = "Relu, AveragePool" if early else "AveragePool"
    d.made(name, (source,), to, rule, exact=area.bit_count() == 1)


def global_mean(d: Draw) -> None:
    source = d.source()
    to = d.codes((source.shape[0], 1, 1), source.scale)
    if d.linear:
        names = [source.name, *d.quantisation(source), *d.quantisation(to)]
        d.add("QLinearGlobalAveragePool", names, to.name, MICROSOFT, channels_last=0)
    else:
        d.quantised(d.add("GlobalAveragePool", [d.real(source)]), to)
    area = math.prod(source.shape[1:])
    d.made(
        "GlobalAveragePool", (source,), to, lambda x: x.mean(axis=(2, 3), keepdims=True), exact=area.bit_count() == 1
    )  # fmt: skip


def greatest(d: Draw) -> None:
    source = d.source()
    kernel = d.within(source, 3)
    stride = d.pair(1, 2)
    sides = [(side - kernel[k]) // stride[k] + 1 for k, side in enumerate(source.shape[1:])]
    to = Codes(d.name(), (source.shape[0], *sides), source.scale, source.zero, source.kind)
    given = {"kernel_shape": kernel, "strides": stride}
    # An operator on codes that enter is the host's, and its result is no output of the network.
    if d.opset >= 12 and source not in d.inputs and d.chance(0.5):
        d.add("MaxPool", [source.name], to.name, **given)
    else:
        d.quantised(d.add("MaxPool", [d.real(source)], **given), to)
    d.made("MaxPool", (source,), to, lambda x: windows(x, kernel, stride, (0,) * 4, -np.inf).max(axis=(-2, -1)))


def enlarged(d: Draw) -> None:
    if d.opset < 11:
        return
    source, factor = d.source(), d.pair(1, 2)
    to = Codes(
        d.name(), (source.shape[0], *(s * f for s, f in zip(source.shape[1:], factor, strict=True))),
        source.scale, source.zero, source.kind,
    )  # fmt: skip
    scales = d.constant([1, 1, *factor], np.float32)
    none = d.constant([], np.float32) if d.opset < 13 else ""
    given = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    d.quantised(d.add("Resize", [d.real(source), none, scales], **given), to)
    d.made("Resize", (source,), to, lambda x: x.repeat(factor[0], axis=2).repeat(factor[1], axis=3))


FUNCTIONS: dict[str, tuple[Callable, float]] = {
    "Relu": (lambda x: np.maximum(x, 0), 1.0),
    "Sigmoid": (lambda x: (1 + np.tanh(x / 2)) / 2, 0.004),
    "Tanh": (np.tanh, 0.008),
    "LeakyRelu": (lambda x: np.where(x < 0, 0.25 * x, x), 1.0),
    "Identity": (lambda x: x, 1.0),
}


def function(d: Draw) -> None:
    source, operator = d.source(d.pick(1, 3)), d.pick(*FUNCTIONS)
    rule, about = FUNCTIONS[operator]
    # Another scale behind Identity, which would be no operator else.
    to = d.codes(source.shape, about if about < 1 else source.scale * d.pick(2, 2 if operator == "Identity" else 1))
    given = {"alpha": 0.25} if operator == "LeakyRelu" else {}
    if d.linear and operator in ("Sigmoid", "LeakyRelu"):
        names = [source.name, *d.quantisation(source), *d.quantisation(to)]
        d.add(f"QLinear{operator}", names, to.name, MICROSOFT, **given)
    else:
        d.quantised(d.add(operator, [d.real(source)], **given), to)
    d.made(operator, (source,), to, rule, exact=operator not in ("Sigmoid", "Tanh"))


def gated(d: Draw) -> None:
    """x * Sigmoid(x), quantised between."""
    source = d.source()
    inner, to = d.codes(source.shape, 0.004), d.codes(source.shape, source.scale)
    real = d.real(source)
    d.quantised(d.add("Sigmoid", [real]), inner)
    d.made("Sigmoid", (source,), inner, FUNCTIONS["Sigmoid"][0], exact=False)
    d.quantised(d.add("Mul", [d.real(source), d.real(inner)]), to)
    d.made("x * Sigmoid(x)", (source, inner), to, lambda x, y: x * y)


def normalised(d: Draw) -> None:
    """A convolution by 1x1 and BatchNormalization behind it, in floats."""
    source, outputs = d.source(), d.integers(1, 3)
    codes, scales, zeros = _weights(d, (outputs, source.shape[0], 1, 1), outputs, 0)
    real = _worth(codes, scales, zeros, 0)
    gain, shift, centre, spread = (d.rng.uniform(0.5, 2, outputs).astype(np.float32) for _ in range(4))
    to = d.codes((outputs, *source.shape[1:]), source.scale * float(np.mean(scales)) * 90)
    each = {"axis": 0} if np.ndim(scales) else {}
    inputs = [d.real(source), d.add("DequantizeLinear", [d.constant(own) for own in (codes, scales, zeros)], **each)]
    constants = [d.constant(own) for own in (gain, shift, centre, spread)]
    d.quantised(d.add("BatchNormalization", [d.add("Conv", inputs), *constants]), to)
    factor = gain.astype(np.float64) / np.sqrt(spread.astype(np.float64) + 1e-5)
    offset = shift - centre * factor

    def rule(x: NDArray) -> NDArray:
        sums = convolved(x, real, (1, 1), (0,) * 4, 1)
        return sums * factor.reshape(1, -1, 1, 1) + offset.reshape(1, -1, 1, 1)

    # The shift becomes a bias in whole units of a sum.
    unit = source.scale * np.abs(np.asarray(scales, np.float64) * factor).max() / to.scale
    d.made("Conv, BatchNormalization", (source,), to, rule, lost=float(unit) / 2, exact=False)


def flattened(d: Draw) -> None:
    """A dense layer behind a map."""
    source, outputs = d.source(), d.integers(1, 4)
    count = math.prod(source.shape)
    codes, scales, zeros = _weights(d, (count, outputs), outputs, 1)
    real = _worth(codes, scales, zeros, 1)
    to = d.codes((outputs,), source.scale * float(np.mean(scales)) * 60 * math.sqrt(count))
    each = {"axis": 1} if np.ndim(scales) else {}
    weights = d.add("DequantizeLinear", [d.constant(own) for own in (codes, scales, zeros)], **each)
    d.quantised(d.add("MatMul", [d.add("Flatten", [d.real(source)]), weights]), to)
    d.made("Flatten, MatMul", (source,), to, lambda x: x.reshape(len(x), -1) @ real)


OPERATORS: list[Callable[[Draw], None]] = [
    *(convolution, transposed_convolution, dense, product, total, with_constant, with_constant, join, mean, mean),
    *(global_mean, greatest, enlarged, function, gated, normalised, flattened),
]
