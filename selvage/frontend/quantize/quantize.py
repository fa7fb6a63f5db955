"""Float ONNX files in eight bits, by onnxruntime's own static quantiser."""

import contextlib
import io
import itertools
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
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from selvage.base.errors import InputError
from selvage.base.files import check_writable, write_whole
from selvage.frontend.layer_file import first_index, one_line
from selvage.frontend.onnx.read import complete, is_operator, read_proto, title_of
from selvage.frontend.onnx.recurrent import RECURRENT
from selvage.frontend.onnx.sizes import check_inferred
from selvage.frontend.options import LARGEST, SHAPE_RULE
from selvage.frontend.quantize.images import Batches, read_batches
from selvage.frontend.quantize.measure import Measured, measure, session
from selvage.frontend.quantize.names import Neutral, name_nodes
from selvage.frontend.quantize.prepare import OPSET, converted, own_activations, prepared
from selvage.frontend.quantize.recurrent import quantise_loops
from selvage.frontend.quantize.refused import refuse, words

FORMS = {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}
ACTIVATIONS = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
OLDEST = 7
"""The first opset that onnxruntime runs."""
MARKERS = ("QuantizeLinear", "DequantizeLinear")
INTEGER_OPERATORS = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QGemm", *MARKERS)


@dataclass(frozen=True)
class QuantizeOptions:
    """How a model is quantised, by the words of the command's options.

    ``shape`` is the input's, batch first, for a model that leaves sides free; the batch stays as it is.
    ``min_sqnr`` is the least signal to noise, in decibels, of any float output for which a file is written.
    """

    form: str = "qdq"
    per_channel: bool = True
    activations: str = "uint8"
    method: str = "minmax"
    shape: tuple[int, ...] | None = None
    min_sqnr: float = 0.0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("form", self.form, FORMS),
            ("activations", self.activations, ACTIVATIONS),
            ("method", self.method, METHODS),
        ):
            if value not in allowed:
                raise InputError(f"--{name} {value!r} is none of {', '.join(allowed)}")
        if self.shape is not None and not all(1 <= side <= LARGEST for side in self.shape):
            raise InputError(f"--shape {','.join(map(str, self.shape))!r} {SHAPE_RULE}")
        if math.isnan(self.min_sqnr):
            raise InputError(f"--min-sqnr {self.min_sqnr} must be a number of decibels, or -inf for any")


def quantize_file(source: str, calibration: str, out: Path, options: QuantizeOptions) -> dict:
    """Write the float ONNX file ``source`` with eight-bit weights and activations to ``out``.

    Weights are symmetric int8, so those that are 0 stay 0; ranges of the activations come from the images of
    ``calibration``, an .npy of floats in the shape of the model's one input, or an .npz with an array for each input
    by name. Returned: ``operators`` quantised and left ``in_float`` by type, ``per_tensor``, the layers whose weights
    have one scale though one for each channel was asked for, why recurrent layers stay in float,
    ``recurrent_in_float``, ``images``, ``bytes`` of both files, and how far the
    outputs are from the float model's on those images: ``distance`` at most, ``mean_distance``, ``sqnr_db`` of the
    float output ``sqnr_output`` where it is least (``None`` where one of signal and error is 0), and the share of the
    other outputs that is the same, ``agreement``; ``None`` where there are none, or where onnxruntime cannot run the
    quantised model, which ``not_measured`` explains. `InputError`: a file cannot be read, quantised or written, or
    the SQNR is below ``options.min_sqnr``; nothing is written then.
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
    _check_float(proto.graph, source)
    before = proto.ByteSize()
    batches = read_batches(proto, source, calibration, options.shape)
    check_inferred(proto)
    name_nodes(proto.graph)
    batches = _one_image(proto, batches)
    with tempfile.TemporaryDirectory(prefix="selvage.") as folder, _quiet():
        newer = converted(proto, source)
        plain, batches = _float_session((proto, newer), source, batches)
        result, whole_scales, left = _quantise(newer, source, batches, Path(folder), options)
        quantised, others = _operators(result.graph, options.form)
        if not quantised:
            held = ", ".join(others)
            why = "".join(f"; node {name!r} {reason}" for name, reason in left.items())
            raise InputError(
                f"model {source!r} holds no operator that onnxruntime quantises as {options.form}: {held}{why}"
            )
        content = result.SerializeToString()
        try:
            measured = measure(plain, content, batches.all)
        except ArithmeticError as error:
            raise InputError(f"model {source!r} {error} on the images of {calibration!r}") from None
    if measured.sqnr_db is not None and measured.sqnr_db < options.min_sqnr:
        raise InputError(
            f"model {source!r} in eight bits: output {measured.worst!r} has an SQNR of {measured.sqnr_db:.1f} dB on "
            f"the images of {calibration!r}, below --min-sqnr {options.min_sqnr:g}; a lower one has the file written"
        )
    write_whole(out, content)
    counts = {"operators": quantised, "in_float": others, "per_tensor": whole_scales, "recurrent_in_float": left}
    counts["images"] = batches.count
    return {**counts, "bytes": len(content), "bytes_float": before, **_figures(measured, result.graph)}


def _one_image(proto: ModelProto, batches: Batches) -> Batches:
    """Fix a free batch of a recurrent network at one image, in place, for a loop is of one; return batches of that."""
    if not any(is_operator(node, *RECURRENT) for node in proto.graph.node):
        return batches
    firsts = [info.type.tensor_type.shape.dim[0] for info in proto.graph.input if info.type.tensor_type.shape.dim]
    free = [side for side in firsts if not side.HasField("dim_value")]
    for side in free:
        side.dim_value = 1
    for info in proto.graph.output if free else ():
        info.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    return batches.one_by_one() if free else batches


def _figures(measured: Measured, graph: GraphProto) -> dict[str, float | str | None]:
    """Return what was measured, as the report has it: no number that JSON does not know."""
    found = {"distance": measured.distance, "mean_distance": measured.mean_distance, "sqnr_db": measured.sqnr_db}
    finite = {key: value if value is not None and math.isfinite(value) else None for key, value in found.items()}
    why = None if measured.failure is None else f"onnxruntime cannot run it{words(measured.failure, graph)}"
    return {**finite, "sqnr_output": measured.worst, "agreement": measured.agreement, "not_measured": why}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime from printing, logging and warning."""
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


