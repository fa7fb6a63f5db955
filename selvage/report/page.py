"""The page itself: one file that needs nothing else."""

import csv
import json
from base64 import b64encode
from io import StringIO
from pathlib import Path

from selvage.base.text import count_of
from selvage.compiler.cost import BASELINES
from selvage.report.content import Content, LayerRow
from selvage.report.plots import plots_of

TEMPLATE = Path(__file__).with_name("page.html")
TITLES = {
    "graph": ("The network", "Nodes from the input down; those on crossbars are blue."),
    "energy": ("Energy by component", "Of an image, layer by layer."),
    "cycles": ("Cycles beside the baselines", "Of an image: this mapping, the dense one, and with the zeros inserted."),
    "fill": ("How full each crossbar is", "The share of its cells that hold weights; each row is a layer."),
    "occupancy": ("How busy each layer is", "While the slowest layer takes an image, with all layers at work."),
    "codes": ("ADC codes", "How often each code comes, of some steps of the first image; nothing where none came."),
    "errors": ("Error against the truth", "Of the sums of each layer, for the first image."),
}


def page_of(content: Content) -> str:
    """Return the page as HTML. The same content gives the same text but for the plots' own numbers."""
    from bokeh.embed import components
    from bokeh.resources import Resources
    from jinja2 import Environment

    plots = plots_of(content)
    script, places = components(plots)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text()).render(
        content=content,
        rows=[_cells(row) for row in content.layers],
        heads=HEADS,
        total=_total(content),
        plots=[(name, *_title(content, name), places[name]) for name in plots],
        library=Resources(mode="inline", components=["bokeh"]).render_js(),
        script=script,
        data=_script_safe(json.dumps(content.as_dict())),
        csv=b64encode(csv_of(content).encode()).decode(),
    )


HEADS = (
    "layer",
    "op",
    "mapping",
    "crossbars",
    "cycles",
    "OU reads",
    "skipped",
    "nJ",
    "mm2",
    *(f"{name}: {what}" for name in BASELINES for what in ("crossbars", "cycles", "nJ")),
)


def _cells(row: LayerRow) -> list[tuple[str, float | str]]:
    """Return what a row of the table says, and what it is sorted by."""
    share = row.skipped / (row.skipped + row.reads) if row.skipped + row.reads else 0.0
    cells: list[tuple[str, float | str]] = [
        (row.name, row.name),
        (row.op, row.op),
        (_mapped(row), _mapped(row)),
        (f"{row.crossbars:,}", row.crossbars),
        (f"{row.cycles:,.0f}", row.cycles),
        (f"{row.reads:,.0f}", row.reads),
        (f"{share:.1%}", share),
        (f"{row.energy_pj / 1e3:,.2f}", row.energy_pj / 1e3),
        (f"{row.area_um2 / 1e6:,.3f}", row.area_um2 / 1e6),
    ]
    for name in BASELINES:
        own = row.baselines[name]
        cells += [
            (f"{own['crossbars']:,.0f}", own["crossbars"]),
            (f"{own['cycles']:,.0f}", own["cycles"]),
            (f"{own['energy_pj'] / 1e3:,.2f}", own["energy_pj"] / 1e3),
        ]
    return cells


def _mapped(row: LayerRow) -> str:
    copies = f", {row.copies} copies" if row.copies > 1 else ""
    return f"{row.mapping} {row.schedule}{copies}"


def _total(content: Content) -> list[tuple[str, str]]:
    totals = content.totals
    return [
        ("crossbars", f"{totals['crossbars']:,}"),
        ("energy of an image", f"{totals['energy_pj'] / 1e6:,.3f} uJ"),
        ("area", f"{totals['area_um2'] / 1e6:,.2f} mm2"),
        ("images a second", f"{totals['images_per_s']:,.1f}"),
        ("latency", f"{totals['latency_us']:,.1f} us"),
        ("OU reads", f"{totals['reads']:,.0f}, {totals['skipped']:,.0f} skipped"),
    ]


def _title(content: Content, name: str) -> tuple[str, str]:
    if name == "codes":
        title, words = TITLES[name]
        clipped, every = (
            sum(counts) for counts in zip(*((c.clipped, sum(c.counts)) for c in content.codes), strict=True)
        )
        return title, f"{words} The ADC cuts {clipped:,} of {every:,} codes looked at."
    if name in TITLES:
        return TITLES[name]
    own = content.timelines[int(name.removeprefix("timeline_"))]
    says = "Every component shows what the golden model says." if own.match else own.told
    return f"OU timeline of {own.layer}, tile {own.tile}, {count_of(own.steps, 'step')}", says


def csv_of(content: Content) -> str:
    """Return the table of the layers as CSV."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADS)
    writer.writerows([value for _, value in _cells(row)] for row in content.layers)
    return text.getvalue()


def _script_safe(text: str) -> str:
    """Return JSON that may stand in a script element, whatever names it holds."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
