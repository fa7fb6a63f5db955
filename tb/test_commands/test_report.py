"""`selvage report`: what the page holds, in a browser that has no network."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from selvage.base.chip import load_chip
from selvage.compiler.compile_layer import compile_layer
from selvage.compiler.cost import way_of
from selvage.compiler.model_file import draw_input, load_model
from selvage.compiler.options import Options
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.report.content import codes_of, error_of, fill_of
from selvage.sim.crossbar import Crossbar
from selvage.sim.machine import run_counted
from selvage.sim.trace import TileTrace
from tb.test_commands.test_cli import SMALL, selvage

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sh tools/install_browser.sh")
CLASSIFIER = Path(__file__).parents[2] / "examples" / "digits" / "classifier.onnx"
WIDTHS = [1280, 390]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a layer with its timeline, of a network, and of shapes."""
    folder = tmp_path_factory.mktemp("report")
    asked = {
        "layer": [SMALL, "--chip", "tiny", "--rtl"],
        "network": [str(CLASSIFIER)],
        "shapes": ["shapes:resnet50"],
    }
    for name, words in asked.items():
        run = selvage("report", *words, "--out", f"{name}.html", "--json", f"{name}.json", cwd=folder)
        assert run.returncode == 0, run.stderr
    return {name: folder / f"{name}.html" for name in asked}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def opened(browser: Browser, page: Path, width: int = 1280, scheme: Any = "light") -> tuple[Page, list[str]]:
    """The page, drawn, and what went wrong: errors, warnings, requests that leave."""
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong: list[str] = []
    shown.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    inside = ("file:", "data:", "blob:")
    shown.on("request", lambda r: None if r.url.startswith(inside) else wrong.append(r.url))
    shown.goto(page.as_uri())
    shown.wait_for_selector("html[data-drawn=yes]", timeout=30_000)
    shown.wait_for_timeout(300)
    return shown, wrong


@BROWSER
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["layer", "network", "shapes"])
def test_every_plot_is_drawn_and_nothing_leaves(
    name: str, width: int, pages: dict[str, Path], browser: Browser
) -> None:
    shown, wrong = opened(browser, pages[name], width)
    assert not wrong
    plots = shown.locator("figure[id^=plot-]")
    names = [plots.nth(k).get_attribute("id") for k in range(plots.count())]
    wanted = {"energy", "cycles", "fill", "occupancy"}
    wanted |= set() if name == "shapes" else {"codes", "graph"}  # nothing clips: there is no plot of errors
    wanted |= {"timeline_0"} if name == "layer" else set()
    assert names and {str(own).removeprefix("plot-") for own in names} == wanted
    for k in range(plots.count()):
        box = plots.nth(k).bounding_box()
        assert box and box["width"] > 250 and box["height"] > 150, names[k]
    # Something else than the background is in every canvas.
    inked = shown.evaluate(
        """() => {
          const inked = (c) => c.getContext("2d")?.getImageData(0, 0, c.width, c.height).data.some((v) => v);
          const canvases = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
            [...(e.tagName === "CANVAS" ? [e] : []), ...(e.shadowRoot ? canvases(e.shadowRoot) : [])]);
          return [...document.querySelectorAll("figure[id^=plot-]")].map((figure) =>
            canvases(figure).some((c) => c.width > 250 && inked(c)));
        }"""
    )
    assert len(inked) == plots.count() and all(inked)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off at the side"
    shown.close()


@BROWSER
@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_sorts_by_what_its_cells_mean(width: int, pages: dict[str, Path], browser: Browser) -> None:
    shown, _ = opened(browser, pages["shapes"], width)
    layers = json.loads(pages["shapes"].with_suffix(".json").read_text())["layers"]
    shown.get_by_role("button", name="cycles", exact=True).click()
    first = shown.locator("#table tbody tr td").first
    assert first.inner_text() == min(layers, key=lambda row: row["cycles"])["name"]
    shown.get_by_role("button", name="cycles", exact=True).click()
    assert first.inner_text() == max(layers, key=lambda row: row["cycles"])["name"]
    assert shown.locator("#table th[aria-sort=descending] button").inner_text() == "cycles"
    shown.get_by_role("button", name="layer", exact=True).click()
    assert first.inner_text() == min(row["name"] for row in layers)
    shown.close()


@BROWSER
@pytest.mark.parametrize("width", WIDTHS)
def test_a_plot_zooms(width: int, pages: dict[str, Path], browser: Browser) -> None:
    shown, wrong = opened(browser, pages["network"], width)
    span = "() => { const r = Bokeh.documents[0].roots()[3].x_range; return r.end - r.start; }"
    figure = shown.locator("#plot-fill")
    figure.scroll_into_view_if_needed()
    before = shown.evaluate(span)
    shown.evaluate(
        "() => { const t = Bokeh.documents[0].roots()[3].toolbar; t.active_scroll = null;"
        " for (const tool of t.tools) if (tool.type === 'WheelZoomTool') tool.active = true; }"
    )
    box = figure.bounding_box()
    assert box
    shown.mouse.move(box["x"] + box["width"] / 2.5, box["y"] + 100)
    shown.mouse.wheel(0, -300)
    shown.wait_for_function(f"() => ({span})() < {before} * 0.95", timeout=5_000)
    assert not wrong
    shown.close()


@BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["layer", "shapes"])
def test_contrast_and_labels(name: str, scheme: str, pages: dict[str, Path], browser: Browser) -> None:
    shown, _ = opened(browser, pages[name], scheme=scheme)
    found = Axe().run(shown)
    assert found.violations_count == 0, found.generate_report()
    shown.close()


