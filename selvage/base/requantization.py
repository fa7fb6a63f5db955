"""How sums become codes: integer factors and a shift. One object makes the golden function and the gateware."""

from dataclasses import dataclass

MULTIPLIER_BITS = 31  # most bits of a factor, its sign apart


@dataclass(frozen=True)
class Requantization:
    """Codes ``clip(round(sum * factor / 2**shift) + zero_point, low, high)``, halves to the even number.

    ``factors[m]`` and ``bias[m]`` are of channel m, or the only ones are of all. The bias is added to the
    sum first. ``below[m]`` takes the factor's place where the sum with its bias is below 0 (leaky ReLU);
    empty where none differs. A common shift is wiring, not a shifter. ``bias``, and with it the factors, may
    also hold one for each output of a map, (M, OH, OW) row by row. ``zero_first``: the zero point is added
    before rounding, so that halves go to the even code, not to the even number of steps. ``tie_bits``: a product
    less than ``2**(tie_bits - 1)`` from a half is that half, for a factor that is no binary fraction is off by its
    last place; 0 where every factor is exact.
    """

    factors: tuple[int, ...]
    shift: int
    zero_point: int
    low: int
    high: int
    bias: tuple[int, ...] = (0,)
    below: tuple[int, ...] = ()
    zero_first: bool = False
    tie_bits: int = 0

    def __post_init__(self) -> None:
        for name, values in (("factors", self.factors), ("below", self.below)):
            for value in values:
                if abs(value) >= 2**MULTIPLIER_BITS:
                    raise ValueError(f"{name} hold {value}, and must be below 2**{MULTIPLIER_BITS}")
        if self.shift < 0:
            raise ValueError(f"shift = {self.shift} must be at least 0")
        if self.tie_bits and not 0 < self.tie_bits < self.shift:
            raise ValueError(f"tie_bits = {self.tie_bits} must be below shift = {self.shift}")
        if self.low > self.high:
            raise ValueError(f"low = {self.low} is above high = {self.high}")
        if self.below and len(self.below) != len(self.factors):
            raise ValueError(f"below holds {len(self.below)} factors, and factors {len(self.factors)}")

    @property
    def halves_to_odd(self) -> bool:
        """Whether halves of steps go to the odd number: with an odd zero point, to the even code."""
        return self.zero_first and self.zero_point % 2 == 1

    @property
    def halfway(self) -> int:
        """What is added to a product before the shift, to round with halves down; ``1 << tie_bits`` more, halves up."""
        if not self.shift:
            return 0
        near = 1 << self.tie_bits >> 1
        return near + ((1 << self.shift - self.tie_bits - 1) - 1 << self.tie_bits)

    @property
    def factor_bits(self) -> int:
        """Bits of a signed factor."""
        return max(max(f, -f - 1).bit_length() for f in (*self.factors, *self.below)) + 1

    @property
    def bias_bits(self) -> int:
        """Bits of a signed bias."""
        return max(max(b, -b - 1).bit_length() for b in self.bias) + 1
