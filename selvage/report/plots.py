"""The plots of a page, by Bokeh: zoomable, without anything from a network."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from selvage.compiler.cost import BASELINES
from selvage.report.content import Content, GraphNode, Timeline
from selvage.report.timeline import READS, STATES
from selvage.sim.cost import COMPONENTS

# Colours that differ in lightness too, for eyes that tell no hues apart (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
TOOLS = "pan,box_zoom,wheel_zoom,reset,save"
ROW, LEAST, MOST = 26, 220, 1600  # pixels of a row of a plot, and of a plot
NARROW = 11  # pixels of a row where there are many


def plots_of(content: Content) -> dict[str, Any]:
    """Return the plots that there is something to draw of, by name."""
    found = {"graph": graph_plot(content.graph)} if content.graph else {}
    found |= {"energy": energy_plot(content), "cycles": cycles_plot(content)}
    found |= {"fill": fill_plot(content.fill), "occupancy": occupancy_plot(content)}
    for k, timeline in enumerate(content.timelines):
        found[f"timeline_{k}"] = timeline_plot(timeline)
    if content.codes:
        found["codes"] = codes_plot(content)
    if any(own.largest for own in content.errors):
        found["errors"] = errors_plot(content)
    return found


def _figure(**settings: Any) -> Any:
    from bokeh.models import NumeralTickFormatter
    from bokeh.plotting import figure

    plot = figure(sizing_mode="stretch_width", tools=TOOLS, active_drag=None, **settings)
    plot.toolbar.logo = None
    plot.background_fill_alpha = plot.border_fill_alpha = 0
    if plot.xaxis:
        plot.xaxis.formatter = NumeralTickFormatter(format="0.[00]a")
    return plot


def _height(rows: int) -> int:
    return 90 + max(LEAST - 90, min(ROW * rows, max(MOST, NARROW * rows)))


def _rows(names: Sequence[str]) -> list[str]:
    """Return names in the order in which a plot's axis has them, the first at the top."""
    return list(reversed(names))


def graph_plot(nodes: Sequence[GraphNode]) -> Any:
    """Return the network: nodes by depth from top to bottom, side by side where ways part."""
    from bokeh.models import ColumnDataSource, HoverTool

    rows: dict[int, list[GraphNode]] = {}
    for node in nodes:
        rows.setdefault(node.depth, []).append(node)
    place = {}
    for depth, row in rows.items():
        for k, node in enumerate(row):
            place[node.name] = (k - (len(row) - 1) / 2, -depth)
    plot = _figure(height=min(MOST, max(LEAST, 60 + 34 * len(rows))), x_axis_type=None, y_axis_type=None)
    plot.grid.visible = False
    edges = [(place[source], place[node.name]) for node in nodes for source in node.sources]
    ends = ([end[k][axis] for end in edges] for k in range(2) for axis in range(2))
    plot.segment(*ends, line_color="#888888", line_width=2)
    source = ColumnDataSource(
        {
            "x": [place[node.name][0] for node in nodes],
            "y": [place[node.name][1] for node in nodes],
            "name": [node.name for node in nodes],
            "short": [node.name if len(node.name) < 30 else f"...{node.name[-26:]}" for node in nodes],
            "kind": [node.kind for node in nodes],
            "shape": [" x ".join(map(str, node.shape)) for node in nodes],
            "crossbars": [node.crossbars for node in nodes],
            "colour": [COLOURS[4] if node.crossbars else "#bbbbbb" for node in nodes],
        }
    )
    boxes = plot.rect("x", "y", 0.9, 0.72, source=source, fill_color="colour", line_color=None)
    plot.text("x", "y", "short", source=source, text_align="center", text_baseline="middle", text_font_size="11px")
    tips = [("node", "@name"), ("kind", "@kind"), ("output", "@shape"), ("crossbars", "@crossbars")]
    plot.add_tools(HoverTool(renderers=[boxes], tooltips=tips))
    return plot


def energy_plot(content: Content) -> Any:
    """Return energy by component and layer."""
    layers = content.layers
    names = [row.name for row in layers]
    parts = {part: [row.components[part] / 1e3 for row in layers] for part in COMPONENTS}
    data = {"layer": names, **parts}
    plot = _figure(y_range=_rows(names), height=_height(len(layers)), x_axis_label="nJ an image")
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(COMPONENTS))]
    labels = [part.replace("_", " ") for part in COMPONENTS]
    plot.hbar_stack(list(COMPONENTS), y="layer", height=0.8, source=data, color=colours, legend_label=labels)
    return _hovered(plot, [("layer", "@layer"), ("nJ", "@$name{0,0.00}"), ("of", "$name")])


def cycles_plot(content: Content) -> Any:
    """Return cycles of each layer beside its baselines."""
    layers, ways = content.layers, ("this mapping", *BASELINES)
    y = [(row.name, way) for row in reversed(layers) for way in reversed(ways)]
    values = [
        row.cycles if way == "this mapping" else row.baselines[way]["cycles"]
        for row in reversed(layers)
        for way in reversed(ways)
    ]
    from bokeh.models import FactorRange

    plot = _figure(y_range=FactorRange(factors=y), height=_height(len(y)), x_axis_label="cycles an image")
    colours = dict(zip(ways, COLOURS, strict=False))
    data = {"y": y, "cycles": values, "colour": [colours[way] for _, way in y], "layer": [n for n, _ in y]}
    data["way"] = [way for _, way in y]
    plot.hbar(y="y", right="cycles", height=0.8, source=data, color="colour")
    plot.yaxis.group_label_orientation = "horizontal"
    return _hovered(plot, [("layer", "@layer"), ("way", "@way"), ("cycles", "@cycles{0,0}")])


