"""Files that are nearly right: valid ones of each format that the command reads, changed by their structure.

`mutate` of a format's name and a generator gives the files of one case by their names, the one that is read first.
"""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.fuzz_bytes import HUGE, Files, Rng, noise, pick
from bench.fuzz_onnx import network
from selvage.base.chip import CHIPS
from tb.models.onnx_models import numbers

ROOT = Path(__file__).parents[1]
VALUES = (
    *(
        "true",
        "nan",
        "-inf",
        "1e999",
        "0.5",
        "[]",
        "{}",
        "[[1]]",
        "1979-05-27",
        "'''\n'''",
        '"\\u0000"',
        '"[/b]\\u001b[2J"',
    ),
    *(str(number) for number in HUGE),
    *(
        "9" * 30,
        "9" * 5000,
        "0x" + "f" * 9000,
        "[" * 700 + "]" * 700,
        "{a=" * 400 + "1" + "}" * 400,
        '"' + "a" * 5000 + '"',
    ),
    *(
        "[1, 2, 3]",
        "[1, -1]",
        "[2147483647, 2147483647]",
        "[16384, 16384]",
        '["1"]',
        "0b1",
        "+1",
        "1_0",
        '"w.npz"',
        '"../w.npz"',
    ),
)


# TOML


def toml(content: bytes, rng: Rng) -> bytes:
    """Lines and values of a TOML file changed."""
    lines = content.decode().splitlines()
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(lines))) if lines else 0
        key = lines[at].split("=")[0].strip() if lines else "a"
        match int(rng.integers(6)):
            case 0 | 1 | 2:
                lines[at : at + 1] = [f"{key or 'a'} = {pick(rng, VALUES)}"]
            case 3:
                del lines[at : at + 1]
            case 4:
                name = pick(rng, ("colour", '"[/a]"', '"\\u001b[2J"', "a.b.c", '""', "k" * 500, ".".join("a" * 300)))
                lines.insert(at, pick(rng, (f"{name} = {pick(rng, VALUES)}", f"[{name}]", f"[[{name}]]", f"{key} = 1")))
            case 5:
                numbers_in = re.sub(r"\d+", lambda _: str(pick(rng, HUGE)), lines[at]) if lines else ""
                lines[at : at + 1] = [numbers_in]
    text = "\n".join(lines).encode()
    return noise(text, rng) if rng.random() < 0.2 else text


def chip(rng: Rng) -> Files:
    """A chip."""
    ready = sorted(CHIPS.glob("*.toml"))
    return {"chip.toml": toml(pick(rng, ready).read_bytes(), rng)}


LAYERS = (
    'op = "conv"\nchannels = 3\noutputs = 4\nheight = 6\nwidth = 7\nkernel = [3, 2]\npads = [1, 0, 2, 1]\n'
    'weights = "w.npz"\n',
    'op = "conv_transpose"\nchannels = 4\noutputs = 3\nheight = 3\nwidth = 4\nkernel = [3, 2]\nstride = [2, 3]\n'
    'output_padding = [1, 0]\nweights = "w.npz"\ndtype = "uint8"\nzero_point = 3\n',
    'name = "fc"\nop = "dense"\nchannels = 4\noutputs = 3\nweights = "w.npz"\ndtype = "int8"\n',
    'op = "conv"\nchannels = 4\noutputs = 4\nheight = 5\nwidth = 5\ngroups = 4\nkernel = [2, 2]\ndilation = [2, 1]\n'
    'weights = "w.npz"\n',
)
WEIGHTS = ((4, 3, 3, 2), (4, 3, 3, 2), (4, 3), (4, 1, 2, 2))


def layer(rng: Rng) -> Files:
    """A layer with good weights."""
    index = int(rng.integers(len(LAYERS)))
    return {"layer.toml": toml(LAYERS[index].encode(), rng), "w.npz": npz_of({"w": numbers(*WEIGHTS[index])})}


# NumPy's files


def npy_of(array: Any) -> bytes:
    """The .npy file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz_of(arrays: dict[str, Any]) -> bytes:
    """The .npz file of some arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


