"""`selvage accuracy`: how often a network is right on a chip whose crossbars are not ideal."""

import time
from pathlib import Path

import numpy as np

from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.files import check_writable
from selvage.base.noise import Noise, load_noise
from selvage.commands.cli_options import Asked
from selvage.commands.network_command import read_images
from selvage.commands.results import check_is_file, check_outputs_apart, emit
from selvage.commands.streams import progress, show, warn
from selvage.compiler.accuracy import Accuracy, Question, ask, check_labels
from selvage.compiler.compile_network import compile_network
from selvage.frontend.kinds import is_network
from selvage.frontend.numpy_files import open_npy

MOST_RUNS, MOST_WORKERS = 100_000, 1024


def accuracy(
    model_file: str,
    asked: Asked,
    *,
    inputs: Path,
    labels: Path,
    noise_file: Path | None,
    runs: int,
    workers: int,
    json_file: Path | None,
) -> None:
    """Do `selvage accuracy`."""
    started = time.monotonic()
    for name, value, most in (("runs", runs, MOST_RUNS), ("workers", workers, MOST_WORKERS)):
        if not 1 <= value <= most:
            raise InputError(f"--{name} {value} is outside 1 .. {most}")
    noise = load_noise(noise_file) if noise_file else None
    if noise is None and runs != 100:
        raise InputError("--runs is for --noise: ideal crossbars always give the same answers")
    check_is_file(model_file)
    if asked.input_file:
        raise InputError("--input is for other commands: images are given by --inputs")
    if not is_network(model_file):
        raise InputError(f"model {model_file!r} is a single layer, which answers nothing: accuracy is of networks")
    check_writable(json_file if str(json_file) != "-" else None)
    read = {"MODEL": model_file, "--inputs": inputs, "--labels": labels, "--noise": noise_file, "--chip": asked.chip}
    check_outputs_apart({"--json": json_file}, read)
    options = asked.options(noise=noise or Noise())
    options.check_network()
    chip = load_chip(asked.chip)
    images, given = read_images(inputs), np.asarray(open_npy(str(labels), f"labels {str(labels)!r}"))
    sides = {len(own) for own in ([images] if isinstance(images, np.ndarray) else images.values())}
    if sides != {len(given)} or not len(given):
        raise InputError(f"--labels {labels} has {len(given)} labels, and --inputs {inputs} has {sides.pop()} images")
    first = images[:1] if isinstance(images, np.ndarray) else {name: own[:1] for name, own in images.items()}
    with progress(transient=True) as bar:
        task = bar.add_task("placing", total=None)
        compiled = compile_network(model_file, chip, first, options, lambda: bar.advance(task))
    if compiled.warning:
        warn(compiled.warning)
    outputs = compiled.imported.leave(compiled.codes)
    if len(outputs) != 1:
        raise InputError(f"accuracy is of a network with one output, and this one has {', '.join(outputs)}")
    (output,) = outputs.values()
    right = check_labels(given, len(given), output.shape)
    question = Question(compiled, compiled.imported.enter(images), right, options.skip)
    ideal = question.right(None)
    show(f"ideal crossbars: {ideal / right.size:.2%} of {right.size:,} answers are right")
    counted = [ideal]
    if noise:
        with progress(transient=True) as bar:
            task = bar.add_task("runs", total=runs)
            counted = ask(question, noise, runs, min(workers, runs), lambda: bar.advance(task))
    content = Accuracy(counted, int(right.size), ideal).report()
    if noise:
        low, high = content["interval"]
        show(
            f"{runs} runs with {noise_file}: {content['accuracy']:.2%} on average ({low:.2%} to {high:.2%} with "
            f"{content['confidence']:.0%} confidence), from {content['least']:.2%} to {content['most']:.2%}"
        )
    said = {"model": model_file, "chip": chip.name, "seconds": round(time.monotonic() - started, 3)}
    emit(said | {"noise": noise.model_dump() if noise else None} | content, json_file)
