"""Runs inside the simulator: the AXI shell, driven by cocotbext-axi with random pauses on every channel."""

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp, AxiStreamFrame

from selvage.hw.network.crossbar_control import HOPS
from selvage.hw.shell.registers import Code, State
from tb.benches.axi_host import IMAGES, INPUTS, OUTPUTS, AxiHost
from tb.benches.shell_host import ADDRESSES, COMMANDS, DONE, ERROR, LOADED, TOLD, crossbar


@cocotb.test(timeout_time=600, timeout_unit="us")
@cocotb.parametrize(pauses=[0.0, 0.3, 0.8])
async def whole(dut: Any, pauses: float) -> None:
    """Two runs; counters are those of the last, and what the macros saw."""
    host = AxiHost(dut, pauses)
    await host.ready()
    for images in (IMAGES, 2):
        before = dut.reads.value.to_unsigned()
        await host.run(images)
        cycles, reads = await host.counters()
        assert reads == dut.reads.value.to_unsigned() - before > 0
        assert cycles >= images * max(map(len, INPUTS[0]))
        assert await host.counters() == (cycles, reads), "they go on counting"
        if not pauses and images == IMAGES:
            assert cycles - TOLD["bare_cycles"] == 4 + HOPS + 1, "not as docs/shell.md says"
        assert await host.get("images_done") == images


