"""Random quantised ONNX graphs of one to four operators, in either of ONNX's forms, with names that invite collisions.

Every operator knows, in float64 and without the product's code, what real numbers its result holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import NodeProto, ValueInfoProto, helper, numpy_helper

from tb.models.choices import Choices

MICROSOFT = "com.microsoft"
Reals = NDArray[np.float64]
Rule = Callable[..., Reals]

STEMS = ("a", "conv", "x/input0", "[/red]", "layer 1", "a.0", "out", "%s", "größe", "n_2", "/model/relu/Relu_output_0")
BEHIND = ("/result", "/bias", "/input0", "/input3", "/QuantizeLinear", "/bias_scale", "/one", ".0", ".1", "_2", "/Cast")
OPSETS = (10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24)
IMAGES = 2


@dataclass(frozen=True)
class Codes:
    """A tensor of codes: ``shape`` of one image, (C, H, W) or (F,)."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero: int
    kind: np.dtype

    def worth(self, codes: NDArray) -> Reals:
        """What codes are worth."""
        return (codes.astype(np.float64) - self.zero) * np.float64(np.float32(self.scale))


@dataclass(frozen=True)
class Step:
    """One operator: ``rule`` makes the real numbers of ``output`` of those of ``sources``.

    ``lost``: how many steps a bias may be off that is stored in whole units of a sum. ``exact``: so few bits that
    onnxruntime's float32 rounds nothing before the codes, halves included.
    """

    operator: str
    sources: tuple[Codes, ...]
    output: Codes
    rule: Rule
    lost: float = 0.0
    exact: bool = False


@dataclass
class Drawn:
    """A model, what enters it, its operators in order."""

    model: onnx.ModelProto
    feeds: dict[str, NDArray]
    steps: list[Step]
    seed: tuple[int, ...] = ()  # and number, where there is one

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Tell what Hypothesis drew as ONNX's own text."""
        printer.text(onnx.printer.to_text(self.model))


