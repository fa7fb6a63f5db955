"""Signals named after their variables, alike under every Python.

Amaranth finds the variable in the byte code behind the call. That differs from Python to Python: 3.13 joins a store
with the load behind it, and where tuples are assigned 3.11, 3.12 and 3.13 all give other names, or none. The syntax
tree does not differ.
"""

import ast
import contextlib
import functools
import itertools
import sys
from collections.abc import Iterator
from types import CodeType

from amaranth import tracer

_RAISE = object()  # when there is no name


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Name the signals so that are made within, and no others: Amaranth's own way is there again behind it."""
    before = tracer.get_var_name
    tracer.get_var_name = get_var_name
    try:
        yield
    finally:
        tracer.get_var_name = before


def get_var_name(depth: int = 2, default: object = _RAISE) -> object:
    """Return the name that what is called ``depth`` frames above is assigned to.

    It is ``default`` where there is no name; NameNotFound: neither.
    """
    frame = sys._getframe(depth)
    name = _assigned(frame.f_code.co_filename).get(_end_of_call(frame.f_code, frame.f_lasti), default)
    if name is _RAISE:
        raise tracer.NameNotFound  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
    return name


@functools.cache
def _end_of_call(code: CodeType, instruction: int) -> tuple[int | None, int | None]:
    """Return line and column behind a call's parenthesis, which no two calls share."""
    _, line, _, column = next(itertools.islice(code.co_positions(), instruction // 2, None))
    return line, column


@functools.cache
def _assigned(path: str) -> dict[tuple[int | None, int | None], str]:
    """Return by the end of a call in a file the variable or attribute that it is assigned to; of no file none."""
    try:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except OSError:
        return {}
    found: dict[tuple[int | None, int | None], str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            _pair(node.targets[0], node.value, found)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            _pair(node.target, node.value, found)
    return found


def _pair(target: ast.expr, value: ast.expr, found: dict[tuple[int | None, int | None], str]) -> None:
    """Add calls in ``value`` by what they are assigned to, side by side where both are tuples."""
    if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) and len(value.elts) == len(target.elts):
        for pair in zip(target.elts, value.elts, strict=True):
            _pair(*pair, found)
    elif isinstance(value, ast.IfExp):
        _pair(target, value.body, found)
        _pair(target, value.orelse, found)
    elif isinstance(value, ast.Call) and isinstance(target, ast.Name | ast.Attribute):
        found[value.end_lineno, value.end_col_offset] = target.id if isinstance(target, ast.Name) else target.attr
