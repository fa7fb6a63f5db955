"""The command `selvage prune`."""

from pathlib import Path

from selvage.commands.streams import show
from selvage.commands.tables import table_of
from selvage.frontend.circulant import prune_to_blocks
from selvage.frontend.prune import prune_file


def prune(model_file: str, out: Path, *, patterns: int, kernel_sparsity: float, entries: int) -> None:
    """Do `selvage prune`."""
    nodes = prune_file(model_file, out, patterns=patterns, kernel_sparsity=kernel_sparsity, entries=entries)
    rows = [
        [n.name, f"{n.weights:,}", f"{n.kept:,}", f"{n.kernels:,}", f"{n.deleted:,}", str(n.patterns)] for n in nodes
    ]
    show(table_of("pruned", ("node", "weights", "kept", "kernels", "deleted", "patterns"), rows))


def prune_dense(model_file: str, out: Path, size: int) -> None:
    """Do `selvage prune --circulant`."""
    nodes = prune_to_blocks(model_file, out, size)
    rows = [[n.name, f"{n.rows:,} x {n.columns:,}", f"{n.numbers:,}", f"{n.lost:.1%}"] for n in nodes]
    show(table_of("circulant", ("node", "weights", "numbers", "of their energy lost"), rows))
