#!/bin/sh
# onnxruntime 1.32.0: Softmax between DequantizeLinear and QuantizeLinear gives codes one too low, by the scale of the result.
#
# Guess: the kernel for codes that takes its place at the default level is right to a half, as others are.
# Seen: at 1/256 and 1/200 it equals the float operators; at 1/255, the scale that onnxruntime's own quantiser gives a
# result between 0 and 1, about a tenth of the codes are one step lower than in float, and none is higher.
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
x = np.random.default_rng(0).integers(0, 256, (200, 10)).astype(np.uint8)
nodes = [
    h.make_node("DequantizeLinear", ["x", "s", "z"], ["r"]),
    h.make_node("Softmax", ["r"], ["m"], axis=-1),
    h.make_node("QuantizeLinear", ["m", "t", "z"], ["y"]),
]
inputs = [h.make_tensor_value_info("x", T.UINT8, [200, 10])]
for steps in (256, 255, 200):
    values = {"s": np.float32(0.05), "z": np.uint8(0), "t": np.float32(1 / steps)}
    written, fused = (run(nodes, inputs, values, {"x": x}, level, 17).astype(int) for level in LEVELS)
    apart = fused - written
    print(f"1/{steps}:", "lower" if (apart < 0).mean() > 0.05 else "equal", "higher" if (apart > 0).any() else "never higher", apart.min())
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" > "$folder/seen"
cat > "$folder/expected" <<'TEXT'
1/256: equal never higher 0
1/255: lower never higher -1
1/200: equal never higher 0
TEXT
cat "$folder/seen"
diff "$folder/expected" "$folder/seen"
