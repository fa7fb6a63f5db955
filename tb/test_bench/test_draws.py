"""Random chips over the whole range of every key: what the crossbars make is what the golden model says."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from pydantic import ValidationError

from selvage.base.chip import Chip
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.sim.machine import run
from tb.models.choices import Seeded
from tb.models.draws import Draw, draw_chip, seeded
from tb.models.strategies import draws


def check(drawn: Draw) -> None:
    """Without a clock; what the gateware is made of is derived from each placement too."""
    placement, chip = drawn.placement, drawn.placement.chip
    assert Chip(**chip.model_dump()) == chip, "a chip that no file can describe"
    assert placement.format.raw_bits <= chip.input_bits
    assert chip.input_signed or not placement.format.raw_signed
    y = run(placement, drawn.codes)
    if chip.adc_bits >= chip.lossless_adc_bits:
        np.testing.assert_array_equal(y, evaluate(placement.layer, drawn.codes, drawn.weights), err_msg=repr(drawn))
    for tile in placement.tiles:
        assert TileParameters(placement, tile).structure


@settings(derandomize=True, deadline=None, max_examples=100)
@given(draws())
def test_crossbars_against_golden(drawn: Draw) -> None:
    """What fails here is made small."""
    check(drawn)


def test_crossbars_of_a_seed_against_golden() -> None:
    """As benchmarks draw, where what is rare is among a hundred draws."""
    seen: Counter[str] = Counter()
    for index in range(100):
        drawn = seeded(11, index)
        check(drawn)
        placement, chip = drawn.placement, drawn.placement.chip
        lossless = chip.adc_bits >= chip.lossless_adc_bits
        seen.update(
            {
                "wide weights": chip.weight_bits > 8,
                "16 bits offset": chip.weight_bits == 16 and chip.encoding == "offset",
                "16 bits, signs apart": chip.weight_bits == 16 and chip.polarities == 2 and lossless,
                "wide activations": placement.format.raw_bits > 8,
                "codes clip": not lossless,
                "large cells": chip.cell_bits > 2,
                "few tiles": len(placement.passes) > 1,
                "slow macro": chip.read_latency > 4,
            }
        )
    assert all(seen.values()), f"not drawn once: {[name for name, count in seen.items() if not count]}"


def test_every_key_reaches_its_ends() -> None:
    """Among many chips each number comes within a factor of two of both ends of its range, an OU to its array's."""
    choices, chips = Seeded(3), []
    while len(chips) < 3000:
        try:
            chips.append(draw_chip(choices))
        except ValidationError:
            continue
    for name, key in Chip.model_json_schema()["properties"].items():
        least, most = key.get("minimum"), key.get("maximum")
        found = {getattr(chip, name) for chip in chips}
        if least is not None:
            assert min(found) <= 2 * least, name
        if name in ("ou_rows", "ou_cols"):
            assert any(
                chip.ou_rows == chip.rows if name == "ou_rows" else chip.ou_cols == chip.columns for chip in chips
            )
        elif most is not None:
            assert max(found) > most / 2, name
        if name != "name":
            assert len(found) > 1, f"{name} is always the same"
