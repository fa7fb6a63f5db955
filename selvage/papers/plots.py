"""Plots as SVG and PNG, by Matplotlib."""

from io import BytesIO
from pathlib import Path

from selvage.base.files import write_files
from selvage.papers.rows import Plot


def write_plots(plots: list[Plot], folder: Path) -> list[Path]:
    """Write each plot twice to ``folder``, and return the files. The same plots give the same bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "selvage"
    files: dict[str, bytes] = {}
    for plot in plots:
        for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            files[f"{plot.name}.{suffix}"] = _drawn(plot, suffix, metadata)
    return write_files([files], folder)


def _drawn(plot: Plot, suffix: str, metadata: dict[str, None]) -> bytes:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    words = [x for points in plot.series.values() for x, _ in points if isinstance(x, str)]
    if words:
        names = list(dict.fromkeys(words))
        width = 0.8 / len(plot.series)
        for k, (label, points) in enumerate(plot.series.items()):
            places = [names.index(str(x)) + (k - (len(plot.series) - 1) / 2) * width for x, _ in points]
            axes.bar(places, [y for _, y in points], width, label=label)
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    else:
        for label, points in plot.series.items():
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, marker="o", label=label)
            if label in plot.ranges:
                low, high = zip(*plot.ranges[label], strict=True)
                axes.fill_between(xs, low, high, alpha=0.2)
    if plot.logarithmic:
        axes.set_yscale("log")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    axes.grid(axis="y", alpha=0.3)
    if len(plot.series) > 1:
        axes.legend()
    buffer = BytesIO()
    figure.savefig(buffer, format=suffix, metadata=metadata)
    plt.close(figure)
    return buffer.getvalue()
