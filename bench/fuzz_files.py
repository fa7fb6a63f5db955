"""Files that are nearly right: valid ones of each format that the command reads, changed by their structure.

`mutate` of a format's name and a generator gives the files of one case by their names, the one that is read first.
"""

import io
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bench.onnx_models import Build
from tb.onnx_models import numbers, onnx_model

ROOT = Path(__file__).parents[1]
Files = dict[str, bytes]
Rng = np.random.Generator

HUGE = (
    0,
    1,
    -1,
    2,
    7,
    255,
    256,
    4097,
    2**15,
    2**20,
    10**9,
    2**31 - 1,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
    -(2**31),
    -(2**63),
)
WORDS = (
    "",
    "x",
    "[/a]",
    "[bold]",
    "\x1b[2J\x1b]0;t\x07",
    "a\nb",
    "../x",
    "/etc/passwd",
    "w" * 300,
    "ä\u202e\u2028",
    "\0",
    "%s{0}",
)
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


def pick(rng: Rng, options: Any) -> Any:
    """One of a sequence."""
    return options[int(rng.integers(len(options)))]


def noise(content: bytes, rng: Rng) -> bytes:
    """Some bytes flipped, left out, put in, said twice, or the end cut."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        start = int(rng.integers(len(data)))
        stop = min(len(data), start + int(rng.integers(1, 17)))
        match int(rng.integers(7)):
            case 0:
                data[start] ^= 1 << int(rng.integers(8))
            case 1:
                data[start:stop] = rng.bytes(stop - start)
            case 2:
                del data[start:stop]
            case 3:
                data[start:start] = rng.bytes(stop - start)
            case 4:
                data[start:start] = data[start:stop] * int(rng.integers(1, 9))
            case 5:
                del data[start:]
            case 6:
                width = pick(rng, (1, 2, 4, 8))
                data[start : start + width] = (pick(rng, HUGE) % 256**width).to_bytes(
                    width, pick(rng, ("little", "big"))
                )
    return bytes(data)


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
    ready = sorted((ROOT / "chips").glob("*.toml"))
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
            archive.writestr(name, content)
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


# ONNX


@cache
def models() -> tuple[bytes, ...]:
    """Quantised networks of several exporters, single operators, computed constants, functions, float networks."""
    exported = [path.read_bytes() for path in sorted((ROOT / "examples" / "exported").glob("*.onnx"))]
    single = [
        onnx_model("Conv", [None, 3, 6, 7], {"w": numbers(4, 3, 3, 2), "b": numbers(4)}, pads=[1, 0, 2, 1]),
        onnx_model("ConvTranspose", [1, 4, 3, 4], {"w": numbers(4, 3, 3, 2)}, strides=[2, 3], output_padding=[1, 0]),
        onnx_model("MatMul", [2, None, 3], {"w": numbers(3, 4)}),
        onnx_model("Gemm", [2, 3], {"w": numbers(4, 3), "b": numbers(4)}, transB=1),
        onnx_model(
            "ConvInteger",
            [1, 2, 5, 4],
            {"w": numbers(3, 2, 2, 3, low=0, dtype=np.uint8), "xz": np.uint8(7), "wz": np.uint8(3)},
            TensorProto.UINT8,
        ),
    ]
    return (*exported, *(model.SerializeToString() for model in (*single, computed(), computed(), called(), called())))


def computed() -> ModelProto:
    """A quantised network whose constants and shapes are computed."""
    build = Build(17)
    x = build.through(build.input("x", (1, 3, 6, 6)), 0.05, 128)
    filled = build.add(
        "ConstantOfShape", build.constant([4, 3, 1, 1], np.int64), value=numpy_helper.from_array(np.ones(1, np.int8))
    )
    spread = build.add("Expand", filled, build.constant([4, 3, 2, 2], np.int64))
    tiled = build.add("Tile", spread, build.constant([1, 1, 1, 2], np.int64))
    weights = build.add("DequantizeLinear", tiled, build.constant(0.1, np.float32), build.constant(0, np.int8))
    y = build.through(build.add("Conv", x, weights, name="layer"), 0.1)
    pooled = build.through(build.add("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), 0.1)
    sides = build.constant([1.0, 1.0, 2.0, 2.0], np.float32)
    larger = build.through(build.add("Resize", pooled, "", sides, mode="nearest"), 0.1)
    size = build.add("Concat", build.constant([1], np.int64), build.constant([-1], np.int64), axis=0)
    build.output(build.through(build.add("Reshape", larger, size), 0.1), rank=2)
    return build.model()


def called() -> ModelProto:
    """A quantised network, part of which is a function that calls another."""
    body = [helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Half", ["r"], ["b"], domain="own")]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    half = helper.make_function("own", "Half", ["a"], ["b"], [leaky], opsets, ["slope"])
    both = helper.make_function("own", "Both", ["a"], ["b"], body, opsets)
    build = Build(17)
    x = build.through(build.input("x", ("N", 3, 6, 6)), 0.05, 128)
    y = build.add("Conv", x, build.weights(numbers(4, 3, 2, 2, dtype=np.int8), 0.1), name="layer")
    y = build.add("Half", y, domain="own", slope=0.5)
    y = build.through(build.add("Both", y, domain="own"), 0.1)
    build.output(y)
    model = build.model()
    model.opset_import.append(helper.make_opsetid("own", 1))
    body[1].attribute.append(helper.make_attribute("slope", 0.25))
    both = helper.make_function("own", "Both", ["a"], ["b"], body, opsets)
    model.functions.extend([half, both])
    return model


def fields(message: Message, found: list[tuple[Message, FieldDescriptor]] | None = None) -> list:
    """Every field of a message and of those in it that holds something, with its message."""
    found = [] if found is None else found
    for field, content in message.ListFields():
        found.append((message, field))
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in content if field.is_repeated else (content,):
                fields(inner, found)
    return found


def scalar(field: FieldDescriptor, old: Any, rng: Rng) -> Any:
    """Another value of a field."""
    kinds = FieldDescriptor
    if field.cpp_type == kinds.CPPTYPE_STRING:
        raw = old if isinstance(old, bytes) else old.encode(errors="replace")
        new = pick(rng, (noise(raw, rng), raw * 2, pick(rng, WORDS).encode()))
        return new if field.type == kinds.TYPE_BYTES else new.decode(errors="replace")
    if field.cpp_type in (kinds.CPPTYPE_FLOAT, kinds.CPPTYPE_DOUBLE):
        return pick(rng, (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), 3.5))
    if field.cpp_type == kinds.CPPTYPE_ENUM:  # others cannot be set
        return pick(rng, field.enum_type.values).number
    bits = 32 if field.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_UINT32) else 64
    low = 0 if field.cpp_type in (kinds.CPPTYPE_UINT32, kinds.CPPTYPE_UINT64) else -(2 ** (bits - 1))
    options = [value for value in HUGE if low <= value < 2 ** (bits - 1)]
    return (
        pick(rng, options) if rng.random() < 0.6 else max(low, min(2 ** (bits - 1) - 1, old + int(rng.integers(-2, 3))))
    )


def change(message: Message, field: FieldDescriptor, rng: Rng) -> None:
    """One field taken away, doubled, or given another value."""
    if rng.random() < 0.1:
        message.ClearField(field.name)
        return
    content = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if field.is_repeated:
            at = int(rng.integers(len(content)))
            if rng.random() < 0.5:
                del content[at]
            else:
                content.add().CopyFrom(content[at])
        return
    if not field.is_repeated:
        setattr(message, field.name, scalar(field, content, rng))
        return
    values = list(content)
    at = int(rng.integers(len(values)))
    match int(rng.integers(4)):
        case 0:
            del values[at]
        case 1:
            values.insert(at, values[at])
        case _:
            values[at] = scalar(field, values[at], rng)
    message.ClearField(field.name)
    getattr(message, field.name).extend(values)


def network(rng: Rng) -> Files:
    """A model."""
    content = pick(rng, models())
    if rng.random() < 0.15:
        return {"model.onnx": noise(content, rng)}
    model = ModelProto.FromString(content)
    for _ in range(int(rng.integers(1, 4))):
        found = fields(model)
        if not found:
            break
        # The fields of shapes, attributes and constants are few beside the others: one of each name is as likely.
        name = pick(rng, sorted({field.full_name for _, field in found}))
        change(*pick(rng, [own for own in found if own[1].full_name == name]), rng)
    return {"model.onnx": model.SerializeToString()}


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
