"""Time of the behavioural crossbars beside CrossSim 3.2.0, one thread, side by side in one run.

The two layers of `bench.machine_speed`, eight bits, one-bit cells in 8 slices, one-bit inputs, an ADC a read. Ours run
on the chip ou9x8, with P and N arrays of 9 rows a read. CrossSim's are bit-sliced balanced cores of 16 rows a read,
in three ways: "apart" converts the bit lines of P and of N as we do; "subtracted", its default, subtracts them before
the ADC, which halves its work; "ideal" has no ADC, no input slices and no limit of rows, so it is one product of
matrices a slice. What is cheaper for CrossSim is taken: float32 where there is an ADC (its errors are float64 all the
same), and the transposed convolution as four convolutions of sub-kernels (RED), for inserted zeros are four times the
reads.

- lossless: our ADC has 4 bits; CrossSim's 5 apart, 6 subtracted. Its integers must be ours.
- clipping: one bit fewer each. In these random layers no 16 cells of a read all count, so CrossSim cuts none; that its
  ADC would is shown on small full matrices, beside NumPy.
- hard clipping: two bits fewer each. Ours cuts in millions of reads; told without a target.
- noisy: a normal error of 5 % of the largest conductance in each cell, independent, drawn when it is programmed.

Processor seconds, the least of several runs that alternate, from maps (N, C, H, W) to maps of integers: windows are
timed on both sides, programming on none. CrossSim is not installed with us: get it from
https://github.com/sandialabs/cross-sim and name its folder with --crosssim or in the variable CROSSSIM.
"""

import argparse
import os
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from bench.machine_speed import LAYERS, placed
from bench.report import Figure, emit, figures, positive, table
from selvage.base.layer import Layer
from selvage.base.noise import Cells, Noise
from selvage.commands.exits import leave
from selvage.mapping.placement import Placement
from selvage.sim.devices import Devices
from selvage.sim.machine import run_counted

ROWS, SLICES, PLANES = 16, 8, 8
LARGEST = 127
ERROR = 0.05  # of the largest conductance
# Our time over CrossSim's, that of its faster way with an ADC.
MOST = {"lossless": 0.35, "clipping": 0.35, "noisy": 0.6}

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Way:
    """How CrossSim converts what the P and N arrays of a slice sum to."""

    name: Literal["apart", "subtracted", "ideal"]
    top: int = 0  # largest count of cells that the ADC tells

    @property
    def bits(self) -> int:
        return self.top.bit_length() + (self.name == "subtracted")


@dataclass(frozen=True)
class Case:
    """One comparison: the bits of our ADC, and CrossSim's ways."""

    name: str
    bits: int
    ways: tuple[Way, ...]
    error: float = 0.0


BOTH = (Way("apart", 31), Way("subtracted", 31))
CASES = (
    Case("lossless", 4, (*BOTH, Way("ideal"))),
    Case("clipping", 3, (Way("apart", 15), Way("subtracted", 15))),
    Case("hard clipping", 2, (Way("apart", 7), Way("subtracted", 7))),
    Case("noisy", 4, BOTH, ERROR),
)


def version(folder: Path) -> str:
    """Return the version that the project file beside the package names."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"


def parameters(way: Way, error: float) -> Any:
    """Return CrossSim's parameters: integers -127..127 by 0..255."""
    core, xbar = (import_module(f"simulator.parameters.{name}_parameters") for name in ("core", "xbar"))
    p = import_module("simulator").CrossSimParameters()
    p.core.style = core.CoreStyle.BITSLICED
    p.core.weight_bits = 8
    p.core.bit_sliced.style = core.BitSlicedCoreStyle.BALANCED
    p.core.bit_sliced.num_slices = SLICES  # with 7, float32 weights become float64 inside, twice as slow
    p.core.balanced.subtract_current_in_xbar = way.name != "apart"
    p.core.output_dtype = core.OutputDType.FLOAT64
    weights, inputs, dac = p.core.mapping.weights, p.core.mapping.inputs.mvm, p.xbar.dac.mvm
    weights.percentile, weights.min, weights.max = None, -LARGEST, LARGEST
    inputs.min, inputs.max = 0, 2**PLANES - 1
    dac.model, dac.bits, dac.signed = "QuantizerDAC", PLANES, False
    p.xbar.device.infinite_on_off_ratio = True
    if error:
        programming = p.xbar.device.programming_error
        programming.enable, programming.model, programming.magnitude = True, "NormalIndependentDevice", error
    if way.name == "ideal":
        return p
    p.core.rows_max = ROWS
    dac.input_bitslicing, dac.slice_size = True, 1
    signed = way.name == "subtracted"
    p.xbar.adc.mvm.model = "SignMagnitudeADC" if signed else "QuantizerADC"
    adc = p.xbar.adc.mvm  # the model has just replaced it
    adc.bits, adc.signed, adc.adc_per_ibit = way.bits, signed, True
    adc.adc_range_option = xbar.ADCRangeLimits.CALIBRATED
    adc.calibrated_range = [[-way.top if signed else 0, way.top]] * SLICES
    return p