@cocotb.test(timeout_time=600, timeout_unit="us")
async def timing(dut: Any) -> None:
    """Of accesses, and of a run's begin and end, as docs/shell.md says."""
    host = AxiHost(dut, 0.0)
    await host.ready()
    seen: dict[str, list[int]] = {}
    watched = {f"s_axil_{c}": (f"s_axil_{c}valid", f"s_axil_{c}ready") for c in ("aw", "w", "b", "ar", "r")}
    watched |= {
        f"last_{k}": (f"m_axis_{k}_tvalid", f"m_axis_{k}_tready", f"m_axis_{k}_tlast") for k in range(len(OUTPUTS))
    }
    watched |= {"open": ("s_axis_0_tready",), "interrupt": ("interrupt_request",)}

    async def watch() -> None:
        handles = {name: [dut[pin] for pin in pins] for name, pins in watched.items()}
        now = 0
        while True:
            await RisingEdge(dut.clk)
            now += 1
            for name, pins in handles.items():
                if all(pin.value == 1 for pin in pins):
                    seen.setdefault(name, []).append(now)

    watching = cocotb.start_soon(watch())
    host.feed()
    await host.start(IMAGES)
    assert seen["s_axil_b"] == [1 + max(pair) + 1 for pair in zip(seen["s_axil_aw"], seen["s_axil_w"], strict=True)]
    assert seen["open"][0] == seen["s_axil_b"][-1], "it does not run in the cycle after the write"
    await host.expect()
    await host.get("ident")
    assert seen["s_axil_r"] == [cycle + 2 for cycle in seen["s_axil_ar"]]
    assert seen["interrupt"][0] == max(seen[f"last_{k}"][-1] for k in range(len(OUTPUTS))) + 4 + HOPS + 1
    words = IMAGES * len(INPUTS[0][0])
    assert len(seen["open"]) >= words
    watching.cancel()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def before_loading(dut: Any) -> None:
    """A start is refused until a good image is there; data offered before stay where they are."""
    host = AxiHost(dut)
    await host.reset()
    await host.put("interrupt_enable", DONE | ERROR | LOADED)
    host.feed()
    before = dut.reads.value.to_unsigned()
    image, rng = TOLD["image"], host.rng
    corrupted = [*image]
    corrupted[rng.randrange(3, len(image))] ^= 1 << rng.randrange(32)
    other = [*image]
    other[rng.randrange(3)] ^= 1 << rng.randrange(32)
    bad = {Code.TRUNCATED: image[: rng.randrange(4, len(image))], Code.CHECKSUM: corrupted, Code.HEADER: other}
    bad[Code.TOO_LONG] = [*image, 0]
    for code, words in {Code.NONE: [], **bad}.items():
        if words:
            assert await host.load(words) == ERROR and host.code == code
            assert await host.get("status") >> 16 & 31 == code
        assert await host.state() == State.EMPTY
        assert not await host.command("start")
        assert await host.error() == Code.NOT_LOADED
        assert dut.reads.value == before
    assert await host.load() == LOADED
    await host.start(IMAGES)
    await host.expect()
    assert await host.interrupt() == DONE
    host.sane()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def during_a_load(dut: Any) -> None:
    """A start or a second load is refused while one goes on, an abort voids it."""
    host = AxiHost(dut)
    await host.reset()
    await host.put("interrupt_enable", DONE | ERROR | LOADED)
    assert not await host.put("load_word", 0)
    assert await host.error() == Code.NOT_LOADING
    for _ in range(2):
        assert await host.command("load")
        for word in TOLD["image"][: host.rng.randrange(3, 20)]:
            assert await host.put("load_word", word)
        assert await host.state() == State.LOADING
        for name, code in (("start", Code.NOT_LOADED), ("load", Code.BUSY), ("stop", Code.NOT_RUNNING)):
            assert not await host.command(name)
            assert await host.error() == code
        assert not await host.put("programming", 0)
        assert await host.error() == Code.BUSY
        assert await host.command("abort")
        assert await host.error() == Code.ABORTED
        assert await host.state() == State.EMPTY
    assert await host.load() == LOADED
    await host.run()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def during_a_run(dut: Any) -> None:
    """Whatever is written is refused with a code and an interrupt, and the outputs are right."""
    host = AxiHost(dut)
    await host.ready()
    host.feed()
    await host.start(IMAGES)
    waiting = cocotb.start_soon(host.expect())
    tries = [("images", 1, Code.BUSY), ("programming", 0, Code.BUSY), ("load_word", 0x43564C53, Code.BUSY)]
    tries += [("load_last", 0, Code.BUSY), ("control", COMMANDS["start"], Code.BUSY)]
    tries += [("control", COMMANDS["load"], Code.BUSY), ("control", 0, Code.MALFORMED), ("control", 3, Code.MALFORMED)]
    tries.append(("control", COMMANDS["load_tables"], Code.MALFORMED))  # there are none
    for name, value, code in tries:
        assert await host.state() == State.RUNNING, "too short a run"
        assert not await host.put(name, value)
        assert await host.error() == code
    await waiting
    assert await host.interrupt() == DONE
    assert await host.get("images") == IMAGES
    await host.run(1)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def addresses(dut: Any) -> None:
    """What is not a register, or not for this direction, answers SLVERR and changes nothing."""
    host = AxiHost(dut)
    await host.ready()
    unknown = sorted({4 * host.rng.randrange(1024) for _ in range(20)} | {0x0C, 0xFFC, 0x80, 0xC0})
    for address in unknown:
        if address in ADDRESSES.values():
            continue
        assert await host.read(address) is None
        assert await host.error() == Code.ADDRESS
        assert not await host.write(address, 0xFFFFFFFF)
        assert await host.error() == Code.ADDRESS
    for name in ("ident", "status", "cycles_low", "failed_count"):
        before = await host.get(name)
        assert not await host.put(name, ~before & 0xFFFFFFFF)
        assert await host.error() == Code.ADDRESS
        assert await host.get(name) == before
    for name in ("control", "load_word"):
        assert await host.read(ADDRESSES[name]) is None
        assert await host.error() == Code.ADDRESS
    for offset, data, value in (
        (0, b"\x78\x56\x34\x12", 0x12345678),
        (1, b"\xaa\xbb", 0x12BBAA78),
        (3, b"\x01", 0x01BBAA78),
    ):
        assert (await host.manager.write(ADDRESSES["images"] + offset, data)).resp == AxiResp.OKAY
        assert await host.get("images") == value
    assert (await host.manager.write(ADDRESSES["load_word"], b"\0\0")).resp == AxiResp.SLVERR
    assert await host.error() == Code.ADDRESS
    assert [await host.get(name) for name in ("ident", "sides")] == [0x53454C56, 0x00100010]
    await host.run(1)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def crowded(dut: Any) -> None:
    """Accesses of which each side has several under way: each gets its own answer, in order."""
    host = AxiHost(dut, 0.6)
    await host.reset()
    registers = [ADDRESSES[name] for name in ("images", "programming", "interrupt_enable")]
    masks = dict(zip(registers, (0xFFFFFFFF, 0xFFFF00FF, 15), strict=True))
    for _ in range(6):
        draws = [
            (host.rng.choice([*registers, 0x0C, ADDRESSES["status"]]), host.rng.getrandbits(32)) for _ in range(12)
        ]
        tasks = [cocotb.start_soon(host.write(*draw)) for draw in draws]
        reads = [cocotb.start_soon(host.read(address)) for address in (ADDRESSES["ident"], 0x0C) * 4]
        assert [await task for task in tasks] == [address in registers for address, _ in draws]
        assert [await task for task in reads] == [0x53454C56, None] * 4
        for address, value in dict(draws).items():
            if address in registers:
                assert await host.read(address) == value & masks[address]
    host.sane()


