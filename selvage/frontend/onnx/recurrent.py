"""Recurrent operators: which of them can become loops on crossbars, and what is in the way of the others."""

from collections.abc import Container

from onnx import NodeProto, helper

from selvage.frontend.onnx.reader import Value, Values, handles
from selvage.frontend.onnx.values import Host

RECURRENT = ("LSTM", "GRU", "RNN")
FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
LENGTHS, FIRST_H, FIRST_C, PEEPHOLES = 4, 5, 6, 7  # positions of inputs


def why_not(node: NodeProto, constants: Container[str]) -> str:
    """Return why a recurrent node can become no loop on crossbars; nothing where it can."""
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    inputs = dict(enumerate(node.input))
    functions = tuple(own.decode() for own in given.get("activations", []))
    count = len(FUNCTIONS[node.op_type])
    if inputs.get(PEEPHOLES):
        return "has peepholes, and must have none"
    if any(functions[k : k + count] != FUNCTIONS[node.op_type] for k in range(0, len(functions), count)):
        return f"has the activations {', '.join(functions)}, and must have {', '.join(FUNCTIONS[node.op_type])}"
    if inputs.get(LENGTHS):
        return "takes lengths of sequences, and must take whole ones"
    if any(inputs.get(k) and inputs[k] not in constants for k in (FIRST_H, FIRST_C)):
        return "begins with a state that is not constant"
    for name, plain in (("layout", 0), ("input_forget", 0)):
        if given.get(name, plain) != plain:
            return f"has {name} = {given[name]}, and must have {plain}"
    if "clip" in given:
        return f"has clip = {given['clip']:g}, and must have none"
    if not all(inputs.get(k, "") in constants for k in (1, 2)) or (inputs.get(3) and inputs[3] not in constants):
        return "has weights that are not constant"
    return ""


@handles(*RECURRENT)
def recurrent(importer: object, node: NodeProto, inputs: Values) -> Value:
    """Leave a recurrent node to the host, and say what is in the way."""
    known = {name for name, value in zip(node.input, inputs, strict=False) if not isinstance(value, Host)}
    why = why_not(node, known) or "is not quantised inside; `selvage quantize` makes a loop of a float model's"
    return Host(node, why)
