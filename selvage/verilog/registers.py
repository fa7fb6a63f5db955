"""Registers of a netlist: resets apart from what is stored, and, for our own simulation, narrow ones in vectors."""

from collections import Counter

from selvage.verilog.rtlil import Bits, Cell, NetlistModule, Part, joined, width_of

NARROW = 40  # bits of a register that is worth a place in a vector
VECTOR = 64  # bits that Icarus keeps without allocating memory
RESET = "\\rst"  # Amaranth's name of a domain's reset, in every module


def take_resets(module: NetlistModule) -> int:
    """Make a synchronous reset of each multiplexer that only chooses what a register starts with when there is one.

    Return how many registers have one: ``$sdff`` cells.
    """
    reads = Counter(part.wire for bits in module.all_bits() for part in bits)
    choices = {cell.ports["\\Y"]: cell for cell in module.cells if cell.kind == "$mux"}
    gone: set[int] = set()
    for cell in module.cells:
        choice = choices.get(cell.ports["\\D"]) if cell.kind == "$dff" else None
        if choice is None or choice.ports["\\S"] != (Part(RESET, 0, 1),):
            continue
        taken, start = choice.ports["\\Y"], choice.ports["\\B"]
        (wire,) = {part.wire for part in taken} if len(taken) == 1 else {""}
        is_private = wire in module.wires and not module.wires[wire].direction and reads[wire] == 2
        if not is_private or taken != module.whole(wire) or any(part.wire for part in start):
            continue
        value = "".join(part.value for part in reversed(start))
        cell.kind = "$sdff"
        cell.parameters |= {"\\SRST_POLARITY": "1'1", "\\SRST_VALUE": f"{len(value)}'{value}"}
        cell.ports |= {"\\D": choice.ports["\\A"], "\\SRST": choice.ports["\\S"]}
        del module.wires[wire]
        gone.add(id(choice))
    module.cells = [cell for cell in module.cells if id(cell) not in gone]
    return len(gone)


def pack_registers(module: NetlistModule) -> int:
    """Merge narrow registers of one clock and reset into vectors, of which the registers are names of parts.

    Registers that take neighbouring bits of one wire are merged without regard to their width, for what they take
    needs no concatenation. Return how many registers became parts.
    """
    cells = [cell for cell in module.cells if cell.kind in ("$dff", "$sdff")]
    packed = 0
    for control in dict.fromkeys(map(_control, cells)):
        narrow = [cell for cell in cells if _control(cell) == control and _is_narrow(cell, module)]
        place: dict[str, Part] = {}  # by register, the part of a vector
        while narrow:
            runs = _runs(narrow, place)
            for run in runs:
                if len(run) > 1:
                    _merge(module, run, place)
            left = [run[0] for run in runs if len(run) == 1]
            if len(left) == len(narrow):
                break
            narrow = left
        for group in _groups(narrow):
            if len(group) > 1:
                _merge(module, group, place)
        packed += len(place)
    return packed


def _control(cell: Cell) -> tuple[Bits, str, Bits]:
    return cell.ports["\\CLK"], cell.parameters["\\CLK_POLARITY"], cell.ports.get("\\SRST", ())


def _is_narrow(cell: Cell, module: NetlistModule) -> bool:
    """Return whether a register may be part of a vector: one wire, whole, all of it with a value to start with."""
    (register, *others) = cell.ports["\\Q"]
    wire = module.wires[register.wire]
    return not others and register.width == wire.width <= NARROW and bool(wire.init) and set(wire.init) <= {"0", "1"}


def _runs(cells: list[Cell], place: dict[str, Part]) -> list[list[Cell]]:
    """Return registers in runs of those that take neighbouring bits of a wire, or of a vector."""
    runs: list[list[Cell]] = []
    after: tuple[str, int] | None = None  # wire and bit that would go on with the last run
    for cell in cells:
        (part, *others) = cell.ports["\\D"]
        if others or not part.wire:
            runs.append([cell])
            after = None
            continue
        part = _in_vector(part, place)
        if after == (part.wire, part.low):
            runs[-1].append(cell)
        else:
            runs.append([cell])
        after = (part.wire, part.low + part.width)
    return runs


def _in_vector(part: Part, place: dict[str, Part]) -> Part:
    """Return the part of a vector that a part of a register is; any other part as it is."""
    vector = place.get(part.wire)
    return vector[part.low : part.low + part.width] if vector else part


def _groups(cells: list[Cell]) -> list[list[Cell]]:
    """Return groups of registers, as many to a vector as fit."""
    found: list[list[Cell]] = []
    size = VECTOR
    for cell in cells:
        width = width_of(cell.ports["\\Q"])
        size += width
        if size > VECTOR:
            found.append([])
            size = width
        found[-1].append(cell)
    return found


def _merge(module: NetlistModule, cells: list[Cell], place: dict[str, Part]) -> None:
    """Merge registers into a vector, the first lowest; each is a wire from now on that is a name of its part."""
    total = sum(width_of(cell.ports["\\Q"]) for cell in cells)
    vector = module.add_wire("\\state", total)
    start, reset, at, taken = "", "", 0, []
    for cell in cells:
        (register,) = cell.ports["\\Q"]
        start = module.wires[register.wire].init + start
        del module.wires[register.wire].attributes["\\init"]
        reset = cell.parameters.get("\\SRST_VALUE", "").partition("'")[2] + reset
        place[register.wire] = Part(vector, at, register.width)
        module.connections.append((cell.ports["\\Q"], (place[register.wire],)))
        taken += cell.ports["\\D"]
        at += register.width
    module.wires[vector].attributes["\\init"] = f"{total}'{start}"
    first = cells[0]
    first.ports |= {"\\Q": module.whole(vector), "\\D": _source(module, taken, place)}
    first.parameters["\\WIDTH"] = str(total)
    if reset:
        first.parameters["\\SRST_VALUE"] = f"{total}'{reset}"
    gone = {id(cell) for cell in cells[1:]}
    module.cells = [cell for cell in module.cells if id(cell) not in gone]


def _source(module: NetlistModule, taken: list[Part], place: dict[str, Part]) -> Bits:
    """Return what a vector takes, in one piece: a concatenation becomes a wire, which follows only when it changes."""
    bits = joined(_in_vector(part, place) for part in taken)
    if len(bits) == 1 and bits[0].wire:
        return bits
    following = module.add_wire("\\next", width_of(bits))
    module.connections.append((module.whole(following), joined(taken)))
    return module.whole(following)
