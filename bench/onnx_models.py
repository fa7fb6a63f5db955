"""Quantised ONNX models made for tests, and how far the golden network is from what onnxruntime makes of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from selvage.base.graph import Node, Tensor
from selvage.frontend.onnx.graph import Imported
from selvage.golden.graph import evaluate_node, run_loop

EXAMPLES = Path(__file__).parents[1] / "examples"
MICROSOFT = "com.microsoft"
TYPES = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8}


def network_files() -> list[Path]:
    """Every quantised network of the examples that is imported."""
    files = [*EXAMPLES.glob("digits*/*.onnx"), *EXAMPLES.glob("segmenter/*.onnx"), *EXAMPLES.glob("exported/*_q*.onnx")]
    # onnxruntime leaves transposed convolutions in float there, and does not even quantise their weights.
    return sorted(path for path in files if not path.name.startswith("encoder_decoder") or "qdq" in path.name)


class Build:
    """A graph, node by node. Names of outputs are those of the nodes with ``_out`` behind, all with a ``prefix``."""

    def __init__(self, opset: int = 21, prefix: str = "") -> None:
        self.opset = opset
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self.constants: list[TensorProto] = []

    def input(self, name: str, shape: tuple[int | str, ...], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int = TensorProto.FLOAT, rank: int = 4) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, kind, [None] * rank))
        return name

    def constant(self, array: Any, dtype: Any = None) -> str:
        name = f"{self.prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        """One more node; the name of its output."""
        name = name or f"{self.prefix}{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [f"{name}_out"], name=name, domain=domain, **attributes))
        return f"{name}_out"

    def scale(self, scale: float, zero: int, kind: Any) -> list[str]:
        return [self.constant(scale, np.float32), self.constant(zero, kind)]

    def quantised(self, real: str, scale: float, zero: int = 0, kind: Any = np.uint8) -> str:
        return self.add("QuantizeLinear", real, *self.scale(scale, zero, kind))

    def real(self, codes: str, scale: float, zero: int = 0, kind: Any = np.uint8) -> str:
        return self.add("DequantizeLinear", codes, *self.scale(scale, zero, kind))

    def through(self, real: str, scale: float, zero: int = 0, kind: Any = np.uint8) -> str:
        """Quantised and dequantised."""
        return self.real(self.quantised(real, scale, zero, kind), scale, zero, kind)

    def weights(self, codes: NDArray, scale: NDArray | float, zero: NDArray | int = 0, axis: int = 0) -> str:
        """A constant behind a DequantizeLinear."""
        scale, zero = np.asarray(scale, np.float32), np.broadcast_to(np.asarray(zero, codes.dtype), np.shape(scale))
        inputs = [self.constant(codes), self.constant(scale), self.constant(zero)]
        return self.add("DequantizeLinear", *inputs, **({"axis": axis} if scale.ndim else {}))

    def model(self) -> ModelProto:
        graph = helper.make_graph(self.nodes, "made", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@dataclass
class Tally:
    """Outputs that are equal, one off, and further off."""

    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def add(self, kind: str, distance: NDArray) -> None:
        found = np.array([(distance == 0).sum(), (distance == 1).sum(), (distance > 1).sum()])
        self.counts[kind] = self.counts.get(kind, 0) + found

    def check(self, least: float = 0.9999) -> None:
        """Print, and assert that at least this share is equal and none off by more than one."""
        for kind, (equal, one, more) in self.counts.items():
            total = equal + one + more
            print(f"{kind}: {equal} equal, {one} off by one, {more} by more, of {total}")
            assert more == 0, kind
            assert equal >= least * total, kind


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    """With exact sums on processors without VNNI too, where onnxruntime has such kernels."""
    try:
        return _session(model, exact="1")
    except NoKernel:
        return _session(model, exact="0")


def _session(model: ModelProto, exact: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", exact)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def outputs(model: ModelProto, feeds: dict[str, NDArray], more: list[str] | None = None) -> dict[str, NDArray]:
    """What onnxruntime makes, image by image where the model has a batch of 1; tensors ``more`` too."""
    whole = ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.extend(ValueInfoProto(name=name) for name in more or [])
    run = session(whole)
    names = [value.name for value in run.get_outputs()]
    batch = run.get_inputs()[0].shape[0]
    if not isinstance(batch, int):
        return dict(zip(names, run.run(None, feeds), strict=True))
    count = len(next(iter(feeds.values())))
    cuts = range(0, count, batch)
    parts = [run.run(None, {name: array[k : k + batch] for name, array in feeds.items()}) for k in cuts]
    return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}


def kind_of(node: Node) -> str:
    """How counts call a node."""
    layer, kind = getattr(node, "layer", None), getattr(node, "kind", "")
    parts = [type(node).__name__, layer.op if layer else kind, "raw" if getattr(node, "raw", False) else ""]
    return " ".join(part for part in parts if part)


def as_codes(values: NDArray, tensor: Tensor) -> NDArray[np.int64]:
    """Codes (N, C, H, W) of what onnxruntime made: codes already, or real values."""
    if values.dtype.kind == "f":
        scale = np.asarray(tensor.scale, np.float64)
        scale = scale[:, None, None] if scale.ndim else scale
        values = np.rint(values.reshape(-1, *tensor.shape) / scale) + tensor.format.zero_point
    return values.astype(np.int64).reshape(-1, *tensor.shape)


def codes_of(model: ModelProto, imported: Imported, feeds: dict[str, NDArray]) -> dict[str, NDArray[np.int64]]:
    """onnxruntime's codes of each tensor of the network that the model has too, in the network's order."""
    own = {value.name for value in model.graph.output}
    made = {name for node in model.graph.node for name in node.output}
    views = imported.views
    tensors = {name: tensor for name, tensor in imported.graph.tensors.items() if views.get(name, 0) is not None}
    found = outputs(model, feeds, [name for name in tensors if name in made - own]) | feeds
    codes = {}
    for name, tensor in tensors.items():
        numbers = views.get(name)
        if name not in found:
            continue
        if numbers is None:
            codes[name] = as_codes(found[name], tensor)
        elif np.array_equal(np.sort(numbers, None), np.arange(tensor.numbers)):
            values = found[name].reshape(-1, tensor.numbers)[:, np.argsort(numbers, None)]
            codes[name] = as_codes(values, tensor)
    return codes


def compare(model: ModelProto, imported: Imported, feeds: dict[str, NDArray], tally: Tally) -> None:
    """Each node on onnxruntime's own inputs; nodes whose result it does not have go with the next one."""
    graph = imported.graph
    theirs = codes_of(model, imported, feeds)
    entered = imported.enter(feeds)
    for name, codes in entered.items():
        np.testing.assert_array_equal(codes, theirs.setdefault(name, codes))
    for node in graph.nodes:
        imported.add_hosted(theirs)
        if loop := next((loop for loop in graph.loops if node.name in loop.nodes), None):
            if node.output.name not in theirs:
                theirs |= run_loop(graph, loop, theirs)
            continue
        tensors = [graph.tensors[name] for name in node.inputs]
        ours = evaluate_node(node, tensors, [theirs[name] for name in node.inputs])
        if node.output.name in theirs:
            tally.add(kind_of(node), np.abs(ours - theirs[node.output.name]))
        theirs.setdefault(node.output.name, ours)


def saved(model: ModelProto, directory: Any) -> str:
    """Path of the model's file."""
    path = directory / "model.onnx"
    onnx.save(model, path)
    return str(path)
