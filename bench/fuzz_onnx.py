"""ONNX files that are nearly right: valid ones changed field by field, as the format's own description lists them."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bench.fuzz_bytes import HUGE, Files, Rng, noise, pick
from bench.onnx_models import Build
from tb.models.onnx_models import numbers, onnx_model

ROOT = Path(__file__).parents[1]
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
