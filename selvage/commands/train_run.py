"""Training by the command `selvage train`: the golden loop, its pictures and state, and the same through RTL."""

from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from selvage.base.errors import InputError
from selvage.base.files import alone_in, check_folder, check_writable, write_whole
from selvage.commands.results import check_outputs_apart, emit
from selvage.commands.streams import progress, show
from selvage.commands.tables import table_of, verdict
from selvage.compiler.training import MOST_ITERATIONS, Batch, Session, check_seed, keep, kept
from selvage.frontend.training_file import TrainingFile, load_training
from selvage.golden.training import State
from selvage.rtlsim.installed import check_simulator_or_none
from selvage.sim.training_chip import ChipCycles

STATE = "state.npz"
SIDE, SCALE = 8, 4
"""Samples on each side of a picture, and pixels of it for one of a sample."""


@dataclass(frozen=True)
class TrainingOptions:
    """What is asked of a training run; ``pictures``: iterations from one to the next, 0 for none."""

    schedule: str
    overlap: bool
    iterations: int
    simulator: str
    seed: int
    out: Path | None
    json_file: Path | None
    build: Path
    pictures: int = 0


def train(path: str, options: TrainingOptions) -> bool:
    """Do `selvage train FILE`, and return whether RTL does what golden and the cycle model say.

    A state is kept after each iteration; where RTL is run, after it has agreed.
    """
    _check(options)
    file = load_training(path)
    _check_places(path, file, options)
    session = Session(file, options.schedule, options.overlap, options.seed)
    session.plan.check()
    if options.pictures and "G" not in file.layers:
        raise InputError("--pictures shows what a generator makes, and one network has none")
    with alone_in(options.out) if options.out else nullcontext():
        state = session.first
        if options.out and (options.out / STATE).exists():
            state = kept(options.out / STATE, session)
            show(f"{state.iteration} iterations are there already, in {options.out / STATE}")
        if options.simulator != "none":
            _check_size(session, max(0, options.iterations - state.iteration))
        content, followed = _iterate(session, options, state)
    _tell(content, followed)
    emit(content, options.json_file)
    return content["match"] is not False


def _iterate(session: Session, options: TrainingOptions, begun: State) -> tuple[dict[str, Any], int]:
    """Return the report, and how many iterations its clock cycles are of."""
    state, batches, followed, states, losses = begun, [], [], [], []
    simulated = options.simulator != "none"
    with progress(transient=True) as bar:
        task = bar.add_task("iterations", total=max(0, options.iterations - begun.iteration))
        for iteration in range(begun.iteration, options.iterations):
            batch = session.batch(iteration)
            state, ways = session.followed(state, batch)
            losses.append(session.losses(ways, batch))
            if simulated or not followed:
                batches.append(batch)
                followed.append(ways)
                states.append(state)
            if not simulated:
                _keep(options, session, state)
            bar.update(task, advance=1, description=_losses(losses[-1]))
    cycles = ChipCycles(session.plan).cycles(followed) if followed else []
    content: dict[str, Any] = {
        "schedule": options.schedule,
        "overlap": options.overlap,
        "batch": session.file.entry.batch,
        "iterations": state.iteration,
        "first_iteration": begun.iteration + 1,  # of this run, which losses and clock cycles begin with
        "losses": losses,
        "iterations_of_clock_cycles": len(followed),
        "clock_cycles_model": sum(cycles),
        "clock_cycles": None,
        "match": None,
    }
    if simulated and followed:
        content |= _in_rtl(session, options, begun, batches, states, cycles)
        if content["match"]:
            for own in states:
                _keep(options, session, own)
    return content, len(followed)


def _check(options: TrainingOptions) -> None:
    """Check the options before anything is read or written."""
    check_simulator_or_none(options.simulator)
    check_seed(options.seed)
    for name, number, least in (("--iterations", options.iterations, 1), ("--pictures", options.pictures, 0)):
        if not least <= number <= MOST_ITERATIONS:
            raise InputError(f"{name} {number} is not from {least} to {MOST_ITERATIONS}")
    if options.pictures and not options.out:
        raise InputError("--pictures needs --out, the folder that they go to")


