"""What a person reads: tables and progress, on the error stream so that JSON may go to the output."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from selvage.run import LayerReport


def progress() -> Progress:
    """A bar for each layer, on the error stream."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def verdict(match: bool | None) -> str:
    return {True: "match", False: "MISMATCH", None: "model only"}[match]


def layer_table(lines: Iterable[LayerReport]) -> Table:
    """One row a layer."""
    table = Table(title="selvage")
    heads = ["layer", "schedule", "steps", "cycles", "foretold", "OU-reads", "skipped", "crossbars", "tiles", "verdict"]
    for head in heads:
        table.add_column(
            head.replace("-", " "), justify="left" if head in ("layer", "schedule", "verdict") else "right"
        )
    for line in lines:
        total = line.ou_reads + line.ou_skipped
        table.add_row(
            line.name,
            line.schedule,
            f"{line.steps:,}",
            f"{line.cycles:,}" if line.match is not None else "-",
            f"{line.cycles_model:,}",
            f"{line.ou_reads:,}",
            f"{line.ou_skipped / max(1, total):.1%}",
            f"{line.crossbars:,}",
            f"{line.tiles:,}",
            verdict(line.match),
        )
    return table
