"""Runs inside the simulator: what the host of a shell does, whatever the bus."""

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge

from selvage.hw.shell.registers import Code, State
from tb.benches.bench_run import told

TOLD = told()
ADDRESSES = TOLD["addresses"]
COMMANDS = {"start": 1, "stop": 2, "abort": 4, "load": 8, "next_failed": 16, "load_tables": 32}
DONE, ERROR, LOADED = 1, 2, 4


def crossbar(dut: Any, k: int) -> Any:
    """The model of crossbar ``k``."""
    found = dut
    for name in TOLD["crossbars"][k].split("."):
        found = found[name]
    return found


class Host:
    """Registers by name. Subclasses have ``write(address, value)``, whether it was accepted, and ``read(address)``, the
    value or None."""

    def __init__(self, dut: Any) -> None:
        self.dut, self.rng = dut, random.Random(cocotb.RANDOM_SEED)
        dut._log.info("seed %d", cocotb.RANDOM_SEED)
        Clock(dut.clk, 10, unit="ns").start(start_high=False)

    async def write(self, address: int, value: int) -> bool:
        raise NotImplementedError

    async def read(self, address: int) -> int | None:
        raise NotImplementedError

    async def reset(self, cycles: int = 3) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, cycles)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def put(self, name: str, value: int) -> bool:
        return await self.write(ADDRESSES[name], value)

    async def get(self, name: str) -> int:
        value = await self.read(ADDRESSES[name])
        assert value is not None, f"{name} cannot be read"
        return value

    async def command(self, name: str) -> bool:
        return await self.put("control", COMMANDS[name])

    async def state(self) -> State:
        return State(await self.get("status") & 7)

    async def interrupt(self, patience: int = 20_000) -> int:
        """Waits for the line; what of that which is enabled raised it, cleared."""
        line = self.dut.interrupt_request
        if line.value != 1:
            await First(RisingEdge(line), ClockCycles(self.dut.clk, patience))
            assert line.value == 1, f"no interrupt, state {(await self.state()).name}"
            await RisingEdge(self.dut.clk)
        raised = await self.get("interrupt_status") & await self.get("interrupt_enable")
        self.code = Code(await self.get("status") >> 8 & 31)
        assert await self.put("interrupt_status", raised)
        await ClockCycles(self.dut.clk, 2)  # the line is a register
        return raised

    async def error(self) -> Code:
        """Waits for an error and nothing else; its code."""
        assert await self.interrupt() == ERROR
        return self.code

    async def load(self, words: list[int] | None = None, command: str = "load") -> int:
        """Load an image, the good one of cells unless told; what interrupted."""
        assert await self.command(command)
        words = TOLD["image"] if words is None else words
        for word in words[:-1]:
            assert await self.put("load_word", word)
        assert await self.put("load_last", words[-1])
        return await self.interrupt()

    async def load_tables(self, words: list[int] | None = None) -> int:
        """Likewise of tables."""
        return await self.load(TOLD["tables"][0] if words is None else words, "load_tables")

    async def ready(self, enable: int = DONE | ERROR | LOADED) -> None:
        """Reset, interrupts enabled, cells loaded, and tables where they are."""
        await self.reset()
        assert await self.put("interrupt_enable", enable)
        assert await self.load() == LOADED
        if TOLD["tables"]:
            assert await self.load_tables() == LOADED
        assert await self.state() == State.READY

    async def start(self, images: int) -> None:
        assert await self.put("images", images)
        assert await self.command("start")

    async def counters(self) -> tuple[int, int]:
        """Cycles and reads of the run."""
        pairs = [[await self.get(f"{name}_{half}") for half in ("low", "high")] for name in ("cycles", "reads")]
        return tuple(low | high << 32 for low, high in pairs)

    def sane(self) -> None:
        """What the harness saw all along."""
        assert self.dut.conflict.value == 0, "a macro was programmed while one computed"
        assert self.dut.unstable.value == 0, "something that was offered changed before it was taken"
        assert self.dut.unknown.value == 0, "something was not known while it was offered"

    async def survey(self) -> dict[str, int]:
        """All registers that can be read, whose names and no others are; no bit is unknown."""
        found = {address: await self.read(address) for address in range(0, 0x100, 4)}
        self.sane()
        closed = {name for name, address in ADDRESSES.items() if found[address] is None}
        assert {address for address, value in found.items() if value is not None} <= set(ADDRESSES.values())
        assert closed - {"control", "load_word", "load_last"} <= {
            name for name in ADDRESSES if name.startswith("data_")
        }
        return {name: found[address] for name, address in ADDRESSES.items() if name not in closed}