def _check_places(path: str, file: TrainingFile, options: TrainingOptions) -> None:
    """Check that results overwrite nothing that is read, and can be written."""
    json_file = options.json_file if str(options.json_file) != "-" else None
    check_writable(json_file)
    inputs: dict[str, str | Path | None] = {"the training file": path, **file.read}
    if options.out:
        inputs["the state"] = options.out / STATE
    check_outputs_apart({"--json": json_file}, inputs)
    check_folder(options.build, f"--build {options.build}")
    if options.out:
        check_folder(options.out, f"--out {options.out}")


def _check_size(session: Session, iterations: int) -> None:
    """Check that a simulator takes what so many iterations need."""
    from selvage.rtlsim.training_chip import MOST_CODES, MOST_SAMPLES

    batch = session.batch(0)
    samples = iterations * len(batch.images)
    codes = iterations * max(batch.images.size, sum(way.size for way in batch.noise))
    if samples > MOST_SAMPLES or codes > MOST_CODES:
        raise InputError(
            f"{iterations} iterations of {len(batch.images)} samples are more than a simulator takes at once: at most "
            f"{MOST_SAMPLES:,} samples, and {MOST_CODES:,} codes of images or noise"
        )


def _losses(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())


def _keep(options: TrainingOptions, session: Session, state: State) -> None:
    """Write the state after an iteration, and a picture where one is due."""
    if not options.out:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if options.pictures and state.iteration % options.pictures == 0:
        picture = png(session.samples(state, SIDE * SIDE), session.file.formats.activations)
        write_whole(options.out / f"samples_{state.iteration:06}.png", picture)
    keep(options.out / STATE, session, state)


def png(samples: np.ndarray, bits: int) -> bytes:
    """Return a picture of samples (N, C, H, W), from black at 0 to white at the largest code; one channel or three."""
    from PIL import Image

    count, channels, height, width = samples.shape
    shown = samples if channels in (1, 3) else samples.mean(axis=1, keepdims=True)
    grey = np.clip(shown / (2 ** (bits - 1) - 1), 0, 1) * 255
    rows = grey.reshape(SIDE, count // SIDE, -1, height, width).transpose(0, 3, 1, 4, 2)
    whole = rows.reshape(SIDE * height, count // SIDE * width, -1).astype(np.uint8).repeat(SCALE, 0).repeat(SCALE, 1)
    file = BytesIO()
    Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole).save(file, "PNG")
    return file.getvalue()


def _in_rtl(
    session: Session, options: TrainingOptions, begun: State, batches: list[Batch], states: list[State],
    cycles: list[int],
) -> dict[str, Any]:  # fmt: skip
    """Return what RTL did of the same iterations: its clock cycles, and whether weights and cycles are those."""
    from selvage.hw.training.chip_parameters import ChipParameters
    from selvage.rtlsim.training_chip import build_chip, run_chip

    images = np.concatenate([batch.images for batch in batches])
    noise = [way for batch in batches for way in batch.noise]
    stochastic = session.file.entry.rounding == "stochastic"
    p = ChipParameters(session.plan, stochastic=stochastic)
    names = session.plan.networks
    built = build_chip(p, simulator=options.simulator, build=options.build)
    run = run_chip(
        p,
        built,
        {name: begun.of(name) for name in names},
        images,
        noise=np.concatenate(noise) if noise else None,
        labels=np.concatenate([own.labels for own in batches if own.labels is not None]) if not noise else None,
        seeds=dict(zip("GD", begun.random, strict=True)) if stochastic else None,
        iterations=len(batches),
    )
    exact = all(
        np.array_equal(a, b)
        for name in names
        for found, state in zip(run.weights[name], states, strict=True)
        for a, b in zip(found, state.of(name), strict=True)
    )
    return {
        "clock_cycles": run.clocks,
        "weights_match": exact,
        "logical_cycles": len(run.cycles),
        "match": exact and run.cycles == cycles,
    }


def _tell(content: dict[str, Any], followed: int) -> None:
    """Print the table of a run."""
    clocks, model = content["clock_cycles"], content["clock_cycles_model"]
    last = content["losses"][-1] if content["losses"] else {}
    row = [
        content["schedule"] + ", overlapped" * content["overlap"],
        str(content["iterations"]),
        "-" if clocks is None else f"{clocks:,}",
        f"{model:,}",
        _losses(last) or "-",
        verdict(content["match"]),
    ]
    title = f"training, clock cycles of {followed} iteration{'s' * (followed != 1)}"
    show(table_of(title, ("schedule", "iterations", "RTL cycles", "predicted", "last losses", "verdict"), [row]))
