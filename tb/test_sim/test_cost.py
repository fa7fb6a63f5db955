"""Energy and area: sums shown, pinned to the sources of the tables."""

import pytest

from selvage.base.chip import load_chip
from selvage.base.costs import load_costs, ready_costs
from selvage.base.errors import InputError
from selvage.sim.cost import Parts, area_of, energy_of, programming_of
from selvage.sim.events import Events

OU9X8 = load_chip("ou9x8")


def test_one_read_of_a_full_ou_to_the_last_digit() -> None:
    """An OU of 9 x 8 cells, all driven, by the table isaac: array, ADC of 4 bits with sample-and-hold, drivers, adders.

    ISAAC's converter of 8 bits takes 1.667 pJ; one of 4 bits (2^4 / 5) / (2^8 / 9) of that.
    """
    read = Events(reads=1, rows=9, cells=72, conversions=8, shift_adds=8)
    found = energy_of(read, 0, OU9X8, load_costs("isaac"))
    adc = 1.667 * (16 / 5) / (256 / 9)
    assert found.array == 72 * 0.00183
    assert found.adc == 8 * (adc + 0.00001)
    assert found.drivers == 9 * 0.0033
    assert found.shift_and_add == 8 * 0.042
    assert found.buffers == found.control == 0
    assert found.total == 72 * 0.00183 + 8 * (adc + 0.00001) + 9 * 0.0033 + 8 * 0.042
    assert found.total == pytest.approx(1.99784, abs=5e-6)  # 0.13176 + 1.50038 + 0.0297 + 0.336, on paper


def test_the_read_of_the_papers_on_ous() -> None:
    """Yu et al.: 8 * 1.67 + 9 * 0.0182 + 4.8 pJ, whatever the ADC's bits; adders are not in it."""
    read = Events(reads=1, rows=9, cells=72, conversions=8)
    found = energy_of(read, 0, OU9X8, load_costs("yu"))
    assert found.total == pytest.approx(8 * 1.67 + 9 * 0.0182 + 4.8 + 8 * 0.00001, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "energies"),
    [  # pJ of a conversion at 3, 4, 5, 6 and 8 bits, from the models' own documents
        ("isaac", (0.117, 0.188, 0.313, 0.536, 1.667)),
        ("puma", (0.220, 0.391, 0.610, 0.879, 1.562)),
        ("neurosim", (0.082, 0.108, 0.136, 0.167, 0.235)),
    ],
)
def test_conversions_of_each_table(name: str, energies: tuple[float, ...]) -> None:
    adc = load_costs(name).adc
    assert [adc.conversion(bits) for bits in (3, 4, 5, 6, 8)] == pytest.approx(energies, abs=6e-4)


def test_between_and_beyond_points_energy_is_a_line_in_logarithm() -> None:
    """NeuroSim's 0.167 pJ at 6 bits and 0.235 at 8; areas of 284 um2 at 4 bits and 1200 at 8."""
    adc = load_costs("neurosim").adc
    assert adc.conversion(7) == pytest.approx((0.167 * 0.235) ** 0.5)
    assert adc.conversion(10) == pytest.approx(0.235**2 / 0.167)
    assert adc.conversion(2) == pytest.approx(0.082**2 / 0.108)
    assert adc.converter(6) == pytest.approx((284 * 1200) ** 0.5)
    assert load_costs("yu").adc.conversion(3) == 1.67


def test_mnsim_takes_two_samples_more_than_bits() -> None:
    """0.7 mW, six samples at 1 GS/s."""
    assert load_costs("mnsim").adc.conversion(4) == pytest.approx(0.7 * 6)


def test_buffers_are_charged_by_the_bit() -> None:
    costs = load_costs("isaac")
    moved = Events(
        fetched_bits=8,
        buffer_written_bits=9,
        buffer_reads_bits=16,
        rows_written_bits=3,
        groups_read_bits=5,
        sums_added_bits=7,
        sums_drained_bits=2,
        beats_bits=10,
    )
    assert energy_of(Events(splice_adds=3), 0, OU9X8, costs).total == 3 * 0.042
    found = energy_of(moved, 100, OU9X8, costs)
    assert found.buffers == pytest.approx(25 * 0.004 + 8 * 0.004 + (2 * 7 + 2) * 0.0015 + 18 * 0.054)
    assert found.control == 100 * 0.25


def test_area_of_a_pair_of_arrays() -> None:
    parts = Parts(arrays=2, readers=1, tiles=1, input_bits=100, row_bits=10, sum_bits=20, cells=5)
    found = area_of(parts, OU9X8, load_costs("isaac"))
    assert found.array == pytest.approx(2 * 25, rel=1e-3)  # ISAAC: 25 um2 each
    assert found.adc == pytest.approx(2 * (8 * 284 + 128 * 0.04))
    assert found.drivers == pytest.approx(2 * 128 * 0.166)
    assert found.shift_and_add == 8 * 60  # the pair shares its adders
    assert found.buffers == pytest.approx(110 * 0.1282 + 20 * 0.376 + 7500)
    assert found.control == 3262.5
    costs = load_costs("isaac")
    assert programming_of(parts, costs) == pytest.approx(5 * 1.29)
    several = costs.programming.model_copy(update={"pulses": 8.5})
    assert programming_of(parts, costs.model_copy(update={"programming": several})) == pytest.approx(5 * 8.5 * 1.29)


def test_nodes_scale_by_their_rules() -> None:
    """E ~ L V^2, A ~ L^2, t ~ L; 15.6 ns at 65 nm and 7.68 ns at 32 nm are one published figure."""
    here, there = load_costs("isaac"), load_costs("isaac").at(65)
    factor = 65 / 32 * (1.1 / 0.9) ** 2
    assert there.shift_add.energy == pytest.approx(0.042 * factor)
    assert there.shift_add.area == pytest.approx(60 * (65 / 32) ** 2)
    assert there.adc.conversion(8) == pytest.approx(1.667 * factor)
    assert there.cycle.time == pytest.approx(15.6)
    assert (there.cell, there.programming) == (here.cell, here.programming)
    assert there.control.energy == pytest.approx(0.25 * factor)
    assert there.wires.area == pytest.approx(7500 * (65 / 32) ** 2)
    fixed = {name: getattr(here, name).model_copy(update={"scales": False}) for name in ("adc", "cycle", "shift_add")}
    kept = here.model_copy(update=fixed).at(180)
    assert {name: getattr(kept, name) for name in fixed} == fixed
    assert here.at(32) is here
    with pytest.raises(InputError, match="--node 45 is none of 180, 65, 32"):
        here.at(45)


@pytest.mark.parametrize("name", ready_costs())
def test_every_figure_has_a_source(name: str) -> None:
    costs = load_costs(name)
    assert all(getattr(costs, entry).source for entry in type(costs).model_fields if entry not in ("name", "node"))
