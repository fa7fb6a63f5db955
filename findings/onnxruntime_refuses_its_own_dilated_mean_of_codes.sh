#!/bin/sh
# onnxruntime 1.32.0: an AveragePool with dilations between DequantizeLinear and QuantizeLinear cannot be loaded at the default level.
#
# Guess: it runs in float, or in a kernel on codes, with dilations either way.
# Seen: it is replaced by QLinearAveragePool, which keeps the attribute dilations and has none: the session is refused as an
# invalid model. With optimisation off, or where another node reads the mean too, it runs.
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
nodes = [
    h.make_node("DequantizeLinear", ["x", "s", "z"], ["r"]),
    h.make_node("AveragePool", ["r"], ["m"], kernel_shape=[2, 2], dilations=[2, 2]),
    h.make_node("QuantizeLinear", ["m", "s", "z"], ["y"]),
]
inputs, feeds = [h.make_tensor_value_info("x", T.UINT8, [1, 1, 3, 3])], {"x": np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)}
for level in LEVELS:
    try:
        print(level, run(nodes, inputs, {"s": np.float32(1), "z": np.uint8(0)}, feeds, level).ravel().tolist())
    except Exception as error:
        print(level, type(error).__name__, "dilations for operator QLinearAveragePool" in str(error))
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" > "$folder/seen"
cat > "$folder/expected" <<'TEXT'
ORT_DISABLE_ALL [4]
ORT_ENABLE_ALL InvalidGraph True
TEXT
cat "$folder/seen"
diff "$folder/expected" "$folder/seen"
