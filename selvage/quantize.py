"""Float ONNX files in eight bits, by onnxruntime's own static quantiser."""

import contextlib
import io
import logging
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed

from selvage.files import check_writable, write_whole
from selvage.layer_file import first_index, one_line
from selvage.numpy_files import open_npy
from selvage.onnx_read import complete, read_proto, title_of
from selvage.onnx_sizes import check_inferred
from selvage.options import LARGEST, SHAPE_RULE
from spec.errors import InputError

FORMS = {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}
ACTIVATIONS = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
BATCH = 32
"""Images run at once where the model leaves the batch free."""
OPSET = 13
"""The first whose DequantizeLinear takes a scale for each channel; older models are converted."""
EXACT_PRODUCTS = "session.x64quantprecision"
"""onnxruntime's switch against sums of products that saturate in 16 bits, on processors without VNNI."""
MARKERS = ("QuantizeLinear", "DequantizeLinear")
INTEGER_OPERATORS = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QGemm", *MARKERS)


@dataclass(frozen=True)
class QuantizeOptions:
    """``shape`` is the input's, batch first, for a model that leaves sides free; the batch stays as it is."""

    form: str = "qdq"
    per_channel: bool = True
    activations: str = "uint8"
    method: str = "minmax"
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("form", self.form, FORMS),
            ("activations", self.activations, ACTIVATIONS),
            ("method", self.method, METHODS),
        ):
            if value not in allowed:
                raise InputError(f"--{name} {value!r} is none of {', '.join(allowed)}")
        if self.shape is not None and not all(1 <= side <= LARGEST for side in self.shape):
            raise InputError(f"--shape {_sides(self.shape)!r} {SHAPE_RULE}")


