"""Runs inside the simulator: the Wishbone shell, whose data pass through registers too."""

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from selvage.hw.shell.registers import Code, State
from tb.benches.shell_host import ADDRESSES, COMMANDS, DONE, ERROR, LOADED, TOLD, Host

INPUTS, OUTPUTS = TOLD["inputs"], TOLD["outputs"]
IMAGES = len(INPUTS[0])
IN_PARTS, OUT_PARTS = TOLD["parts"]


class WishboneHost(Host):
    """A classic manager that rests between accesses, at most ``rest`` cycles, with or without its cycle."""

    def __init__(self, dut: Any, rest: int = 3) -> None:
        super().__init__(dut)
        self.rest = rest
        for name in ("cyc", "stb", "we", "adr", "sel", "dat_w"):
            dut[f"wb_{name}"].value = 0

    async def access(self, address: int, data: int | None, sel: int = 15) -> int | None:
        """Writes ``data``, or reads; the answer, None if it was refused."""
        dut = self.dut
        if self.rest and (cycles := self.rng.randrange(self.rest + 1)):
            dut.wb_cyc.value, dut.wb_stb.value = self.rng.randrange(2), 0
            await ClockCycles(dut.clk, cycles)
        values = {"cyc": 1, "stb": 1, "we": int(data is not None), "adr": address, "sel": sel, "dat_w": data or 0}
        for name, value in values.items():
            dut[f"wb_{name}"].value = value
        for _ in range(1000):
            await RisingEdge(dut.clk)  # what is read here is from before the edge
            if dut.wb_ack.value == 1 or dut.wb_err.value == 1:
                break
        else:
            raise AssertionError("no answer")
        assert dut.wb_ack.value != dut.wb_err.value
        answer = dut.wb_dat_r.value.to_unsigned() if dut.wb_ack.value == 1 and data is None else 0
        refused = dut.wb_err.value == 1
        dut.wb_stb.value, dut.wb_cyc.value = 0, 0
        await RisingEdge(dut.clk)
        assert dut.wb_ack.value == dut.wb_err.value == 0, "answered twice"
        return None if refused else answer

    async def write(self, address: int, value: int) -> bool:
        return await self.access(address, value) is not None

    async def read(self, address: int) -> int | None:
        return await self.access(address, None)

    async def send(self, k: int, word: int, parts: int | None = None) -> None:
        """A word to input k once there is room, or its first parts."""
        while not await self.get("data_ready") >> k & 1:
            pass
        for part in range(IN_PARTS[k] if parts is None else parts):
            assert await self.put(f"data_in_{k}", word >> 32 * part & 0xFFFFFFFF)

    async def take(self, k: int, parts: int | None = None) -> int:
        """A word of output k once there is one, or its first parts."""
        while not await self.get("data_ready") >> 16 + k & 1:
            pass
        read = [await self.get(f"data_out_{k}") for _ in range(OUT_PARTS[k] if parts is None else parts)]
        return sum(part << 32 * n for n, part in enumerate(read))

    async def again(self, images: int = 1) -> None:
        """After a run that ended early: nothing of it is there, cells and tables are, and a whole run is right."""
        assert await self.state() == State.READY
        assert await self.get("data_ready") == 0
        await self.run(images)
        assert await self.get("images_done") == images

    async def pass_images(self, images: int, first: int = 0) -> None:
        """Words in where there is room, words out where there are some; the outputs are right."""
        sent, got = [0] * len(INPUTS), [[] for _ in OUTPUTS]
        words = [[word for image in own[first : first + images] for word in image] for own in INPUTS]
        expected = [[word for image in own[first : first + images] for word in image] for own in OUTPUTS]
        for _ in range(3000):
            ready = await self.get("data_ready")
            for k, own in enumerate(words):
                if ready >> k & 1 and sent[k] < len(own):
                    for part in range(IN_PARTS[k]):
                        assert await self.put(f"data_in_{k}", own[sent[k]] >> 32 * part & 0xFFFFFFFF)
                    sent[k] += 1
            for k, own in enumerate(got):
                if ready >> 16 + k & 1:
                    parts = [await self.get(f"data_out_{k}") for _ in range(OUT_PARTS[k])]
                    own.append(sum(part << 32 * n for n, part in enumerate(parts)))
            if all(len(own) >= len(want) for own, want in zip(got, expected, strict=True)):
                break
        assert got == expected
        assert await self.get("data_ready") >> 16 == 0, "more came than was expected"

    async def run(self, images: int = IMAGES) -> None:
        """A whole run, from the ready state."""
        await self.start(images)
        await self.pass_images(images)
        assert await self.interrupt() == DONE
        assert await self.state() == State.READY
        self.sane()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(rest=[0, 3])
