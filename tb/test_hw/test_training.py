"""The controller of training: alone against the published formulas, and among stages that take any time."""

import pytest

from selvage.base.errors import SimulationError
from selvage.hw.training.controller import ControllerParameters, TrainingController
from selvage.hw.training.dependency import Issue, Places
from selvage.mapping.training import training_schedule
from selvage.rtlsim.training import run_controller
from selvage.sim.training import closed_form, training_cycles
from selvage.verilog.convert import convert
from tb.benches.bench_run import run_bench
from tb.benches.components import side_by_side
from tb.models import planted

CASES: dict[str, tuple[int, int, int, str, bool]] = {
    "none": (2, 2, 3, "none", False),
    "drained": (3, 2, 4, "pipeline", False),
    "rf_short": (3, 1, 2, "pipeline+rf", False),
    "rf_long": (1, 2, 6, "pipeline+rf", False),
    "sp": (2, 3, 5, "sp", False),
    "cs": (2, 2, 4, "cs", False),
    "sp_cs": (1, 3, 9, "sp+cs", False),
    "drained_over": (2, 1, 7, "pipeline", True),
    "single_over": (1, 1, 1, "pipeline", True),
    "sp_over": (2, 2, 3, "sp", True),
    "cs_over": (3, 1, 5, "cs", True),
    "cs_over_long": (1, 1, 9, "cs", True),
    "sp_cs_over": (2, 2, 4, "sp+cs", True),
    "one_network": (0, 3, 5, "pipeline", False),
}


def controllers(names: dict) -> int:
    sources = {
        f"{name}.v": convert(
            TrainingController(ControllerParameters(training_schedule(*own[:4], overlap=own[4]))), name
        )
        for name, own in names.items()
    }
    sources["dut.v"] = side_by_side({name: sources[f"{name}.v"] for name in names})
    return run_bench("training", sources, "dut", "tb.benches.training_bench", names)


def test_every_stage_has_its_sample_and_its_place() -> None:
    assert controllers(CASES) == 2 * len(CASES)


POINTS = [
    (1, 1, 1, "none", False),
    (5, 5, 16, "none", False),
    (5, 5, 64, "pipeline", False),
    (5, 5, 1, "pipeline+rf", False),
    (8, 3, 128, "sp", False),
    (5, 5, 128, "cs", False),
    (5, 5, 64, "sp+cs", False),
    (5, 5, 64, "pipeline", True),
    (5, 5, 64, "sp", True),
    (5, 5, 64, "cs", True),
    (8, 8, 2, "sp+cs", True),
    (0, 8, 32, "pipeline", False),
]
# The reference's table for L_G = L_D = 5: schedule, overlapped, B = 1, 16, 64 and 128 where it has them.
PUBLISHED = [
    ("none", False, {1: 50, 16: 770, 64: 3074, 128: 6146}),
    ("pipeline", False, {1: 50, 16: 95, 64: 239, 128: 431}),
    ("pipeline+rf", False, {1: 39, 16: 80, 64: 224, 128: 416}),
    ("sp", False, {1: 39, 16: 69, 64: 165, 128: 293}),
    ("cs", False, {1: 33, 16: 63, 64: 159, 128: 287}),
    ("sp+cs", False, {1: 22, 16: 37, 64: 85, 128: 149}),
    ("pipeline", True, {64: 203}),
    ("sp", True, {64: 160}),
    ("cs", True, {64: 139}),
    ("sp+cs", True, {64: 85}),
]


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_rtl_counts_the_formula(point: tuple[int, int, int, str, bool]) -> None:
    *sizes, overlap = point
    schedule = training_schedule(*sizes, overlap=overlap)
    run, model = run_controller(schedule, 4), training_cycles(schedule, 4)
    assert run.steady == model.steady == closed_form(*sizes, overlap=overlap)
    assert (run.ends[-1], run.reached) == (model.whole, model.reached)
    for most, buffer in zip(run.reached, schedule.buffers, strict=True):
        assert most <= buffer.depth
        assert most == buffer.depth or point[2] < buffer.depth or not schedule.pipelined


@pytest.mark.parametrize(("schedule", "overlap", "cycles"), PUBLISHED)
def test_formulas_are_the_published_numbers(schedule: str, overlap: bool, cycles: dict[int, int]) -> None:
    for batch, number in cycles.items():
        assert closed_form(5, 5, batch, schedule, overlap=overlap) == number


def test_the_model_is_the_formula_at_every_small_size() -> None:
    for generator in range(1, 5):
        for discriminator in range(1, 5):
            for batch in (1, 2, 3, 5, 8, 13):
                for schedule, overlap, _ in PUBLISHED:
                    sizes = generator, discriminator, batch, schedule
                    own = training_schedule(*sizes, overlap=overlap)
                    assert training_cycles(own, 4).steady == closed_form(*sizes, overlap=overlap), sizes


def test_a_late_sample_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that holds a cycle late, and places that are taken a cycle late."""

    def late(self: Issue, batch: int, spacing: int, rules: int) -> None:
        original(self, batch, spacing + 1, rules)

    original = Issue.__init__
    with monkeypatch.context() as plan:
        planted.another_version(plan)
        plan.setattr(Issue, "__init__", late)
        schedule = training_schedule(2, 2, 5, "sp+cs")
        assert run_controller(schedule, 1).steady != closed_form(2, 2, 5, "sp+cs")
        with pytest.raises(SimulationError):
            controllers({"sp_cs": CASES["sp_cs"]})
    places = Places.__init__

    def small(self: Places, depth: int, *, counters: bool) -> None:
        places(self, depth - (depth > 3), counters=counters)

    with monkeypatch.context() as plan:
        planted.another_version(plan)
        plan.setattr(Places, "__init__", small)
        with pytest.raises(SimulationError):
            controllers({"sp_cs": CASES["sp_cs"]})
