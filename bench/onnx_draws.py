"""Random quantised graphs against onnxruntime, operator by operator on onnxruntime's own codes.

Exact arithmetic (`bench.onnx_graphs`) says what real numbers an operator makes; rounding them with the zero point first
or last gives one code, or two next to each other. A code of ours that is not onnxruntime's by default is a *difference*
unless it is one step off and one of these explains it: onnxruntime's float32 lies within its own error of a half
(``float32``), its two levels of optimisation disagree (``levels``), or a bias is stored in whole units of a sum
(``bias``): one in floats, or codes whose scale is their unit rounded to float32. Where both levels and exact arithmetic
agree, and where float32 is exact for a graph's scales, nothing explains another code but a bias.
"""

import argparse
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from bench.onnx_graph_operators import seeded
from bench.onnx_graphs import Codes, Drawn, Step
from bench.report import Figure, emit, figures, positive, table
from selvage.base.errors import InputError
from selvage.frontend.onnx.graph import Imported, load_graph
from selvage.golden.graph import evaluate_node

LEVELS = onnxruntime.GraphOptimizationLevel
FLOAT_ERROR = 2.0**-18
"""Of a float32 kernel's steps: some roundings of 2**-24 each, of numbers up to a few hundred."""
Found = dict[str, NDArray]


def onnxruntime_codes(drawn: Drawn, level: LEVELS) -> Found:
    """All codes of a graph. onnxruntime refuses equal names of nodes, which ONNX allows: there they get others."""
    model = onnx.ModelProto()
    model.CopyFrom(drawn.model)
    for index, node in enumerate(model.graph.node):
        node.name = f"node {index}"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level, options.intra_op_num_threads = level, 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feeds = drawn.feeds | _constant_inputs(drawn)
    given = {own.name: feeds[own.name] for own in session.get_inputs()}
    names = [own.name for own in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True)) | drawn.feeds


def _constant_inputs(drawn: Drawn) -> Found:
    """Weights of old containers, which stand among the inputs."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in drawn.model.graph.initializer}


def our_codes(imported: Imported, given: Found) -> Found:
    """Every tensor of codes from ``given`` ones; tensors that only we have go with the next node."""
    graph, known, found = imported.graph, {}, {}
    for name, tensor in graph.tensors.items():
        if name in given:
            known[name] = given[name].astype(np.int64).reshape(-1, *tensor.shape)
    for node in graph.nodes:
        made = evaluate_node(node, [graph.tensors[own] for own in node.inputs], [known[own] for own in node.inputs])
        found[node.output.name] = made
        known.setdefault(node.output.name, made)
    # Where a node changes nothing the same tensor leaves under two names.
    return {own.name: own.ordered((known | found)[own.tensor.name]) for own in imported.boundaries}


def exact_codes(step: Step, given: Found) -> tuple[NDArray, NDArray, NDArray]:
    """Zero point last, zero point first, and how far the steps are from a half."""
    real = step.rule(*(own.worth(given[own.name]) for own in step.sources))
    to, (low, high) = step.output, _bounds(step.output)
    steps = real / np.float64(np.float32(to.scale))
    twice = np.rint(steps * 2) / 2
    steps = np.where(np.abs(steps - twice) < 2.0**-40 * np.maximum(1, np.abs(steps)), twice, steps)
    apart = np.abs(steps - np.floor(steps) - 0.5)
    last, first = np.rint(steps) + to.zero, np.rint(steps + to.zero)
    # Beyond the codes every step is the same code.
    apart = np.where((steps + to.zero < low - 1) | (steps + to.zero > high + 1), 1.0, apart)
    return np.clip(last, low, high), np.clip(first, low, high), apart


def _bounds(to: Codes) -> tuple[int, int]:
    return int(np.iinfo(to.kind).min), int(np.iinfo(to.kind).max)


class Tally:
    """Counts of outputs by operator and verdict, and what went wrong."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter] = {}
        self.wrong: list[dict] = []
        self.refused: Counter = Counter()
        self.tracebacks: list[dict] = []
        self.unsupported = 0
        self.compared = 0

    def judge(self, drawn: Drawn, step: Step, ours: NDArray, default: Found, plain: Found) -> None:
        """Count the outputs of one operator."""
        theirs, off = (own[step.output.name].astype(np.int64) for own in (default, plain))
        ours = ours.reshape(theirs.shape)
        last, first, apart = exact_codes(step, default)
        same = ours == theirs
        right = (ours == last) | (ours == first)
        near = apart < FLOAT_ERROR * np.maximum(1, np.abs(theirs - step.output.zero))
        inputs_agree = all(np.array_equal(default[own.name], plain[own.name]) for own in step.sources)
        levels = (theirs != off) & inputs_agree
        bias = (apart < step.lost + FLOAT_ERROR) & (step.lost > 0)
        one = ~same & (np.abs(ours - theirs) <= 1)
        agreed = (theirs == last) & (theirs == first) & (theirs == off) & inputs_agree
        explained = one & ((right & ~agreed & (near | levels) & (not step.exact)) | bias)
        own = self.counts.setdefault(step.operator, Counter())
        own.update(
            outputs=ours.size,
            same=int(same.sum()),
            float32=int((explained & near & ~bias).sum()),
            levels=int((explained & ~near & ~bias).sum()),
            bias=int((explained & bias).sum()),
            different=int((~same & ~explained).sum()),
        )
        if (~same & ~explained).any():
            at = tuple(int(k) for k in np.argwhere(~same & ~explained)[0])
            values = {"ours": ours, "default": theirs, "off": off, "last": last, "first": first, "apart": apart}
            shown = {name: float(array[at]) for name, array in values.items()}
            self.wrong.append({"seed": drawn.seed, "operator": step.operator, "at": at, **shown})


