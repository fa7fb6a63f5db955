"""An operator with gateware is four pieces, one in each room: a toy one runs from ONNX to Verilog, listed nowhere."""

import subprocess
import sys
from pathlib import Path

TOY = """
import sys
from dataclasses import dataclass

import numpy as np
import onnx
from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from onnx import TensorProto, helper, numpy_helper

import selvage
from selvage.base.graph import Node, Tensor
from selvage.frontend.onnx.reader import handles
from selvage.frontend.onnx.read import name_of
from selvage.frontend.onnx.values import (Map)
from selvage.golden.graph import evaluate_node
from selvage.hw.network.components import component_of, parameters_of
from selvage.hw.network.maps import codes_layout
from selvage.mapping.plan_network import stages_of
from selvage.mapping.stages import Stage

# 1. The node and its golden model: each code from the other end of its range.
@dataclass(frozen=True, eq=False, kw_only=True)
class Mirror(Node):
    pass

@evaluate_node.register
def _(node: Mirror, tensors, codes):
    return sum(tensors[0].format.raw_range) - codes[0]

# 2. Its stage in the plan of a network.
class MirrorStage(Stage):
    pass

@stages_of.register
def _(node: Mirror, sources, placements, taken):
    return [MirrorStage(node.name, tuple(sources), node.output)]

# 3. Its component: all bits of a code turned over.
@dataclass(frozen=True)
class MirrorParameters:
    bits: int
    lanes: int

class MirrorMaps(wiring.Component):
    def __init__(self, p):
        layout = codes_layout(p.bits, p.lanes)
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        m.d.comb += self.o.payload.as_value().eq(~self.i.payload.as_value())
        return m

@parameters_of.register
def _(stage: MirrorStage, around):
    return MirrorParameters(around.bits, around.lanes)

component_of.register(MirrorParameters, MirrorMaps)

# 4. What reads it in ONNX: the operator LRN, which selvage leaves to the host else.
@handles("LRN")
def mirrored(importer, node, inputs):
    value = importer.settled(node, inputs[0])
    to = Tensor(node.output[0], value.tensor.shape, value.tensor.scale, value.tensor.format)
    importer.add(Mirror(name=name_of(node), inputs=(value.tensor.name,), output=to))
    return Map(to, real=value.real)

def quantised(name, array):
    return numpy_helper.from_array(array, name)

weights = np.random.default_rng(1).integers(-7, 8, (3, 2, 2, 2)).astype(np.int8)
nodes = [
    helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
    helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xr"]),
    helper.make_node("LRN", ["xr"], ["m"], name="mirror", size=1),
    helper.make_node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
    helper.make_node("DequantizeLinear", ["mq", "s", "z"], ["mr"]),
    helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wr"]),
    helper.make_node("Conv", ["mr", "wr"], ["c"], name="conv"),
    helper.make_node("QuantizeLinear", ["c", "t", "z"], ["cq"]),
    helper.make_node("DequantizeLinear", ["cq", "t", "z"], ["y"]),
]
fixed = [
    quantised("s", np.float32(0.1)), quantised("t", np.float32(1.5)), quantised("z", np.uint8(3)),
    quantised("w", weights), quantised("wz", np.int8(0)),
]
graph = helper.make_graph(
    nodes, "toy", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 5])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 3, 4])], fixed,
)
path = sys.argv[1] + "/toy.onnx"
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

compiled = selvage.compile(path, "ou9x8", build=sys.argv[1] + "/build")
for pipeline in (False, True):
    report = compiled.simulate(pipeline=pipeline)
    assert report["match"], report["fault"]
assert [node["kind"] for node in report["nodes"]] == ["mirror", "conv"], report
assert "LRN" not in [node["operator"] for node in report["host"]], report
assert any("mirror" in path.read_text().lower() for path in compiled.write_verilog(sys.argv[1] + "/v"))
"""


def test_a_toy_operator_is_four_pieces(tmp_path: Path) -> None:
    """In a process of its own, for what is registered stays so."""
    done = subprocess.run([sys.executable, "-c", TOY, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
