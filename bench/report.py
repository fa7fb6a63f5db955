"""Figures beside their targets: JSON on stdout, tables on stderr."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)


def positive(text: str) -> int:
    """A number on the command line: at least 1."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


@dataclass(frozen=True)
class Figure:
    """One measured value and what it is measured against."""

    name: str
    value: float
    relation: Literal["==", "<=", ">="]
    target: float

    @property
    def met(self) -> bool:
        match self.relation:
            case "==":
                return self.value == self.target
            case "<=":
                return self.value <= self.target
            case ">=":
                return self.value >= self.target

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "relation": self.relation,
            "target": self.target,
            "met": self.met,
        }


def shown(value: object) -> str:
    """A cell of a table."""
    if isinstance(value, bool):
        return "yes" if value else "[red]NO[/red]"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stderr; numbers are aligned right."""
    rows = list(rows)
    out = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        number = all(isinstance(row[index], int | float) for row in rows)
        out.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        out.add_row(*[shown(value) for value in row])
    console.print(out)


def figures(title: str, found: Iterable[Figure]) -> None:
    """A table of figures on stderr."""
    rows = [(f.name, f.value, f.relation, f.target, f.met) for f in found]
    table(title, ("figure", "value", "", "target", "met"), rows)


def emit(content: dict[str, Any]) -> None:
    """The result of a benchmark, on stdout."""
    print(json.dumps(content, indent=2))
