"""Training chips through RTL: weights and cells as golden has them, cycles as the model."""

from dataclasses import replace

import pytest
from amaranth.hdl import Module, Signal

from selvage.base.errors import RtlError
from selvage.hw.training import update
from selvage.hw.training.cells import CellWriter
from selvage.hw.training.maps import MapMemory
from selvage.hw.training.stages import BackLayer
from tb.models import planted
from tb.models.training_chips import OU9X8, Case, differences, parameters, run, wanted

PAIRED_CELLS = OU9X8.model_copy(update={"cell_bits": 2, "adc_bits": 5, "ou_rows": 8})
CASES = {
    "pipeline": Case("pipeline", overlap=True, iterations=2, batch=2, stochastic=True),
    "sp": Case("sp", batch=2, chip=PAIRED_CELLS, frozen=(0,)),
    "both": Case("sp+cs", batch=2, stochastic=True, skip=False),
    "unit error": Case("cs", overlap=True, iterations=2, batch=2, unit_error=True),
    "unit error, two copies": Case("sp+cs", batch=2, stochastic=True, unit_error=True),
    "one": Case("pipeline", generator=(), iterations=2, stochastic=True),
    "one, not pipelined": Case("none", generator=(), batch=2, weight_bits=9, frozen=(0, 1)),
}
ONCE = replace(CASES["one"], iterations=1)  # the same chip


@pytest.mark.parametrize("name", CASES)
def test_iterations_are_golden(name: str) -> None:
    assert differences(CASES[name], run(CASES[name])) == []


def test_updates_change_every_layer() -> None:
    """Else the comparison of weights would say nothing."""
    for case in CASES.values():
        p, weights, entering = parameters(case)
        if case.generator:
            made = p.plan.networks["G"].forward(weights["G"], entering["noise"])[-1]
            assert 0 < (made == 127).mean() < 0.5, "the gate closes"
        state = wanted(case).states[-1]
        after = {"G": state.generator, "D": state.discriminator}
        for name, before in weights.items():
            changed = [(a != b).mean() for a, b in zip(after[name], before, strict=True)]
            assert min(changed) > 0, (case, name, changed)


def test_what_enters_may_pause() -> None:
    found = run(ONCE, stalls=7)
    assert differences(ONCE, found, cycles=False) == []
    assert sum(found.cycles) > sum(wanted(ONCE).cycles)


@pytest.mark.parametrize("after", [1500, 6000, 14000])
def test_a_reset_lets_everything_begin_anew(after: int) -> None:
    """While weights are loaded, in the middle of a batch, and in an update."""
    assert differences(ONCE, run(ONCE, reset_after=after)) == []


def faults(row: int, weak: int, stuck: int = 0) -> str:
    """A file of faults of an array: on one row cells that take only a second write, and some that are stuck at 0."""
    lines = [f"{(weak << 256 | stuck << 128) if k == row else 0:096x}" for k in range(OU9X8.rows)]
    return "\n".join(lines) + "\n"


def test_weights_are_verified() -> None:
    """Weak cells of both copies of a layer take the second write; stuck ones are told."""
    places = "D_f2.network.stage_0.tile_0.crossbar_0", "D_b2.transposed_0.network.stage_0.tile_0.crossbar_1"
    case = CASES["one"]
    found = run(case, faults={place: faults(0, weak=0xFF) for place in places})
    assert differences(case, found, cycles=False) == []
    assert sum(found.cycles) > sum(wanted(case).cycles)
    with pytest.raises(RtlError, match="stayed wrong"):
        run(ONCE, faults={places[0]: faults(0, weak=0, stuck=0xFFFF)})


@pytest.mark.parametrize("fault", ["register", "transposed copy", "buffer", "unit error", "normalisation"])
def test_a_planted_fault_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ONCE
    if fault == "unit error":  # what the generator made has the unit error as it is
        case = replace(CASES["unit error, two copies"], batch=1)
        planted.around(monkeypatch, BackLayer, "_scaled", lambda old, self, error: error)
    elif fault == "normalisation":  # errors do not go back through it
        case = CASES["one, not pipelined"]
        planted.around(monkeypatch, BackLayer, "_normalized", lambda old, self, m, k, layer, error: error)
    elif fault == "register":
        planted.another_version(monkeypatch)
        monkeypatch.setattr(update, "RANDOM_TAPS", (31, 21, 2, 0))
    elif fault == "transposed copy":  # the arrays behind the first copy of a layer are written with other codes

        def other(old, self, m, walk) -> None:
            old(self, m, walk)
            if self.verify:
                m.d.comb += self.reader.address.eq(walk.index ^ (walk.array > 4))

        planted.around(monkeypatch, CellWriter, "_gather", other)
    else:

        def lost(old, self, platform) -> Module:
            """The last word of a longer map is read as 0."""
            m = old(self, platform)
            for reader in map(self.reader, range(self.readers if self.words > 40 else 0)):
                last = Signal()
                with m.If(reader.enable):
                    m.d.sync += last.eq(reader.address == self.words - 1)
                with m.If(last):
                    m.d.comb += reader.data.eq(0)
            return m

        planted.around(monkeypatch, MapMemory, "elaborate", lost)
    try:
        found = run(case)
    except RtlError:
        return
    assert differences(case, found)
