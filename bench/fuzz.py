"""Mutated files of every format that the command reads, in this process: each is accepted or refused in a sentence.

``python -m bench.fuzz`` prints, for each format, how many files were accepted and refused, how many ended otherwise
(``tracebacks``: any exception but `InputError`, a dead process among them), the slowest, and the most memory. A case is
its format, its number and ``--seed``: ``--first N --count 1 --formats onnx --keep DIR`` writes the files of one.
A file that is accepted is used too, as ``selvage model`` does, where that takes no long counting.
"""

import argparse
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.fuzz_files import FORMATS, mutate, npz_of
from bench.report import Figure, emit, positive
from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.commands.layer_report import report
from selvage.commands.network_command import node_table
from selvage.commands.run_network import predict_node
from selvage.commands.tables import layer_table
from selvage.compiler.compile_layer import compile_layer, predict
from selvage.compiler.compile_network import compile_network
from selvage.compiler.model_file import Model, draw_input, input_format, load_model, read_input
from selvage.compiler.options import Options
from selvage.frontend.kinds import is_network
from selvage.frontend.onnx.graph import load_graph
from selvage.frontend.prune import prune_file
from tb.models.onnx_models import numbers, onnx_model

COUNT = 5000
SECONDS, MEGABYTES = 5.0, 1000.0
GIVEN_UP = 60  # seconds after which a case is stopped
ADDRESSES = 2**33  # bytes that a case may ask for
SMALL = 5000  # numbers of a map up to which an accepted layer is counted, too
TINY = "tiny"
LAYER = 'op = "conv"\nchannels = 3\noutputs = 4\nheight = 6\nwidth = 7\nkernel = [3, 2]\nweights = "w.npz"\n'


class GivenUp(BaseException):
    """A case took too long."""


@dataclass(frozen=True)
class Case:
    """How one case ended; ``error`` and where it came from, when that was no sentence."""

    number: int
    ending: str
    seconds: float
    megabytes: float
    error: str = ""


def count_layer(model: Model, chip: Chip, x: Any) -> None:
    """What ``selvage model`` does with a layer, where it is small."""
    input_format(model, chip, x)
    layer = model.layer
    steps = np.prod(layer.output_size) * max(1, np.prod(layer.stride))
    if max(x.size, model.weights.size, steps * layer.outputs, layer.groups * 50) > SMALL:
        return
    compiled = compile_layer(model, chip, x, Options())
    layer_table([report(compiled, predict(compiled, Options()), None)])


def use_chip(folder: Path) -> None:
    """A small layer on the chip."""
    chip = load_chip(str(folder / "chip.toml"))
    model = load_model(str(folder / "good.toml"))
    if chip.rows * chip.columns * chip.arrays_per_tile <= 2**20:
        count_layer(model, chip, draw_input(model, chip, 0))


def use_layer(folder: Path) -> None:
    """The layer on a small chip."""
    chip = load_chip(TINY)
    model = load_model(str(folder / "layer.toml"))
    count_layer(model, chip, draw_input(model, chip, 0))


def use_npy(folder: Path) -> None:
    """The array as the input of a layer and of a network."""
    model, path = load_model(str(folder / "good.toml")), str(folder / "x.npy")
    try:
        count_layer(model, load_chip(TINY), read_input(model, path))
    finally:
        read_input(load_model(str(folder / "good.onnx"), (1, 3, 6, 7)), path)


def use_npz(folder: Path) -> None:
    """The arrays as the weights of a layer."""
    model, chip = load_model(str(folder / "good.toml")), load_chip(TINY)
    count_layer(model, chip, draw_input(model, chip, 0))


def use_onnx(folder: Path) -> None:
    """The model counted, and its convolutions pruned."""
    path, chip = str(folder / "model.onnx"), load_chip(TINY)
    try:
        if is_network(path):
            _use_network(path, chip)
        else:
            model = load_model(path, (1, 3, 6, 7))
            count_layer(model, chip, draw_input(model, chip, 0))
    finally:
        prune_file(path, folder / "pruned.onnx", patterns=4, kernel_sparsity=0.3, entries=2)


def _use_network(path: str, chip: Chip) -> None:
    imported = load_graph(path)
    if sum(tensor.numbers for tensor in imported.graph.tensors.values()) > SMALL:
        return
    compiled = compile_network(path, chip, None, Options(), lambda: None)
    node_table([predict_node(compiled, node, Options()) for node in compiled.graph.nodes])


USES: dict[str, Callable[[Path], None]] = {
    "onnx": use_onnx,
    "chip": use_chip,
    "layer": use_layer,
    "npy": use_npy,
    "npz": use_npz,
}


def prepare(folder: Path) -> None:
    """The good files that stand beside a mutated one."""
    (folder / "good.toml").write_text(LAYER)
    (folder / "w.npz").write_bytes(npz_of({"w": numbers(4, 3, 3, 2)}))
    model = onnx_model("Conv", [None, 3, None, None], {"w": numbers(4, 3, 3, 2)})
    (folder / "good.onnx").write_bytes(model.SerializeToString())


