"""Sizes are refused by what a file declares, before memory is taken."""

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bench.onnx_models import Build, saved
from selvage.base import limits
from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.limits import raised
from selvage.commands.network_command import read_images
from selvage.compiler.model_file import draw_input, input_shape, load_model, read_input
from selvage.frontend.numpy_files import open_npy, read_npz
from selvage.frontend.onnx.graph import load_graph
from selvage.frontend.prune import prune_file
from selvage.frontend.quantize.quantize import QuantizeOptions, quantize_file
from tb.models.onnx_models import numbers, onnx_model, write
from tb.models.refusals import GOOD, layer, npy, refused

ROOT = Path(__file__).parents[2]
MUCH = 64 * 2**20  # bytes that are declared


# Layers

GEOMETRY = [
    ('op = "conv"\nheight = 20000\nwidth = 20000\n', "reads a map of 400,000,000 numbers"),
    ('op = "conv"\npads = [1000000000, 0, 0, 0]\n', "reads, pads included, a map of 1,000,000,001 numbers"),
    ('op = "conv"\noutputs = 2\nheight = 4096\nwidth = 4096\n', "makes a map of 33,554,432 numbers"),
    ('op = "conv"\nkernel = [16384, 16384]\npads = [9, 9, 16384, 16384]\n', "takes weights of 268,435,456 numbers"),
    (
        'op = "conv_transpose"\nheight = 2\nstride = [1000000, 20]\n',
        "makes, before pads are cropped, a map of 20,000,020 numbers",
    ),
    (
        'op = "conv_transpose"\nstride = [1000000, 1000000]\n',
        "makes, before pads are cropped, a map of 1,000,000,000,000 numbers",
    ),
    (
        'op = "conv_transpose"\nkernel = [2, 1]\ndilation = [100000000, 1]\npads = [99999999, 0, 0, 0]\n',
        "makes, before pads are cropped, a map of 100,000,001 numbers",
    ),
    ('op = "dense"\nchannels = 20000000\n', "reads a map of 20,000,000 numbers"),
]


@pytest.mark.parametrize(("text", "message"), GEOMETRY)
def test_a_layer_that_is_too_large_is_refused_before_its_weights_are_looked_for(
    text: str, message: str, tmp_path: Path
) -> None:
    given = {"channels": 1, "outputs": 1, "weights": '"none.npz"'}
    lines = [f"{key} = {own}\n" for key, own in given.items() if f"{key} =" not in text]
    (tmp_path / "net.toml").write_text("".join(lines) + text)
    with refused(f"layer 'net' {message}, and "):
        load_model(str(tmp_path / "net.toml"))


def test_an_onnx_layer_that_is_too_large(tmp_path: Path) -> None:
    with refused("node 'n' reads a map of 1,152,921,504,606,846,976 numbers, and 16,777,216 are accepted"):
        load_model(write(tmp_path, "Conv", [1, 1, 2**30, 2**30], {"w": numbers(1, 1, 1, 1)}))
    model = load_model(write(tmp_path, "MatMul", [2**20, 2**10, 3], {"b": numbers(3, 4)}))
    with refused("would be given a drawn input of 3,221,225,472 numbers"):
        draw_input(model, load_chip("tiny"), 0)


def test_a_limit_can_be_raised(tmp_path: Path) -> None:
    path = write(tmp_path, "Conv", [1, 1, 4096, 4097], {"w": numbers(1, 1, 1, 1)})
    with refused("16,781,312 numbers, and 16,777,216 are accepted (selvage --limits 2 accepts it)"):
        load_model(path)
    with raised(2):
        assert load_model(path).layer.width == 4097
    with refused("numbers, and 16,777,216 are accepted"):
        load_model(path)


def test_readme_lists_the_limits() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("TEXT", "FILE", "MEMBERS", "STORED", "MAP", "NODES", "IMAGES"):
        assert f"{getattr(limits, name).most:,} {getattr(limits, name).unit}" in text, name


