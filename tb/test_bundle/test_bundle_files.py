"""How the files of a bundle are written: over an earlier one, and broken off."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.files import WAITING, alone_in, write_files, write_whole
from selvage.base.layer import InputFormat, Layer
from selvage.bundle.shell_bundle import shell_files
from selvage.bundle.verilog_bundle import write_layer_bundle
from selvage.compiler.compile_layer import Compiled
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.golden.layer import evaluate
from selvage.mapping.dense import place_dense
from tb.models.bundles import files_of, small
from tb.models.small_networks import SmallNetwork

Integers = NDArray[np.int64]


def codes_of(where: Path, stream: dict, name: str, image: int) -> Integers:
    """Codes (C, H, W) of an image of a stream, from what ``names.json`` says and the vectors alone."""
    bits, lanes = stream["bits"], stream["lanes"]
    lines = (where / "selftest" / name).read_text().split()[image * stream["words"] : (image + 1) * stream["words"]]
    assert len(lines) == stream["words"] and {len(line) for line in lines} == {-(-bits * lanes // 4)}
    values = [int(line, 16) >> lane * bits & 2**bits - 1 for line in lines for lane in range(lanes)]
    found = np.array([v - (v >> bits - 1 << bits) if stream["signed"] else v for v in values])
    first, last = stream["channels"]
    _, height, width = stream["shape"]
    return found.reshape(height, width, -1)[..., : last - first + 1].transpose(2, 0, 1)


def check_streams(where: Path, inputs: list[Integers], outputs: list[Integers]) -> None:
    told = json.loads((where / "names.json").read_text())
    for side, file, given in (("inputs", "input", inputs), ("outputs", "expected", outputs)):
        for k, stream in enumerate(told[side]):
            codes = given[0 if len(given) < len(told[side]) else k]
            first, last = stream["channels"]
            played = len((where / "selftest" / f"{file}_{k}.hex").read_text().split()) // stream["words"]
            for image, place in ((0, 0), (1, played - 1)):  # a layer's own images are the first and the last
                found = codes_of(where, stream, f"{file}_{k}.hex", place)
                np.testing.assert_array_equal(found, codes[image, first : last + 1])


def test_streams_of_a_network(tmp_path: Path) -> None:
    network = small()
    write_files([files_of(network)], tmp_path)
    codes, graph = network.codes, network.graph
    raw = graph.nodes[-1]
    outputs = [codes[name] - (raw.bias[:, None, None] if name == raw.output.name else 0) for name in graph.outputs]
    check_streams(tmp_path, [codes[tensor.name] for tensor in graph.inputs], outputs)


def test_streams_of_a_layer_of_several_tiles(tmp_path: Path) -> None:
    """Each tile has a stream of its own, with its channels."""
    layer = Layer(name="several", op="conv", channels=40, outputs=3, height=3, width=2, kernel=(2, 2))
    rng = np.random.default_rng(3)
    weights, x = rng.integers(-7, 8, layer.weight_shape), rng.integers(-128, 128, (2, 40, 3, 2))
    placement = place_dense(layer, weights, load_chip("tiny"), input_format=InputFormat(raw_bits=8, raw_signed=True))
    write_layer_bundle(Compiled(None, placement, x, weights, placement), True, tmp_path)
    told = json.loads((tmp_path / "names.json").read_text())["inputs"]
    channels = [tuple(own["channels"]) for own in told]
    assert len(set(channels)) > 1 and {c for first, last in channels for c in range(first, last + 1)} == set(range(40))
    check_streams(tmp_path, [x], [evaluate(layer, x, weights)])


def test_a_shell_needs_a_crossbar() -> None:
    n = SmallNetwork.on("tiny", 1)
    n.leaves(n.pool(n.input(2, 4, 4), "max", (2, 2)))
    compiled = CompiledNetwork(n.graph, n.chip, n.placements, {}, dict(n.codes))
    with pytest.raises(InputError, match=r"--bus axi needs a network with a layer on crossbars, and .* has none"):
        shell_files(compiled, Options(), "axi")


def test_rewritten(tmp_path: Path) -> None:
    """Files of an earlier bundle go, others do not; what is the same keeps its time; what a killed run left goes."""
    files = files_of(small())
    write_files([files], tmp_path)
    kept = tmp_path / "rtl" / "network.v"
    before = kept.stat().st_mtime_ns
    gone = next(name for name in files if name.startswith("rtl/accumulator"))
    fewer = {name: content for name, content in files.items() if name not in (gone, "selftest/input_0.hex")}
    mine, left = tmp_path / "rtl" / "mine.v", tmp_path / "rtl" / ".network.v.part"
    mine.touch()
    left.touch()
    paths = write_files([fewer], tmp_path)
    assert kept.stat().st_mtime_ns == before and mine.exists()
    assert not any((tmp_path / path).exists() for path in (gone, "selftest/input_0.hex", left))
    assert (tmp_path / "files.txt").read_text().split() == sorted(str(path.relative_to(tmp_path)) for path in paths)


def test_a_killed_run_leaves_no_listing_and_the_next_one_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what only the bundle before the killed one had, and what the killed one wrote; and folders left empty."""
    first, second, third = ({f"rtl/{name}.v": b"", f"{name}/file": b""} for name in "abc")
    write_files([first], tmp_path)
    (tmp_path / "mine").touch()

    def killed(waiting: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting.replace(path)
        if path.name == "file":  # the last one
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("selvage.base.files._put", killed)
        write_files([second], tmp_path)
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {*first, *second} < there and "files.txt" not in there
    write_files([third], tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        *third,
        "c",
        "files.txt",
        "mine",
        "rtl",
    }


@pytest.mark.parametrize(("place", "rule"), [("rtl/network.v/x", "is a directory"), ("rtl", "is not a directory")])
def test_what_cannot_be_written_is_told_before_the_first_file(tmp_path: Path, place: str, rule: str) -> None:
    write_files([{"a": b"old"}], tmp_path)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    with pytest.raises(InputError, match=rule):
        write_files([{"a": b"new", "rtl/network.v": b""}], tmp_path)
    assert (tmp_path / "a").read_bytes() == b"old" and (tmp_path / "files.txt").exists()


def test_files_are_made_one_group_after_the_other_and_a_fault_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    """Also what a run left that was killed while files waited."""
    write_files([{"a": b"old", "b": b"same"}], tmp_path)
    (tmp_path / WAITING).mkdir()
    (tmp_path / WAITING / "a").touch()
    seen = []

    def groups(fault: bool) -> Iterator[dict[str, bytes]]:
        for name in "abc":
            yield {name: b"same"}
            seen.append((tmp_path / "a").read_bytes())
            if fault and name == "b":
                raise InputError("wrong")

    with pytest.raises(InputError, match="wrong"):
        write_files(groups(fault=True), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"old",
        "b": b"same",
        "files.txt": b"a\nb\nfiles.txt\n",
    }
    write_files(groups(fault=False), tmp_path)
    assert set(seen) == {b"old"}, "nothing is replaced before all is made"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "files.txt"]
    assert (tmp_path / "a").read_bytes() == b"same"