async def whole(dut: Any, rest: int) -> None:
    """Two runs; reads are what the macros saw."""
    host = WishboneHost(dut, rest)
    await host.ready()
    for images in (2, 1):
        before = dut.reads.value.to_unsigned()
        await host.run(images)
        assert (await host.counters())[1] == dut.reads.value.to_unsigned() - before > 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def refused(dut: Any) -> None:
    """Starts and data before their time, addresses out of range, bad images: each answers err, with its code."""
    host = WishboneHost(dut)
    await host.reset()
    await host.put("interrupt_enable", DONE | ERROR | LOADED)
    tries = [("control", COMMANDS["start"], Code.NOT_LOADED), ("data_in_0", 1, Code.NOT_RUNNING)]
    tries += [("load_last", 1, Code.NOT_LOADING), ("ident", 1, Code.ADDRESS)]
    for name, value, code in tries:
        assert not await host.put(name, value)
        assert await host.error() == code
    for address in (0x0C, 0x60, 0x88, 0xFFC):
        assert await host.read(address) is None
        assert await host.error() == Code.ADDRESS
    assert await host.access(ADDRESSES["load_word"], 1, sel=7) is None
    assert await host.error() == Code.ADDRESS
    image = TOLD["image"]
    for words, code in ((image[:9], Code.TRUNCATED), ([*image[:-1], image[-1] ^ 256], Code.CHECKSUM)):
        assert await host.load(words) == ERROR and host.code == code
        assert not await host.command("start")
        assert await host.error() == Code.NOT_LOADED
    assert await host.load() == LOADED
    tables = TOLD["tables"][0]
    for words, code in ((tables[:-1], Code.TRUNCATED), ([*tables[:-1], tables[-1] ^ 1], Code.CHECKSUM)):
        assert await host.load_tables(words) == ERROR and host.code == code
        assert not await host.command("start")
        assert await host.error() == Code.NOT_LOADED
    assert await host.load_tables() == LOADED
    assert not await host.put("data_in_0", 1)
    assert await host.error() == Code.NOT_RUNNING
    await host.run(1)
    assert await host.read(ADDRESSES["data_out_0"]) is None
    assert await host.error() == Code.NO_DATA


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def during_a_run(dut: Any) -> None:
    """Writes are refused, so are words for which there is no room or no image; the outputs are right."""
    host = WishboneHost(dut)
    await host.ready()
    await host.start(1)
    for name, value in (("images", 9), ("programming", 0), ("load_word", 1), ("control", COMMANDS["load"])):
        assert not await host.put(name, value)
        assert await host.error() == Code.BUSY
    await host.pass_images(1)
    assert await host.interrupt() == DONE
    await host.start(2)
    for word in INPUTS[0][0]:
        while not await host.get("data_ready") & 1:
            pass
        assert await host.put("data_in_0", word)
    second = INPUTS[0][1]
    sent = 0
    while sent < len(second) and await host.put("data_in_0", second[sent]):
        sent += 1
    if sent == len(second):  # all fit: the run wants no more
        assert not await host.put("data_in_0", 0)
    assert await host.error() == Code.NO_ROOM
    assert await host.command("abort")
    assert await host.error() == Code.ABORTED
    await host.run(1)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def broken_off(dut: Any) -> None:
    """Aborted, or reset, in the middle of an image and of a word; the next run is right."""
    host = WishboneHost(dut)
    await host.ready()
    for turn in range(4):
        await host.start(2)
        for k, own in enumerate(INPUTS):
            for word in own[0][: host.rng.randrange(1, 6)]:
                for part in range(IN_PARTS[k]):
                    assert await host.put(f"data_in_{k}", word >> 32 * part & 0xFFFFFFFF)
        assert await host.put("data_in_1", 5)  # the first part of a word
        if turn % 2:
            await host.reset()
            assert await host.state() == State.EMPTY
            await host.ready()
        else:
            assert await host.command("abort")
            assert await host.error() == Code.ABORTED
        await host.run(1)


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(k=[0, 1])
async def aborted_entering(dut: Any, k: int) -> None:
    """Aborted when each number of words of an image, and of parts of a word, has entered."""
    host = WishboneHost(dut, 0)
    await host.ready()
    for entered in range(len(INPUTS[k][0])):
        for parts in range(IN_PARTS[k]):
            await host.start(2)
            for word in INPUTS[k][0][:entered]:
                await host.send(k, word)
            await host.send(k, INPUTS[k][0][entered], parts)
            assert await host.command("abort")
            assert await host.error() == Code.ABORTED
            await host.again()


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(k=[0, 1])
async def aborted_leaving(dut: Any, k: int) -> None:
    """Aborted when each number of words of an image, and of parts of a word, has been read: the rest is never seen."""
    host = WishboneHost(dut, 0)
    await host.ready()
    for left in range(len(OUTPUTS[k][0])):
        for parts in range(OUT_PARTS[k]):
            await host.start(2)
            for word in INPUTS[k][0]:
                await host.send(k, word)
            assert [await host.take(k) for _ in range(left)] == OUTPUTS[k][0][:left]
            await host.take(k, parts)
            assert await host.command("abort")
            assert await host.error() == Code.ABORTED
            assert await host.get("images_done") == 0
            await host.again()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(images=[1, 2], stopped=[False, True])
