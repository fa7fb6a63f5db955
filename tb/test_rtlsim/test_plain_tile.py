"""Whole layers tile by tile without Python in the simulator, as `make sim-full` runs them, on a layer of a moment."""

from dataclasses import replace

import numpy as np
import pytest

from bench.full import main, parts
from bench.full_parts import Part, judge, kinds, placed, simulate, truths
from examples.red_layers import RED_LAYERS
from selvage.base.layer import Layer
from selvage.commands.exits import leave
from selvage.golden.layer import evaluate
from selvage.rtlsim.plain_tile import Built, build_plain_tile

LAYER = Layer(
    name="moment",
    op="conv_transpose",
    channels=8,
    outputs=4,
    height=4,
    width=3,
    kernel=(2, 2),
    stride=(2, 2),
)
PART = Part(LAYER, "tiny", "red")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A compiled tile, once for all tests."""
    return build_plain_tile(placed(PART)[1][0], build=tmp_path_factory.mktemp("plain"))


def test_a_layer_of_several_tiles_is_exact_and_what_is_wrong_is_seen(built: Built) -> None:
    (kind,) = kinds(PART)
    made = (built.where / "sim").stat().st_mtime_ns
    y, outcome = simulate(PART, kind, "icarus", built.where.parents[1])
    assert (built.where / "sim").stat().st_mtime_ns == made, "what was compiled is found again"
    assert list(built.where.parent.iterdir()) == [built.where], "a folder gets its name when it is whole"
    own, whole = truths(PART)
    line = judge(PART, y, [outcome], own, whole)
    assert line["tiles"] == len(kind) > 1
    assert line["exact"] and not line["differences"]
    planted = own.copy()
    planted[0, 1, 2, 3] += 1
    wrong = judge(PART, y, [outcome], planted, own)
    assert wrong["wrong"] == 1 and line["first"] == ""
    assert "first in output channel 1, row 2, column 3 of image 0" in wrong["first"]
    assert not judge(PART, y, [outcome], own, planted)["exact"]
    assert not judge(PART, y, [replace(outcome, tiles=1)], own, whole)["exact"], "a tile is missing"


@pytest.mark.parametrize("lines", [(0, 2), (1, 3), (2, 4), (0, 4)])
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_rows_of_some_lines_are_the_layers(lines: tuple[int, int], kernel: int) -> None:
    layer = LAYER.model_copy(update={"kernel": (kernel, kernel), "pads": (1, 1, 1, 1)})
    part = Part(layer, "tiny", "red", lines)
    rng = np.random.default_rng(kernel)
    x = rng.integers(1, 9, (1, layer.channels, layer.height, layer.width))
    weights = rng.integers(1, 9, layer.weight_shape)
    own, whole = evaluate(part.own, x[:, :, slice(*lines)], weights), evaluate(layer, x, weights)
    rows, moved = part.rows
    assert rows.stop > rows.start
    assert np.array_equal(own[:, :, rows], whole[:, :, rows.start + moved : rows.stop + moved])


def test_the_sample_of_fcn_deconv2_has_all_phases_and_borders() -> None:
    (first, last), size = parts(["FCN_Deconv2"], ["zero-padding"], "ou9x8"), RED_LAYERS["FCN_Deconv2"].output_size[0]
    spans = [(rows.start + moved, rows.stop + moved) for rows, moved in (first.rows, last.rows)]
    assert spans[0][0] == 0 and spans[1][1] == size
    for start, end in spans:
        assert {row % 8 for row in range(start, end)} == set(range(8))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--layers", "GAN_Deconv9"], "invalid choice: 'GAN_Deconv9'"),
        (["--schedule", "padding-free"], "invalid choice: 'padding-free'"),
        (["--jobs", "0"], "--jobs: 0 is not at least 1"),
        (["--fast"], "--fast"),
    ],
)
def test_bad_options_are_one_sentence(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        leave(lambda: main(options))
    told = capsys.readouterr().err
    assert end.value.code == 2 and says in told and told.count("\n") == 1
