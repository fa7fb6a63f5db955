"""Names that the importer makes for itself, beside any that the user's model has; ONNX asks for unique tensors only."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bench.onnx_models import MICROSOFT, saved
from selvage.base.errors import InputError
from selvage.frontend.onnx.graph import load_graph
from selvage.frontend.onnx.names import Names
from selvage.golden.graph import run
from selvage.mapping.plan_network import plan_network
from selvage.mapping.stages import TableStage

SHAPE = (1, 1, 2, 2)
PIXELS = np.array([[[[5, 6], [7, 9]]]], np.uint8)
VALUES = {"s": np.float32(1), "z": np.uint8(0), "k": np.int8(0), "b20": np.array([20], np.int32)}
VALUES |= {"t": np.float32(2), "b60": np.array([60], np.int32), "stem/bias": np.array([11], np.int32)}
VALUES |= {name: np.full((1, 1, 1, 1), k, np.int8) for name, k in {"w2": 2, "w4": 4, "stem/input3": 3}.items()}


def outputs(nodes: list[NodeProto], names: list[str], tmp_path: Path) -> dict[str, NDArray]:
    """What the golden network makes of PIXELS, by the model's outputs."""
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.UINT8, [None] * 4) for name in names],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in VALUES.items() if name in used],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    imported = load_graph(saved(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path))
    assert len({node.name for node in imported.graph.nodes}) == len(imported.graph.nodes)
    return imported.leave(run(imported.graph, imported.enter(PIXELS)))


def layer(name: str, source: str, weight: str, target: str, bias: str = "") -> NodeProto:
    inputs = [source, "s", "z", weight, "s", "k", "s", "z", *([bias] if bias else [])]
    return helper.make_node("QLinearConv", inputs, [target], name=name)


def real(source: str, target: str, name: str = "") -> NodeProto:
    return helper.make_node("DequantizeLinear", [source, "s", "z"], [target], name=name)


def plus(name: str, first: str) -> NodeProto:
    inputs = [first, "s", "z", "image", "s", "z", "s", "z"]
    return helper.make_node("QLinearAdd", inputs, ["sum"], name=name, domain=MICROSOFT)


@pytest.mark.parametrize(
    "nodes, wanted",
    [
        (
            [layer("", "image", "w2", "head", "b20"), layer("head", "image", "w4", "tail", "b60")],
            {"head": 2 * PIXELS + 20, "tail": 4 * PIXELS + 60},
        ),
        (
            [layer("same", "image", "w2", "left", "b20"), layer("same", "left", "w2", "right", "b60")],
            {"left": 2 * PIXELS + 20, "right": 4 * PIXELS + 100},
        ),
        ([layer("stem", "image", "w2", "out", "stem/bias")], {"out": 2 * PIXELS + 11}),
        ([layer("stem", "image", "stem/input3", "out")], {"out": 3 * PIXELS}),
        ([layer("stem", "image", "w2", "stem/result")], {"stem/result": 2 * PIXELS}),
        ([layer("stem", "image", "w2", "a/input0"), plus("a", "a/input0")], {"sum": 3 * PIXELS}),
    ],
    ids=["output and node", "two nodes", "bias", "weights", "result", "input"],
)
def test_names_of_the_user_stay_the_users(nodes: list[NodeProto], wanted: dict[str, NDArray], tmp_path: Path) -> None:
    found = outputs(nodes, list(wanted), tmp_path)
    for name, codes in wanted.items():
        np.testing.assert_array_equal(found[name], codes)


def test_tensors_before_a_pool(tmp_path: Path) -> None:
    """The codes that a layer makes before its greatest ones are taken have a name that nothing else has."""
    weights = [helper.make_node("DequantizeLinear", [f"w{k}", "s", "k"], [f"w{k}_f"]) for k in (2, 4)]
    nodes = [
        *weights,
        real("image", "f"),
        helper.make_node("Conv", ["f", "w4_f"], ["c"], name="lay"),
        helper.make_node("MaxPool", ["c"], ["m"], name="most", kernel_shape=[2, 2]),
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["top"]),
        helper.make_node("Conv", ["f", "w2_f"], ["e"], name="side"),
        helper.make_node("QuantizeLinear", ["e", "s", "z"], ["c_2"]),
    ]
    found = outputs(nodes, ["top", "c_2"], tmp_path)
    assert found["top"].item() == 36
    np.testing.assert_array_equal(found["c_2"], 2 * PIXELS)


def test_tables_before_a_concatenation(tmp_path: Path) -> None:
    """A concatenation ``out`` of another scale makes ``out.0``, which the user's own ``out.0`` is not."""
    nodes = [
        layer("first", "image", "w2", "out.0"),
        real("out.0", "f"),
        real("image", "g"),
        helper.make_node("Concat", ["f", "g"], ["m"], name="out", axis=1),
        helper.make_node("QuantizeLinear", ["m", "t", "z"], ["out"]),
    ]
    found = outputs(nodes, ["out", "out.0"], tmp_path)
    np.testing.assert_array_equal(found["out.0"], 2 * PIXELS)
    np.testing.assert_array_equal(found["out"], np.concatenate([PIXELS, np.rint(PIXELS / 2)], axis=1))
    imported = load_graph(str(tmp_path / "model.onnx"))
    concat = imported.graph.only(imported.graph.nodes[-1])
    stages = plan_network(concat, {}).stages
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names) == 3 and all(stage.node_name == "out" for stage in stages)
    made = [stage.output.name for stage in stages if isinstance(stage, TableStage)]
    assert len(made) == 2 and not {*made} & {*concat.tensors}


def test_fresh_names_look_into_bodies() -> None:
    inner = helper.make_graph([helper.make_node("Abs", ["x"], ["a"])], "inner", [], [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    names = Names(helper.make_graph([node], "g", [], []))
    assert [names.fresh("a"), names.fresh("a"), names.fresh("b"), names.fresh("b")] == ["a_2", "a_3", "b", "b_2"]


def test_onnx_asks_for_unique_tensors_only(tmp_path: Path) -> None:
    """Its checker takes two nodes of one name, which onnxruntime refuses."""
    outputs([layer("same", "image", "w2", "left"), layer("same", "left", "w2", "right")], ["right"], tmp_path)
    onnx.checker.check_model(str(tmp_path / "model.onnx"))


def test_messages_name_nodes_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale that is wrong is laid to the node that has it, whatever is made of the node."""
    monkeypatch.setitem(VALUES, "minus", np.float32(-1))
    node = layer("conv", "image", "w2", "out")
    node.input[4] = "minus"
    with pytest.raises(InputError, match=r"^node 'conv': it has the scale -1\.0"):
        outputs([node], ["out"], tmp_path)
