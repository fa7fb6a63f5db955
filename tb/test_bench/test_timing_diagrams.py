"""The timing diagrams in ``docs/timing`` are those of a run of today."""

import json

import pytest

from bench.timing_diagrams import DIAGRAMS, OUT, SHELLS, files


@pytest.fixture(scope="module")
def drawn() -> dict[str, bytes]:
    return files()


def test_they_are_those_of_a_run(drawn: dict[str, bytes]) -> None:
    there = {path.name: path.read_bytes() for path in OUT.iterdir()}
    assert there == drawn, "python -m bench.timing_diagrams writes them anew"


@pytest.mark.parametrize("name", [diagram.name for own in (DIAGRAMS, *SHELLS.values()) for diagram in own])
def test_every_row_has_all_cycles_and_its_labels(name: str, drawn: dict[str, bytes]) -> None:
    content = json.loads(drawn[f"{name}.json"])
    widths = {len(row["wave"]) for row in content["signal"]}
    assert len(widths) == 1
    for row in content["signal"]:
        assert len(row.get("data", [])) == row["wave"].count("="), row
    assert drawn[f"{name}.svg"].count(b"<text") > len(content["signal"])
