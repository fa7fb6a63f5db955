"""The command `selvage doctor`."""

from dataclasses import asdict
from pathlib import Path

from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.files import check_writable
from selvage.base.text import count_of
from selvage.commands.results import check_outputs_apart, emit
from selvage.commands.streams import show
from selvage.commands.tables import table_of
from selvage.compiler.doctor import examine
from selvage.frontend.kinds import is_network
from selvage.frontend.options import shape_of


def doctor(
    model_file: str, *, chip: str, shape: str | None, partial: bool, every_node: bool, json_file: Path | None
) -> bool:
    """Do `selvage doctor`; return whether the whole model runs, its host parts included."""
    if not is_network(model_file):
        raise InputError(f"doctor is for networks, ONNX files, and {model_file!r} is none")
    check_writable(json_file if str(json_file) != "-" else None)
    check_outputs_apart({"--json": json_file}, {"MODEL": model_file})
    found = examine(model_file, load_chip(chip), shape_of(shape), partial=partial)
    quiet = ("QuantizeLinear", "DequantizeLinear")
    shown = [
        node
        for node in found.nodes
        if every_node or node.where == "in the way" or (node.where != "nothing to do" and node.operator not in quiet)
    ]
    rows = [[node.name, node.operator, node.where, node.why, node.change] for node in shown]
    show(table_of("doctor", ("node", "operator", "runs on", "why", "what to change"), rows))
    counts = ", ".join(f"{count} {where}" for where, count in sorted(found.counts.items()))
    cuts = f"; the host is asked {count_of(found.cuts, 'time')} between layers" if found.cuts else ""
    show(f"{counts}{cuts}")
    emit({"whole": found.whole, "cuts": found.cuts, "nodes": [asdict(node) for node in found.nodes]}, json_file)
    return found.whole
