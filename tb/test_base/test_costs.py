"""Tables of costs and of noise that are refused: one sentence with the value and the rule."""

from pathlib import Path

import pytest

from selvage.base.chip import load_chip
from selvage.base.costs import COSTS, load_costs
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.noise import Noise, Wires, load_noise
from selvage.mapping.dense import dense_kinds
from selvage.sim.devices import Devices

ISAAC = (COSTS / "isaac.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[wires]", "[waves]", "unknown key 'waves'|lacks the key 'wires'"),
        ('energy = "0.042 pJ"', 'energy = "0.042"', "shift_add.energy = '0.042': has no unit; write it as '0.042 pJ'"),
        ('energy = "0.042 pJ"', "energy = 0.042", "shift_add.energy = 0.042: has no unit"),
        (
            'energy = "0.042 pJ"',
            'energy = "-0.042 pJ"',
            "energy = '-0.042 pJ': is not from 0 to 1e\\+12 pJ",
        ),
        ('energy = "0.042 pJ"', 'energy = "0.042 um"', "shift_add.energy = '0.042 um': is not in a unit such as pJ"),
        ('energy = "0.042 pJ"', 'energy = "inf pJ"', "shift_add.energy = 'inf pJ'"),
        ('energy = "0.042 pJ"', 'energy = "1e13 pJ"', "shift_add.energy = '1e13 pJ': is not from 0 to"),
        ('energy = "0.042 pJ"', 'energy = "1,5 pJ"', "shift_add.energy = '1,5 pJ': is no number with a unit"),
        ('energy = "0.042 pJ"', 'energy = "2*3 pJ"', "shift_add.energy = '2[*]3 pJ': is no number with a unit"),
        ('energy = "0.042 pJ"', 'energy = "(1 pJ"', "shift_add.energy = '[(]1 pJ': is no number with a unit"),
        ('energy = "0.042 pJ"', 'energy = "pJ"', "shift_add.energy = 'pJ': is no number with a unit"),
        ('energy = "0.042 pJ"', 'energy = "a lot"', "shift_add.energy = 'a lot'"),
        *(
            ('energy = "0.042 pJ"', f'energy = "{text}"', "shift_add.energy = .*: is no number with a unit, such as")
            for text in ("3 + 4 pJ", "1 pJ + 1", "1 pJ ± 0.1", "[1] pJ", "nan pJ", "1 zorkmid")
        ),
        ('energy = "0.042 pJ"', 'energy = "1 dB*J"', "is not in a unit such as pJ"),
        ("pulses = 1", "pulses = 0.5", "programming.pulses = 0.5"),
        ("pulses = 1", "pulses = inf", "programming.pulses = inf"),
        ('energy = "0.042 pJ"', "energy = 0.042 pJ", "is not TOML"),
        ('energy = "0.042 pJ"', "power = 3", "unknown key 'shift_add.power'|lacks the key 'shift_add.energy'"),
        ('{ 8 = "1.667 pJ" }', '{ 8 = "1.667 pJ", 4 = "1 pJ" }', "needs one point of energy, and there are 2"),
        ('{ 8 = "1.667 pJ" }', '{ 99 = "1.667 pJ" }', "adc.energy.99"),
        ('{ 8 = "1.667 pJ" }', "{ }", "adc.energy"),
        ('time = "7.68 ns"', 'time = "0 ns"', "cycle.time = '0 ns': is not from 0.001 to 1e\\+12 ns"),
        ("node = 32", "node = 33", "node = 33"),
    ],
)
def test_bad_tables(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert ISAAC.count(old) == 1
    path = tmp_path / "own.toml"
    path.write_text(ISAAC.replace(old, new))
    with pytest.raises(InputError, match=says) as error:
        load_costs(str(path))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("cost table ")


def test_a_table_without_a_source_is_refused(tmp_path: Path) -> None:
    lines = ISAAC.splitlines()
    del lines[max(k for k, line in enumerate(lines) if line.startswith("source"))]
    (tmp_path / "own.toml").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"lacks the key 'cycle\.source'"):
        load_costs(str(tmp_path / "own.toml"))


def test_other_units_of_the_same_kind_are_taken(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(ISAAC.replace('"0.042 pJ"', '"42 fJ"').replace('"60 um^2"', '"6e-5 mm**2"'))
    own = load_costs(str(tmp_path / "own.toml"))
    assert (own.shift_add.energy, own.shift_add.area) == pytest.approx((0.042, 60))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[cells]\non_off = 1.0001", "cells.on_off = 1.0001"),
        ("[cells]\nstuck_on = 1.0", "cells.stuck_on = 1.0"),
        ("[drift]\nratio = 0.5", "drift.ratio = 0.5"),
        ("[wires]\ncell = 0.0", "wires.cell = 0.0"),
        ("[adc]\ngain = 0.5", "adc.gain = 0.5"),
        ("[remedies]\nspare_columns = 1.5", "remedies.spare_columns = 1.5"),
        ('[remedies]\ncalibration = "yes"', "remedies.calibration = 'yes'"),
        ("[cells]\nspreed = 0.1", "unknown key 'cells.spreed'"),
        ("[cells]\nspread = -0.1", "cells.spread = -0.1"),
        ("[cells]\non_off = 1", "cells.on_off = 1"),
        ("[cells]\nstuck_on = 0.5\nstuck_off = 0.5", "leave no cell that can be programmed"),
        ("[drift]\nexponent = 0.5\nratio = 1e9", "no level is left"),
        ("[adc]\nread_noise = nan", "adc.read_noise"),
        ("seed = -1", "seed = -1"),
        ("seed = ", "is not TOML"),
        ('[cells]\ndistribution = "flat"', "cells.distribution = 'flat'"),
    ],
)
def test_bad_noise(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "noise.toml").write_text(text)
    with pytest.raises(InputError, match=says) as error:
        load_noise(tmp_path / "noise.toml")
    assert "\n" not in str(error.value)


def test_wires_that_leave_no_level() -> None:
    layer = Layer(op="conv", channels=2, outputs=2, height=1, width=1)
    placement, _ = dense_kinds(layer, load_chip("ou9x8"), input_format=InputFormat(raw_bits=8, raw_signed=False))
    Devices(placement, Noise(wires=Wires(bit_line=1.0)))
    Devices(placement, Noise(wires=Wires(bit_line=10.0)))
    # 9 / (1 + 200 * 128 * 9 / 10 000)
    with pytest.raises(InputError, match=r"leave 0\.37 codes of a full OU at the far end of an array of 128 x 128"):
        Devices(placement, Noise(wires=Wires(bit_line=200.0)))
