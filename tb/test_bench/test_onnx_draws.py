"""A few of the random graphs of `bench.onnx_draws`, and that the comparison can fail."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
from hypothesis import given, settings

from bench import onnx_draws
from bench.onnx_draws import Tally, check
from bench.onnx_graph_operators import seeded
from bench.onnx_graphs import Drawn
from tb.models.strategies import graphs

COUNT = 60


@pytest.fixture(autouse=True)
def quiet() -> None:
    onnxruntime.set_default_logger_severity(4)


@settings(derandomize=True, deadline=None, max_examples=COUNT)
@given(drawn=graphs())
def test_random_graphs(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What fails here is made small."""
    tally = Tally()
    check(drawn, tmp_path_factory.getbasetemp(), tally)
    assert not tally.wrong and not tally.refused and not tally.tracebacks


def test_random_graphs_of_a_seed(tmp_path: Path) -> None:
    """As the benchmark draws."""
    tally = Tally()
    for index in range(COUNT):
        check(seeded(11, index), tmp_path, tally)
    total = sum(tally.counts.values(), Counter())
    assert not tally.wrong and not tally.refused and not tally.tracebacks
    assert total["outputs"] > 5000 and tally.unsupported < COUNT / 4


def test_another_code_is_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves of sums of maps rounded the other way."""

    def turned(imported: object, given: dict) -> dict:
        nodes = tuple(
            replace(node, zero_first=not node.zero_first) if hasattr(node, "zero_first") else node
            for node in imported.graph.nodes
        )
        return codes(replace(imported, graph=replace(imported.graph, nodes=nodes)), given)

    codes = onnx_draws.our_codes
    monkeypatch.setattr(onnx_draws, "our_codes", turned)
    tally = Tally()
    for index in range(COUNT):
        check(seeded(11, index), tmp_path, tally)
    assert tally.wrong