DESCRIPTIONS = (
    "'<f8'",
    "'>i2'",
    "'|b1'",
    "'|O'",
    "'<c16'",
    "'<U9'",
    "'V0'",
    "'|S0'",
    "'<M8[s]'",
    "[('a', '<i4')]",
    "'<g16'",
    "{}",
)
DESCRIPTIONS += (
    "'S99999999999'",
    "1",
    "None",
    "'\\x00'",
    "[[[]]]",
    "'<f4', 'x': 1",
    "('<f4', (1000000, 1000000))",
    "'|V2147483647'",
)
SHAPES = (
    "()",
    "(0,)",
    "(-1,)",
    "(1, 3, 6, 7)",
    "(2, 3, 6, 7)",
    "(1000000000, 3, 6, 7)",
    f"({2**63},)",
    f"({2**62}, 4)",
    "(4, 3, 3, 2)",
)
SHAPES += (
    "(True, 3, 6, 7)",
    "(1.5,)",
    "3",
    "None",
    "(1,)*9",
    "(" * 90 + ")" * 90,
    "-" * 3000 + "1",
    f"({'1, ' * 70})",
    "9" * 5000,
)


def header(rng: Rng, content: bytes) -> bytes:
    """An .npy file with another header."""
    length = int.from_bytes(content[8:10], "little")
    text, data = content[10 : 10 + length].decode("latin1"), content[10 + length :]
    for _ in range(int(rng.integers(1, 3))):
        match int(rng.integers(4)):
            case 0:
                text = re.sub(r"'descr': [^,]*,", lambda _: f"'descr': {pick(rng, DESCRIPTIONS)},", text)
            case 1:
                text = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {pick(rng, SHAPES)}", text)
            case 2:
                text = text.replace("False", pick(rng, ("True", "None", "0", "'a'", "()" * 40)))
            case 3:
                text = noise(text.encode("latin1"), rng).decode("latin1")
    version, width = pick(rng, (((1, 0), 2), ((2, 0), 4), ((3, 0), 4), ((9, 9), 2)))
    raw = text.encode("latin1")
    said = len(raw) if rng.random() < 0.8 else pick(rng, HUGE)
    return content[:6] + bytes(version) + (said % 256**width).to_bytes(width, "little") + raw + data


def changed_npy(content: bytes, rng: Rng) -> bytes:
    """An .npy file, its header or any of its bytes changed."""
    content = header(rng, content) if rng.random() < 0.7 else content
    return noise(content, rng) if rng.random() < 0.4 else content


def npy(rng: Rng) -> Files:
    """An input of a layer."""
    array = numbers(int(rng.integers(1, 4)), 3, 6, 7, low=0).astype(pick(rng, ("<f4", "i8", "u1", ">i2", "<f8")))
    if rng.random() < 0.2:
        array = np.asfortranarray(array)
    if array.dtype.kind == "f" and rng.random() < 0.2:
        array[0, 0, 0, 0] = pick(rng, (np.nan, np.inf, 0.5, 1e30))
    return {"x.npy": changed_npy(npy_of(array), rng)}


def npz(rng: Rng) -> Files:
    """Weights of a layer."""
    members = {"w.npy": npy_of(numbers(4, 3, 3, 2)), "b.npy": npy_of(numbers(4))}
    if rng.random() < 0.6:
        name = pick(rng, sorted(members))
        members[name] = changed_npy(members[name], rng)
    if rng.random() < 0.2:
        members[pick(rng, ("c.npy", "w", "[/a].npy", "\x1b[2J.npy", "../w.npy", "W.npy"))] = npy_of(numbers(9))
    if rng.random() < 0.1:
        zeros = b"\0" * int(pick(rng, (10**6, 10**7)))
        members[pick(rng, ("w.npy", "b.npy", "c.npy"))] = npy_of(numbers(4))[:60] + zeros
    if rng.random() < 0.1:
        members.pop("w.npy")
    packing = pick(
        rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in members.items():
            # Of no date: a case is the same bytes whenever it is drawn.
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    content = buffer.getvalue()
    if rng.random() < 0.4:
        content = zip_fields(content, rng)
    return {"w.npz": noise(content, rng) if rng.random() < 0.3 else content}


def zip_fields(content: bytes, rng: Rng) -> bytes:
    """A zip file with other numbers in the headers of its members, its directory or its end."""
    data = bytearray(content)
    sizes = {b"PK\3\4": 30, b"PK\1\2": 46, b"PK\5\6": 22}
    mark = pick(rng, sorted(sizes))
    places = [found.start() for found in re.finditer(re.escape(mark), content)]
    for _ in range(int(rng.integers(1, 4))) if places else ():
        at, width = pick(rng, places) + int(rng.integers(4, sizes[mark] - 3)), pick(rng, (1, 2, 4))
        data[at : at + width] = (pick(rng, HUGE) % 256**width).to_bytes(width, "little")
    return bytes(data)


FORMATS: dict[str, Callable[[Rng], Files]] = {
    "onnx": network,
    "chip": chip,
    "layer": layer,
    "npy": npy,
    "npz": npz,
}


def mutate(kind: str, rng: Rng) -> Files:
    """The files of one case."""
    return FORMATS[kind](rng)