def quantize_file(source: str, calibration: str, out: Path, options: QuantizeOptions) -> dict:
    """Write the float ONNX file ``source`` with eight-bit weights and activations to ``out``.

    Weights are symmetric int8, so those that are 0 stay 0; ranges of the activations come from the images of
    ``calibration``, an .npy of floats in the shape of the model's one input. Returned: ``operators``
    quantised and left ``in_float`` by type, ``images``, ``bytes`` of both files, and how far the outputs
    are from the float model's on those images: ``distance`` at most, ``mean_distance``, ``sqnr_db`` (``None``
    where one of signal and error is 0) of float outputs, and the share of the others that is the same,
    ``agreement``; ``None`` where there are none. `InputError`: a file cannot be read, quantised or written;
    nothing is written then.
    """
    check_writable(out)
    if not out.parent.is_dir():
        raise InputError(f"output {out} cannot be written: folder {out.parent} does not exist")
    if out.resolve() == Path(calibration).resolve():
        raise InputError(f"--out and --calibration are both {out}")
    proto = read_proto(source)
    if not proto.graph.node:
        raise InputError(f"model {source!r} holds no operator, and so nothing to quantise")
    complete(proto, source)
    given = _only_input(proto, source)
    _check_float(proto.graph, source)
    before = proto.ByteSize()
    _fix_shape(proto.graph, given, source, options.shape)
    check_inferred(proto)
    name, sides = given.name, _shape(given)
    images = _read_images(calibration, name, sides)
    batches = _Batches(images, name, sides[0] or BATCH)
    with tempfile.TemporaryDirectory(prefix="selvage.") as folder, _quiet():
        try:
            plain, result = _quantise(proto, batches, Path(folder), options)
        except Exception as error:  # onnxruntime and onnx have no common class for what they cannot do
            raise InputError(f"model {source!r} cannot be quantised by onnxruntime: {one_line(error)}") from None
        content = result.read_bytes()
        quantised, others = _operators(ModelProto.FromString(content).graph, options.form)
        if not quantised:
            held = ", ".join(others)
            raise InputError(f"model {source!r} holds no operator that onnxruntime quantises as {options.form}: {held}")
        try:
            measured = _measure(plain, result, batches)
        except ArithmeticError as error:
            raise InputError(f"model {source!r} {error} on the images of {calibration!r}") from None
        except Exception as error:
            kind = f"as {options.form} with {options.activations} activations"
            raise InputError(f"model {source!r} {kind} cannot be run by onnxruntime: {one_line(error)}") from None
    write_whole(out, content)
    summary = {"operators": quantised, "in_float": others, "images": len(images)}
    return {**summary, "bytes": len(content), "bytes_float": before, **measured}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what onnxruntime prints, logs and warns of."""
    disabled, nowhere = logging.root.manager.disable, logging.NullHandler()
    logging.root.addHandler(nowhere)  # or else the first message would give the root logger one for good
    logging.disable(logging.CRITICAL)
    onnxruntime.set_default_logger_severity(4)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)  # onnxruntime's own; it tells nobody what is set
        logging.disable(disabled)
        logging.root.removeHandler(nowhere)


class _Batches(CalibrationDataReader):
    """The images, some at a time; as often as they are asked for.

    Those with the largest value come first, for the first ones set the width of a histogram's bins.
    """

    def __init__(self, images: NDArray[np.float32], name: str, size: int) -> None:
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        self.all = [{name: batch} for batch in sorted(batches, key=lambda batch: -np.abs(batch).max())]
        self.set_range(0, len(self.all))

    def __len__(self) -> int:
        return len(self.all)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.rest = iter(self.all[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.rest, None)


def _quantise(proto: ModelProto, batches: _Batches, folder: Path, options: QuantizeOptions) -> tuple[Path, Path]:
    """The float and the quantised model, in files in ``folder``."""
    version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version < OPSET:
        proto = onnx.version_converter.convert_version(proto, OPSET)
    plain, prepared, result = (folder / f"{name}.onnx" for name in ("float", "prepared", "quantised"))
    plain.write_bytes(proto.SerializeToString())
    _session(plain)  # the quantiser's own message for what cannot be run is a longer story
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)  # with it, sympy is needed, and files may be left
    _part_sums(Path(prepared))
    quantize_static(
        prepared,
        result,
        batches,
        quant_format=FORMS[options.form],
        per_channel=options.per_channel,
        activation_type=ACTIVATIONS[options.activations],
        weight_type=QuantType.QInt8,
        calibrate_method=METHODS[options.method],
        # A batch at a time: histograms of all need all activations in memory, and batches of one size.
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True, "CalibStridedMinMax": 1},
    )
    onnx.checker.check_model(result)
    return plain, result


def _part_sums(path: Path) -> None:
    """Part dense layers from the maps that onnxruntime's preparation has them add, in the file ``path``.

    A bias that is no constant has no place in a layer on crossbars.
    """
    model = onnx.load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        plain = all(attribute.name != "beta" or attribute.f == 1 for attribute in node.attribute)
        if node.op_type == "Gemm" and plain and len(node.input) > 2 and node.input[2] not in ("", *constants):
            added, whole = node.input.pop(), node.output[0]
            node.output[0] = f"{whole}/product"
            nodes.append(onnx.helper.make_node("Add", [node.output[0], added], [whole], name=f"{node.name}/sum"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def _session(path: Path) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry(EXACT_PRODUCTS, "1")
    return onnxruntime.InferenceSession(path.read_bytes(), settings, ["CPUExecutionProvider"])


def _measure(plain: Path, result: Path, batches: _Batches) -> dict[str, float | None]:
    """Distances between the outputs of two models; `ArithmeticError` when one is not finite."""
    models = [_session(path) for path in (plain, result)]
    names = [output.name for output in models[0].get_outputs()]
    largest = total = noise = signal = 0.0
    count = equal = others = 0
    for batch in batches.all:
        for name, want, got in zip(names, *(model.run(names, batch) for model in models), strict=True):
            if want.dtype.kind != "f":
                equal, others = equal + int((want == got).sum()), others + want.size
                continue
            for kind, array in (("float", want), ("eight-bit", got)):
                if not np.isfinite(array).all():
                    raise ArithmeticError(f"has {kind} outputs {name!r} that are not finite")
            error = np.abs(got.astype(np.float64) - want)
            largest = max(largest, float(error.max(initial=0)))
            total, count = total + float(error.sum()), count + error.size
            noise, signal = noise + float((error**2).sum()), signal + float((want.astype(np.float64) ** 2).sum())
    return {
        "distance": largest if count else None,
        "mean_distance": total / count if count else None,
        "sqnr_db": 10 * math.log10(signal / noise) if signal and noise else None,
        "agreement": equal / others if others else None,
    }


def _operators(graph: GraphProto, form: str) -> tuple[dict[str, int], dict[str, int]]:
    """Nodes of a quantised graph that compute in eight bits, and the others, by operator."""
    readers = {name: set() for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    eight, wide = set(), set()  # tensors of eight bits, and those made of them
    quantised, others = Counter(), Counter()
    known = QDQRegistry.keys() | QLinearOpsRegistry.keys() if form == "qdq" else ()
    for node in graph.node:
        if node.op_type in MARKERS:
            (eight if node.op_type == "QuantizeLinear" else wide).update(node.output)
            continue
        first, narrow = node.input[0] if node.input else "", _narrow(node.op_type)
        direct = narrow != node.op_type or first in eight
        between = first in wide and all(readers[name] == {"QuantizeLinear"} for name in node.output if name)
        if direct or (between and node.op_type in known):
            quantised[narrow] += 1
        elif node.op_type != "Constant":
            others[node.op_type] += 1
        if direct:
            eight.update(node.output)
    return dict(sorted(quantised.items())), dict(sorted(others.items()))


def _narrow(operator: str) -> str:
    """The float operator of a quantised one."""
    return "Gemm" if operator == "QGemm" else operator.removeprefix("QLinear")


def _only_input(proto: ModelProto, path: str) -> ValueInfoProto:
    """The one input of a model that is no constant, a float tensor."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [info for info in proto.graph.input if info.name not in constants]
    if len(inputs) != 1:
        names = f" ({', '.join(repr(info.name) for info in inputs)})" if inputs else ""
        raise InputError(f"model {path!r} has {len(inputs)} inputs{names}, and must have one")
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        known = kind and kind in TensorProto.DataType.values()
        held = TensorProto.DataType.Name(kind).lower() if known else "no tensor of a known type"
        raise InputError(f"model {path!r}: input {inputs[0].name!r} is {held}, and must be float to be quantised")
    return inputs[0]


