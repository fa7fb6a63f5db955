"""Yosys within this process: each run stands alone, and what it reports is an error here."""

import multiprocessing
import threading

import pytest
import wasmtime

from selvage.verilog import yosys

WIRE = "module \\only\n  wire width 3 output 1 \\y\n  connect \\y 3'101\nend\n"


def test_a_run_keeps_nothing_of_the_one_before():
    assert "assign y = 3'h5;" in yosys.run_yosys(WIRE, "write_verilog -noattr", "only")
    assert yosys.run_yosys("", "write_verilog -noattr", "none").count("module") == 0


def test_an_error_of_yosys_names_the_module():
    with pytest.raises(RuntimeError, match=r"(?s)failed on alone:.*No such command: no_such_command"):
        yosys.run_yosys(WIRE, "no_such_command", "alone")


def test_runs_side_by_side_keep_apart():
    found: dict[str, str] = {}

    def job(name: str) -> None:
        found[name] = yosys.run_yosys(WIRE.replace("only", name), "write_verilog -noattr", name)

    threads = [threading.Thread(target=job, args=(f"only_{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"module {name}(" in text and text.count("endmodule") == 1 for name, text in found.items())
    assert len(found) == 4


def test_a_full_disk_is_told_as_one(monkeypatch):
    """Wasmtime keeps its compiled code in the home folder; its error is one of its own kind."""

    def full(*_):
        raise wasmtime.WasmtimeError("failed to write cache: No space left on device (os error 28)")

    monkeypatch.setattr(wasmtime, "Module", full)
    with pytest.raises(OSError, match="No space left"):
        yosys._load.__wrapped__()


def _converted(pipe) -> None:
    pipe.send(yosys.run_yosys(WIRE, "write_verilog -noattr", "only"))


def test_a_forked_process_runs_it_too():
    """Threads of the first run are not in a process that is forked after it."""
    first = yosys.run_yosys(WIRE, "write_verilog -noattr", "only")
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_converted, args=(there,), daemon=True)
    child.start()
    assert here.poll(60), "the forked process hangs"
    assert here.recv() == first
    child.join()
