"""Functions of one code that work on the codes themselves, between QuantizeLinear and DequantizeLinear.

Brevitas writes activations of fewer than eight bits as a Clip of codes, PyTorch a Cast to the type that is there.
"""

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from selvage.base.graph import Node, Table, Tensor
from selvage.base.layer import InputFormat
from selvage.frontend.onnx.values import Fresh, Map, Pending
from selvage.golden.requantize import all_codes

CODE_TYPES = (np.dtype(np.uint8), np.dtype(np.int8))


@dataclass(frozen=True, eq=False)
class Recoded(Pending):
    """``codes``, uint8 or int8, for each code of ``source``, the smallest first; DequantizeLinear gives their scale."""

    source: Tensor
    operator: str
    codes: NDArray[np.uint8] | NDArray[np.int8]

    def tensor(self) -> Tensor | None:
        """Return the tensor of these codes with the source's scale and zero point.

        ``None``: their type has no such zero point.
        """
        zero, limits = self.source.format.zero_point, np.iinfo(self.codes.dtype)
        if not limits.min <= zero <= limits.max:
            return None
        numbers = InputFormat(raw_bits=8, raw_signed=limits.min < 0, zero_point=zero)
        return Tensor(self.start, self.shape, self.source.scale, numbers)

    def is_source(self, to: Tensor) -> bool:
        """Return whether ``to``, made of these, is the source itself."""
        same = (to.scale, to.format) == (self.source.scale, self.source.format)
        return same and bool((self.codes == all_codes(self.source.format)).all())

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make a table of the codes."""
        entries = self.codes.astype(np.int64)
        return [Table(name=self.name, inputs=(self.source.name,), output=to, function=self.operator, entries=entries)]


def is_codes(value: object) -> TypeGuard[Map | Recoded]:
    """Return whether a value is codes, not what they are worth."""
    return isinstance(value, Recoded) or (isinstance(value, Map) and not value.real)


def codes_of(value: Map | Recoded) -> tuple[Tensor, NDArray]:
    """Return the tensor that codes are of, and for each code of it what the value has, in its own type."""
    if isinstance(value, Recoded):
        return value.source, value.codes
    tensor = value.tensor
    kinds = {8: (np.uint8, np.int8), 16: (np.uint16, np.int16)}  # the narrower ones work as those of 8 bits
    return tensor, all_codes(tensor.format).astype(kinds[max(tensor.format.raw_bits, 8)][tensor.format.raw_signed])
