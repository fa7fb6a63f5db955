"""The command `selvage verilog` with a training file."""

from dataclasses import replace
from pathlib import Path

from selvage.base.errors import InputError
from selvage.base.files import LISTING, alone_in, check_writable, write_files
from selvage.commands.cli_options import Asked
from selvage.commands.streams import show
from selvage.compiler.training import Session, check_seed
from selvage.frontend.training_file import load_training


def verilog_training(path: str, asked: Asked, *, out: Path, overlap: bool, bus: str | None, fold: int) -> None:
    """Write the training chip of a file as a bundle; ``schedule`` and ``seed`` are those of `selvage train`.

    `InputError`: another option than these is asked for.
    """
    others = replace(asked, schedule=Asked.schedule, seed=Asked.seed)
    if bus is not None or fold != 1 or others != Asked():
        raise InputError("of a training file selvage verilog takes --schedule, --overlap, --seed and --out alone")
    check_seed(asked.seed)
    schedule = "pipeline" if asked.schedule == Asked.schedule else asked.schedule
    session = Session(load_training(path), schedule, overlap, asked.seed)
    check_writable(out / LISTING)
    from selvage.bundle.training_bundle import training_files

    with alone_in(out):
        paths = write_files([training_files(session)], out)
    show(f"{len(paths)} files in {out}")
