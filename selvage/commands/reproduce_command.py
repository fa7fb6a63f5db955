"""`selvage reproduce`: the papers' figures recomputed, beside what they published."""

import time
from concurrent.futures import as_completed
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from rich.table import Table

from selvage.base.errors import InputError
from selvage.base.files import alone_in, check_folder, check_writable
from selvage.commands.results import emit
from selvage.commands.streams import progress, show
from selvage.commands.tables import table_of
from selvage.papers.rows import Recomputed, Row
from selvage.rtlsim.installed import check_simulator
from selvage.rtlsim.simulate import workers

PAPERS = ("red", "sme", "pattern", "sre", "regan", "combined")


def recompute(paper: str, rtl: bool) -> Recomputed:
    """Return all of one paper; a process of its own does this."""
    return import_module(f"selvage.papers.{paper}").recompute(rtl=rtl, tick=lambda: None)


def reproduce(paper: str, *, rtl: bool, json_file: Path | None, out: Path | None) -> None:
    """Do `selvage reproduce`."""
    started = time.monotonic()
    if paper not in (*PAPERS, "all"):
        raise InputError(f"paper {paper!r} is none of {', '.join(PAPERS)}, all")
    check_writable(json_file if str(json_file) != "-" else None)
    if out:
        check_folder(out, f"--out {out}")
    if rtl:
        check_simulator("icarus")
    names = PAPERS if paper == "all" else (paper,)
    found: dict[str, Recomputed] = {}
    with workers() as pool, progress(transient=True) as bar:
        task = bar.add_task("papers", total=len(names))
        # The longest first, so that no core is left alone with it at the end.
        jobs = {pool.submit(recompute, name, rtl): name for name in reversed(names)}
        for job in as_completed(jobs):
            found[jobs[job]] = job.result()
            bar.advance(task)
    rows = [row for name in names for row in found[name].rows]
    show(row_table(rows))
    show(f"{len(rows)} figures in {time.monotonic() - started:.0f} s")
    if out:
        from selvage.papers.plots import write_plots

        with alone_in(out):
            plots = [plot for name in names for plot in found[name].plots]
            write_plots(plots, out)
        show(f"{len(plots)} plots in {out}, each as SVG and PNG")
    emit([asdict(row) for row in rows], json_file)


def row_table(rows: list[Row]) -> Table:
    """Return a table of one row a figure."""

    def shown(value: float | str | None) -> str:
        return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"

    cells = [[r.paper, r.figure, shown(r.published), shown(r.model), shown(r.rtl), r.assumption] for r in rows]
    return table_of("recomputed", ("paper", "figure", "published", "model", "RTL", "assumption"), cells)
