"""`selvage explain`: waves of a tile in words."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from selvage.base.errors import InputError
from selvage.base.files import check_writable
from selvage.base.text import count_of
from selvage.commands.results import check_outputs_apart, emit
from selvage.commands.streams import show
from selvage.rtlsim.waves.described import load_description
from selvage.rtlsim.waves.file import WaveFile
from selvage.rtlsim.waves.story import ReaderStep, StepStory, Story
from selvage.rtlsim.waves.words import rows_of_mask

SHOWN = 8  # pixels or outputs that a line names


def explain(waves: Path, *, step: int | None, every_read: bool, json_file: Path | None) -> None:
    """Do `selvage explain`. `InputError`: a file that is cut, of another design, or without the step."""
    if every_read and step is None:
        raise InputError("--reads tells the OU reads of one step, and --step is not given")
    if waves.suffix != ".fst":
        raise InputError(f"{str(waves)!r} is no FILE.fst, as selvage sim --waves writes them")
    check_writable(json_file if str(json_file) != "-" else None)
    beside = {"its description": waves.with_suffix(".json")}
    check_outputs_apart({"--json": json_file}, {"FILE": str(waves), **beside})
    file = WaveFile(waves)
    described = load_description(waves)
    story = Story(file, described)
    steps = [story.story(step)] if step is not None else list(story)
    if step is None and story.unfinished is not None:
        steps.append(story.story(story.unfinished))
    reads = story.reads(step) if step is not None and every_read else []
    show(
        f"layer {described.layer!r}, tile {described.tile}: {count_of(len(steps), 'step')} of "
        f"{described.images * described.steps[0] * described.steps[1]:,} in {waves}"
    )
    for told in steps:
        for line in _lines(told):
            show(line)
    for read in reads:
        codes, lines = " ".join(map(str, read.codes)) or "none has come", rows_of_mask(read.wordlines)
        show(
            f"  cycle {read.cycle:,}: array {read.array}, plane {read.plane}, word lines {lines}, column group "
            f"{read.column_group}: codes {codes}"
        )
    content = {"layer": described.layer, "tile": described.tile, "steps": [asdict(told) for told in steps]}
    emit(content | ({"reads": [asdict(read) for read in reads]} if every_read else {}), json_file)


def _lines(step: StepStory) -> Iterator[str]:
    yield (
        f"step {step.step:,} (image {step.image}, row {step.row}, column {step.column}), cycles "
        f"{step.first_cycle:,} to {step.last_cycle:,}{'' if step.whole else ': no further in these waves'}"
    )
    pixels = _few([f"({row}, {column})" for row, column in step.pixels])
    outside = f"; {count_of(step.outside, 'word')} outside the map" if step.outside else ""
    yield f"  fetched: {count_of(len(step.pixels), 'pixel')} {pixels}{outside}"
    for reader in step.readers:
        yield f"  {_reader(reader)}"
    values = [f"{out['output_id']}: {out['value']:,}" for out in step.outputs]
    yield f"  outputs: {count_of(len(values), 'sum')} by output id: {_few(values)}"


def _reader(reader: ReaderStep) -> str:
    name = f"array {' and '.join(map(str, reader.arrays))}"
    if not reader.reads:
        return f"{name}: no OU drives, {reader.skipped:,} skipped"
    groups = _few([str(group) for group in reader.row_groups])
    planes = _few([str(plane) for plane in reader.planes])
    return (
        f"{name}: {count_of(reader.reads, 'OU read')}, {reader.skipped:,} skipped, in cycles {reader.first_cycle:,} to "
        f"{reader.last_cycle:,}; row groups {groups}; planes {planes}; {count_of(reader.codes, 'code')}, together "
        f"{reader.codes_sum:,}"
    )


def _few(words: list[str]) -> str:
    """Return the first words, and how many more there are."""
    more = len(words) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
