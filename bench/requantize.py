"""Outputs of the golden network that are onnxruntime's: every node of the shipped networks, on its own codes."""

import sys
from collections.abc import Sequence

import numpy as np
import onnx

from bench.onnx_models import Tally, compare, network_files
from bench.report import Figure, emit, figures, table
from selvage.frontend.onnx.graph import load_graph

IMAGES = 48


def counts() -> dict[str, list[int]]:
    """By kind of node: outputs that are equal, one step off, further off."""
    tally = Tally()
    for path in network_files():
        imported, random = load_graph(str(path)), np.random.default_rng(3)
        feeds = {
            name: random.standard_normal((IMAGES, *shape[1:]), dtype=np.float32)
            for name, (_, shape) in imported.inputs.items()
        }
        compare(onnx.load(path), imported, feeds, tally)
    return {kind: found.tolist() for kind, found in tally.counts.items()}


def summary() -> dict:
    """The counts, and their shares."""
    found = counts()
    equal, one, more = (sum(own[k] for own in found.values()) for k in range(3))
    total = equal + one + more
    own = [
        Figure("share of outputs that are onnxruntime's", equal / total, ">=", 0.9999),
        Figure("outputs more than one step off", more, "==", 0),
    ]
    rows = [[kind, *three, three[0] / sum(three)] for kind, three in found.items()]
    table("Golden network and onnxruntime", ("node", "equal", "one off", "more", "share"), rows)
    figures("Golden network and onnxruntime", own)
    return {"benchmark": "requantize", "counts": found, "targets": [figure.as_dict() for figure in own]}


def main(argv: Sequence[str] | None = None) -> int:
    content = summary()
    emit(content)
    return 0 if all(figure["met"] for figure in content["targets"]) else 1


if __name__ == "__main__":
    sys.exit(main())