# NumPy's files


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"w.npy": npy(GOOD.shape, content=GOOD.tobytes()), "c.npy": npy((MUCH // 8,), content=bytes(MUCH))},
            "unknown array 'c'",
        ),
        (
            {"w.npy": npy((MUCH // 8,), content=bytes(MUCH))},
            "'w' has shape (8388608,), and the layer takes (3, 4, 1, 1)",
        ),
        ({"w.npy": npy((3, 4, 1, 1), "|S5000000", bytes(MUCH))}, "holds items of 5,000,000 bytes"),
        ({"w.npy": npy((3, 4, 1, 1), "<U2", bytes(MUCH))}, "'w' holds <U2, and integers are needed"),
        ({"w.npy": npy((2**40,))}, "'w' has 1,099,511,627,776 numbers, and 134,217,728 are accepted"),
        ({"w.npy": b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + bytes(MUCH)}, "its header of 4,294,967,295 bytes"),
        ({"w.npy": npy((-1, 3))}, "it has no shape that an array can have"),
        ({"w.npy": npy((3, 4, 1, 1), content=bytes(95))}, "is not an .npz file: it is cut short"),
    ],
)
def test_an_archive_is_refused_by_what_it_declares(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    path = layer(tmp_path, members)
    with refused(message):
        load_model(path)


def test_an_archive_of_too_many_members(tmp_path: Path) -> None:
    path = layer(tmp_path, {"w.npy": npy(GOOD.shape, content=GOOD.tobytes())})
    assert load_model(path).weights.shape == GOOD.shape
    file = tmp_path / "w.npz"
    content = bytearray(file.read_bytes())
    content[-10:-6] = (46 * 20_000).to_bytes(4, "little")  # bytes of the directory
    file.write_bytes(content)
    with refused("weights 'w.npz' has 20,000 members, and 16,384 are accepted (selvage --limits 2 accepts it)"):
        load_model(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_packed_as_numpy_does_not(packing: int, tmp_path: Path) -> None:
    path = layer(tmp_path, {"w.npy": npy((MUCH // 8,), content=bytes(MUCH))}, packing)
    with refused("weights 'w.npz' is packed in another way than NumPy packs"):
        load_model(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [">i2", "<f4", "u1"])
def test_arrays_of_an_archive_are_numpys(order: str, kind: str, tmp_path: Path) -> None:
    want = {"a": np.array(numbers(3, 4, 2, low=0), kind, order=order), "b": numbers(0, 3), "c": np.array(3)}
    np.savez_compressed(tmp_path / "x.npz", **want)
    found = read_npz(tmp_path / "x.npz", "input")
    assert list(found) == list(want)
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize(
    "array", [numbers(3, 4), np.asfortranarray(numbers(3, 4)), numbers(0, 2), np.array(2), numbers(2, 3, dtype=">i4")]
)
def test_an_array_in_a_file_is_numpys(array: NDArray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    found = open_npy(tmp_path / "x.npy", "input")
    np.testing.assert_array_equal(found, np.load(tmp_path / "x.npy"))
    assert found.dtype == array.dtype and found.shape == array.shape


def test_a_sparse_file_is_refused_by_its_header(tmp_path: Path) -> None:
    model, path = load_model(layer(tmp_path, {"w.npy": npy(GOOD.shape, content=GOOD.tobytes())})), tmp_path / "x.npy"
    with path.open("wb") as file:
        file.write(npy((10**8, 4, 4, 4), "|u1"))
        file.truncate(7 * 10**9)
    for read in (lambda: read_input(model, str(path)), lambda: input_shape(str(path)), lambda: read_images(path)):
        with refused("has 6,400,000,000 numbers, and 134,217,728 are accepted (selvage --limits 48 accepts it)"):
            read()
    with path.open("r+b") as file:
        file.truncate(10**6)
    with refused("it has 1,000,000 bytes, and its shape takes 6,400,000,"):
        read_input(model, str(path))
    for name in ("z.onnx", "z.toml"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(3 * 10**9)
        with refused("3,000,000,000 bytes, and "):
            load_model(str(tmp_path / name))


def test_images_of_a_network_are_refused_by_their_headers(tmp_path: Path) -> None:
    build = Build(17)
    build.output(build.through(build.through(build.input("x", ("N", 3, 8, 8)), 0.1, 3), 0.2))
    imported = load_graph(saved(build.model(), tmp_path))
    for name, count, message in (
        ("x", (MUCH // 768, 3, 8, 8), ""),
        ("x", (MUCH // 4,), "must have the shape (N, 3, 8, 8), not (16777216,)"),
        ("y", (MUCH // 4,), "the model's inputs are x, and y are given"),
    ):
        with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.npy", npy(count, "<f4", bytes(MUCH)))
        images = read_images(tmp_path / "x.npz")
        if message:
            with refused(message):
                imported.enter(images)
        else:
            assert images.header("x").shape == count
    with refused("holds, of 700,000 images, 134,400,000 numbers, and 134,217,728 are accepted"):
        imported.enter(np.broadcast_to(np.float32(0), (700_000, 3, 8, 8)))


# ONNX

SIDE = 30_000
COMPUTED = {
    "ConstantOfShape": (["sides"], {}),
    "Expand": (["one", "sides"], {}),
    "Tile": (["cell", "sides"], {}),
    "Range": (["zero", "many", "step"], {}),
    "Add": (["column", "row"], {}),
    "MatMul": (["column", "row"], {}),
    "Pad": (["cell", "pads"], {}),
    "OneHot": (["indices", "depth", "values"], {}),
    "Gather": (["row", "indices"], {"axis": 0}),
}


@pytest.mark.parametrize("operator", sorted(COMPUTED))
def test_constants_that_would_be_computed(operator: str, tmp_path: Path) -> None:
    inputs, attributes = COMPUTED[operator]
    build = Build(17)
    x = build.through(build.input("x", (1, 3, 6, 6)), 0.1)
    constants = {
        "sides": np.array([SIDE, SIDE]),
        "one": np.float32(1),
        "cell": np.ones((1, 1), np.float32),
        **{"zero": np.int64(0), "many": np.int64(10**9), "step": np.int64(1)},
        **{"column": np.ones((SIDE, 1), np.float32), "row": np.ones((1, SIDE), np.float32)},
        "pads": np.array([0, 0, SIDE, SIDE]),
        **{"indices": np.zeros(SIDE, np.int64), "depth": np.int64(SIDE), "values": np.zeros(2, np.float32)},
    }
    build.constants += [numpy_helper.from_array(np.asarray(constants[name]), name) for name in inputs]
    made = build.add(operator, *inputs, name="maker", **attributes)
    build.output(build.through(build.add("Add", x, build.add("ReduceMean", made, keepdims=0)), 0.1))
    path = saved(build.model(), tmp_path)
    with refused("numbers, and 16,777,216 are accepted"):
        load_graph(path)


def test_constants_that_would_be_computed_are_added_up(tmp_path: Path) -> None:
    build = Build(17)
    x = build.through(build.input("x", (1, 3, 6, 6)), 0.1)
    for _ in range(40):
        filled = build.add("ConstantOfShape", build.constant([1, 2**19]))
        x = build.add("Add", x, build.add("ReduceMean", filled, keepdims=0))
    build.output(build.through(x, 0.1))
    path = saved(build.model(), tmp_path)
    with pytest.raises(
        InputError, match=r"computes constants: with them the model computes 16,777,\d\d\d numbers, and 16,777,216"
    ):
        load_graph(path)


def test_maps_that_are_too_large(tmp_path: Path) -> None:
    build = Build(17)
    build.output(build.through(build.through(build.input("x", (1, 3, "a", "b")), 0.1), 0.2))
    path = saved(build.model(), tmp_path)
    with refused("tensor 'x' of shape (1, 3, 100000, 100000) holds, an image, 30,000,000,000 numbers"):
        load_graph(path, (1, 3, 100_000, 100_000))
    build = Build(17)
    x = build.through(build.input("x", (1, 3, 8, 8)), 0.1)
    sides = build.constant([1, 1, 4000, 4000], np.float32)
    build.output(build.through(build.add("Resize", x, "", sides, mode="nearest"), 0.1))
    path = saved(build.model(), tmp_path)
    with refused("of shape (1, 3, 32000, 32000) holds, an image, 3,072,000,000 numbers"):
        load_graph(path)
    plain = onnx_model("ConvTranspose", [1, 3, 8, 8], {"w": numbers(3, 2, 1, 1)}, strides=[9000, 9000])
    onnx.save(plain, tmp_path / "float.onnx")
    np.save(tmp_path / "c.npy", np.zeros((1, 3, 8, 8), np.float32))
    with refused("'y' of shape (1, 2, 63001, 63001) holds, an image,"):
        quantize_file(str(tmp_path / "float.onnx"), str(tmp_path / "c.npy"), tmp_path / "q.onnx", QuantizeOptions())


def test_functions_that_would_multiply(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def doubling(k: int, called: str) -> onnx.FunctionProto:
        nodes = [helper.make_node(called, [a], [b], domain="own") for a, b in (("a", "m"), ("m", "b"))]
        return helper.make_function("own", f"f{k}", ["a"], ["b"], nodes, opsets)

    build = Build(17)
    build.output(build.through(build.add("f0", build.through(build.input("x", (1, 3, 6, 6)), 0.1), domain="own"), 0.1))
    model = build.model()
    model.opset_import.append(opsets[1])
    model.functions.extend(doubling(k, f"f{k + 1}") for k in range(40))
    model.functions.append(
        helper.make_function("own", "f40", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets)
    )
    path = saved(model, tmp_path)
    with refused("has 1,099,511,627,780 operators, and 65,536 are accepted"):
        load_graph(path)
    model.functions[-1].CopyFrom(doubling(40, "f0"))
    path = saved(model, tmp_path)
    with refused("function 'f0' calls itself"):
        load_graph(path)


TENSORS = [
    ({"dims": [2**40]}, "tensor 'w' has 1,099,511,627,776 numbers, and 134,217,728 are accepted"),
    ({"dims": [-3, 4]}, "has the shape (-3, 4), and sides must be at least 0"),
    ({"dims": [3, 5]}, "of shape (3, 5) takes 60 bytes, and has 48"),
    ({"data_type": 99}, "is of the type 99, which ONNX does not know"),
    ({"data_type": 0}, "is of the type 0, which ONNX does not know"),
]


@pytest.mark.parametrize(("change", "message"), TENSORS)
def test_tensors_that_are_not_as_they_say(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = onnx_model("MatMul", [2, 3], {"w": numbers(3, 4)})
    tensor = model.graph.initializer[0]
    if "dims" in change:
        del tensor.dims[:]
        tensor.dims.extend(change["dims"])
    else:
        tensor.data_type = change["data_type"]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for read in (
        lambda path: load_model(path),
        lambda path: prune_file(path, tmp_path / "p.onnx", patterns=2, kernel_sparsity=0.1),
        lambda path: quantize_file(path, "none.npy", tmp_path / "q.onnx", QuantizeOptions()),
    ):
        with refused(message):
            read(str(tmp_path / "m.onnx"))
    assert not {"p.onnx", "q.onnx"} & set(os.listdir(tmp_path))