def test_the_page_is_one_file_with_all_numbers(pages: dict[str, Path]) -> None:
    text = pages["shapes"].read_text()
    assert len(text) < 5e6 and "<script src" not in text and '<link rel="stylesheet"' not in text
    embedded = text.split('<script type="application/json" id="content">')[1].split("</script>")[0]
    assert json.loads(embedded) == json.loads(pages["shapes"].with_suffix(".json").read_text())
    table = pages["shapes"].with_suffix(".csv").read_text().splitlines()
    assert len(table) == 1 + 54 and table[0].startswith("layer,op,mapping,crossbars,cycles")
    first = dict(zip(*csv.reader(table[:2]), strict=True))
    layer = json.loads(embedded)["layers"][0]
    assert float(first["nJ"]) == layer["energy_pj"] / 1e3 and float(first["mm2"]) == layer["area_um2"] / 1e6


def test_names_of_any_text_stay_text(tmp_path: Path) -> None:
    """A layer is called what it is called; the page does not run it."""
    name = "</script><script>alert(1)</script>&<b>"
    text = Path(SMALL).read_text().replace('name = "small"', f"name = '{name}'")
    shutil.copytree(Path(SMALL).parent, tmp_path / "layer", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "layer" / "small.toml").write_text(text)
    run = selvage("report", "layer/small.toml", "--chip", "tiny", "--out", "page.html", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "<script>alert" not in (tmp_path / "page.html").read_text()


def test_the_timeline_is_of_all_cycles_of_every_array(pages: dict[str, Path]) -> None:
    content = json.loads(pages["layer"].with_suffix(".json").read_text())
    (timeline,) = content["timelines"]
    assert timeline["match"] is True and timeline["steps"] == 6
    for array in {own["array"] for own in timeline["intervals"]}:
        own = [i for i in timeline["intervals"] if i["array"] == array]
        assert [a["last"] for a in own[:-1]] == [b["first"] for b in own[1:]] and own[0]["first"] == 0
        assert {i["state"] for i in own} >= {"reads", "waits for words"}


def test_content_of_a_layer_agrees_with_golden() -> None:
    """Codes of the histogram are those of the golden crossbars read by read; the error is that of the clipped run."""
    model, chip = load_model(SMALL), load_chip("tiny").model_copy(update={"adc_bits": 2})
    x = draw_input(model, chip, 0)
    compiled = compile_layer(model, chip, x, Options(mapping="dense", schedule="red"))
    placement = compiled.placement
    found = codes_of("small", placement, compiled.codes, skip=True)
    assert found.steps == placement.sweep.count, "small enough to look at all"
    counts = np.zeros(4, np.int64)
    p = TileParameters(placement, placement.tiles[0])
    trace = TileTrace(placement, p.tile, p.load, p.drain, compiled.codes)
    for step in range(trace.steps):
        for reader, macros in enumerate(p.tile.read_together):
            for read in trace.reads(reader, trace.window(step)):
                for macro in macros:
                    word = Crossbar(p.tile.arrays[macro].cells, chip).read(read.wordlines, read.column_group)
                    for lane in range(chip.ou_cols):
                        column = read.column_group * chip.ou_cols + lane
                        if any(
                            b.column <= column < b.column + len(b.outputs) * p.tile.slices
                            for b in p.tile.arrays[macro].blocks
                        ):
                            counts[word >> 2 * lane & 3] += 1
    assert found.counts == counts.tolist()
    assert found.clipped == run_counted(replace(placement, tiles=placement.tiles[:1]), compiled.codes)[1] > 0
    y, _ = run_counted(placement, compiled.codes)
    error = error_of("small", placement, compiled.codes, model.weights, skip=True)
    truth = evaluate(placement.layer, compiled.codes, model.weights)
    assert error and error.largest == np.abs(y - truth).max() > 0


def test_fill_counts_cells_in_use() -> None:
    model, chip = load_model(SMALL), load_chip("tiny")
    compiled = compile_layer(model, chip, draw_input(model, chip, 0), Options(mapping="dense", schedule="red"))
    shares = fill_of(way_of(compiled.placement, compiled.codes, skip=True))
    arrays = [array for tile in compiled.placement.tiles for array in tile.arrays]
    weights = model.layer.kernel[0] * model.layer.kernel[1] * model.layer.channels * model.layer.outputs
    cells = sum(share * chip.rows * chip.columns for share in shares)
    # Both arrays of a pair have room for every weight.
    assert len(shares) == len(arrays) and round(cells) == 2 * weights * arrays[0].slices


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["shapes:resnet50", "--rtl"], "--rtl is for a model that has weights"),
        ([SMALL, "--zeros", "0.1"], "--zeros is for shapes:NAME"),
        ([SMALL, "--costs", "isaac,puma"], "names several tables"),
        ([SMALL, "--out", "file/page.html"], "file/page.html"),
        ([SMALL, "--out", SMALL], "does not end in .html"),
        ([SMALL, "--out", "page.csv"], "does not end in .html"),
        ([SMALL, "--out", "a.html", "--json", "a.csv"], "are both a.csv"),
        (["layer/small.toml", "--out", "folder.html"], "folder.csv"),
    ],
)
def test_refused(words: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    shutil.copytree(Path(SMALL).parent, tmp_path / "layer", ignore=shutil.ignore_patterns("__pycache__"))
    run = selvage("report", *words, cwd=tmp_path)
    assert run.returncode == 2 and says in run.stderr and len(run.stderr.splitlines()) == 1, run.stderr
    assert not (tmp_path / "report.html").exists()