def run_case(kind: str, seed: int, number: int, folder: Path) -> Case:
    """Make the files of a case in ``folder`` and use them."""
    for name, content in mutate(kind, np.random.default_rng([seed, sorted(FORMATS).index(kind), number])).items():
        (folder / name).write_bytes(content)
    _forget_peak()
    started, ending, error = time.perf_counter(), "accepted", ""
    try:
        with _given_up(GIVEN_UP), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            USES[kind](folder)
    except InputError as refusal:
        ending = "refused"
        if not str(refusal).isprintable() and "\n" in str(refusal):
            ending, error = "traceback", f"a sentence of several lines: {refusal!r}"[:500]
    except BaseException as fault:
        place = traceback.extract_tb(fault.__traceback__)[-1]
        own = [frame for frame in traceback.extract_tb(fault.__traceback__) if "site-packages" not in frame.filename]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in [*reversed(own[-4:])])
        ending, error = "traceback", f"{type(fault).__name__}: {str(fault)[:200]} ({place.name}; {where})"
    return Case(number, ending, time.perf_counter() - started, _peak(), error)


@contextmanager
def _given_up(seconds: int) -> Iterator[None]:
    """`GivenUp` in what takes longer."""

    def stop(*_: object) -> None:
        raise GivenUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _forget_peak() -> None:
    """Let the most memory of this process be counted anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """The most memory that was held since, in megabytes."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found.group(1)) / 1000
    except (OSError, AttributeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def run_cases(kind: str, seed: int, numbers_of: range) -> list[Case]:
    """All of them, in child processes: one that dies is a case that ended so, and the next goes on behind it."""
    done: list[Case] = []
    while len(done) < len(numbers_of):
        done += _in_child(kind, seed, numbers_of[len(done) :])
    return done


def _in_child(kind: str, seed: int, todo: range) -> list[Case]:
    """The cases up to the last, or up to one that its process does not survive."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _work(kind, seed, todo, writer)
    os.close(writer)
    with os.fdopen(reader) as lines:
        found = [Case(**json.loads(line)) for line in lines]
    _, status = os.waitpid(child, 0)
    if len(found) < len(todo):
        how = f"the process died of signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "the process left"
        found.append(Case(todo[len(found)], "traceback", 0.0, 0.0, how))
    return found


def _work(kind: str, seed: int, todo: range, writer: int) -> None:
    """The child's part: it writes a line for each case, and never returns."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, resource.getrlimit(resource.RLIMIT_AS)[1]))
        with tempfile.TemporaryDirectory(prefix="selvage.") as folder, os.fdopen(writer, "w") as lines:
            prepare(Path(folder))
            for number in todo:
                lines.write(json.dumps(asdict(run_case(kind, seed, number, Path(folder)))) + "\n")
                lines.flush()
                (Path(folder) / "pruned.onnx").unlink(missing_ok=True)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def summary(cases: list[Case]) -> dict[str, Any]:
    """What is printed of a format."""
    bad = [case for case in cases if case.ending == "traceback"]
    slow, large = max(cases, key=lambda case: case.seconds), max(cases, key=lambda case: case.megabytes)
    return {
        "files": len(cases),
        "accepted": sum(case.ending == "accepted" for case in cases),
        "refused": sum(case.ending == "refused" for case in cases),
        "tracebacks": len(bad),
        "slowest_s": round(slow.seconds, 3),
        "slowest": slow.number,
        "peak_mb": round(large.megabytes, 1),
        "largest": large.number,
        "errors": {case.number: case.error for case in bad},
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--count", type=positive, default=COUNT, help="files of each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--formats", nargs="+", choices=sorted(FORMATS), default=sorted(FORMATS))
    parser.add_argument("--keep", type=Path, help="write the files of the first case here, and do nothing else")
    options = parser.parse_args(argv)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        prepare(options.keep)
        case = run_case(options.formats[0], options.seed, options.first, options.keep)
        print(json.dumps(asdict(case), indent=2))
        return 0
    content = {}
    for kind in options.formats:
        cases = run_cases(kind, options.seed, range(options.first, options.first + options.count))
        content[kind] = summary(cases)
        print(f"{kind}: {content[kind]}", file=sys.stderr)
    missed = [
        figure
        for kind, own in content.items()
        for figure in (
            Figure(f"{kind}_tracebacks", own["tracebacks"], "==", 0),
            Figure(f"{kind}_slowest_s", own["slowest_s"], "<=", SECONDS),
            Figure(f"{kind}_peak_mb", own["peak_mb"], "<=", MEGABYTES),
        )
        if not figure.met
    ]
    emit({"seed": options.seed, **content, "missed": [figure.as_dict() for figure in missed]})
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
