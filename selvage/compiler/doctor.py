"""Where each node of a model would run, and what stands in the way of those that cannot: without placing anything."""

from dataclasses import dataclass
from typing import Any, Literal

from onnx import NodeProto

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.compiler.chip_limits import check_matrix
from selvage.frontend.onnx.graph import Imported, load_graph
from selvage.frontend.onnx.importer import Importer
from selvage.frontend.onnx.nodes import UNQUANTISED
from selvage.frontend.onnx.read import is_operator, name_of, title_of
from selvage.frontend.onnx.reader import MATRICES, Value
from selvage.frontend.onnx.recurrent import RECURRENT, why_not
from selvage.frontend.onnx.static import Shape, read_static
from selvage.frontend.onnx.values import Constant, Head, Host, Map, Pending, Weights

Where = Literal["crossbars", "gateware", "nothing to do", "host", "in the way"]
MOVES = ("QuantizeLinear", "DequantizeLinear", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose")


@dataclass(frozen=True)
class NodeFinding:
    """Where a node would run; ``why`` it is the host's or in the way, and what to ``change``."""

    name: str
    operator: str
    where: Where
    why: str = ""
    change: str = ""


@dataclass(frozen=True)
class Examined:
    """All nodes of a model; ``whole``: nothing is in the way. ``cuts``: steps that the host makes between layers."""

    nodes: list[NodeFinding]
    whole: bool
    cuts: int

    @property
    def counts(self) -> dict[str, int]:
        """Nodes by where they run."""
        found: dict[str, int] = {}
        for node in self.nodes:
            found[node.where] = found.get(node.where, 0) + 1
        return found


class _Patient(Importer):
    """An importer that notes what it cannot bring to gateware, and goes on as if the host made it."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.errors: dict[str, str] = {}  # by the first output of the node that is in the way

    def value(self, node: NodeProto, inputs: list[Value | None]) -> Value | list[Value]:
        """Return what a node stands for: the host's where it is refused."""
        try:
            return super().value(node, inputs)
        except InputError as error:
            text = str(error)
            # What stands behind an operator without gateware is refused by that one's name.
            named = (other for other in self.static.graph.node if text.startswith(f"{title_of(other)}:"))
            self.errors.setdefault(next(named, node).output[0], text)
            return Host(node, "is in the way itself")


def examine(path: str, chip: Chip, shape: Shape | None = None, *, partial: bool = False) -> Examined:
    """Return where each node of the ONNX file ``path`` would run on ``chip``.

    `InputError`: the file is no model that can be read.
    """
    static = read_static(path, shape)
    patient = _Patient(static, partial=partial)
    patient.run()
    imported, sentence = _imported(path, shape, partial)
    hosted = {name for step in patient.hosted.values() for name in step.nodes}
    limits = _limits(imported, chip) if imported else {}
    nodes = []
    for node in static.graph.node:
        value = patient.values.get(node.output[0])
        nodes.append(_finding(node, value, patient, hosted, limits))
    blocked = any(node.where == "in the way" for node in nodes)
    if imported is None and not blocked:
        nodes.append(NodeFinding(path, "model", "in the way", sentence, advice(sentence)))
    cuts = imported.hosted if imported else patient.hosted
    return Examined(nodes, imported is not None and not blocked, len(cuts))


def _imported(path: str, shape: Shape | None, partial: bool) -> tuple[Imported | None, str]:
    """Return the model as it is brought to gateware; or the sentence that says why it is not."""
    try:
        return load_graph(path, shape, partial=partial), ""
    except InputError as error:
        return None, str(error)


def _limits(imported: Imported, chip: Chip) -> dict[str, str]:
    """Return what the chip does not hold, by node."""
    found = {}
    for node in imported.graph.matrices:
        try:
            check_matrix(node, imported.graph.tensors[node.inputs[0]], chip)
        except InputError as error:
            found[node.name] = str(error)
    return found


def _finding(
    node: NodeProto, value: Value | None, patient: _Patient, hosted: set[str], limits: dict[str, str]
) -> NodeFinding:
    """Return where one node runs."""
    name, operator = name_of(node), node.op_type
    if node.output[0] in patient.errors:
        sentence = patient.errors[node.output[0]]
        return NodeFinding(name, operator, "in the way", sentence, advice(sentence))
    if name in limits:
        return NodeFinding(name, operator, "in the way", limits[name], advice(limits[name]))
    if node.output[0] in hosted:
        why = value.why if isinstance(value, Host) and value.node.output == node.output else ""
        return NodeFinding(name, operator, "host", why or "is between layers")
    if isinstance(value, Constant | Weights):
        return NodeFinding(name, operator, "nothing to do")
    if isinstance(value, Head) and not patient.inputs and is_operator(node, *MATRICES, *RECURRENT):
        constants = patient.static.constants
        why = why_not(node, constants) if is_operator(node, *RECURRENT) else ""
        return NodeFinding(name, operator, "in the way", why or "is in float", advice(why or UNQUANTISED))
    if isinstance(value, Head):
        return NodeFinding(name, operator, "host", "is before what is quantised")
    if isinstance(value, Host) and is_operator(node, *MATRICES) and value.node.output == node.output:
        return NodeFinding(name, operator, "crossbars")  # once what is before it is not in the way
    if isinstance(value, Host):
        why = value.why if value.node.output == node.output else f"is behind {name_of(value.node)!r}"
        return NodeFinding(name, operator, "host", why)
    if is_operator(node, *MATRICES):
        return NodeFinding(name, operator, "crossbars")
    if is_operator(node, *MOVES) and isinstance(value, Map | Pending):
        if node.output[0] in patient.inputs:
            return NodeFinding(name, operator, "host", "quantises what the model is given")
        return NodeFinding(name, operator, "nothing to do")
    return NodeFinding(name, operator, "gateware")


ADVICE = (
    ("run `selvage quantize` first", "selvage quantize MODEL --calibration IMAGES --out OUT"),
    ("quantise it too", "quantise this node as well: selvage quantize does all that onnxruntime can"),
    ("input_bits", "a chip with more input_bits (a TOML with --chip), or activations of fewer bits"),
    ("input_signed", "input_signed = true in the chip's TOML, or quantise with --activations uint8"),
    ("weight_bits", "weight_bits in the chip's TOML, or symmetric weights of int8"),
    ("signed", 'a chip with encoding = "differential" or "offset"'),
    ("--shape", "selvage doctor --shape, or export without dynamic axes"),
    ("peepholes", "train or export it without peepholes"),
    ("activations", "the default functions of the operator"),
    (
        "put an axis of 1 image",
        "export with batch_first, or with an input of (1, steps, channels) and a Transpose",
    ),
    ("lengths of sequences", "export with sequences of one length (no sequence_lens)"),
    ("not quantised inside", "selvage quantize on the float model: it makes a loop of it"),
    ("initial state", "a constant initial state"),
    ("bodies", "export without control flow, or with constant conditions"),
    ("block_size", "one scale a tensor or a channel instead of blocks"),
    ("rank", "a layer in two dimensions, or --partial"),
    ("an order that no sum", "fewer numbers, or an order of whole lines, columns or channels"),
    ("behind it has quantised weights", "--partial leaves what is before it to the host"),
    ("is not supported", "--partial leaves it to the host"),
)
"""What to change, by words of the sentence that says what is in the way; the first that is found."""


def advice(sentence: str) -> str:
    """Return what to change for what a sentence says."""
    return next((change for words, change in ADVICE if words in sentence), "--partial leaves it to the host")
