"""Energy of reads: its figures against their sources, and a published ratio that follows from them."""

import pytest

from selvage.base.chip import load_chip
from selvage.base.shapes import load_network
from selvage.compiler.pruned_network import Pruning, count_pruned
from selvage.sim.energy import ReadEnergy


def test_figures_are_the_published_ones() -> None:
    """Yu et al., arXiv 2010.06156: ADC 1.67 pJ, row driver 0.0182 pJ, an OU of 9 x 8 cells 4.8 pJ.

    The ADC is ISAAC's, of 8 bits, which takes 2 mW at 1.2 GS/s.
    """
    own = ReadEnergy()
    assert own.conversion == 1.67 == round(2 / 1.2, 2)
    assert own.row == 0.0182
    assert 9 * 8 * own.cell == pytest.approx(4.8)


@pytest.mark.parametrize(
    ("rows", "columns", "picojoules"),
    [
        (9, 8, 18.3238),  # 8 * 1.67 + 9 * 0.0182 + 4.8
        (4, 3, 5.8828),  # 3 * 1.67 + 4 * 0.0182 + 12 * 4.8 / 72
        (1, 1, 1.754867),  # 1.67 + 0.0182 + 4.8 / 72
    ],
)
def test_a_read_is_charged_for_what_is_active(rows: int, columns: int, picojoules: float) -> None:
    assert ReadEnergy().of(columns, rows, rows * columns) == pytest.approx(picojoules, abs=1e-6)


def test_published_ratios() -> None:
    """Of VGG16 on CIFAR-10 (Yu et al.): area 4.67, energy 2.13, speed 1.35; `bench.sparse` has the other networks."""
    found = count_pruned(load_network("vgg16-cifar"), load_chip("yu"), Pruning(10, 0.44, 3.5), slices=1)
    ratios = [found[f"{what}_ratio"] for what in ("area", "energy", "speed")]
    assert ratios == pytest.approx([4.67, 2.13, 1.35], rel=0.03)
