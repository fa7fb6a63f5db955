"""How far the wires of the behavioural crossbars are from an exact nodal solve, and how far other formulas would be.

Arrays of 32 x 32 and 64 x 64 whose columns are all read at once, and operation units of 9 x 8 at the far end and in the
middle of 128 x 128. Half of the cells are on (random) or all, and half of the word lines drive (random) or all; wires
have 0.1 to 10 ohms a segment, word lines and bit lines alike, and all else is ideal. The error is |ours / exact - 1| of
the current of each column that conducts. A driver stands one segment before the first cell of a word line, and a bit
line ends in 0 V one segment after its last cell. As in our model, word lines that do not drive are open, and bit lines
outside the operation unit carry nothing; "grounded" compares with word lines at 0 V where they do not drive.

Formulas, all of a cost that grows with the cells only; w and b are the shares of the voltage that ideal currents drop
along word lines and bit lines: "linear" has a column's current times 1-w-b, "exponential" times exp(-w-b); "word
ladder" has each word line exact on its own and bit lines to the first order, "ladders" both exact on their own.

The nodal solve is by SciPy and must agree with badcrossbar 1.1.0. That is not installed with us, as it draws by Cairo:
`pip install --no-deps --target FOLDER badcrossbar==1.1.0 pathvalidate`, and name FOLDER with --badcrossbar or in the
variable BADCROSSBAR.
"""

import argparse
import logging
import os
import sys
import warnings
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from bench.report import Figure, emit, figures, positive, table
from selvage.base.chip import load_chip
from selvage.base.noise import Cells, Noise, Wires
from selvage.commands.exits import leave
from selvage.sim.devices import UNITS, NoisyCrossbar

OHMS, CELLS, ON_OFF = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0), (1e4, 1e5), (1e9, 100.0)
KINDS = tuple(product(("half", "all"), repeat=2))  # of the cells on, of the word lines driving
FORMULAS = ("ours", "linear", "exponential", "word ladder", "ladders")
STEP, LAST, SHARES = 0.5, 50.0, (0.05, 0.1)  # limits are looked for from step to step, in ohms
TARGETS = {"32 x 32": 15.0, "64 x 64": 4.0, "9 x 8, far": 5.0}  # ohms of wires beside cells of 10 kOhm

# Size of the array; rows and columns that are read at once; the first of each.
READS = {
    "32 x 32": (32, 32, 32, 0, 0),
    "64 x 64": (64, 64, 64, 0, 0),
    "9 x 8, far": (128, 9, 8, 0, 120),
    "9 x 8, middle": (128, 9, 8, 60, 56),
}

Floats = NDArray[np.float64]


