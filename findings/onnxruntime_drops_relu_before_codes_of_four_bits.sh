#!/bin/sh
# onnxruntime 1.32.0: a Relu before QuantizeLinear to int4 or uint4 is taken out at the default level, whatever the zero point.
#
# Guess: as for int8, where the Relu goes only if the zero point is the lowest code, for then it cuts nothing.
# Seen: with zero points in the middle of the range numbers below 0 come out of a Relu. With optimisation off they do not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.0
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh


def run(nodes, inputs, values, feeds, level, opset=21):
    outputs = [h.make_tensor_value_info(nodes[-1].output[0], T.UNDEFINED, None)]
    outputs[0].ClearField("type")
    stored = [v if hasattr(v, "dims") else nh.from_array(np.asarray(v), k) for k, v in values.items()]
    graph = h.make_graph(nodes, "g", inputs, outputs, stored)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")
for name, code, zero in (("int8", T.INT8, -1), ("int4", T.INT4, -1), ("uint4", T.UINT4, 7), ("int4", T.INT4, -8), ("int16", T.INT16, 5)):
    nodes = [
        h.make_node("Relu", ["x"], ["r"]),
        h.make_node("QuantizeLinear", ["r", "s", "z"], ["q"]),
        h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    values = {"s": np.float32(0.5), "z": h.make_tensor("z", code, [], [zero])}
    inputs, feeds = [h.make_tensor_value_info("x", T.FLOAT, [4])], {"x": np.array([-3, -1, 0, 2], np.float32)}
    print(name, zero, *(run(nodes, inputs, values, feeds, level).tolist() for level in LEVELS))
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" > "$folder/seen"
cat > "$folder/expected" <<'TEXT'
int8 -1 [0.0, 0.0, 0.0, 2.0] [0.0, 0.0, 0.0, 2.0]
int4 -1 [0.0, 0.0, 0.0, 2.0] [-3.0, -1.0, 0.0, 2.0]
uint4 7 [0.0, 0.0, 0.0, 2.0] [-3.0, -1.0, 0.0, 2.0]
int4 -8 [0.0, 0.0, 0.0, 2.0] [0.0, 0.0, 0.0, 2.0]
int16 5 [0.0, 0.0, 0.0, 2.0] [0.0, 0.0, 0.0, 2.0]
TEXT
cat "$folder/seen"
diff "$folder/expected" "$folder/seen"