class Draw:
    """Draws one graph."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.rng = choices.generator()  # of arrays
        self.opset = self.pick(*OPSETS)
        self.linear = self.chance(0.4)
        self.kind = np.dtype(self.pick(np.uint8, np.int8))
        self.even = not self.chance(0.4)  # scales are powers of two
        self.taken: set[str] = set()
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray] = {}
        self.shared: dict[bytes, str] = {}
        self.inputs: list[Codes] = []
        self.steps: list[Step] = []

    # names and numbers

    def integers(self, low: int, high: int) -> int:
        return self.choices.integers(low, high)

    def chance(self, share: float) -> bool:
        return self.choices.chance(share)

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.choices.pair(low, high)

    def pick(self, *values: Any) -> Any:
        return self.choices.choice(values)

    def within(self, source: Codes, high: int) -> tuple[int, int]:
        """Sides of a kernel, up to ``high`` and those of a map."""
        rows, columns = self.pair(1, high)
        return min(rows, source.shape[1]), min(columns, source.shape[2])

    def name(self) -> str:
        """A tensor's name that no other tensor has; often one that is made of a node's or of another tensor's."""
        used = sorted(self.taken | {node.name for node in self.nodes if node.name})
        stem = self.pick(*used) if used and self.chance(0.5) else self.pick(*STEMS)
        name = stem + self.pick(*BEHIND) if self.chance(0.6) else stem
        if self.chance(0.2):
            name += str(self.integers(0, 99))
        while name in self.taken:
            name += str(self.integers(0, 9))
        self.taken.add(name)
        return name

    def node_name(self) -> str:
        """None, a tensor's, one made of either, or one of its own; a few times that of another node."""
        if self.chance(0.25):
            return ""
        if self.chance(0.4) and self.taken:
            return self.pick(*sorted(self.taken)) + (self.pick(*BEHIND) if self.chance(0.5) else "")
        return self.pick(*STEMS) + (str(self.integers(0, 8)) if self.chance(0.7) else "")

    def constant(self, array: Any, dtype: Any = None) -> str:
        """Of equal constants often one."""
        value = np.array(array, dtype)
        key = value.tobytes() + str((value.dtype, value.shape)).encode()
        if key not in self.shared or self.chance(0.3):
            self.shared[key] = self.name()
            self.constants[self.shared[key]] = value
        return self.shared[key]

    def scale(self, about: float) -> float:
        """About ``about``: a power of two, or any number, now and then a plain decimal."""
        if self.even:
            return float(2.0 ** round(np.log2(about)))
        if self.chance(0.3):
            return float(np.float32(float(f"{about:.1g}")))
        return float(np.float32(about * self.integers(700, 1400) / 1000))

    def codes(self, shape: tuple[int, ...], about: float) -> Codes:
        info = np.iinfo(self.kind)
        zero = self.integers(info.min, info.max)
        zero = self.pick(0, zero, zero | 1 if zero < info.max else zero)
        return Codes(self.name(), shape, self.scale(about), zero, self.kind)

    def quantisation(self, codes: Codes) -> list[str]:
        return [self.constant(codes.scale, np.float32), self.constant(codes.zero, codes.kind)]

    # nodes

    def add(self, operator: str, inputs: list[str], output: str = "", domain: str = "", **attributes: Any) -> str:
        output = output or self.name()
        node = helper.make_node(operator, inputs, [output], name=self.node_name(), domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def real(self, codes: Codes) -> str:
        return self.add("DequantizeLinear", [codes.name, *self.quantisation(codes)])

    def quantised(self, real: str, codes: Codes) -> None:
        self.add("QuantizeLinear", [real, *self.quantisation(codes)], codes.name)

    def source(self, rank: int = 3) -> Codes:
        """Codes of a tensor that is there, or that enters."""
        fitting = [step.output for step in self.steps if len(step.output.shape) == rank]
        fitting += [own for own in self.inputs if len(own.shape) == rank]
        if fitting and (self.steps or self.chance(0.5)):
            return fitting[0] if self.chance(0.8) else self.pick(*fitting)
        return self.enter(tuple(self.integers(1, 6) for _ in range(rank)))

    def enter(self, shape: tuple[int, ...]) -> Codes:
        codes = self.codes(shape, self.pick(0.02, 0.25, 1.0))
        self.inputs.append(codes)
        return codes

    def made(
        self,
        operator: str,
        sources: tuple[Codes, ...],
        output: Codes,
        rule: Rule,
        *,
        lost: float = 0.0,
        exact: bool = True,
    ) -> None:
        """One more operator; ``exact``: where all scales are powers of two."""
        self.steps.append(Step(operator, sources, output, rule, lost, exact and self.even))

    @staticmethod
    def straight(value: Reals) -> Reals:
        """What bends nothing."""
        return value

    def bound(self, result: str, output: Codes, extra: float = 0.25) -> str:
        """A real result, now and then behind a Relu or Clip; ``self.bend`` is what that does."""
        self.bend: Rule = self.straight
        if not self.chance(extra):
            return result
        if self.chance(0.5) or self.opset < 11:
            self.bend = lambda value: np.maximum(value, 0)
            return self.add("Relu", [result])
        low, high = sorted(float(np.float32(self.integers(-(10**5), 10**5) / 1000 * output.scale)) for _ in range(2))
        self.bend = lambda value: np.clip(value, low, high)
        return self.add("Clip", [result, self.constant(low, np.float32), self.constant(high, np.float32)])

    def finish(self) -> Drawn:
        """The model: every tensor of codes leaves."""
        old = self.chance(0.2)
        infos = [self._info(own) for own in self.inputs]
        if old:  # as before IR 4 weights stand among the inputs
            infos += [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                for name, value in self.constants.items()
            ]
        outputs = [self._info(step.output) for step in self.steps]
        values = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, self.pick("g", *STEMS), infos, outputs, values)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        newest = {True: 3}.get(old, max(9, helper.find_min_ir_version_for(opsets[:1])))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=newest)
        feeds = {
            own.name: self.rng.integers(*_range(own.kind), (IMAGES, *own.shape), endpoint=True).astype(own.kind)
            for own in self.inputs
        }
        return Drawn(model, feeds, self.steps)

    @staticmethod
    def _info(codes: Codes) -> ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(codes.kind)
        return helper.make_tensor_value_info(codes.name, kind, ["N", *codes.shape])


def _range(kind: np.dtype) -> tuple[int, int]:
    return int(np.iinfo(kind).min), int(np.iinfo(kind).max)


# what operators do, on real numbers in float64


def windows(x: Reals, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...], fill: float) -> Reals:
    """(N, C, OH, OW, KH, KW)."""
    padded = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=fill)
    return sliding_window_view(padded, kernel, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]


def convolved(x: Reals, w: Reals, stride: tuple[int, int], pads: tuple[int, ...], groups: int) -> Reals:
    """Sums of ONNX's Conv."""
    seen = windows(x, w.shape[2:], stride, pads, 0.0)
    parts = zip(np.split(seen, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwij,mcij->nmhw", own, weights) for own, weights in parts], axis=1)


def transposed(x: Reals, w: Reals, stride: tuple[int, int], pads: tuple[int, ...]) -> Reals:
    """Sums of ONNX's ConvTranspose without groups."""
    sides = [(side - 1) * step + taps for side, step, taps in zip(x.shape[2:], stride, w.shape[2:], strict=True)]
    full = np.zeros((len(x), w.shape[1], *sides))
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            block = np.einsum("nc,cmij->nmij", x[:, :, row, column], w)
            at = row * stride[0], column * stride[1]
            full[:, :, at[0] : at[0] + w.shape[2], at[1] : at[1] + w.shape[3]] += block
    return full[:, :, pads[0] : full.shape[2] - pads[2], pads[1] : full.shape[3] - pads[3]]