def _float_session(
    models: tuple[ModelProto, ModelProto], path: str, batches: Batches
) -> tuple[onnxruntime.InferenceSession, Batches]:
    """Return a session of the float model, as it is or else converted, and batches that it takes.

    They are of one image where the inside of the model fixes the batch. `InputError`: onnxruntime, whose quantiser runs
    the model, cannot.
    """
    sizes = (batches,) if batches.fixed or batches.size == 1 else (batches, batches.one_by_one())
    failure: Exception | None = None
    # The quantiser's own session optimises nothing, and tells nodes by the names that they have.
    for proto, optimised, sized in itertools.product(models, (True, False), sizes):
        try:
            plain = session(proto.SerializeToString(), optimised=optimised)
            plain.run(None, sized.all[0])
            return plain, sized
        except Exception as error:  # onnxruntime has no common class for what it cannot do
            failure = error if proto is models[0] else failure
    assert failure is not None
    old = any(entry.domain == "" and entry.version < OLDEST for entry in models[0].opset_import)
    way_out = f"; export the model with opset {OPSET} or newer" if old else ""
    title = f"model {path!r} cannot be run by onnxruntime, as quantising needs"
    refuse(failure, title, models[0].graph, way_out=way_out)


def _quantise(
    proto: ModelProto, path: str, batches: Batches, folder: Path, options: QuantizeOptions
) -> tuple[ModelProto, list[str], dict[str, str]]:
    """Return the quantised model; layers whose weights share one scale against the options; and what stays in float.

    That is by the names of recurrent layers the reason.
    """
    title = f"model {path!r} cannot be quantised by onnxruntime"
    file, result = folder / "float.onnx", folder / "quantised.onnx"
    try:
        file.write_bytes(proto.SerializeToString())
        model = prepared(file, folder)
        neutral = Neutral(model)
    except Exception as error:  # onnxruntime and onnx have no common class for what they cannot do
        refuse(error, title, proto.graph)
    whole = _whole_scales(model.graph, options)
    alone = own_activations(model.graph, codes=options.form == "qoperator")
    overrides = {node.input[1]: [{"quant_type": QuantType.QInt8}] for node in whole}
    try:
        onnx.save(model, file)
        quantize_static(
            file,
            result,
            batches.called(neutral.numbers),
            quant_format=FORMS[options.form],
            per_channel=options.per_channel,
            activation_type=ACTIVATIONS[options.activations],
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in alone],
            calibrate_method=METHODS[options.method],
            # A batch at a time: histograms of all need all activations in memory, and batches of one size.
            extra_options={
                "ActivationSymmetric": False,
                "WeightSymmetric": True,
                "CalibStridedMinMax": 1,
                **({"TensorQuantOverrides": overrides} if overrides else {}),
            },
        )
        quantised = onnx.load(result)
        kind = np.uint8 if options.activations == "uint8" else np.int8
        feeds = list(batches.called(neutral.numbers))
        left = quantise_loops(quantised, onnx.load(file), neutral, feeds, kind, per_channel=options.per_channel)
        neutral.restore(quantised)
        onnx.checker.check_model(quantised)
    except Exception as error:  # as above
        neutral.restore(model)
        refuse(error, title, model.graph, neutral, "; --per-tensor may do it" if options.per_channel else "")
    return quantised, [neutral.restored(node.name) for node in whole], left


def _whole_scales(graph: GraphProto, options: QuantizeOptions) -> list[NodeProto]:
    """Return nodes whose weights get one scale, for onnxruntime 1.32 cannot make the scales of their bias.

    They are transposed convolutions in groups, whose weights' second axis counts the outputs of one group.
    """
    if options.form != "qdq" or not options.per_channel:
        return []
    weights = {tensor.name for tensor in graph.initializer}
    return [
        node
        for node in graph.node
        if is_operator(node, "ConvTranspose")
        and any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
        and len(node.input) > 2
        and node.input[2]
        and node.input[1] in weights
    ]


def _operators(graph: GraphProto, form: str) -> tuple[dict[str, int], dict[str, int]]:
    """Count by operator the nodes of a quantised graph that compute in eight bits, and the others."""
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
        direct = narrow != node.op_type or first in eight or node.op_type == "Scan"
        between = first in wide and all(readers[name] == {"QuantizeLinear"} for name in node.output if name)
        if direct or (between and node.op_type in known):
            quantised[narrow] += 1
        elif node.op_type != "Constant":
            others[node.op_type] += 1
        if direct:
            eight.update(node.output)
    return dict(sorted(quantised.items())), dict(sorted(others.items()))


def _narrow(operator: str) -> str:
    """Return the float operator of a quantised one."""
    return "Gemm" if operator == "QGemm" else operator.removeprefix("QLinear")


def _check_float(graph: GraphProto, path: str) -> None:
    """Raise `InputError` for nodes that are quantised already, or weights that are not finite."""
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