def check(drawn: Drawn, folder: Path, tally: Tally) -> None:
    """One graph."""
    if not drawn.steps:
        return
    try:
        default = onnxruntime_codes(drawn, LEVELS.ORT_ENABLE_ALL)
        plain = onnxruntime_codes(drawn, LEVELS.ORT_DISABLE_ALL)
    except Exception:  # what onnxruntime does not run says nothing about us
        tally.unsupported += 1
        return
    path = folder / "model.onnx"
    path.write_bytes(drawn.model.SerializeToString())
    try:
        ours = our_codes(load_graph(str(path)), default)
    except InputError as error:
        tally.refused[f"{drawn.seed}: {error}"] += 1
        return
    except Exception:
        tally.tracebacks.append({"seed": drawn.seed, "error": traceback.format_exc().splitlines()[-3:]})
        return
    tally.compared += 1
    for step in drawn.steps:
        tally.judge(drawn, step, ours[step.output.name], default, plain)


def summary(count: int, seed: int) -> dict:
    """Counts of ``count`` graphs."""
    tally, started = Tally(), time.monotonic()
    onnxruntime.set_default_logger_severity(4)
    with TemporaryDirectory(prefix="selvage.") as folder:
        for index in itertools.count():
            if tally.compared + len(tally.tracebacks) + sum(tally.refused.values()) >= count:
                break
            check(seeded(seed, index), Path(folder), tally)
    total = sum(tally.counts.values(), Counter())
    targets = [
        Figure("graphs compared", tally.compared, ">=", 5000),
        Figure("outputs that differ and are not explained", total["different"], "==", 0),
        Figure("graphs refused", sum(tally.refused.values()), "==", 0),
        Figure("tracebacks", len(tally.tracebacks), "==", 0),
    ]
    columns = ("outputs", "same", "float32", "levels", "bias", "different")
    table("Random graphs and onnxruntime", ("operator", *columns), _rows(tally, columns))
    figures("Random graphs and onnxruntime", targets)
    return {
        "benchmark": "onnx_draws",
        "seed": seed,
        "onnxruntime": onnxruntime.__version__,
        "seconds": round(time.monotonic() - started, 1),
        "not run by onnxruntime": tally.unsupported,
        "counts": {name: dict(own) for name, own in sorted(tally.counts.items())},
        "wrong": tally.wrong[:20],
        "refused": list(tally.refused)[:50],
        "tracebacks": tally.tracebacks[:20],
        "targets": [figure.as_dict() for figure in targets],
    }


def _rows(tally: Tally, columns: Sequence[str]) -> list[list[object]]:
    return [[name, *(own[column] for column in columns)] for name, own in sorted(tally.counts.items())]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=positive, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    content = summary(given.count, given.seed)
    emit(content)
    return 0 if all(figure["met"] for figure in content["targets"] if figure["relation"] == "==") else 1


if __name__ == "__main__":
    sys.exit(main())
