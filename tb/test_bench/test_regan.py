"""What `bench.regan` counts, on networks small enough to count by hand."""

import pytest

from examples.red_layers import RED_LAYERS
from selvage.base.chip import load_chip
from selvage.base.layer import Layer
from selvage.papers.dcgan import Gan, multiplications, networks, with_zeros
from selvage.papers.regan import gpu_flops
from selvage.papers.training_costs import KINDS, arrays_of, balanced, costs, product

UP = Layer(name="up", op="conv_transpose", channels=2, outputs=1, height=2, width=2, kernel=(2, 2), stride=(2, 2))
DOWN = Layer(name="down", op="conv", channels=1, outputs=2, height=4, width=4, kernel=(2, 2), stride=(2, 2))
LAST = Layer(name="last", op="dense", channels=8, outputs=1)
ISAAC = load_chip("isaac")


def test_multiplications_of_a_transposed_convolution_are_those_of_its_mirror():
    assert multiplications(UP) == multiplications(DOWN) == 2 * 2 * (2 * 2 * 2)
    assert with_zeros(UP) == (4 * 4 * 8, 32, 3 * 3 * 8)
    assert with_zeros(DOWN) == (32, 4 * 4 * 8, 3 * 3 * 8)


def test_the_layer_that_red_takes_from_dcgan_is_in_the_network():
    red, (*_, lsun) = RED_LAYERS["GAN_Deconv1"], networks()
    assert lsun.generator[2].model_copy(update={"name": red.name}) == red


@pytest.mark.parametrize("gan", networks(), ids=lambda gan: gan.name)
def test_generators_make_what_discriminators_take(gan):
    image = gan.discriminator[0]
    assert gan.generator[-1].output_size == (image.height, image.width)
    assert gan.discriminator[-1].outputs == 1


def test_the_gpu_runs_what_passes_r_f_and_g_need():
    gan = Gan("small", "", (UP.model_copy(update={"name": "first"}), UP), (DOWN, LAST))
    generator = 2 * (32 + 32) + (32 + 32) + 32  # forward twice, weight gradients, the data gradient of the second layer
    discriminator = 3 * (32 + 8) + 2 * (32 + 8) + (8 + 8 + 32 + 8)
    assert gpu_flops(gan, 3, zeros=False) == 2 * 3 * (generator + discriminator)


def test_events_of_a_product_are_those_of_its_rows_and_columns():
    forward, data, weight = (product("D", DOWN, kind, ISAAC) for kind in KINDS)
    columns = 2 * 4  # two outputs of four cells
    events = forward.events
    assert (events.reads, events.conversions) == (4 * 8, 4 * 8 * columns)
    assert (events.rows, events.cells) == (4 * 8 * 4, 4 * 8 * 4 * columns)
    assert (forward.weights, data.weights, weight.weights) == (32, 32, 0)
    assert (weight.stored_rows, weight.stored_cells) == (4, 4 * columns)


def test_no_product_is_slower_than_the_balance_and_all_find_room():
    found, own = [product("D", DOWN, kind, ISAAC) for kind in KINDS], costs(ISAAC)
    once = arrays_of(found, [1] * len(found), 2)
    for budget in (once, once + 4, 10 * once):
        balance = balanced(found, budget, 2, own, ISAAC)
        times = [each.time(count, own, ISAAC) for each, count in zip(found, balance.copies, strict=True)]
        assert balance.arrays <= budget and max(times) == balance.time
    assert balance.time < balanced(found, once, 2, own, ISAAC).time


def test_isaac_converts_a_whole_array_in_the_time_of_its_read():
    assert costs(ISAAC).clock_ns * 16 == pytest.approx(100)
