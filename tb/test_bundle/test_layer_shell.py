"""A single layer behind a bus: `selvage verilog LAYER --bus`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SELVAGE = Path(sys.executable).with_name("selvage")


@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_a_single_layer_behind_a_bus(tmp_path: Path, bus: str) -> None:
    """Its sums leave as they are, of 32 bits at most in ONNX; `ConvInteger` of two channels, by hand."""
    weights = np.arange(-4, 4, dtype=np.int8).reshape(2, 2, 2, 1)
    infos = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (("x", TensorProto.UINT8, [1, 2, 3, 2]), ("y", TensorProto.INT32, [1, 2, 2, 2]))
    ]
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"], name="only")
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    command = [SELVAGE, "verilog", "m.onnx", "--chip", "tiny", "--bus", bus, "--out", "b"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    shell = tmp_path / "b" / "shell"
    told = json.loads((shell / "names.json").read_text())
    assert told["crossbars"][0]["node"] == "only" and told["outputs"][0]["shape"] == [2, 2, 2]
    command = ["iverilog", "-g2005", "-Wall", "-f", "selftest.f", "-o", "t"]
    run = subprocess.run(command, cwd=shell, capture_output=True, text=True, check=False)
    assert run.returncode == 0 and not run.stdout + run.stderr
    run = subprocess.run(["vvp", "t"], cwd=shell, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[-2] == "PASS"
    # The words that must leave, against the sums of the codes that enter.
    bits, lanes = told["outputs"][0]["bits"], told["outputs"][0]["lanes"]
    inside = told["inputs"][0]

    def codes(name: str, bits: int, lanes: int, channels: int) -> np.ndarray:
        words = [int(line, 16) for line in (shell / "selftest" / name).read_text().split()]
        own = [word >> lane * bits & 2**bits - 1 for word in words for lane in range(lanes)]
        return np.array(own).reshape(-1, 3 if name.startswith("input") else 2, 2, channels)

    x = codes("input_0.hex", inside["bits"], inside["lanes"], 2)
    y = codes("expected_0.hex", bits, lanes, 2)
    y = y - (y >> bits - 1 << bits)
    wanted = sum(x[:, row : row + 2, :, :] @ weights[:, :, row, 0].T.astype(np.int64) for row in range(2))
    np.testing.assert_array_equal(y, wanted)
