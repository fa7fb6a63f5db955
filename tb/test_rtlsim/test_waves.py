"""Waves of a tile: what is dumped, what viewers are told of it, and what is read of it again."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selvage.base.errors import InputError
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.diagnosis import Suspect, watched
from selvage.rtlsim.simulate import BUILD, build_tile, dump_tile, run_tile
from selvage.rtlsim.waves.described import describe, load_description
from selvage.rtlsim.waves.file import WaveFile
from selvage.rtlsim.waves.signals import HANDSHAKE, tile_scopes
from selvage.rtlsim.waves.story import Story
from selvage.rtlsim.waves.viewers import TICKS, command_file, time_of
from selvage.rtlsim.waves.window import Window, file_names
from selvage.sim.machine import ou_reads, step_windows
from tb.models import planted
from tb.models.draws import Draw, seeded

DRAWS = [0, 2, 5, 9, 18]  # of `seeded`: schedules, mappings, widths


def tile_of(drawn: Draw) -> TileParameters:
    placement = drawn.placement
    return TileParameters(placement, placement.tiles[0], skip=drawn.skip, probes=True)


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> tuple[TileParameters, Draw, Path]:
    """Waves of a whole run, with what stands beside them."""
    drawn, folder = seeded(1, DRAWS[0]), tmp_path_factory.mktemp("waves")
    p = tile_of(drawn)
    run_tile(p, build_tile(p), drawn.x, waves=Window(folder / "tile.fst"))
    describe(p, Window(folder / "tile.fst"), 0, len(drawn.x))
    return p, drawn, folder / "tile.fst"


def test_every_signal_that_viewers_are_told_of_is_in_the_waves(dumped: tuple[TileParameters, Draw, Path]) -> None:
    p, _, fst = dumped
    waves, save = WaveFile(fst), fst.with_suffix(".gtkw")
    named = re.findall(r"^harness\.([\w.]+)(?:\[(\d+):0\])?$", save.read_text(), re.MULTILINE)
    assert len(named) > 40
    widths = {name: int(high or 0) + 1 for name, high in named}
    assert widths == {name: waves.width(name) for name in widths}
    added = re.findall(r"^variable_add harness\.([\w.]+)$", command_file(fst).read_text(), re.MULTILINE)
    assert set(added) == set(widths) - {"rst"}
    assert not [name for name in waves.every_name if re.search(r"_\d+_$|\$", name)], "no name is a number of Yosys"
    for scope in tile_scopes(p):
        assert {shown.name for shown in scope.signals} == set(waves.names(scope.name)), scope.name


def test_the_save_file_shows_the_whole_window_and_names_its_neighbours(
    dumped: tuple[TileParameters, Draw, Path],
) -> None:
    """A window of 1000 pixels shows the run, for a zoom of -n shows 2 ** n picoseconds in 200 of them."""
    _, _, fst = dumped
    waves, save = WaveFile(fst), fst.with_suffix(".gtkw")
    lines = save.read_text().splitlines()
    files = [line.split()[1].strip('"') for line in lines if line.startswith(("[dumpfile]", "[savefile]", "^1"))]
    assert files[:2] == [save.name, "tile.fst"] and not any("/" in name for name in files)
    names = {(fst.parent / name).read_text() for name in files[2:]}
    assert "".join(f"{value:02b} {name}\n" for value, name in HANDSHAKE.items()) in names and len(names) == 3
    (zoom,) = (line[1:].split() for line in lines if line.startswith("*"))
    assert round(2 ** -float(zoom[0]) * 5) == (waves.cycles[-1] - waves.cycles[0]) * TICKS and set(zoom[1:]) == {"-1"}


@pytest.mark.parametrize("number", DRAWS)
def test_waves_of_a_good_run_agree_with_the_trace(number: int, tmp_path: Path) -> None:
    """Every component, in every step; and the story told of them has the reads that the model counts."""
    drawn = seeded(1, number)
    p = tile_of(drawn)
    suspect = Suspect(replace(p, probes=False), 0, drawn.x, 1, BUILD)
    found, steps = watched(suspect, Window(tmp_path / "tile.fst"))
    assert found is None and len(steps) == len(drawn.x) * drawn.placement.sweep.count
    story = Story(WaveFile(tmp_path / "tile.fst"), load_description(tmp_path / "tile.fst"))
    assert story.steps == steps
    told = list(story)
    windows = step_windows(drawn.placement, p.tile, drawn.codes)
    for k, array in enumerate(p.tile.readers):
        wanted = ou_reads(drawn.placement, array, windows, skip=drawn.skip)
        assert [step.readers[k].reads for step in told] == wanted.tolist()
    assert sum(out["value"] for step in told for out in step.outputs) == suspect.trace.maps.sum()


def test_a_window_holds_its_steps_and_ends_the_run(dumped: tuple[TileParameters, Draw, Path], tmp_path: Path) -> None:
    p, drawn, whole = dumped
    window = Window(tmp_path / "part.fst", 1, 1, alone=True)
    assert dump_tile(p, build_tile(p), drawn.x, window, seed=1, devices=None) == ""
    describe(p, window, 0, len(drawn.x))
    part = Story(WaveFile(window.file), load_description(window.file))
    entire = Story(WaveFile(whole), load_description(whole))
    assert part.story(1) == entire.story(1), "the same cycles, counted from the first after the reset"
    assert window.file.stat().st_size < whole.stat().st_size


def test_a_marker_is_at_its_cycle(dumped: tuple[TileParameters, Draw, Path], tmp_path: Path) -> None:
    p, drawn, _ = dumped
    run_tile(p, build_tile(p), drawn.x, waves=Window(tmp_path / "tile.fst"))
    save = describe(p, Window(tmp_path / "tile.fst"), 0, 1, marker=7)
    (zoom,) = (line.split() for line in save.read_text().splitlines() if line.startswith("*"))
    assert int(zoom[1]) == time_of(7)


def test_waves_that_are_no_waves(dumped: tuple[TileParameters, Draw, Path], tmp_path: Path) -> None:
    _, _, fst = dumped
    cut = tmp_path / "cut.fst"
    cut.write_bytes(fst.read_bytes()[: fst.stat().st_size // 2])
    with pytest.raises(InputError, match="are cut or damaged"):
        WaveFile(cut)
    whole = fst.read_bytes()
    for damaged in (whole[:-1], whole + b"more", whole[:330], whole[:25] + bytes(8) + whole[33:]):
        cut.write_bytes(damaged)
        with pytest.raises(InputError, match=r"are cut or damaged|hold no cycle|are not of a tile"):
            WaveFile(cut)
    (tmp_path / "text.fst").write_text("no waves")
    with pytest.raises(InputError, match="are no FST"):
        WaveFile(tmp_path / "text.fst")
    with pytest.raises(InputError, match="cannot be read"):
        WaveFile(tmp_path / "none.fst")


def test_waves_of_another_design(dumped: tuple[TileParameters, Draw, Path], tmp_path: Path) -> None:
    _, _, fst = dumped
    other = tmp_path / "tile.fst"
    other.write_bytes(fst.read_bytes())
    described = json.loads(fst.with_suffix(".json").read_text())
    other.with_suffix(".json").write_text(json.dumps({**described, "digest": "0" * 32}))
    with pytest.raises(InputError, match="are of design"):
        Story(WaveFile(other), load_description(other))
    wrong = [
        {"stride": [0, 1]},
        {"begins": []},
        {"arrays": [[]]},
        {"dense": [1] * 99},
        {"ou_cols": 10**30},
        {"layer": []},
    ]
    wrong += [{"images": -1}, {"grid": [0, 0]}, {"computed": [10**6, 1]}, {"outputs": [[1], [1, 2]]}, {"more": 1}]
    for change in wrong:
        other.with_suffix(".json").write_text(json.dumps({**described, **change}))
        with pytest.raises(InputError, match="does not describe waves"):
            load_description(other)
    for text in ("[" * 200_000, "", "[]", "null", "waves"):
        other.with_suffix(".json").write_text(text)
        with pytest.raises(InputError, match="does not describe waves"):
            load_description(other)
    other.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"have no tile\.json beside them"):
        load_description(other)


def test_names_of_nodes_as_names_of_files() -> None:
    names = ["a/b", "a_b", "conv", "", "///", "x" * 500, "x" * 400]
    found = file_names(names)
    assert len(set(found)) == len(names) and max(map(len, found)) < 100 and found[2] == "conv"
    assert not any(set(name) & set("/\\ ") for name in found)


def test_what_is_no_file_is_seen_before_a_run(dumped: tuple[TileParameters, Draw, Path], tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match="a folder is there"):
        Window(tmp_path / "a.fst").within(5, "layer 'a'")
    with pytest.raises(InputError, match="--waves-from 5 is beyond the 5 steps of layer 'a'"):
        Window(tmp_path / "b.fst", 5).within(5, "layer 'a'")
    assert Window(tmp_path / "b.fst", 3, 10**20).within(5, "layer 'a'").steps == 2


def test_a_step_in_which_a_run_stands_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.dead_codes(monkeypatch)
    drawn = seeded(1, DRAWS[1])
    p = tile_of(drawn)
    found, _ = watched(Suspect(replace(p, probes=False), 0, drawn.x, 1, BUILD), Window(tmp_path / "tile.fst"))
    assert found is not None
    story = Story(WaveFile(tmp_path / "tile.fst"), load_description(tmp_path / "tile.fst"))
    assert story.unfinished is not None
    told = story.story(story.unfinished)
    assert not told.whole and told.readers


def test_every_read_is_told_with_its_codes(dumped: tuple[TileParameters, Draw, Path]) -> None:
    p, drawn, fst = dumped
    story = Story(WaveFile(fst), load_description(fst))
    trace = Suspect(p, 0, drawn.x, 1, BUILD).trace
    told = story.reads(0)
    for reader, macros in enumerate(p.tile.read_together):
        wanted = [(own.wordlines, own.column_group, own.plane) for own in trace.reads(reader, trace.window(0))]
        for macro in macros:
            mine = [own for own in told if own.array == macro]
            assert [(own.wordlines, own.column_group, own.plane) for own in mine] == wanted
            words = [trace.crossbars[macro].read(own.wordlines, own.column_group) for own in mine]
            bits = p.chip.adc_bits
            assert [sum(code << bits * k for k, code in enumerate(own.codes)) for own in mine] == words


def test_a_step_that_is_not_there(dumped: tuple[TileParameters, Draw, Path]) -> None:
    _, _, fst = dumped
    with pytest.raises(InputError, match=r"step 999999 is not in the waves .*: they hold steps 0 to "):
        Story(WaveFile(fst), load_description(fst)).story(999_999)


def test_the_codes_of_the_waves_are_those_of_the_golden_crossbars(dumped: tuple[TileParameters, Draw, Path]) -> None:
    p, drawn, fst = dumped
    story = Story(WaveFile(fst), load_description(fst))
    windows = step_windows(drawn.placement, p.tile, drawn.codes)
    trace = Suspect(p, 0, drawn.x, 1, BUILD).trace
    reads = trace.reads(0, windows[0])
    total = 0
    for macro in p.tile.read_together[0]:
        words = [trace.crossbars[macro].read(read.wordlines, read.column_group) for read in reads]
        bits = p.chip.adc_bits
        total += sum(word >> bits * lane & 2**bits - 1 for word in words for lane in range(p.chip.ou_cols))
    assert story.story(0).readers[0].codes_sum == total and np.all(windows >= -(2**31))
