"""How often layers stand: the choice of `auto` against a search of everything, and what is refused."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.commands.placed_layer import no_progress
from selvage.commands.run_network import predict_flow
from selvage.compiler.compile_network import compile_network
from selvage.compiler.copies import PacedLayer, Room, allocate, assign
from selvage.compiler.copies_asked import CopiesAsked, copies_asked
from selvage.compiler.options import Options
from selvage.compiler.shape_cycles import model_network
from selvage.mapping.dense import place_dense
from selvage.sim.layer import count_passes

EXAMPLES = Path(__file__).parents[2] / "examples"
CLASSIFIER, GENERATOR = EXAMPLES / "digits" / "classifier.onnx", EXAMPLES / "digits_gan" / "generator.onnx"
NUMBERS = InputFormat(raw_bits=8, raw_signed=False)


def paced(name: str, seed: int, **sides: object) -> PacedLayer:
    """A layer on a tiny chip, whose steps have reads that differ much: uneven shares."""
    layer, rng = Layer(name=name, op="conv", **sides), np.random.default_rng(seed)
    placement = place_dense(layer, np.ones(layer.weight_shape, np.int64), load_chip("tiny"), input_format=NUMBERS)
    x = rng.integers(0, 256, (1, layer.channels, layer.height, layer.width))
    x[:, :, : layer.height // 2] *= rng.random((1, layer.channels, layer.height // 2, layer.width)) < 0.2
    (counted,) = count_passes(placement, x)
    return PacedLayer.of(name, placement, counted)


LAYERS = [
    paced("a", 1, channels=2, outputs=2, height=5, width=5, kernel=(3, 3)),
    paced("b", 2, channels=4, outputs=6, height=3, width=3, kernel=(2, 2)),
    paced("c", 3, channels=9, outputs=3, height=2, width=2),
]


def best_of_all(arrays: int) -> float:
    """The smallest pace of the slowest layer, by trying everything."""
    ranges = [range(1, min(layer.most, arrays // layer.arrays) + 1) for layer in LAYERS]
    fitting = (
        counts
        for counts in product(*ranges)
        if sum(layer.arrays * count for layer, count in zip(LAYERS, counts, strict=True)) <= arrays
    )
    return min(max(layer.pace(count) for layer, count in zip(LAYERS, counts, strict=True)) for counts in fitting)


@pytest.mark.parametrize("more", [0.0, 0.2, 0.5, 0.8, 1.0, 1.5, 2.5, 4.0, 9.0])
def test_auto_is_the_best_of_all(more: float) -> None:
    once = sum(layer.arrays for layer in LAYERS)
    arrays = int(once * (1 + more))
    counts = allocate(LAYERS, Room(None, arrays))
    assert sum(layer.arrays * count for layer, count in zip(LAYERS, counts, strict=True)) <= arrays
    found = max(layer.pace(count) for layer, count in zip(LAYERS, counts, strict=True))
    assert found == best_of_all(arrays)
    # And none stands more often than it must.
    for layer, count in zip(LAYERS, counts, strict=True):
        assert count == 1 or min(layer.pace(fewer) for fewer in range(1, count)) > found


def test_bounds_of_a_pace_are_bounds() -> None:
    for layer in LAYERS:
        for copies in range(1, layer.most + 1):
            assert layer.least(copies) <= layer.pace(copies) <= layer.at_most()


def test_a_pace_is_that_of_later_images() -> None:
    """In the first images copies stand idle that are at work later on: the pace is what it settles at."""
    for layer in LAYERS:
        for copies in range(1, layer.most + 1):
            counted = layer.counted.copied(layer.placement.copied(copies))
            ends = counted.ends(counted.words, again=12)
            settled = ends[-1] - ends[-2]
            assert settled == ends[-2] - ends[-3]
            assert layer.pace(copies) == max(settled, layer._work[2])


@pytest.mark.parametrize("copies", ["auto", "1"])
def test_layers_in_passes_stand_once(copies: str) -> None:
    """On a chip that runs layers in passes nothing stands twice, and what is asked without need is no fault."""
    chip = load_chip("tiny").model_copy(update={"tiles": 2})
    options = Options(copies=copies_asked(copies, None))
    compiled = compile_network(str(CLASSIFIER), chip, None, options, no_progress)
    assert not compiled.fits and all(own.copies == 1 for own in compiled.placements.values())


def test_copies_of_a_layer_in_passes_are_refused() -> None:
    chip = load_chip("tiny").model_copy(update={"tiles": 2})
    with pytest.raises(InputError, match=r"have no room: one takes [0-9]+ passes with tiles = 2 on chip tiny"):
        compile_network(str(CLASSIFIER), chip, None, Options(copies=copies_asked("2", None)), no_progress)


def test_red_where_padding_free_cannot_be_copied() -> None:
    """`auto` may have taken padding-free for a layer, which stands once; copies of it are of RED."""
    compiled = compile_network(
        str(GENERATOR), load_chip("ou9x8"), None, Options(copies=copies_asked("2", None)), no_progress
    )
    assert {own.schedule for own in compiled.placements.values()} == {"red"}
    assert [own.copies for own in compiled.placements.values()] == [1, 2, 2, 2]


def test_a_prediction_waits_until_queues_are_full() -> None:
    """Copies hold more than an image: a network takes images faster than its slowest node until they are full."""
    options = Options(copies=copies_asked("conv1=8,conv2=31,conv3=16", None))
    compiled = compile_network(str(CLASSIFIER), load_chip("ou9x8"), None, options, no_progress)
    flow = predict_flow(compiled, options)
    assert flow.per_image == flow.bound


def test_shapes_are_refused_before_they_are_counted() -> None:
    with pytest.raises(InputError, match="--copies names layer 'nope'"):
        model_network(load_network("sngan"), load_chip("ou9x8"), copies=copies_asked("nope=2", None), tick=pytest.fail)


def test_tiles_of_the_chip_bound_copies_too() -> None:
    tiles = sum(layer.tiles for layer in LAYERS)
    assert allocate(LAYERS, Room(tiles, 10**6)) == [1, 1, 1]
    assert sum(allocate(LAYERS, Room(tiles + 2, 10**6))) > 3


def test_what_the_options_say() -> None:
    assert copies_asked(None, None) is None
    assert copies_asked("auto", None) == CopiesAsked(auto=True)
    assert copies_asked("3", None) == CopiesAsked(every=3)
    assert copies_asked("a=2,b=b=3", "90") == CopiesAsked(by_layer={"a": 2, "b=b": 3}, arrays=90)
    asked = copies_asked(None, "+12.5%")
    assert asked is not None and asked.auto and asked.budget(80) == 90


@pytest.mark.parametrize(
    ("copies", "arrays", "words"),
    [
        ("0", None, "--copies 0 asks for 0 copies, fewer than one"),
        ("a=-1", None, "--copies a=-1 asks for -1 copies, fewer than one"),
        ("many", None, "--copies 'many' is neither auto, nor a number"),
        ("a=2,a=3", None, "names layer 'a' twice"),
        ("2.5", None, "--copies '2.5' is neither auto"),
        (None, "-5%", "--arrays -5% is a negative percentage"),
        (None, "-5", "--arrays '-5' is neither a number of arrays nor a percentage"),
        (None, "+nan%", "--arrays '+nan%' is neither"),
        (None, "1", "--arrays 1 is below "),
        ("d=2", None, "--copies names layer 'd', and the layers are a, b, c"),
        ("b=5", None, "5 copies of layer 'b' are more than its 4 steps"),
        ("26", None, "--copies 26 is more than the steps of any layer"),
        ("2", "+10%", "the copies asked for need "),
        ("\u0663", None, "is neither auto, nor a number"),
        (None, "\u0663", "is neither a number of arrays"),
    ],
)
def test_what_cannot_be_had_is_refused(copies: str | None, arrays: str | None, words: str) -> None:
    def ask() -> None:
        asked = copies_asked(copies, arrays)
        assert asked is not None
        assign(asked, LAYERS)

    with pytest.raises(InputError) as refused:
        ask()
    assert words in str(refused.value)
