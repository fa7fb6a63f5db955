#!/bin/sh
# onnxruntime 1.32.0: QuantizeLinear, DequantizeLinear, QuantizeLinear, DequantizeLinear of two scales become one pair.
#
# Guess: the pairs stay, for each rounds by its own scale; only equal pairs are merged.
# Seen: at the default level the first pair goes, and results are up to half a step of it away: three steps of the second
# scale where the first is six times as coarse. With optimisation off both pairs round.
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
x = np.linspace(-6, 6, 200, dtype=np.float32)
nodes = [
    h.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
    h.make_node("DequantizeLinear", ["a", "s", "z"], ["b"]),
    h.make_node("QuantizeLinear", ["b", "t", "u"], ["c"]),
    h.make_node("DequantizeLinear", ["c", "t", "u"], ["y"]),
]
inputs = [h.make_tensor_value_info("x", T.FLOAT, [200])]
for first in (0.1, 0.3):
    values = {"s": np.float32(first), "z": np.uint8(100), "t": np.float32(0.05), "u": np.uint8(128)}
    written, merged = (run(nodes, inputs, values, {"x": x}, level, 17) for level in LEVELS)
    apart = np.rint((merged - written) / 0.05).astype(int)
    print(first, "then 0.05: steps apart", sorted(set(np.abs(apart).tolist())))
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" > "$folder/seen"
cat > "$folder/expected" <<'TEXT'
0.1 then 0.05: steps apart [0, 1]
0.3 then 0.05: steps apart [0, 1, 2, 3]
TEXT
cat "$folder/seen"
diff "$folder/expected" "$folder/seen"
