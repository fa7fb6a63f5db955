"""Where weights stand in the cells, and what a training chip refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.golden.training import ErrorUnit, Formats, TrainedLayer, TrainedNetwork
from selvage.mapping.dense import place_dense
from selvage.mapping.training import training_schedule
from selvage.mapping.training_cells import cell_rows
from selvage.mapping.training_chip import TrainingPlan
from tb.models.strategies import layers

INT8 = InputFormat(raw_bits=8, raw_signed=True)
CHIPS = [load_chip("ou9x8"), load_chip("tiny"), load_chip("ou9x8").model_copy(update={"cell_bits": 2, "adc_bits": 5})]


@settings(max_examples=60, deadline=None)
@given(layers(), st.integers(0, 2**32), st.sampled_from(CHIPS))
def test_every_weight_is_found_in_its_cells(layer: Layer, seed: int, chip) -> None:
    """The rows say of a placement with other weights which is where: each weight once."""
    weights = np.random.default_rng(seed).integers(-255, 256, layer.weight_shape)
    rows = cell_rows(layer, chip, INT8, np.arange(weights.size).reshape(weights.shape))
    placed = place_dense(layer, weights, chip, input_format=INT8)
    arrays = [array.cells.astype(np.int64) for _, tile in placed.standing for array in tile.arrays]
    place = (1 << chip.cell_bits) ** np.arange(chip.slices)
    found: dict[int, int] = {}
    for row in rows:
        whole = chip.columns // chip.slices
        cells = [arrays[row.array + side][row.row][: whole * chip.slices].reshape(whole, -1) for side in (0, 1)]
        for slot, index in enumerate(row.slots):
            value = int((cells[0][slot] - cells[1][slot]) @ place)
            if index < 0:
                assert value == 0
            else:
                assert index not in found
                found[index] = value
    assert [found[k] for k in range(weights.size)] == weights.ravel().tolist()


def plan(layers: list[Layer], schedule: str = "pipeline", bits: int = 8, **chip: object) -> TrainingPlan:
    network = TrainedNetwork(tuple(TrainedLayer(own, 4, 4, 4) for own in layers), Formats(bits, 8, 8))
    own = training_schedule(0, len(layers), 2, schedule)
    return TrainingPlan({"D": network}, ErrorUnit(8, 4, 8), 112, own, CHIPS[0].model_copy(update=chip))


DENSE = Layer(name="d", op="dense", channels=4, outputs=3)


@pytest.mark.parametrize(
    ("layers", "how", "says"),
    [
        ([DENSE, DENSE], {}, "layer 'd' makes a map (3, 1, 1), and layer 'd' takes one of (4, 1, 1)"),
        ([DENSE], {"bits": 9}, "activations of 9 bits of network D are not stored by weight_bits = 8"),
        ([DENSE], {"adc_bits": 2}, "adc_bits = 2 of chip ou9x8 is below 4"),
        ([DENSE], {"input_signed": False}, "needs input_signed = true"),
        ([DENSE], {"input_bits": 7}, "activations of 8 bits of network D are more than input_bits = 7"),
        ([DENSE], {"weight_bits": 8, "encoding": "offset"}, "training needs encoding = 'differential'"),
        (
            [Layer(name="c", op="conv", channels=1, outputs=1, height=4, width=4, kernel=(3, 3), stride=(2, 2))],
            {},
            "layer 'c' is not trained: its windows do not fill its map",
        ),
        ([Layer(op="conv", channels=64, outputs=64, height=4, width=4, kernel=(3, 3))], {"tiles": 1}, "passes with"),
    ],
)
def test_what_cannot_be_trained(layers: list[Layer], how: dict, says: str) -> None:
    with pytest.raises(InputError) as caught:
        own = plan(layers, **how)
        assert own.forward and own.back
    assert says in str(caught.value)
