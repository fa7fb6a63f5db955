"""Clock cycles of a training chip: of each logical cycle, from the timing tables of ``docs/training.md``.

A logical cycle is as long as the slowest stage with a sample in it. What a product takes depends on the codes that go
through it: they are those of the golden model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from selvage.golden.training import Codes, Way
from selvage.mapping.backward import weight_gradient_operands
from selvage.mapping.training import Pass
from selvage.mapping.training_cells import CellRow
from selvage.mapping.training_chip import BackStage, Product, TrainingPlan
from selvage.sim.layer import count_passes
from selvage.sim.network import network_cycles
from selvage.sim.training import timeline

WRITE_ANSWER, READ_ANSWER = 6, 9
"""Cycles from a request to a product's crossbars until it is answered, with the times of the macro's model."""
IDLE = 8  # cycles at least between a reset, or a sample, and the first code of a stage's next
FURTHER = 2  # of an answer, to what programs several products


def written_cycles(rows: Sequence[CellRow], *, verify: bool) -> int:
    """Return the cycles in which rows of cells are written; those that are verified are of several products."""
    one = 1 + WRITE_ANSWER + (FURTHER + 1 + READ_ANSWER + FURTHER + 1 if verify else 0)
    return sum(2 + len(row.slots) + 2 * one for row in rows)


def read_cycles(rows: Sequence[CellRow]) -> int:
    """Return the cycles in which codes are read from rows of cells of several products."""
    return sum(1 + len(row.slots) + 2 * (1 + READ_ANSWER + FURTHER) for row in rows)


@dataclass(frozen=True, eq=False)
class ChipCycles:
    """The cycle model of a training chip; with ``skip`` OUs without an active row are left out."""

    plan: TrainingPlan
    skip: bool = True
    _known: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def product(self, own: Product, maps: Codes) -> int:
        """Return the cycles from the first code of ``maps`` (N, C, H, W) until the last code has left."""
        key = id(own), maps.tobytes()
        if key not in self._known:
            (counted,) = count_passes(own.placement, maps, skip=self.skip)
            self._known[key] = network_cycles(own.plan, {"product": counted}, len(maps), idle=IDLE).ends[-1]
        return self._known[key]

    def back(
        self, stage: BackStage, entered: Codes, errors: Sequence[Codes], runs: Sequence[bool], *, graded: bool
    ) -> int:
        """Return the cycles of a stage backward for a sample (1, C, H, W).

        ``errors`` by branch; ``runs``: whether their data gradients are wanted, ``graded`` the weight gradient.
        """
        found = [
            2 + self.product(own, error) for own, error, on in zip(stage.data, errors, runs, strict=False) if own and on
        ]
        if graded:
            images, _ = weight_gradient_operands(stage.layer.layer, entered[0], errors[0][0])
            written = written_cycles(stage.gradient.cells, verify=False)
            found.append(4 + written + self.product(stage.gradient, images))
        return max(found)

    def update(self, network: str) -> int:
        """Return the cycles of a network's update."""
        copies, found = [place for place in self.plan.places if place[0] == network], 1
        for k, own in enumerate(self.plan.networks[network].layers, 1):
            back = [self.plan.back[f"{place}_b{k}"].data for place in copies]
            first, *others = (self.plan.forward[f"{place}_f{k}"] for place in copies)
            held = [first, *others, *(product for data in back for product in data if product)]
            written = sum(written_cycles(product.cells, verify=True) for product in held)
            found += 6 + read_cycles(first.cells) + int(np.prod(own.layer.weight_shape)) + written
        return found

    def stage(self, name: str, own: Pass, ways: Mapping[str, Way], sample: int) -> int:
        """Return the cycles of stage ``name`` for a sample of pass ``own``, ``ways`` being what golden passes did."""
        way = ways["F" if own.name == "FG" else own.name]
        if name in ("image", "noise"):
            return 1 + (way.made if own.generator else way.judged)[0][0].size
        place, kind = name.split("_")
        if kind == "e":
            return 3 + self.plan.logits
        k, one = int(kind[1:]), slice(sample, sample + 1)
        maps = way.made if place == "G" else way.judged
        if kind[0] == "f":
            return 2 + self.product(self.plan.forward[name], maps[k - 1][one])
        if place == "G":
            wanted = ways["G"]
            return self.back(self.plan.back[name], wanted.made[k - 1][one], [wanted.back[k][one]], [k > 1], graded=True)
        errors, runs = [way.errors[k][one]], [k > 1 or own.back]
        if own.name == "FG" and not self.plan.unit_error:  # the second branch has the error that the generator wants
            errors, runs = [*errors, ways["G"].errors[k][one]], [k > 1, True]
        return self.back(self.plan.back[name], maps[k - 1][one], errors, runs, graded=own.name != "G")

    def copied(self, name: str) -> int:
        """Return the cycles in which a stage copies what it works on, at the start of a logical cycle; or 0."""
        if "_b" not in name:
            return 0
        layer = self.plan.back[name].layer.layer
        height, width = layer.output_size
        return 1 + max(layer.channels * layer.height * layer.width, layer.outputs * height * width)

    def cycles(self, iterations: Sequence[Mapping[str, Way]]) -> list[int]:
        """Return the clock cycles of each logical cycle, from the first load to the last update.

        ``iterations``: what golden's passes did in each (`golden.training.Gan.followed`).
        """
        schedule = self.plan.schedule
        times = timeline(schedule, len(iterations))
        slowest: dict[int, int] = {}
        copies: dict[int, int] = {}
        for own, entered in zip(schedule.passes, times.entered, strict=True):
            for index, first in enumerate(entered):
                ways, sample = iterations[index // schedule.batch], index % schedule.batch
                for cycle, name in enumerate(schedule.way(own), first - 1):
                    slowest[cycle] = max(slowest.get(cycle, 0), self.stage(name, own, ways, sample))
                    copies[cycle] = max(copies.get(cycle, 0), self.copied(name))
        for own, cycles in zip(schedule.updates, times.updated, strict=True):
            for cycle in cycles:
                slowest[cycle] = max(slowest.get(cycle, 0), *(self.update(network) for network in own.networks))
        return [1 + copies.get(cycle, 0) + slowest[cycle] + 1 for cycle in range(max(slowest) + 1)]
