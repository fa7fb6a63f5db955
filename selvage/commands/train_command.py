"""The command `selvage train`."""

from pathlib import Path

from selvage.base.files import check_folder, check_writable
from selvage.commands.results import emit
from selvage.commands.streams import show
from selvage.commands.tables import table_of, verdict
from selvage.mapping.training import training_schedule
from selvage.rtlsim.installed import check_simulator_or_none
from selvage.sim.training import closed_form, training_cycles

STEADY = 4
"""Iterations after which overlapped ones follow each other at one pace; the model has the same of them."""


def count_schedule(
    generator: int,
    discriminator: int,
    batch: int,
    schedule: str,
    *,
    overlap: bool,
    simulator: str,
    json_file: Path | None,
    build: Path,
) -> bool:
    """Do `selvage train --count`, and return whether RTL matches the formula, the model and the buffers' sizes."""
    own = training_schedule(generator, discriminator, batch, schedule, overlap=overlap)
    check_simulator_or_none(simulator)
    check_writable(json_file if str(json_file) != "-" else None)
    check_folder(build, f"--build {build}")
    iterations = STEADY if overlap else 1
    formula = closed_form(generator, discriminator, batch, schedule, overlap=overlap)
    model = training_cycles(own, iterations)
    counted, reached = None, model.reached
    if simulator != "none":
        from selvage.rtlsim.training import run_controller

        run = run_controller(own, iterations, simulator=simulator, build=build)
        counted, reached = run.steady, run.reached
    fits = all(most <= buffer.depth for most, buffer in zip(reached, own.buffers, strict=True))
    match = None
    if counted is not None:
        match = counted == formula == model.steady and reached == model.reached and fits
    fullest = max(zip(reached, (buffer.depth for buffer in own.buffers), strict=True))
    told = [schedule + ", overlapped" * overlap, "-" if counted is None else f"{counted:,}", f"{model.steady:,}"]
    told += [f"{formula:,}", f"{fullest[0]} of {fullest[1]}", verdict(match)]
    heads = ("schedule", "RTL cycles", "predicted", "closed form", "fullest buffer", "verdict")
    show(table_of("logical cycles of an iteration", heads, [told]))
    content = {
        "schedule": schedule,
        "overlap": overlap,
        "generator_layers": generator,
        "discriminator_layers": discriminator,
        "batch": batch,
        "logical_cycles": counted,
        "logical_cycles_model": model.steady,
        "closed_form": formula,
        "buffers": [
            {"name": buffer.name, "allowed": buffer.depth, "reached": most}
            for buffer, most in zip(own.buffers, reached, strict=True)
        ],
        "match": match,
    }
    emit(content, json_file)
    return match is not False
