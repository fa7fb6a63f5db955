"""Only regular files are opened, those that another file names only beside it; hostile text is refused in a line."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from selvage.base.chip import CHIPS, load_chip
from selvage.base.errors import InputError
from selvage.base.reading import beside
from selvage.commands.network_command import read_images
from selvage.compiler.model_file import input_shape, load_model
from selvage.frontend.onnx.read import complete, read_proto
from selvage.frontend.prune import prune_file
from selvage.frontend.quantize.quantize import QuantizeOptions, quantize_file
from tb.models.onnx_models import numbers, onnx_model, write
from tb.models.refusals import GOOD, LAYER, layer, npy, refused

ROOT = Path(__file__).parents[2]


def bound(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


KINDS = {
    "fifo": (lambda path: os.mkfifo(path), "it is a FIFO, and a regular file is needed"),
    "socket": (
        bound,
        "it is a socket, and a regular file is needed",
    ),
    "folder": (lambda path: path.mkdir(), "it is a directory, and a regular file is needed"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, and a regular file is needed"),
}
READERS: dict[str, Callable[[Path], Any]] = {
    "model.onnx": lambda path: load_model(str(path)),
    "layer.toml": lambda path: load_model(str(path)),
    "chip.toml": lambda path: load_chip(str(path)),
    "input.npy": lambda path: input_shape(str(path)),
    "images.npy": lambda path: read_images(path),
    "images.npz": lambda path: read_images(path),
    "calibration.npy": lambda path: quantize_file(
        write(path.parent, "Conv", [1, 3, 6, 7], {"w": numbers(4, 3, 3, 2)}),
        str(path),
        path.parent / "q",
        QuantizeOptions(),
    ),
    "pruned.onnx": lambda path: prune_file(str(path), path.parent / "p.onnx", patterns=2, kernel_sparsity=0.1),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("name", sorted(READERS))
def test_only_regular_files_are_opened(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    make, message = KINDS[kind]
    make(Path(name))
    with refused(message):
        READERS[name](Path(name))


@pytest.fixture
def asking(tmp_path: Path) -> dict[str, Callable[[str], object]]:
    """Readers of a file that names another one: a layer its weights, a model its external data."""
    inside = tmp_path / "inside"
    inside.mkdir()
    layer(inside, {"w.npy": npy(GOOD.shape, content=GOOD.tobytes())})
    model = onnx_model("MatMul", [2, 3], {"w": numbers(3, 4)})
    onnx.save(model, inside / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    for folder in (tmp_path, inside / "below"):
        folder.mkdir(exist_ok=True)
        for name in ("w.npz", "w.bin"):
            shutil.copy(inside / name, folder / name)
            (inside / f"link{name[1:]}").unlink(missing_ok=True)
            (inside / f"link{name[1:]}").symlink_to(f"../{name}")
    (inside / "linked").symlink_to(tmp_path)

    def weights(where: str) -> object:
        (inside / "net.toml").write_text(LAYER.replace("w.npz", f"{where}.npz"))
        return load_model(str(inside / "net.toml"))

    def data(where: str) -> object:
        split = onnx.load(inside / "m.onnx", load_external_data=False)
        split.graph.initializer[0].external_data[0].value = f"{where}.bin"
        (inside / "n.onnx").write_bytes(split.SerializeToString())
        proto = read_proto(str(inside / "n.onnx"))
        complete(proto, str(inside / "n.onnx"))
        return load_model(str(inside / "n.onnx"))

    return {"weights": weights, "data": data}


@pytest.mark.parametrize("file", ["weights", "data"])
def test_a_file_names_others_in_its_own_folder_alone(
    file: str, asking: dict[str, Callable[[str], object]], tmp_path: Path
) -> None:
    for good in ("w", "below/w", "./w"):
        asking[file](good)
    for outside in ("../w", f"{tmp_path}/w", "below/../../w", "below/../w"):
        with refused("must lie in the folder of the file that names it, or below"):
            asking[file](outside)
    for link in ("link", "linked/w"):
        with refused("is reached by a link, which may lead out of its folder: put a copy in its place"):
            asking[file](link)


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("", "a\0b"):
        with pytest.raises(InputError, match="must lie in the folder"):
            beside(tmp_path, name, "weights")
    (tmp_path / "net.toml").write_text(LAYER.replace("w.npz", "w" * 5000))
    with refused("cannot be read: File name too long"):
        load_model(str(tmp_path / "net.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"zero_point = {'7' * 5000}\n", "is not TOML: "),
        (f"zero_point = 0x{'f' * 9000}\n", "zero_point = an integer of 36,000 bits: Input should be less than"),
        (f"zero_point = {'[' * 5000}\n", "is nested too deeply"),
        (f"height = {2**40}\n", f"height = {2**40}: Input should be less than or equal to 2147483647"),
        (f"kernel = {'[' * 300}{']' * 300}\n", "kernel"),
        (f"name = '{'n' * 20000}'\n", "has 20,"),
        (f"{'k' * 5000} = 1\n", "has an unknown key 'kkkk"),
        ('"[/a]\\u001b[2J" = 1\n', r"has an unknown key '[/a]\x1b[2J'"),
    ],
)
def test_hostile_text(text: str, message: str, tmp_path: Path) -> None:
    for name, good, read in (
        ("layer.toml", LAYER, load_model),
        ("chip.toml", (CHIPS / "tiny.toml").read_text(), load_chip),
    ):
        if name == "chip.toml" and text.startswith(("zero_point = 0x", "height", "kernel")):
            continue
        kept = [line for line in good.splitlines() if line.split(" = ")[0] != text.split(" = ")[0]]
        (tmp_path / name).write_text("\n".join([*kept, text]))
        with pytest.raises(InputError) as caught:
            read(str(tmp_path / name))
        assert message in str(caught.value) and len(str(caught.value)) < 1000 and str(caught.value).isprintable()