@cocotb.test(timeout_time=600, timeout_unit="us")
@cocotb.parametrize(last=["early", "late"])
async def wrong_last(dut: Any, last: str) -> None:
    """The run ends with its code, what is left of frames is dropped, the next run is right."""
    host = AxiHost(dut)
    await host.ready()
    for k in range(len(INPUTS)):
        for _ in range(2):
            good, rest = host.rng.randrange(2), host.rng.choice([1, 2, 5])
            for index, (source, images) in enumerate(zip(host.sources, INPUTS, strict=True)):
                for image in images[:good]:
                    source.send_nowait(AxiStreamFrame(image))
                frame = (
                    images[good]
                    if index != k
                    else images[good][:-rest]
                    if last == "early"
                    else [*images[good], *[1] * rest]
                )
                source.send_nowait(AxiStreamFrame(frame))
            await host.start(good + 2)
            assert await host.error() == (Code.EARLY_LAST if last == "early" else Code.LATE_LAST)
            await host.settle(k)
            assert await host.get("images_done") <= good
    for sink in host.sinks:
        sink.clear()
    await host.run()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def stop(dut: Any) -> None:
    """A run without an end ends after whole images, at whatever time."""
    host = AxiHost(dut)
    await host.ready()
    for _ in range(4):
        host.feed()
        await host.start(0)
        await ClockCycles(dut.clk, host.rng.randrange(150))
        assert await host.command("stop")
        assert await host.interrupt() == DONE
        done = await host.get("images_done")
        await host.expect(0, done)
        await host.start(IMAGES - done) if done < IMAGES else None
        if done < IMAGES:
            await host.expect(done, IMAGES)
            assert await host.interrupt() == DONE
        host.sane()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def stop_between(dut: Any) -> None:
    """Stopped in every cycle around the begin of an image: it is computed whole, or waits for the next run."""
    host = AxiHost(dut, 0.0)
    await host.ready()
    ends = set()
    for delay in range(26):
        host.feed(0, 2)
        await host.start(0)
        taken = 0
        while taken < len(INPUTS[1][0]) - 8:  # of the faster input
            await RisingEdge(dut.clk)
            taken += dut.s_axis_1_tvalid.value == 1 and dut.s_axis_1_tready.value == 1
        await ClockCycles(dut.clk, delay)
        assert await host.command("stop")
        assert await host.interrupt() == DONE
        done = await host.get("images_done")
        ends.add(done)
        await host.expect(0, done)
        if done < 2:
            await host.start(2 - done)
            await host.expect(done, 2)
            assert await host.interrupt() == DONE
    assert ends == {1, 2}
    host.sane()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def abort(dut: Any) -> None:
    """A run that is aborted, reads under way, leaves nothing for the next."""
    host = AxiHost(dut, 0.1)
    for sink in host.sinks:  # a word waits there most of the time
        sink.set_pause_generator(host.pause(0.85))
    await host.ready()
    for _ in range(12):
        host.feed(0, 2)
        await host.start(2)
        await ClockCycles(dut.clk, host.rng.randrange(250))
        if not await host.command("abort"):  # it has ended
            assert await host.interrupt() & ERROR and host.code == Code.NOT_RUNNING
        else:
            assert await host.interrupt() & ERROR and host.code == Code.ABORTED
        await host.settle()
        await host.run(2)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def resets(dut: Any) -> None:
    """A reset in the middle of frames, loads and accesses; the next run is right."""
    host = AxiHost(dut)
    for _ in range(4):
        await host.ready()
        host.feed()
        await host.start(IMAGES)
        for _ in range(host.rng.randrange(30, 200)):
            await RisingEdge(dut.clk)
        access = cocotb.start_soon(host.get("status"))
        await ClockCycles(dut.clk, host.rng.randrange(6))
        for stream in (*host.sources, *host.sinks):
            stream.clear()
        access.cancel()
        await host.reset()
        for stream in (*host.sources, *host.sinks):
            stream.clear()
        assert await host.state() == State.EMPTY
    await host.ready()
    await host.run()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def failed_cells(dut: Any) -> None:
    """Stuck cells are told with place and levels; the load fails, unless they are tolerated."""
    host = AxiHost(dut)
    await host.reset()
    await host.put("interrupt_enable", DONE | ERROR | LOADED)
    width, image = TOLD["width"], TOLD["image"]
    weak, row = 0b101, 5
    stuck = [(1, 3, 0), (1, 3, width - 1), (1, 9, 4)]
    wanted = [image[3 + macro * TOLD["rows"] + row] >> column & 1 for macro, row, column in stuck]
    faults = dict.fromkeys((3, 9), 0)
    for (_, row_of, column), level in zip(stuck, wanted, strict=True):
        faults[row_of] |= 1 << width + column | (1 - level) << column
    for row_of, value in faults.items():
        crossbar(dut, 1).faults[row_of].value = value
    crossbar(dut, 0).faults[row].value = weak << 2 * width
    assert await host.load() == ERROR and host.code == Code.CELLS
    assert await host.get("failed_count") == len(stuck)
    for (macro, row_of, column), level in zip(stuck, wanted, strict=True):
        assert await host.get("status") & 16
        assert await host.get("failed_cell") == row_of | column << 16
        assert await host.get("failed_levels") == macro | level << 16 | (1 - level) << 24
        assert await host.command("next_failed")
    assert not await host.get("status") & 16
    assert not await host.command("start")
    assert await host.error() == Code.NOT_LOADED
    assert await host.put("programming", 3 | len(stuck) << 16)
    assert await host.load() == LOADED
    assert await host.put("programming", 3)
    for row_of in faults:
        crossbar(dut, 1).faults[row_of].value = 0
    assert await host.load() == LOADED
    await host.run(1)
    assert await host.put("programming", 0)
    crossbar(dut, 0).faults[row].value = weak << 2 * width
    crossbar(dut, 0).tried[row].value = ~image[3 + row] & (1 << width) - 1
    assert await host.load() == ERROR and host.code == Code.CELLS, "no write beyond the first was allowed"
    crossbar(dut, 0).faults[row].value = 0
