"""The papers' figures: what explains the published ones, and that every number is computed."""

import json
from pathlib import Path

import pytest

from selvage.base.chip import load_chip
from selvage.base.shapes import load_network
from selvage.commands.reproduce_command import PAPERS
from selvage.papers import combined, red, regan, sme, sre
from selvage.papers.plots import write_plots
from selvage.papers.rows import Plot
from tb.test_commands.test_cli import refused, selvage

LAYERS = {layer.name: layer for layer in load_network("red")}


def nothing() -> None:
    """No progress."""


@pytest.mark.parametrize(
    ("name", "zeros", "own", "fold"),
    [  # RED's vector reads with the zeros inserted and without: the paper's table, checked on its geometry
        ("GAN_Deconv1", 256, 64, 1),
        ("GAN_Deconv2", 64, 16, 1),
        ("GAN_Deconv3", 64, 16, 1),
        ("GAN_Deconv4", 144, 36, 1),
        ("FCN_Deconv1", 1156, 289, 1),
        ("FCN_Deconv2", 322624, 5041, 1),
        ("FCN_Deconv2", 322624, 10082, 2),
    ],
)
def test_reads_are_the_published_ones(name: str, zeros: int, own: int, fold: int) -> None:
    assert red.Charge.of(LAYERS[name], "zero-padding").reads == zeros
    assert red.Charge.of(LAYERS[name], "red", fold).reads == own


def test_one_word_line_term_explains_three_published_speeds() -> None:
    """3.69x and 31.15x of DATE and 56.16x of TCAD, which alone is fitted: all within 2 %."""
    beta = red.word_line(LAYERS)

    def speed(name: str, fold: int = 1) -> float:
        zeros, own = red.Charge.of(LAYERS[name], "zero-padding"), red.Charge.of(LAYERS[name], "red", fold)
        return zeros.time(beta) / own.time(beta)

    assert speed("FCN_Deconv2") == pytest.approx(56.16, rel=1e-9)
    assert speed("FCN_Deconv2", 2) == pytest.approx(31.15, rel=0.02)
    for name in ("GAN_Deconv1", "GAN_Deconv2", "GAN_Deconv3", "GAN_Deconv4"):
        assert speed(name) == pytest.approx(3.69, rel=0.02)
    assert red.Charge.of(LAYERS["GAN_Deconv1"], "zero-padding").time(0) == 256


def test_energy_saved_is_within_the_published_range_and_most_on_the_largest() -> None:
    row = red.row_charge(LAYERS)
    saved = {}
    for name, layer in LAYERS.items():
        own = red.Charge.of(layer, "red", red.FOLDS.get(name, 1))
        saved[name] = 1 - own.energy(row) / red.Charge.of(layer, "zero-padding").energy(row)
    assert max(saved, key=lambda name: saved[name]) == "FCN_Deconv2"
    assert saved["FCN_Deconv2"] == pytest.approx(0.8836, rel=1e-9)
    assert all(0.08 <= value <= 0.8836 + 1e-9 for value in saved.values())


def test_folding_keeps_rows_times_columns() -> None:
    """Stacked phases have f times the reads and an f-th of the bit lines and of the rows."""
    one, two = (red.Charge.of(LAYERS["FCN_Deconv2"], "red", fold) for fold in (1, 2))
    assert (two.reads, two.columns * 2, two.rows * 2) == (one.reads * 2, one.columns, one.rows)


def test_red_in_rtl_is_as_fast_as_its_reads() -> None:
    """A small layer of GAN_Deconv3's geometry: a quarter of the reads, 0.98 of four times as fast at least."""
    assert red.rtl_speed(LAYERS["GAN_Deconv3"], load_chip("ou9x8")) >= 0.98 * 4 * 0.98


def test_conversions_in_rtl_follow_the_formula() -> None:
    """(N-x)(B+x)/(N*B) for N = B = 8 (SME)."""
    assert sme.conversions(2) == pytest.approx(6 * 10 / 64)


def test_row_lists_and_formed_ous_reach_what_sre_published() -> None:
    found = sre.recompute(rtl=False, tick=nothing)
    speeds = {row.figure: row.model for row in found.rows}
    assert 4 <= speeds["9x8, SLC, 0%: times as fast"] <= 5  # half of the activations are zero: formed OUs alone
    assert speeds["9x8, SLC, 90%: times as fast"] >= 13.1


def test_regan_has_every_schedule_and_exact_logical_cycles() -> None:
    rows = regan.recompute(rtl=False, tick=nothing).rows
    assert rows[-1].model == 0
    assert {row.published for row in rows if row.figure.startswith("sp+cs:")} == {240.0, 94.0}
    assert all("assumed" in row.assumption for row in rows[:-1])


def test_no_step_of_the_ladder_takes_more_energy() -> None:
    chip = load_chip("ou9x8")
    layers = combined.trained(combined.ROOT / combined.TRAINED[0], chip)
    energies = [combined.totals(ways)["energy"] for _, ways in combined.ladder(layers, chip)]
    assert len(energies) == len(combined.STEPS)
    assert energies == sorted(energies, reverse=True)
    assert energies[0] > 2 * energies[-1]


def test_plots_are_the_same_bytes_again(tmp_path: Path) -> None:
    bars = Plot("bars", "title", "x", "y", {"own": [("a", 1.0), ("b", 2.0)], "other": [("a", 3.0)]})
    lines = Plot("lines", "t", "x", "y", {"own": [(1, 1.0), (2, 4.0)]}, ranges={"own": [(0.5, 1.5), (3.0, 5.0)]})
    found = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_plots([bars, lines], tmp_path / name)
        found.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert found[0] == found[1]
    assert {"bars.svg", "bars.png", "lines.svg", "lines.png"} <= set(found[0])
    assert found[0]["bars.png"].startswith(b"\x89PNG")


def test_the_command_writes_rows_and_plots(tmp_path: Path) -> None:
    done = selvage("reproduce", "sre", "--json", tmp_path / "rows.json", "--out", tmp_path / "plots", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert all(set(row) == {"paper", "figure", "published", "model", "rtl", "assumption"} for row in rows)
    assert all(row["assumption"] and isinstance(row["model"], float) for row in rows)
    assert (tmp_path / "plots" / "sre_sparsity.svg").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "paper 'nothing' is none of red, sme, pattern, sre, regan, combined, all"),
        (["sre", "--out", ""], "the name of a folder is empty"),
        (["red", "--json", "."], "is a directory"),
    ],
)
def test_what_cannot_be_recomputed_is_refused(words: list[str], says: str, tmp_path: Path) -> None:
    refused(selvage("reproduce", *words, cwd=tmp_path), says, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_paper_has_its_module() -> None:
    folder = Path(combined.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} >= set(PAPERS)
