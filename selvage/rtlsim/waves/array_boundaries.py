"""What an array's engine, crossbars and accumulator must show in a step, and what they showed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.waves.boundary import Boundary, Entry
from selvage.rtlsim.waves.file import TRANSFER, UNKNOWN, WaveFile
from selvage.rtlsim.waves.words import rows_of_mask, two_complement
from selvage.sim.trace import Read, TileTrace


def array_boundaries(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Iterator[Boundary]:
    """Yield the boundaries of all arrays in a step: engines and crossbars first, then accumulators."""
    window = trace.window(step)
    for k in range(len(p.engines)):
        yield from (replace(own, reader=k) for own in _engine(p, trace, waves, step, k, window))
    for k in range(len(p.engines)):
        if p.accumulators[k].paired:
            yield replace(_pair(p, trace, waves, step, k), reader=k)
        yield replace(_accumulator(p, trace, waves, step, k), reader=k)


def _engine(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int, k: int, window: Any) -> Iterator[Boundary]:
    scope, engine = f"engine_{k}", p.engines[k]
    macros = p.tile.read_together[k]
    reads, picked = trace.reads(k, window), trace.picked(k, window)
    first, name = macros[0], f"array {' and '.join(map(str, macros))}"

    def at_group(number: int) -> dict[str, int]:
        group = picked[number] if number < len(picked) else 0
        return {"array": first, "block": engine.groups[group].block, "row_group": group}

    def at_read(number: int) -> dict[str, int]:
        return _at_read(p, k, reads, number)

    takes = waves.events(scope, "takes", ["takes_step", "pending"]).of_step(step, "takes_step")
    pending = sum(1 << group for group in picked)
    yield Boundary(
        f"row registers of {name}",
        [(pending,)],
        takes,
        ("pending",),
        lambda e: f"row groups {rows_of_mask(e[0])} with an active row",
        place=at_group,
        since=f"{scope}.takes",
        fed=int(_loaded(trace, waves, step)),
    )
    values = [f"value_{row}" for row in range(engine.group_rows)]
    fields = ["picks_step", "pick_group", "pick_none", *values]
    picks = waves.events(scope, "picks", fields, high=TRANSFER).of_step(step, "picks_step")
    yield Boundary(
        f"look-ahead of {name}",
        [(group, 0) for group in picked] or [(UNKNOWN, 1)],
        picks,
        ("pick_group", "pick_none"),
        lambda e: "no row group" if e[1] else f"row group {e[0]}",
        f"{scope}.picks",
        at_group,
        f"group reader of {name}",
        max(1, len(picked)) * len(takes),
    )
    own = [tuple(trace.values(k, group, window)) for group in picked]
    yield Boundary(
        f"row registers of {name}",
        own or [(UNKNOWN,) * len(values)],
        picks,
        tuple(values),
        lambda e: f"the inputs {list(e)}",
        place=at_group,
        fed=0,
    )
    named = {f"formed_{field}" for field in _FORMED} & set(waves.names(scope))
    fields = ["forms_step", *(f"formed_{field}" for field in _FORMED if f"formed_{field}" in named)]
    forms = waves.events(scope, "forms", fields, high=TRANSFER).of_step(step, "forms_step")
    formed: list[Entry] = []
    for number, group in enumerate(picked):
        full = _formed(p, k, trace.planes(k, group, window), group, number == len(picked) - 1)
        formed.append([full[name.removeprefix("formed_")] for name in fields[1:]])
    empty: Entry = [{"formed_last": 1, "formed_none": 1}.get(name, UNKNOWN) for name in fields[1:]]
    yield Boundary(
        f"group reader of {name}",
        formed or [empty],
        forms,
        tuple(fields[1:]),
        lambda e: f"a row group with {_told(fields[1:], e)}",
        f"{scope}.forms",
        at_group,
        f"walker of {name}",
        len(picks),
    )
    names = ("tag_slot", "tag_plane", *(("tag_driven",) if engine.driven_bits else ()), "tag_last", "tag_none")
    tags = waves.events(scope, "decides", ["step", *(n for n in names if n in waves.names(scope))], high=TRANSFER)
    names = tuple(n for n in names if n in tags.fields)
    tags = tags.of_step(step)
    due = [_tag(read, number == len(reads) - 1, names) for number, read in enumerate(reads)] or [
        tuple({"tag_last": 1, "tag_none": 1}.get(n, UNKNOWN) for n in names)
    ]
    yield Boundary(
        f"walker of {name}",
        due,
        tags,
        names,
        lambda e: _told_tag(dict(zip(names, e, strict=True))),
        f"{scope}.decides",
        at_read,
        f"accumulator of {name}",
        sum(read.group in picked[: len(forms)] for read in reads) if reads else len(forms),
    )
    for macro in macros:
        yield from _pins(p, trace, waves, step, macro, (reads, min(len(tags), len(reads))), at_read)


_FORMED = ("planes", "plane", "rest", "only", "group", "column_last", "last", "none")


def _formed(p: TileParameters, k: int, masks: list[int], group: int, last: bool) -> dict[str, int]:
    """Return what leaves the group reader for a row group: its planes, and which of them are walked."""
    engine = p.engines[k]
    walked = [plane for plane, mask in enumerate(masks) if mask or not engine.skip]
    return {
        "planes": sum(mask << plane * engine.group_rows for plane, mask in enumerate(masks)),
        "plane": walked[0],
        "rest": sum(1 << plane for plane in walked[1:]),
        "only": int(len(walked) == 1),
        "group": group,
        "column_last": engine.groups[group].column_groups - 1,
        "last": int(last),
        "none": 0,
    }


def _told(names: Sequence[str], entry: Entry) -> str:
    """Return fields of an entry by name."""
    pairs = zip(names, entry, strict=True)
    return ", ".join(f"{name.split('_', 1)[1]} {value:#x}" for name, value in pairs if value != UNKNOWN)


def _tag(read: Read, last: bool, names: Sequence[str]) -> Entry:
    fields = {"tag_slot": read.slot, "tag_plane": read.plane, "tag_driven": read.driven}
    return tuple({**fields, "tag_last": int(last), "tag_none": 0}[name] for name in names)


def _told_tag(tag: dict[str, int]) -> str:
    if tag.get("tag_none") == 1:
        return "a step without reads"
    last = ", the step's last" if tag.get("tag_last") else ""
    return f"a read of slot {tag.get('tag_slot', 0)} in plane {tag.get('tag_plane', 0)}{last}"


def _pins(
    p: TileParameters,
    trace: TileTrace,
    waves: WaveFile,
    step: int,
    macro: int,
    decided: tuple[Sequence[Read], int],
    at_read: Callable[[int], dict[str, int]],
) -> Iterator[Boundary]:
    scope, lanes = f"crossbar_{macro}", range(p.chip.ou_cols)
    reads, count = decided
    together = next(arrays for arrays in p.tile.read_together if macro in arrays)
    taker = ("pair" if len(together) > 1 else "accumulator") + f" of array {' and '.join(map(str, together))}"
    requests = waves.events(scope, "read", ["step", "wordlines", "column_group"], high=TRANSFER).of_step(step)

    def here(number: int) -> dict[str, int]:
        return {**at_read(number), "array": macro}

    yield Boundary(
        f"walker of array {macro}",
        [(read.wordlines, read.column_group) for read in reads],
        requests,
        ("wordlines", "column_group"),
        lambda e: f"a read of word lines {rows_of_mask(e[0])}, column group {e[1]}",
        f"{scope}.read",
        here,
        f"crossbar {macro}",
        count,
    )
    fields = ["codes_step", *(f"code_{lane}" for lane in lanes)]
    codes = waves.events(scope, "converted", fields, high=TRANSFER).of_step(step, "codes_step")
    due: list[Entry] = [(UNKNOWN,) * len(lanes)] * len(reads)
    if trace.devices is None:
        due = [_codes(trace, p, macro, read) for read in reads]
    yield Boundary(
        f"crossbar {macro}",
        due,
        codes,
        tuple(fields[1:]),
        lambda e: f"the codes {list(e)}",
        f"{scope}.converted",
        here,
        taker,
        len(requests),
    )


def _codes(trace: TileTrace, p: TileParameters, macro: int, read: Read) -> Entry:
    word, bits = trace.crossbars[macro].read(read.wordlines, read.column_group), p.chip.adc_bits
    return tuple(word >> lane * bits & 2**bits - 1 for lane in range(p.chip.ou_cols))


def _macro_codes(p: TileParameters, waves: WaveFile, step: int, macro: int) -> list[Entry]:
    """Return the codes that came from a macro in a step."""
    fields = ["codes_step", *(f"code_{lane}" for lane in range(p.chip.ou_cols))]
    shown = waves.events(f"crossbar_{macro}", "converted", fields, high=TRANSFER).of_step(step, "codes_step")
    return list(zip(*(shown.fields[name].tolist() for name in fields[1:]), strict=True))


def _pair(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int, k: int) -> Boundary:
    macros, reads = p.tile.read_together[k], trace.reads(k, trace.window(step))
    codes = [_macro_codes(p, waves, step, macro) for macro in macros]
    names = tuple(f"code_{lane}" for lane in range(2 * p.chip.ou_cols))
    shown = waves.events(f"pair_{k}", "joined", ["step", *names], high=TRANSFER).of_step(step)
    name = f"array {' and '.join(map(str, macros))}"
    return Boundary(
        f"pair of {name}",
        [(*own, *other) for own, other in zip(*codes, strict=False)],
        shown,
        names,
        lambda e: f"the codes {list(e)}",
        f"pair_{k}.joined",
        lambda number: _at_read(p, k, reads, number),
        f"accumulator of {name}",
    )


def _accumulator(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int, k: int) -> Boundary:
    own, macros = p.accumulators[k], p.tile.read_together[k]
    lanes = range(own.lanes + bool(own.driven_bits))
    reads = trace.reads(k, trace.window(step))
    codes = [_macro_codes(p, waves, step, macro) for macro in macros]
    told = (
        codes[0]
        if len(codes) == 1
        else [tuple(a - b for a, b in zip(*pair, strict=True)) for pair in zip(*codes, strict=False)]
    )
    count = min(len(told), len(reads))
    sums = trace.sums(k, reads[:count], told[:count])
    mask = 2**own.width - 1
    due = [
        tuple(value & mask for value in sums.get(slot, [0] * len(lanes))) if slot is not None else (0,) * len(lanes)
        for slot in own.beats
    ]
    names = tuple(f"sum_{lane}" for lane in lanes)
    shown = waves.events(f"accumulator_{k}", "drains", ["step", "beat", *names]).of_step(step)
    whole = all(len(own_codes) >= len(reads) for own_codes in codes)
    return Boundary(
        f"accumulator of array {' and '.join(map(str, macros))}",
        due,
        shown,
        names,
        lambda e: f"the sums {[two_complement(v, own.width) for v in e]}",
        place=lambda beat: _at_slot(p, k, own.beats[beat]),
        fed=len(due) if whole and _all_added(p, trace, waves, step) else 0,
        settled=True,
        since=f"accumulator_{k}.drains",
    )


def _at_read(p: TileParameters, k: int, reads: Sequence[Read], number: int) -> dict[str, int]:
    """Return where read ``number`` of a step belongs."""
    place = {"array": p.tile.read_together[k][0]}
    if number >= len(reads):
        return place
    read = reads[number]
    place |= {"block": p.engines[k].groups[read.group].block, "row_group": read.group, "plane": read.plane}
    return {**place, "column_group": read.column_group}


def _at_slot(p: TileParameters, k: int, slot: int | None) -> dict[str, int]:
    """Return which block and column group a slot of a reader's sums belongs to."""
    place, engine = {"array": p.tile.read_together[k][0]}, p.engines[k]
    for group, first in zip(engine.groups, engine.slots, strict=True):
        if not p.tile.scattered and slot is not None and first <= slot < first + group.column_groups:
            return {**place, "block": group.block, "column_group": group.first_column_group + slot - first}
    return place


def _loaded(trace: TileTrace, waves: WaveFile, step: int) -> bool:
    """Return whether all words of a step have been loaded."""
    loads = waves.events("input_buffer", "loads", ["step"]).of_step(step)
    return len(loads) >= len(trace.fetched(step))


def _all_added(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> bool:
    """Return whether every array has had all codes of a step."""
    window = trace.window(step)
    for k, macros in enumerate(p.tile.read_together):
        due = len(trace.reads(k, window))
        for macro in macros:
            codes = waves.events(f"crossbar_{macro}", "converted", ["codes_step"], high=TRANSFER)
            if len(codes.of_step(step, "codes_step")) < due:
                return False
    return True
