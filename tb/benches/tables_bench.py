"""Runs inside the simulator: an AXI shell whose network is built with other constants than it is loaded with."""

from typing import Any

import cocotb

from selvage.hw.shell.registers import Code, State
from tb.benches.axi_host import IMAGES, AxiHost
from tb.benches.shell_host import COMMANDS, DONE, ERROR, LOADED, TOLD

OWN, OTHER = TOLD["tables"]
HEAD = 3  # words of a header
CELLS, TABLES = 32, 64  # of STATUS


async def refused(host: AxiHost, words: list[int], code: Code) -> None:
    """An image of tables is refused, and so is a start; nothing is computed."""
    before = host.dut.reads.value.to_unsigned()
    assert await host.load_tables(words) == ERROR and host.code == code
    status = await host.get("status")
    assert status >> 16 & 31 == code and not status & TABLES
    assert State(status & 7) == State.EMPTY
    assert not await host.command("start")
    assert await host.error() == Code.NOT_LOADED
    assert host.dut.reads.value == before


@cocotb.test(timeout_time=600, timeout_unit="us")
async def other_constants(dut: Any) -> None:
    """The outputs are those of the constants that were loaded last; cells stay as they are."""
    host = AxiHost(dut, 0.0)
    await host.ready()
    assert await host.get("tables") == TOLD["design"] == OWN[2]
    await host.run()
    host.outputs = TOLD["others"]
    assert await host.load_tables(OTHER) == LOADED
    for stream in (*host.sources, *host.sinks):
        stream.set_pause_generator(host.pause(0.5))
    await host.run()
    await host.run(1)
    host.outputs = TOLD["outputs"]
    assert await host.load_tables(OWN) == LOADED
    await host.run()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def bad_images(dut: Any) -> None:
    """Truncated, corrupted, too long, of another design or kind: refused until a good one comes, whatever was there."""
    host = AxiHost(dut, 0.0)
    rng = host.rng
    await host.reset()
    assert await host.put("interrupt_enable", DONE | ERROR | LOADED)
    assert await host.load() == LOADED
    assert await host.get("status") & 127 == CELLS | State.EMPTY
    corrupted, other = [*OTHER], [*OTHER]
    corrupted[rng.randrange(HEAD, len(OTHER))] ^= 1 << rng.randrange(32)
    other[rng.randrange(HEAD)] ^= 1 << rng.randrange(32)
    await refused(host, OTHER[: rng.randrange(HEAD, len(OTHER) - 1)], Code.TRUNCATED)
    await refused(host, OTHER[:-1], Code.TRUNCATED)
    await refused(host, corrupted, Code.CHECKSUM)
    assert await host.load_tables() == LOADED
    await host.run(1)
    await refused(host, other, Code.HEADER)
    await refused(host, [*OTHER, 0], Code.TOO_LONG)
    await refused(host, TOLD["image"][:9], Code.HEADER)
    assert await host.load_tables() == LOADED
    await host.run(1)
    assert await host.load(OTHER) == ERROR and host.code == Code.HEADER  # as cells
    assert await host.get("status") & 127 == TABLES | State.EMPTY
    assert not await host.command("start")
    assert await host.error() == Code.NOT_LOADED
    assert await host.load() == LOADED
    await host.run(1)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def before_cells(dut: Any) -> None:
    """Tables alone are not enough, nor is their initial content; a reset forgets that they are there."""
    host = AxiHost(dut, 0.0)
    for cells_first in (False, True):
        await host.reset()
        await host.put("interrupt_enable", DONE | ERROR | LOADED)
        first, second = ("load", "load_tables") if cells_first else ("load_tables", "load")
        images = {"load": TOLD["image"], "load_tables": OWN}
        assert await host.load(images[first], first) == LOADED
        assert await host.state() == State.EMPTY
        assert not await host.command("start")
        assert await host.error() == Code.NOT_LOADED
        assert await host.load(images[second], second) == LOADED
        await host.run(1)
        assert await host.command("load_tables")  # ended by the reset
        for word in OTHER[: host.rng.randrange(HEAD + 1, HEAD + 20)]:
            assert await host.put("load_word", word)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def during_a_load(dut: Any) -> None:
    """A start or another load is refused while tables are loaded; an abort voids them."""
    host = AxiHost(dut, 0.0)
    await host.ready()
    assert await host.command("load_tables")
    for word in OTHER[: host.rng.randrange(HEAD + 1, HEAD + 20)]:
        assert await host.put("load_word", word)
    assert await host.get("status") & 127 == CELLS | 8 | State.LOADING
    for name, code in (("start", Code.NOT_LOADED), ("load", Code.BUSY), ("load_tables", Code.BUSY)):
        assert not await host.command(name)
        assert await host.error() == code
    assert await host.command("abort")
    assert await host.error() == Code.ABORTED
    assert await host.state() == State.EMPTY
    assert not await host.command("start")
    assert await host.error() == Code.NOT_LOADED
    host.outputs = TOLD["others"]
    assert await host.load_tables(OTHER) == LOADED
    await host.run()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def during_a_run(dut: Any) -> None:
    """Loads and words are refused with a code and an interrupt, and the outputs are right, then and afterwards."""
    host = AxiHost(dut, 0.0)
    await host.ready()
    host.feed()
    await host.start(IMAGES)
    waiting = cocotb.start_soon(host.expect())
    tries = [
        ("control", COMMANDS["load_tables"]),
        *(("load_word", word) for word in OTHER[:5]),
        ("load_last", OTHER[-1]),
    ]
    for name, value in tries:
        assert await host.state() == State.RUNNING, "too short a run"
        assert not await host.put(name, value)
        assert await host.error() == Code.BUSY
    assert not await host.put("control", COMMANDS["load_tables"] | COMMANDS["load"])
    assert await host.error() == Code.MALFORMED
    await waiting
    assert await host.interrupt() == DONE
    await host.run(1)
