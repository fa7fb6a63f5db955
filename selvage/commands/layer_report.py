"""The line of a layer in a report, from the cycle model and from RTL. Nothing that runs RTL is loaded."""

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selvage.commands.difference import Difference, first_difference
from selvage.compiler.compile_layer import Compiled
from selvage.golden.layer import evaluate
from selvage.golden.sme import sqnr_db
from selvage.mapping.counts import StaticCounts
from selvage.mapping.placement import Placement, in_passes
from selvage.mapping.schemes import scheme
from selvage.sim.cycles import TileCycles
from selvage.sim.energy import ReadEnergy
from selvage.sim.machine import run_counted

if TYPE_CHECKING:
    from selvage.rtlsim.diagnosis import Diagnosis
    from selvage.rtlsim.simulate import TileResult

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class LayerReport:
    """One line of the report. Cycles are those of the slowest tile: tiles run side by side, passes one by one."""

    name: str
    op: str
    schedule: str
    mapping: str
    steps: int
    cycles: int
    cycles_model: int
    ou_reads: int
    ou_skipped: int
    crossbars: int
    tiles: int
    passes: int  # with more tiles than the chip has
    match: bool | None
    fault: str  # in what RTL does not match; empty where it does, and where it was not run
    difference: Difference | None  # the first output that is wrong
    clipped: int  # conversions of the golden crossbars that the ADC cuts
    distance: int  # of their outputs from the truth, at most: 0 with a lossless ADC
    crossbars_dense: int
    over_dense: dict[str, float]  # dense over this mapping, every row driving: cells, reads, conversions, energy
    index_bits: int  # of the tables that reordered kernels and row lists need
    sqnr_db: float | None  # of the weights computed with; None: they are the model's
    note: str
    diagnosis: "Diagnosis | None" = None  # where a run that does not match went wrong


def report(
    compiled: Compiled, predicted: list[TileCycles], results: "list[TileResult] | None", *, skip: bool = True
) -> LayerReport:
    """Return the layer's line. ``results`` are None when only the model was run."""
    placement = compiled.placement
    reads = sum(tile.reads for tile in predicted)
    cycles = _of_passes([tile.cycles for tile in predicted], placement)
    difference, fault, clips, distance = None, "", 0, 0
    if results is not None:
        truth = evaluate(placement.layer, compiled.codes, compiled.weights)
        # What is lost in the ADC is told by the golden crossbars: nothing that RTL does wrong adds to it.
        expected, clips = truth, 0
        if compiled.warning or compiled.devices:
            expected, clips = run_counted(placement, compiled.codes, compiled.devices, skip=skip)
        y = sum((result.y for result in results), start=np.zeros_like(truth))
        difference = first_difference(placement.layer.name, y, expected)
        fault = str(difference) if difference else miscounted(placement.layer.name, predicted, results)
        distance = int(np.abs(expected - truth).max())
        reads = sum(sum(result.reads) for result in results)
    return LayerReport(
        name=placement.layer.name,
        op=placement.layer.op,
        schedule=placement.schedule,
        mapping=placement.mapping,
        steps=placement.steps * len(compiled.maps),
        cycles=cycles if results is None else _of_passes([result.cycles for result in results], placement),
        cycles_model=cycles,
        ou_reads=reads,
        ou_skipped=sum(tile.dense_reads for tile in predicted) - reads,
        crossbars=placement.crossbars,
        tiles=len(placement.tiles),
        passes=len(placement.passes),
        match=None if results is None else not fault,
        fault=fault,
        difference=difference,
        clipped=clips,
        distance=distance,
        crossbars_dense=compiled.dense.crossbars,
        over_dense=over_dense(compiled),
        index_bits=scheme(placement.mapping).index_bits(placement),
        sqnr_db=weight_error(compiled),
        note=compiled.note,
    )


def miscounted(name: str, predicted: list[TileCycles], results: "list[TileResult]") -> str:
    """Return a sentence on the first tile whose cycles or reads are not those predicted; nothing where all are."""
    for index, (result, tile) in enumerate(zip(results, predicted, strict=True)):
        pairs = {"cycles": (result.cycles, tile.cycles), "OU reads": (sum(result.reads), tile.reads)}
        for what, (counted, wanted) in pairs.items():
            if counted != wanted:
                return (
                    f"layer {name!r}: the outputs are right, and tile {index} takes {counted:,} {what} where the cycle "
                    f"model predicts {wanted:,}"
                )
    return ""


def _of_passes(cycles: list[int], placement: Placement) -> int:
    """Return the cycles of all tiles, those of a pass side by side."""
    return sum(map(max, in_passes(cycles, placement.chip)))


def over_dense(compiled: Compiled) -> dict[str, float]:
    """Return what the dense mapping takes over what this one does, one step, every row driving."""
    both = StaticCounts.of(compiled.dense), StaticCounts.of(compiled.placement)
    found = {name: [getattr(counts, name) for counts in both] for name in ("cells", "reads", "conversions")}
    found["crossbars"] = [compiled.dense.crossbars, compiled.placement.crossbars]
    found["energy"] = [ReadEnergy().of(counts.conversions, counts.driven, counts.cells) for counts in both]
    return {name: round(dense / chosen, 4) for name, (dense, chosen) in found.items()}


def weight_error(compiled: Compiled) -> float | None:
    """Return the SQNR in dB of the weights computed with; None where they are the model's own."""
    error = sqnr_db(compiled.model.weights, compiled.weights)
    return None if np.isinf(error) else round(error, 3)


def summary(reports: list[LayerReport], simulator: str, started: float) -> dict:
    """Return the JSON report."""
    known = [line.match for line in reports if line.match is not None]
    return {
        "match": all(known) if known else None,
        "fault": next((line.fault for line in reports if line.fault), ""),
        "simulator": simulator,
        "seconds": round(time.monotonic() - started, 3),
        "cycles": sum(line.cycles for line in reports),
        "layers": [asdict(line) for line in reports],
    }