class Case:
    """One draw of cells and drives; conductances in siemens, drivers of 1 V, currents in amperes."""

    def __init__(self, read: str, cell: float, on_off: float, kind: tuple[str, str], seed: int) -> None:
        self.size, rows, columns, top, left = READS[read]
        rng, most = np.random.default_rng(seed), rows if kind[1] == "all" else (rows + 1) // 2
        self.cells = rng.integers(kind[0] == "all", 2, (self.size, self.size), np.uint8)
        self.driven, self.volts = rng.permutation(rows) < most, np.zeros(self.size)
        size = {"rows": self.size, "columns": self.size, "ou_rows": rows, "ou_cols": columns}
        self.chip, self.cell, self.own = load_chip("ou9x8").model_copy(update=size), cell, Cells(on_off=on_off)
        self.rows, self.columns = top + np.arange(rows), left + np.arange(columns)
        self.group, self.volts[self.rows] = slice(left, left + columns), self.driven
        self.level = 1 / cell / (ideal := self.crossbar(0.0)).on
        self.siemens = ideal.levels[:, self.group] / UNITS * self.level
        self.conducts = self.driven @ self.siemens[self.rows] > 0

    def crossbar(self, ohms: float) -> NoisyCrossbar:
        noise = Noise(cells=self.own, wires=Wires(word_line=ohms, bit_line=ohms, cell=self.cell))
        return NoisyCrossbar(self.cells, self.chip, noise, (0,))

    def exact(self, word_line: float, bit_line: float, grounded: bool = False) -> Floats:
        """Return the currents of a nodal solve: nodes of the word lines first, then those of the bit lines."""
        rows = np.flatnonzero(grounded + self.volts)  # that carry currents
        word = np.arange(len(rows) * len(self.columns), dtype=np.int32).reshape(len(rows), -1)
        bit, along = word + np.int32(word.size), 1 / (word_line * np.diff(self.columns, prepend=-1))
        down = 1 / (bit_line * np.diff(rows, append=self.size))[:, None]
        parts = (word, bit, self.siemens[rows]), (word[:, :-1], word[:, 1:], along[1:]), (bit[:-1], bit[1:], down[:-1])
        one, other, between = (np.concatenate([np.broadcast_arrays(*p)[k].ravel() for p in parts]) for k in range(3))
        outer = np.concatenate([word[:, 0], bit[-1]])  # one segment from a known voltage
        known = np.concatenate([np.full(len(rows), along[0]), np.full(len(self.columns), down[-1, 0])])
        value = np.concatenate([between, between, -between, -between, known])
        place = np.concatenate([one, other, one, other, outer]), np.concatenate([one, other, other, one, outer])
        into = np.zeros(2 * word.size)
        into[word[:, 0]] = self.volts[rows] * along[0]
        return splu(coo_array((value, place)).tocsc()).solve(into)[bit[-1]] * down[-1]

    def badcrossbar(self, compute: Any, word_line: float, bit_line: float, grounded: bool) -> Floats:
        """Return badcrossbar's currents; cells that carry nothing have an infinite resistance."""
        held, ohms = self.siemens * (grounded + self.volts > 0)[:, None], np.full((self.size, self.size), np.inf)
        np.divide(1, held, out=ohms[:, self.group], where=held > 0)
        found = compute(self.volts[:, None], ohms, r_i_word_line=word_line, r_i_bit_line=bit_line, all_currents=False)
        return found.currents.output[0, self.group]

    def formula(self, name: str, ohms: float) -> Floats:
        """Return the currents of one of `FORMULAS`."""
        if name == "ours":
            return self.crossbar(ohms).currents(self.driven[None], self.rows, self.group)[0] * self.level
        held, down = self.siemens[self.rows], ohms * np.diff(self.rows, append=self.size)
        along = ohms * np.diff(self.columns, prepend=-1)
        fed = self.driven[:, None] * (ladder(held, along) if "ladder" in name else held)
        if name == "ladders":
            return ladder(fed.T[:, ::-1], down[::-1]).sum(axis=1)
        b = down @ fed.cumsum(axis=0) ** 2 / (current := np.maximum(fed.sum(axis=0), 1e-30))
        if name == "word ladder":
            return current / (1 + b)
        shared = np.minimum(self.columns[:, None], self.columns) + 1
        w = (fed * (ohms * held @ shared)).sum(axis=0) / current
        return current * (1 - w - b if name == "linear" else np.exp(-w - b))

    def errors(self, name: str, ohms: float, exact: Floats) -> Floats:
        return np.abs(self.formula(name, ohms)[self.conducts] / exact[self.conducts] - 1)


def ladder(cells: Floats, ohms: Floats) -> Floats:
    """Return the current of each cell (lines, cells) of lines driven by 1 V, ``ohms`` before each cell, 0 V behind."""
    seen = cells.copy()  # conductance of all from a cell on
    for k in range(cells.shape[1] - 1, 0, -1):
        seen[:, k - 1] += seen[:, k] / (1 + ohms[k] * seen[:, k])
    return cells * np.cumprod(1 / (1 + ohms * seen), axis=1)


def compare(draws: int) -> list[dict[str, Any]]:
    """Return a line for each read, cell, kind and wire, with mean and largest error of each formula."""
    lines = []
    for read, cell, on_off, kind in product(READS, CELLS, ON_OFF, KINDS):
        cases = [Case(read, cell, on_off, kind, seed) for seed in range(draws)]
        known = {"read": read, "cell": cell, "on_off": on_off, "cells": kind[0], "drives": kind[1]}
        for ohms in OHMS:
            exact = [(case, case.exact(ohms, ohms), case.exact(ohms, ohms, True)) for case in cases]
            errors = {name: np.hstack([c.errors(name, ohms, own) for c, own, _ in exact]) for name in FORMULAS}
            errors["grounded"] = np.hstack([c.errors("ours", ohms, own) for c, _, own in exact])
            found = {name: {"mean": own.mean(), "max": own.max()} for name, own in errors.items()}
            lines.append(known | {"ohms": ohms} | found)
    return lines