def fill_plot(fill: dict[str, list[float]]) -> Any:
    """Return how full each crossbar is: layers by crossbars."""
    from bokeh.models import ColorBar, LinearColorMapper

    names, widest = list(fill), max(map(len, fill.values()), default=1)
    grid = np.full((len(names), widest), np.nan, np.float32)
    for row, shares in zip(grid, fill.values(), strict=True):
        row[: len(shares)] = shares
    plot = _figure(y_range=_rows(names), height=_height(len(names)), x_axis_label="crossbar of the layer")
    mapper = LinearColorMapper(palette="Viridis256", low=0, high=1, nan_color="rgba(0, 0, 0, 0)")
    plot.image(image=[grid[::-1]], x=0, y=0, dw=widest, dh=len(names), color_mapper=mapper)
    plot.add_layout(ColorBar(color_mapper=mapper, title="share", background_fill_alpha=0), "right")
    return _hovered(plot, [("crossbar", "$x{0}"), ("share of its cells", "@image{0.00}")])


def occupancy_plot(content: Content) -> Any:
    """Return how busy the arrays of each layer are while the slowest layer takes an image."""
    data = {"layer": [row.name for row in content.layers], "share": [row.occupancy for row in content.layers]}
    plot = _figure(y_range=_rows([row.name for row in content.layers]), height=_height(len(content.layers)))
    plot.x_range.start, plot.x_range.end = 0, 1
    plot.xaxis.axis_label = "share of cycles in which its arrays read"
    plot.hbar(y="layer", right="share", height=0.8, source=data, color=COLOURS[2])
    return _hovered(plot, [("layer", "@layer"), ("share", "@share{0.0%}")])


def timeline_plot(timeline: Timeline) -> Any:
    """Return what the arrays of a tile did: arrays by cycles."""
    own = timeline.intervals
    names = list(dict.fromkeys(interval.array for interval in own))
    plot = _figure(y_range=_rows(names), height=_height(len(names)), x_axis_label="cycle of the RTL")
    for state, colour in zip(STATES, COLOURS, strict=False):
        some = [interval for interval in own if interval.state == state]
        data = {
            "array": [interval.array for interval in some],
            "first": [interval.first for interval in some],
            "last": [interval.last for interval in some],
            "step": [interval.step if interval.step >= 0 else "-" for interval in some],
            "skipped": [interval.skipped for interval in some],
            "state": [state] * len(some),
        }
        if some:
            plot.hbar(y="array", left="first", right="last", height=0.7, source=data, color=colour, legend_label=state)
    reads = [own for own in timeline.intervals if own.state == READS]
    totals: dict[tuple[str, int], int] = {}
    for interval in reads:
        key = interval.array, interval.step
        totals[key] = totals.get(key, 0) + interval.last - interval.first
    skipped = {
        "y": [(interval.array, -0.42) for interval in reads],
        "first": [interval.first for interval in reads],
        "last": [interval.last for interval in reads],
        "alpha": [own.skipped / max(1, own.skipped + totals[own.array, own.step]) for own in reads],
    }
    plot.hbar(
        y="y",
        left="first",
        right="last",
        height=0.12,
        source=skipped,
        color=COLOURS[5],
        alpha="alpha",
        legend_label="skipped (the fuller, the more)",
    )
    tips = [("array", "@array"), ("cycles", "@first{0,0} to @last{0,0}"), ("it", "@state"), ("step", "@step")]
    return _hovered(plot, [*tips, ("OU reads skipped in the step", "@skipped{0,0}")])


def codes_plot(content: Content) -> Any:
    """Return how often each ADC code came, layer by layer, in shares of all of the layer."""
    from bokeh.models import ColorBar, LogColorMapper

    names, top = [own.layer for own in content.codes], max(len(own.counts) for own in content.codes)
    grid = np.full((len(names), top), np.nan, np.float32)
    for row, own in zip(grid, content.codes, strict=True):
        row[: len(own.counts)] = np.array(own.counts) / max(1, sum(own.counts))
    grid[grid == 0] = np.nan
    plot = _figure(y_range=_rows(names), height=_height(len(names)), x_axis_label="ADC code")
    mapper = LogColorMapper(palette="Viridis256", low=1e-6, high=1, nan_color="rgba(0, 0, 0, 0)")
    plot.image(image=[grid[::-1]], x=-0.5, y=0, dw=top, dh=len(names), color_mapper=mapper)
    plot.add_layout(ColorBar(color_mapper=mapper, title="share", background_fill_alpha=0), "right")
    return _hovered(plot, [("code", "$x{0}"), ("share", "@image{0.000000}")])


def errors_plot(content: Content) -> Any:
    """Return the error of each layer's outputs, over the truth, both root mean square."""
    data = {
        "layer": [own.layer for own in content.errors],
        "share": [own.rms / own.of if own.of else 0.0 for own in content.errors],
        "largest": [own.largest for own in content.errors],
    }
    plot = _figure(y_range=_rows([own.layer for own in content.errors]), height=_height(len(content.errors)))
    plot.x_range.start = 0
    plot.xaxis.axis_label = "error over truth, root mean square"
    plot.hbar(y="layer", right="share", height=0.8, source=data, color=COLOURS[5])
    tips = [("layer", "@layer"), ("error", "@share{0.0000%}"), ("largest, in units of a sum", "@largest{0,0}")]
    return _hovered(plot, tips)


def _hovered(plot: Any, tips: list[tuple[str, str]]) -> Any:
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(tooltips=tips))
    if plot.legend:
        plot.legend.orientation, plot.legend.background_fill_alpha, plot.legend.border_line_alpha = "horizontal", 0, 0
        plot.add_layout(plot.legend[0], "above")
        plot.legend.ncols = 4
    return plot