async def unread(dut: Any, images: int, stopped: bool) -> None:
    """A run is not done, nor are its images, before the last word has been read; the next run begins with its own."""
    host = WishboneHost(dut, 0)
    await host.ready()
    for _ in range(2):
        await host.start(0 if stopped else images)
        got: list[list[int]] = [[] for _ in OUTPUTS]
        for image in range(images):
            for k, own in enumerate(INPUTS):
                for word in own[image]:
                    await host.send(k, word)
                if image < images - 1:
                    got[k] += [await host.take(k) for _ in OUTPUTS[k][image]]
        assert not stopped or await host.command("stop")
        for k, own in enumerate(OUTPUTS):
            for n in range(len(own[images - 1])):
                await ClockCycles(dut.clk, 0 if n else 300)
                assert dut.interrupt_request.value == 0 and await host.state() == State.RUNNING
                assert await host.get("images_done") == images - 1
                got[k].append(await host.take(k))
        assert await host.interrupt(8) == DONE
        assert got == [[word for image in own[:images] for word in image] for own in OUTPUTS]
        await host.again(images)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def registers(dut: Any) -> None:
    """All are known before any run, in one, after it, and after each reset."""
    host = WishboneHost(dut, 0)
    for _ in range(2):
        await host.reset()
        found = await host.survey()
        assert found["failed_count"] == found["failed_cell"] == found["failed_levels"] == found["data_ready"] == 0
        await host.put("interrupt_enable", DONE | ERROR | LOADED)
        assert await host.interrupt() == ERROR  # of the addresses that are none
        await host.ready()
        await host.run(1)
        assert "data_out_0" not in await host.survey()
        await host.start(1)
        for word in INPUTS[1][0]:
            await host.send(1, word)
        await ClockCycles(dut.clk, 100)
        assert (await host.survey())["data_out_1"] == OUTPUTS[1][0][0] & 0xFFFFFFFF
