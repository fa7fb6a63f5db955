"""Results as tables that a person reads."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from selvage.base.text import visible
from selvage.commands.layer_report import LayerReport
from selvage.commands.streams import show


def verdict(match: bool | None) -> str:
    """Return the word for a verdict; None where RTL was not run."""
    return {True: "match", False: "MISMATCH", None: "model only"}[match]


def tell_fault(sentence: str) -> None:
    """Print why RTL does not match; nothing where it does."""
    if sentence:
        show(sentence)


def tell_diagnosis(diagnosis: Any) -> None:
    """Print where a run went wrong, a line each; nothing where that is not known."""
    for line in str(diagnosis).splitlines() if diagnosis else ():
        show(line)


def table_of(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table with numbers to the right and words to the left."""
    rows = list(rows)
    table = Table(title=Text(visible(title), style="table.title"))
    for index, head in enumerate(heads):
        numbers = all(row[index][:1].isdigit() or row[index] in ("-", "") for row in rows)
        # Words may break where a terminal is narrow, figures may not.
        least = max((len(row[index]) for row in rows), default=0) if numbers else None
        table.add_column(head, justify="right" if numbers else "left", overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))  # names are any text, no markup
    return table


def layer_row(line: LayerReport) -> list[str]:
    """Return schedule, steps, cycles, predicted cycles, reads, and the share of reads skipped."""
    return [
        line.schedule,
        f"{line.steps:,}",
        f"{line.cycles:,}" if line.match is not None else "-",
        f"{line.cycles_model:,}",
        f"{line.ou_reads:,}",
        f"{line.ou_skipped / max(1, line.ou_reads + line.ou_skipped):.1%}",
    ]


def tiles_of(line: Any) -> str:
    """Return how many tiles there are, and in how many passes."""
    return f"{line.tiles:,}" + (f" in {line.passes} passes" if line.passes > 1 else "")


def layer_table(lines: Iterable[LayerReport]) -> Table:
    """Return a table of one row a layer."""
    heads = ("layer", "schedule", "steps", "RTL cycles", "predicted", "OU reads", "skipped", "crossbars", "tiles")
    rows = [[line.name, *layer_row(line), f"{line.crossbars:,}", tiles_of(line), verdict(line.match)] for line in lines]
    return table_of("selvage", (*heads, "verdict"), rows)


def network_table(content: dict) -> Table:
    """Return a table of one row a layer, then the ratio to each baseline."""
    names = list(content["crossbars_dense"])
    rows = [
        [line["name"], line["mapping"], f"{line['crossbars']:,}"]
        + [f"{line['crossbars_dense'][name]:,}" for name in names]
        + ["-" if line["sqnr_db"] is None else f"{line['sqnr_db']:.1f}", line["note"]]
        for line in content["layers"]
    ]
    error = "-" if content["sqnr_db"] is None else f"{content['sqnr_db']:.1f}"
    rows.append(
        ["all", "", f"{content['crossbars']:,}", *[f"{n:,}" for n in content["crossbars_dense"].values()], error, ""]
    )
    rows.append(["dense over all", "", "", *[f"{ratio:.2f}x" for ratio in content["ratios"].values()], "", ""])
    return table_of("crossbars", ("layer", "mapping", "crossbars", *names, "SQNR dB", "note"), rows)


def cycle_table(content: dict) -> Table:
    """Return a table of one row a layer: what the cycle model counts of one image; memories in bits."""
    heads = ("steps", "cycles", "ou_reads", "ou_skipped", "tiles", "crossbars")
    buffers = ("input", "rows", "sums")
    rows = [
        [
            line["name"],
            line["schedule"],
            *(f"{line[name]:,}" for name in heads),
            *(f"{line['buffer_bits'][name]:,}" for name in buffers),
        ]
        for line in [*content["layers"], {**content, "name": "all", "schedule": ""}]
    ]
    named = ("steps", "cycles", "OU reads", "skipped", "tiles", "crossbars")
    return table_of("cycles of one image", ("layer", "schedule", *named, *(f"{name} bits" for name in buffers)), rows)