def worst(read: str, draws: int) -> dict[str, list[float]]:
    """Return for each formula the largest error of wires of 0, `STEP`, .. `LAST` ohms beside cells of 10 kOhm."""
    cases = [Case(read, CELLS[0], *own) for own in product(ON_OFF, KINDS, range(draws))]
    found = {name: [0.0] for name in FORMULAS}
    for ohms in np.arange(STEP, LAST + STEP, STEP):
        exact = [case.exact(ohms, ohms) for case in cases]
        for name, own in found.items():
            own.append(max(case.errors(name, ohms, one).max() for case, one in zip(cases, exact, strict=True)))
    return found


def agreement() -> float | None:
    """Return the largest relative difference of our nodal solve from badcrossbar's; None: that is not there."""
    try:
        with warnings.catch_warnings(record=True):  # it warns that it cannot draw
            compute = import_module("badcrossbar.compute").compute
    except ImportError as error:
        print(f"badcrossbar cannot be imported ({error}), so nothing is compared with it.", file=sys.stderr)
        return None
    logging.disable()  # it would log to stdout
    most = 0.0
    for read, on_off, kind, grounded in product(list(READS)[:3], ON_OFF, KINDS, (False, True)):
        case = Case(read, CELLS[0], on_off, kind, 0)
        difference = case.exact(2.0, 5.0, grounded) / case.badcrossbar(compute, 2.0, 5.0, grounded) - 1
        most = max(most, np.abs(difference[case.conducts]).max())
    return float(most)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.nodal", description=__doc__)
    parser.add_argument("--badcrossbar", default=os.environ.get("BADCROSSBAR"), help="folder of its package")
    parser.add_argument("--draws", type=positive, default=3)
    a = parser.parse_args(argv)
    sys.path[:0] = [a.badcrossbar] if a.badcrossbar else []
    agrees, lines = agreement(), compare(a.draws)
    errors = {read: worst(read, a.draws) for read in TARGETS}
    rows, tens = [], [line for line in lines if line["cell"] == CELLS[0]]
    for read, name in product(READS, (*FORMULAS, "grounded")):
        known = [[li[name] for li in tens if (li["read"], li["ohms"]) == (read, ohms)] for ohms in OHMS]
        means = [f"{np.mean([e['mean'] for e in own]):.2%} {max(e['max'] for e in own):.2%}" for own in known]
        rows.append([read, name, *means])
    table("Mean and largest error, 10 kOhm", ("read", "formula", *(f"{ohms:g} ohms" for ohms in OHMS)), rows)
    limits = []
    for read, name in product(errors, FORMULAS):  # the last step before the first that is too far off
        beyond = {s: next(k for k, own in enumerate((*errors[read][name], 9)) if own > s) for s in SHARES}
        limits.append({"read": read, "formula": name} | {f"within {s:.0%}": STEP * (k - 1) for s, k in beyond.items()})
    table("Largest wires, in ohms", list(limits[0]), [list(own.values()) for own in limits])
    most = {read: float(max(errors[read]["ours"][: round(ohms / STEP) + 1])) for read, ohms in TARGETS.items()}
    found = [Figure(f"{read}: largest error up to {TARGETS[read]:g} ohms", e, "<=", 0.05) for read, e in most.items()]
    found += [] if agrees is None else [Figure("nodal solve: difference from badcrossbar", agrees, "<=", 1e-9)]
    figures("Wires", found)
    targets = [own.as_dict() for own in found]
    emit({"benchmark": "nodal", "badcrossbar": agrees, "runs": lines, "limits": limits, "targets": targets})
    return 0 if all(own.met for own in found) else 1


if __name__ == "__main__":
    leave(main)