def programmed(matrix: Integers, way: Way, error: float) -> Any:
    """Return CrossSim's core of a matrix (outputs, inputs)."""
    # Without an ADC the sums of a whole column are beyond float32.
    kind = np.float64 if way.name == "ideal" else np.float32
    core = import_module("simulator").AnalogCore(matrix.astype(kind), parameters(way, error))
    assert core.Ncores == (1 if way.name == "ideal" else -(-matrix.shape[1] // ROWS))
    return core


def columns(padded: NDArray[Any], kernel: tuple[int, int], first: tuple[int, int], size: tuple[int, int]) -> NDArray:
    """Return the windows of maps (N, C, H, W) as a matrix (C * kernel, N * size), the first at ``first``."""
    (height, width), (top, left) = size, first
    maps = padded[:, :, top : top + height + kernel[0] - 1, left : left + width + kernel[1] - 1]
    windows = np.lib.stride_tricks.sliding_window_view(maps, kernel, (2, 3))
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(maps.shape[1] * kernel[0] * kernel[1], -1)


def crosssim_layer(layer: Layer, weights: Integers, way: Way, error: float) -> Callable[[Integers], Integers]:
    """Program CrossSim with a layer of machine_speed; return what computes its outputs (N, M, OH, OW)."""
    assert layer.pads == (1, 1, 1, 1)
    kind, size = np.float64 if way.name == "ideal" else np.float32, (layer.height, layer.width)
    if layer.op == "conv":
        step, kernel, phases = 1, layer.kernel, {(0, 0): programmed(weights.reshape(layer.outputs, -1), way, error)}
    else:
        assert layer.kernel == (4, 4) and layer.stride == (2, 2)
        step, kernel, phases = 2, (2, 2), {}
        for row, column in np.ndindex(2, 2):  # (C, M, 4, 4): the taps that meet these outputs, last input first
            taps = weights[:, :, 3 - row :: -2, 3 - column :: -2]
            phases[row, column] = programmed(taps.transpose(1, 0, 2, 3).reshape(layer.outputs, -1), way, error)

    def run(codes: Integers) -> Integers:
        padded = np.pad(codes, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(kind)
        maps = np.empty((len(codes), layer.outputs, step * size[0], step * size[1]), np.int64)
        for (row, column), core in phases.items():
            found = np.rint(core @ columns(padded, kernel, (row, column), size))
            maps[:, :, row::step, column::step] = found.reshape(layer.outputs, -1, *size).swapaxes(0, 1)
        return maps

    return run


def our_layer(placement: Placement, error: float) -> Callable[[Integers], Integers]:
    """Return what computes a layer's outputs through our crossbars, their cells drawn."""
    if not error:
        return lambda codes: run_counted(placement, codes)[0]
    devices = Devices(placement, Noise(cells=Cells(spread=error, distribution="normal")))
    for tile, own in enumerate(placement.tiles):
        for array in range(len(own.arrays)):
            devices.crossbar(tile, array)
    return lambda codes: run_counted(placement, codes, devices)[0]


def clipped_product(weights: Integers, codes: Integers, way: Way) -> Integers:
    """Return ``weights @ codes`` of reads that the ADC cuts, in NumPy."""
    total = np.zeros((len(weights), codes.shape[1]), np.int64)
    for first in range(0, weights.shape[1], ROWS):
        held, driven = weights[:, first : first + ROWS], codes[first : first + ROWS]
        for place, plane in np.ndindex(SLICES, PLANES):
            bits = driven >> plane & 1
            plus, minus = ((np.maximum(own, 0) >> place & 1) @ bits for own in (held, -held))
            if way.name == "apart":
                read = np.minimum(plus, way.top) - np.minimum(minus, way.top)
            else:
                read = np.clip(plus - minus, -way.top, way.top)
            total += read << place + plane
    return total


def clipping_differs(way: Way) -> int:
    """Return how many sums of CrossSim differ from NumPy's for small matrices whose columns are full."""
    rng = np.random.default_rng(3)
    weights = np.concatenate([np.full((1, 64), 127), np.full((1, 64), -127), rng.choice([-127, 126, 127], (6, 64))])
    codes = np.concatenate([np.full((64, 1), 255), rng.choice([127, 254, 255], (64, 7))], axis=1)
    expected = clipped_product(weights, codes, way)
    assert (way.top >= ROWS) == np.array_equal(expected, weights @ codes)
    found = programmed(weights, way, 0.0) @ codes.astype(np.float32)
    return int(np.count_nonzero(np.rint(found) != expected))


def timed(run: Callable[[Integers], Integers], codes: Integers) -> tuple[float, Integers]:
    """Return processor seconds of a run, and its outputs."""
    started = time.process_time()
    outputs = run(codes)
    return time.process_time() - started, outputs


def compare(name: str, layer: Layer, runs: int) -> list[dict[str, Any]]:
    """Return a line for each case and way of a layer; ``differ`` counts CrossSim's integers that are not the exact."""
    codes = np.random.default_rng(2).integers(0, 256, (1, layer.channels, layer.height, layer.width))
    weights = np.random.default_rng(1).integers(-127, 128, layer.weight_shape)  # those of `placed`
    ours = {case: our_layer(placed(layer, case.bits), case.error) for case in CASES}
    theirs = {(case, way): crosssim_layer(layer, weights, way, case.error) for case in CASES for way in case.ways}
    jobs = {**ours, **theirs}
    found = [{key: timed(run, codes) for key, run in jobs.items()} for _ in range(runs)]
    least = {key: min(one[key][0] for one in found) for key in jobs}
    exact, lines = found[0][CASES[0]][1], []
    for case, way in theirs:
        own, other = least[case], least[case, way]
        line = {"layer": name, "case": case.name, "adc_bits": case.bits, "way": way.name, "crosssim_adc_bits": way.bits}
        line |= {"seconds": own, "crosssim_seconds": other, "ratio": other / own}
        lines.append(line | {"differ": int(np.count_nonzero(found[0][case, way][1] != exact))})
    return lines


def speed_figures(lines: list[dict[str, Any]]) -> list[Figure]:
    """Return our time over CrossSim's faster way with an ADC, of each layer and case that we have."""
    found: dict[str, float] = {}
    for line in lines:
        if line["way"] != "ideal" and line["case"] in MOST:
            name = f"{line['layer']}, {line['case']}: our seconds over CrossSim's"
            found[name] = max(found.get(name, 0.0), 1 / line["ratio"])
    return [Figure(name, value, "<=", MOST[name.split(", ")[1].split(":")[0]]) for name, value in found.items()]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.crosssim_speed", description=__doc__)
    parser.add_argument("--crosssim", default=os.environ.get("CROSSSIM"), help="folder of its package simulator")
    parser.add_argument("--runs", type=positive, default=5)
    a = parser.parse_args(argv)
    if a.crosssim:
        sys.path.insert(0, a.crosssim)
    try:
        package = import_module("simulator")
        if not hasattr(package, "AnalogCore"):
            raise ImportError("a package simulator is there that is not CrossSim")
    except ImportError as error:
        print(f"CrossSim cannot be imported ({error}), so nothing is timed: name its folder.", file=sys.stderr)
        emit({"benchmark": "crosssim_speed", "crosssim": None, "runs": [], "targets": []})
        return 0
    np.random.seed(4)  # CrossSim draws its errors from NumPy's global generator
    with threadpool_limits(1):
        lines = [line for name, layer in LAYERS.items() for line in compare(name, layer, a.runs)]
        clipping = sum(clipping_differs(way) for case in CASES for way in case.ways if way.top and not case.error)
    differ = sum(line["differ"] for line in lines if line["case"] in ("lossless", "clipping"))
    found = [Figure("integers that differ", differ, "==", 0), Figure("clipped sums that differ", clipping, "==", 0)]
    found += speed_figures(lines)
    keys = ("layer", "case", "way", "seconds", "crosssim_seconds", "ratio", "differ")
    rows = [[line[key] for key in keys] for line in lines]
    table("One thread", ("layer", "case", "CrossSim", "seconds", "CrossSim's", "ratio", "differ"), rows)
    figures("Beside CrossSim", found)
    origin = Path(str(package.__file__)).parents[1]
    targets = [own.as_dict() for own in found]
    emit({"benchmark": "crosssim_speed", "crosssim": version(origin), "runs": lines, "targets": targets})
    return 0 if differ == clipping == 0 else 1


if __name__ == "__main__":
    leave(main)
