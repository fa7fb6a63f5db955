"""Errors of onnxruntime as sentences that name the node."""

import re
from typing import NoReturn

from onnx import GraphProto, NodeProto

from selvage.base.errors import InputError
from selvage.frontend.layer_file import one_line
from selvage.frontend.onnx.read import title_of
from selvage.frontend.quantize.names import Neutral


def refuse(
    error: Exception, what: str, graph: GraphProto, neutral: Neutral | None = None, way_out: str = ""
) -> NoReturn:
    """Raise `InputError` with ``what``, the node at which a library failed, if that can be told, and a way out."""
    if isinstance(error, InputError):
        raise error
    raise InputError(f"{what}{words(error, graph, neutral)}{way_out}") from None


def words(error: Exception, graph: GraphProto, neutral: Neutral | None = None) -> str:
    """Return a library's message behind the node that it is about, by the names that the user's file has."""
    text = neutral.text(str(error)) if neutral else str(error)
    text = re.sub(r"\S*/selvage\.[^/\s]+/", "", text)  # our own folder
    node = _named(text, graph) or _at_work(error, graph, neutral)
    where = f": {title_of(node)} ({node.op_type})" if node else ""
    return f"{where}: {one_line(Exception(text)) if text else type(error).__name__}"


def _named(text: str, graph: GraphProto) -> NodeProto | None:
    """Return the node that a message names, or else the first of an operator that it names."""
    before = r"(?i)(node|name)[ :]*[('\"]*"
    named = [node for node in graph.node if re.search(rf"{before}{re.escape(node.name)}(?!\w)", text)]
    alike = [node for node in graph.node if re.search(rf"[:.]{re.escape(node.op_type)}\(", text)]
    return max(named, key=lambda node: len(node.name), default=next(iter(alike), None))


def _at_work(error: Exception, graph: GraphProto, neutral: Neutral | None) -> NodeProto | None:
    """Return the node that the quantiser, which is Python, worked at when it failed.

    Where it worked at a tensor, that is the node that reads it.
    """
    makers = {node.name: node for node in graph.node}
    readers = {name: node for node in graph.node for name in node.input}
    old = neutral.restored if neutral else str
    found, trace = None, error.__traceback__
    while trace is not None:
        for value in trace.tb_frame.f_locals.values():
            held = value if isinstance(value, NodeProto) else getattr(value, "node", None)
            if isinstance(held, NodeProto):
                found = makers.get(old(held.name), found)
            elif isinstance(value, str):
                found = readers.get(old(value), found)
        trace = trace.tb_next
    return found