def test_what_stands_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    """A file where others should wait goes; a folder that has the name of a file which is to go stays."""
    write_files([{"a": b"old", "gone": b""}], tmp_path)
    (tmp_path / "gone").unlink()
    (tmp_path / "gone").mkdir()
    (tmp_path / WAITING).touch()
    write_files([{"a": b"new"}], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "files.txt", "gone"]
    with pytest.raises(InputError, match="cannot be written"):
        write_files([{"b": b""}, {"b/c": b""}], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "files.txt", "gone"]
    write_files([{"a": b"other"}, {"a": b"new"}], tmp_path)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_one_run_at_a_time_in_a_folder(tmp_path: Path) -> None:
    """The second is told at once; what the first has written stays."""
    out = tmp_path / "new" / "out"
    with alone_in(out):
        with pytest.raises(InputError, match="out is being written by another run"), alone_in(out):
            pass
        write_files([{"a": b"first"}], out)
    assert sorted(path.name for path in out.iterdir()) == ["a", "files.txt"]
    with alone_in(out):
        write_files([{"b": b"second"}], out)
    assert sorted(path.name for path in out.iterdir()) == ["b", "files.txt"]


def test_a_folder_is_gone_when_nothing_came_of_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new" / "out", tmp_path / "there"):
        with pytest.raises(InputError, match="wrong"), alone_in(out):
            raise InputError("wrong")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_what_killed_runs_left_beside_a_file_goes(tmp_path: Path) -> None:
    """The name of what is being written is the same each time, and so is the lock's, which nobody holds."""
    for name in (".y.npy.part", ".y.npy.lock"):
        (tmp_path / name).write_bytes(b"half")
    write_whole(tmp_path / "y.npy", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["y.npy"]
    assert (tmp_path / "y.npy").read_bytes() == b"whole"
