"""Crossbars that are not ideal: what was drawn of each, and the codes of its reads.

The same object answers the RTL at the macro's pins and the functional machine. Conductances are whole multiples of
2**-14 of a level, so their sums are exact in floating point in whatever order they are added, and both see the same
bits. ``docs/noise.md`` has the formulas and where they hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.noise import Noise
from selvage.mapping.placement import Array, Placement, Tile, band_columns
from selvage.sim.crossbar import driving

UNITS = 2**14  # of a level
OFFSET_TRIM, GAIN_TRIM = 8, 64  # steps of a calibrated converter in a code, and in a gain of 1
HALF = 0.5  # of a code: what is below rounds to 0
WHOLE = 2**53  # whole numbers below are exact in float64
EXACT = 2**24  # whole numbers below are exact in float32

Floats = NDArray[np.float64]


def check_noise(noise: Noise, chip: Chip) -> None:
    """Raise `InputError` where a full OU at the far end of its wires is less than half a code, by the first order.

    Also for more spare bit lines than an array has, and where sums would not be exact.
    """
    wires, spare = noise.wires, noise.remedies.spare_columns
    if spare > chip.columns:
        raise InputError(
            f"noise: remedies.spare_columns = {spare} is more than columns = {chip.columns} of chip {chip.name}"
        )
    drop = (wires.word_line * chip.columns * chip.ou_cols + wires.bit_line * chip.rows * chip.ou_rows) / wires.cell
    highest = chip.ou_rows * (2**chip.cell_bits - 1)
    left = highest / (1 + drop)
    if left < HALF:
        raise InputError(
            f"noise: wires of {wires.word_line:g} and {wires.bit_line:g} ohms beside cells of {wires.cell:g} ohms "
            f"leave {left:.2g} codes of a full OU at the far end of an array of {chip.rows} x {chip.columns}: no level "
            f"is left"
        )
    if wires.bit_line and chip.rows * (highest * UNITS) ** 2 > WHOLE:
        raise InputError(
            f"noise: wires.bit_line = {wires.bit_line:g} is for OUs of fewer rows than ou_rows = {chip.ou_rows} of "
            f"arrays of {chip.rows} rows: squares of their currents are no longer exact"
        )


class NoisyCrossbar:
    """One array's cells (rows, columns) with what was drawn for it; ``key`` tells it from all others.

    ``importance`` is what each bit line counts for, by which spare ones are given out.

    A code is ``round(gain * current + offset + bow + noise)``, at most ``2**adc_bits - 1`` and at least 0; the current
    is in levels.
    """

    def __init__(
        self,
        cells: NDArray[np.uint8],
        chip: Chip,
        noise: Noise,
        key: Sequence[int],
        importance: Sequence[int] | None = None,
    ) -> None:
        self.chip, self.noise, self.key = chip, noise, tuple(key)
        self.importance = np.array(importance or [1] * chip.columns, np.int64)
        self.batch = 0  # of images: each has noise of its own
        self.most = 2**chip.adc_bits - 1
        top = 2**chip.cell_bits - 1
        self.leak = round(top / (noise.cells.on_off - 1) * UNITS)  # of the lowest level
        self.on = top + self.leak / UNITS  # conductance of the highest level, in levels
        rng = np.random.default_rng([noise.seed, *key])
        self.levels = self._conductances(cells, rng)
        lanes = chip.ou_cols
        self.offset = rng.normal(0, noise.adc.offset, lanes)
        self.gain = rng.normal(1, noise.adc.gain, lanes)
        self.bow = rng.normal(0, noise.adc.nonlinearity, lanes)
        if noise.remedies.calibration:
            self.offset -= np.rint(self.offset * OFFSET_TRIM) / OFFSET_TRIM
            self.gain -= np.rint((self.gain - 1) * GAIN_TRIM) / GAIN_TRIM
        self.begin()

    def begin(self) -> None:
        """Begin the noise of reads anew, that of this batch."""
        self.reads = np.random.default_rng([self.noise.seed, *self.key, 1, self.batch])

    @property
    def repeatable(self) -> bool:
        """Whether the same read always gives the same codes."""
        return not self.noise.adc.read_noise

    def _conductances(self, cells: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
        """Return (rows, columns) units of conductance, the word lines' first-order drop in them."""
        own, top, drift = self.noise.cells, 2**self.chip.cell_bits - 1, self.noise.drift
        stuck = self._repaired(cells, self._stuck(rng, self.chip.columns))
        held = np.where(stuck < 0, cells, stuck * float(top)) + self.leak / UNITS
        if own.spread and own.distribution == "normal":
            held = np.maximum(held + rng.standard_normal(held.shape) * (own.spread * self.on), 0)
        elif own.spread:
            held *= np.exp(rng.standard_normal(held.shape) * own.spread - own.spread**2 / 2)
        if drift.ratio > 1 and (drift.exponent or drift.spread):
            exponent = rng.normal(drift.exponent, drift.spread, held.shape)
            held *= drift.ratio ** -np.maximum(exponent, 0)
        return np.rint(self._along_word_lines(held) * UNITS)

    def _stuck(self, rng: np.random.Generator, columns: int) -> NDArray[np.int8]:
        """Return (rows, columns): 1 and 0 where a cell stays at the highest and at the lowest level, else -1."""
        own, found = self.noise.cells, np.full((self.chip.rows, columns), -1, np.int8)
        if own.stuck_on or own.stuck_off:
            draw = rng.random(found.shape)
            found[draw < own.stuck_on + own.stuck_off] = 0
            found[draw < own.stuck_on] = 1
        return found

    def _repaired(self, cells: NDArray[np.uint8], stuck: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return ``stuck`` with spare bit lines in the place of those that it harms most, each the best that is left.

        Harm is how far levels are from what is stored, times what the bit line counts for.
        """
        count = self.noise.remedies.spare_columns
        if not count or not (stuck >= 0).any():
            return stuck
        spare = self._stuck(np.random.default_rng([self.noise.seed, *self.key, 2]), count)
        top, stored = 2**self.chip.cell_bits - 1, cells.astype(np.int64)

        def harm(wanted: NDArray[np.int64], found: NDArray[np.int8]) -> NDArray[np.int64]:
            return (np.abs(wanted - found.astype(np.int64) * top) * (found >= 0)).sum(axis=0)

        own, free, stuck = harm(stored, stuck), list(range(count)), stuck.copy()
        for worst in np.argsort(-own * self.importance, kind="stable")[:count]:
            harms = harm(stored[:, worst, None], spare[:, free])
            best = int(harms.argmin())
            if harms[best] < own[worst]:
                stuck[:, worst] = spare[:, free.pop(best)]
        return stuck

    @property
    def _ohm(self) -> float:
        """Conductance of a level, in siemens."""
        return 1 / self.noise.wires.cell / self.on

    def _along_word_lines(self, held: Floats) -> Floats:
        """Return conductances less what the word lines take: only bit lines of one column group conduct at once."""
        ohms, width = self.noise.wires.word_line * self._ohm, self.chip.ou_cols
        if not ohms:
            return held
        columns = np.arange(held.shape[1])
        taken = np.empty_like(held)
        for first in range(0, held.shape[1], width):
            group = slice(first, first + width)
            shared = np.minimum(columns[group, None], columns[None, group]) + 1  # segments from the driver
            taken[:, group] = held[:, group] @ shared
        return held / (1 + ohms * taken)

    @cached_property
    def _plain(self) -> bool:
        """Whether converters are ideal but for their range."""
        adc = self.noise.adc
        return not (adc.offset or adc.gain or adc.nonlinearity or adc.read_noise)

    @cached_property
    def _peak(self) -> float:
        return float(self.levels.max())

    @cached_property
    def single(self) -> NDArray[np.float32]:
        """(rows, columns) in levels: a power of two less than `levels`, so as exact."""
        return (self.levels / UNITS).astype(np.float32)

    def sums_of(self, rows: int) -> bool:
        """Return whether the code of a read of so many rows is a rounded sum of levels, and that exact in float32."""
        return rows * self._peak < EXACT and self._simple

    @cached_property
    def _simple(self) -> bool:
        return self._plain and not self.leak and not self.noise.wires.bit_line

    def codes(
        self, driven: NDArray, rows: NDArray[np.intp], columns: slice, noise: Floats | None = None
    ) -> NDArray[np.floating]:
        """Return the codes (reads, columns), whole numbers, of ``driven`` (reads, rows): 1 where a word line drives.

        ``rows`` are word lines in order, ``columns`` begin on any lane; ``noise`` (reads, columns) is in codes.
        """
        if self.sums_of(len(rows)):
            current = driven.astype(np.float32) @ self.single[rows, columns]
            np.rint(current, out=current)
            return np.clip(current, 0, self.most, out=current)
        current = self.currents(driven, rows, columns)
        if self.noise.remedies.reference:
            current -= driven.sum(axis=1, keepdims=True, dtype=np.float64) * (self.leak / UNITS)
        if not self._plain:
            lanes = np.arange(columns.start, columns.stop) % self.chip.ou_cols
            share = current / self.most
            bow = 4 * self.bow[lanes] * (share * (1 - share))
            current = current * self.gain[lanes] + self.offset[lanes] + bow
            if noise is not None:
                current += self.noise.adc.read_noise * noise
        np.rint(current, out=current)
        return np.clip(current, 0, self.most, out=current)

    def currents(self, driven: NDArray, rows: NDArray[np.intp], columns: slice) -> Floats:
        """Return what flows out of the bit lines in reads as `codes` has them, (reads, columns), in levels."""
        driven, levels = driven.astype(np.float64), self.levels[rows, columns]
        current, wire = driven @ levels, self.noise.wires.bit_line * self._ohm
        if wire:
            current /= 1 + wire * self._along_bit_lines(driven, rows, levels) / np.maximum(current, 1)
        return current / UNITS

    def _along_bit_lines(self, driven: Floats, rows: NDArray[np.intp], levels: Floats) -> Floats:
        """Return sums over the segments of each bit line of the square of the current through them, (reads, columns).

        That is the power lost in the line, and so to the first order what its end is short of, times the current.
        """
        through = np.zeros((len(driven), levels.shape[1]))
        lost = np.zeros_like(through)
        ends = np.append(rows[1:], self.chip.rows)[: len(rows)]
        for k, (row, end) in enumerate(zip(rows.tolist(), ends.tolist(), strict=True)):
            through += driven[:, k : k + 1] * levels[k]
            lost += (end - row) * through**2
        return lost / UNITS

    def read(self, wordlines: int, column_group: int) -> int:
        """Return the ADC codes of one OU read as bits, as `sim.crossbar.Crossbar` does."""
        chip, lanes = self.chip, self.chip.ou_cols
        rows = driving(wordlines, chip.rows)
        columns = slice(column_group * lanes, min((column_group + 1) * lanes, chip.columns))
        noise = None if self.repeatable else self.draw(1)[:, : columns.stop - columns.start]
        codes = self.codes(np.ones((1, len(rows))), rows, columns, noise)[0]
        return sum(int(code) << chip.adc_bits * lane for lane, code in enumerate(codes))

    def draw(self, reads: int) -> Floats:
        """Return the noise of the next ``reads`` reads, (reads, lanes), of sigma 1."""
        return self.reads.standard_normal((reads, self.chip.ou_cols))


@dataclass(frozen=True, eq=False)
class Devices:
    """The arrays of a placement, not ideal: those of a tile in order, drawn when they are asked for."""

    placement: Placement
    noise: Noise

    def __post_init__(self) -> None:
        check_noise(self.noise, self.placement.chip)

    def key(self, tile: int, array: int) -> tuple[int, ...]:
        """Return what tells an array from all others of a network: the name of its layer, tile and array."""
        return crc32(self.placement.layer.name.encode()), tile, array

    def begin(self, batch: int) -> None:
        """Begin a batch of images, whose reads have noise of their own."""
        for tile, own in enumerate(self.placement.tiles):
            for array in range(len(own.arrays)):
                self.crossbar(tile, array).batch = batch

    def keys(self, tile: Tile) -> list[tuple[int, ...]]:
        """Return the keys of a tile's arrays."""
        index = next(k for k, own in enumerate(self.placement.tiles) if own is tile)
        return [self.key(index, array) for array in range(len(tile.arrays))]

    def importance(self, array: Array) -> list[int]:
        """Return what each bit line of an array counts for: the place of its slice in a weight."""
        chip, found = self.placement.chip, [0] * self.placement.chip.columns
        for block in array.blocks:
            for columns, significance in zip(band_columns(array, block, chip), block.significances, strict=True):
                for k, column in enumerate(range(columns.start, columns.stop)):
                    found[column] = max(found[column], 1 << significance + k % array.slices * chip.cell_bits)
        return found

    def crossbar(self, tile: int, array: int) -> NoisyCrossbar:
        """Return an array's crossbar."""
        known = self._known
        if (tile, array) not in known:
            own = self.placement.tiles[tile].arrays[array]
            drawn = self.placement.chip, self.noise, self.key(tile, array), self.importance(own)
            known[tile, array] = NoisyCrossbar(own.cells, *drawn)
        return known[tile, array]

    @cached_property
    def _known(self) -> dict[tuple[int, int], NoisyCrossbar]:
        return {}