def _check_float(graph: GraphProto, path: str) -> None:
    """`InputError`: nodes that are quantised already, or weights that are not finite."""
    for node in graph.node:
        if node.op_type in INTEGER_OPERATORS or node.op_type.startswith("QLinear"):
            raise InputError(
                f"model {path!r} is quantised already ({title_of(node)}: {node.op_type}), and must be a float model"
            )
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        try:
            values = numpy_helper.to_array(tensor)
        except ValueError as error:
            raise InputError(f"model {path!r}: {tensor.name!r} cannot be read: {one_line(error)}") from None
        finite = np.isfinite(values)
        if not finite.all():
            index = first_index(~finite)
            raise InputError(
                f"model {path!r}: {tensor.name!r} holds {values[index]} at {list(index)}, "
                f"and every weight must be finite"
            )


def _shape(given: ValueInfoProto) -> list[int]:
    """Sides of an input, 0 where they are free."""
    return [max(side.dim_value, 0) for side in given.type.tensor_type.shape.dim]


def _sides(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


def _fix_shape(graph: GraphProto, given: ValueInfoProto, path: str, shape: tuple[int, ...] | None) -> None:
    """Set the free sides of the input but the batch to those of ``shape``; `InputError` when some stay free."""
    title = f"model {path!r}: input {given.name!r}"
    tensor = given.type.tensor_type
    sides = _shape(given)
    if len(sides) < 2:
        raise InputError(f"{title} has rank {len(sides)}, and must have a batch and channels at least")
    if shape is None:
        free = next((axis for axis, side in enumerate(sides) if axis and not side), None)
        if free is not None:
            label = tensor.shape.dim[free].dim_param
            called = f" ({label!r})" if label else ""
            raise InputError(f"{title} leaves axis {free}{called} free, and --shape must fix it, batch first")
        return
    if len(shape) != len(sides):
        raise InputError(f"--shape {_sides(shape)!r} has {len(shape)} sides, and {title} has {len(sides)}")
    for axis, (dimension, new) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        if dimension.dim_value > 0 and dimension.dim_value != new:
            raise InputError(
                f"--shape {_sides(shape)!r} has {new} on axis {axis}, and {title} has {dimension.dim_value} there"
            )
        if axis:
            if dimension.dim_param:
                make_dim_param_fixed(graph, dimension.dim_param, new)
            dimension.dim_value = new


def _read_images(path: str, name: str, sides: list[int]) -> NDArray[np.float32]:
    """The images of a calibration file, for the input ``name`` of these sides."""
    title = f"calibration {path!r}"
    array = open_npy(path, title)
    rule = f"input {name!r} takes ({', '.join(str(side or 'N') for side in sides)})"
    if array.dtype.kind != "f":
        raise InputError(
            f"{title} holds {array.dtype}, and must hold floats, scaled as the images that the model was trained on"
        )
    if array.ndim != len(sides):
        raise InputError(f"{title} has rank {array.ndim}, shape {array.shape}, and {rule}")
    if array.size == 0:
        raise InputError(f"{title} has shape {array.shape}, and must not be empty")
    for axis, (side, allowed) in enumerate(zip(array.shape, sides, strict=True)):
        if axis and side != allowed:
            raise InputError(f"{title} has shape {array.shape}: axis {axis} has {side}, and {rule}")
    if sides[0] and len(array) % sides[0]:
        raise InputError(f"{title} has {len(array)} images, and {rule}: a multiple of {sides[0]} is needed")
    with np.errstate(over="ignore", invalid="ignore"):
        images = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(images)
    if not finite.all():
        index = first_index(~finite)
        raise InputError(f"{title} holds {array[index]} at {list(index)}, and every value must be finite in float32")
    return images
