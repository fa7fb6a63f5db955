"""Pruning of ONNX files: masks as the golden model makes them, results as of weights masked by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from selvage.frontend.prune import PrunedNode, prune_file
from selvage.golden.pattern import prune
from tb.models.onnx_models import numbers
from tb.models.prune_models import Constants, conv, dequantised, network
from tb.models.pruned import refused

EXAMPLES = Path(__file__).parents[2] / "examples"


def cut(path: Path, model: ModelProto, **changes: Any) -> tuple[ModelProto, list[PrunedNode]]:
    """``model`` pruned by way of files, the input left as it was."""
    file, out = path / "in.onnx", path / "out.onnx"
    onnx.save(model, file)
    given = file.read_bytes()
    pruned = prune_file(str(file), out, **dict(patterns=3, kernel_sparsity=0.25) | changes)
    assert file.read_bytes() == given
    onnx.checker.check_model(out, full_check=True)
    return onnx.load(out), pruned


def initializers(model: ModelProto) -> Constants:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def replaced(model: ModelProto, **constants: NDArray) -> ModelProto:
    """``model`` with other values of some initializers."""
    model = ModelProto.FromString(model.SerializeToString())
    for tensor in model.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name], tensor.name))
    return model


def run(model: ModelProto, x: NDArray) -> NDArray:
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


def runtime(model: ModelProto, x: NDArray) -> NDArray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def check(
    path: Path, model: ModelProto, x: NDArray, weights: NDArray, evaluator: Any = run, **changes: Any
) -> PrunedNode:
    """Pruning must leave of ``model`` all but w, which becomes ``weights``; the one report is returned."""
    found, (pruned,) = cut(path, model, **changes)
    expected = replaced(model, w=weights)
    assert weights.dtype == initializers(model)["w"].dtype
    assert found.SerializeToString() == expected.SerializeToString() != model.SerializeToString()
    assert np.array_equal(evaluator(found, x), evaluator(expected, x))
    assert not np.array_equal(evaluator(found, x), evaluator(model, x))
    return pruned


# What is pruned


@pytest.mark.parametrize(("patterns", "sparsity", "entries"), [(1, 0, 4), (3, 0.25, 4), (2, 0.5, 2), (8, 0.9, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_conv(tmp_path: Path, patterns: int, sparsity: float, entries: int, dtype: Any) -> None:
    w, kind = numbers(4, 3, 3, 3, dtype=dtype), helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    expected, masks = prune(w, patterns, sparsity, entries)
    model = network([conv(inputs=["x", "w", "b"])], {"w": w, "b": numbers(4, dtype=dtype)}, kind=kind)
    x = numbers(1, 3, 6, 7, dtype=dtype, seed=2)
    pruned = check(tmp_path, model, x, expected, patterns=patterns, kernel_sparsity=sparsity, entries=entries)
    alive = masks.any((2, 3))
    distinct = {mask.tobytes() for mask in masks[alive]}
    assert pruned == PrunedNode("n", 108, int(masks.sum()), 12, int((~alive).sum()), len(distinct))
    assert pruned.deleted == round(sparsity * 12) and pruned.kept == (12 - pruned.deleted) * entries
    assert 1 <= pruned.patterns <= patterns


def test_groups(tmp_path: Path) -> None:
    w = numbers(6, 2, 3, 3)
    check(tmp_path, network([conv(group=3)], {"w": w}, (1, 6, 6, 7)), numbers(1, 6, 6, 7), prune(w, 3, 0.25)[0])


def test_one_dimension(tmp_path: Path) -> None:
    w = numbers(4, 3, 7)
    expected = prune(w[:, :, None], 3, 0.25)[0][:, :, 0]
    check(tmp_path, network([conv()], {"w": w}, (1, 3, 9)), numbers(1, 3, 9), expected)


def test_points_lose_whole_kernels(tmp_path: Path) -> None:
    w = numbers(4, 3, 1, 1, low=1)
    pruned = check(tmp_path, network([conv()], {"w": w}), numbers(1, 3, 6, 7), prune(w, 3, 0.25)[0])
    assert pruned == PrunedNode("n", 12, 9, 12, 3, 1)
    model = network([conv()], {"w": w})
    found, (pruned,) = cut(tmp_path, model, kernel_sparsity=0)
    assert found == model and pruned == PrunedNode("n", 12, 12, 12, 0, 1)


@pytest.mark.parametrize("group", [1, 2])
def test_transposed(tmp_path: Path, group: int) -> None:
    """Of equal kernels the first in output order is deleted, and ties abound."""
    w = numbers(6, 4, 3, 3, low=-1, high=1)
    expected = prune(w.transpose(1, 0, 2, 3), 3, 0.25)[0].transpose(1, 0, 2, 3)
    assert not np.array_equal(expected, prune(w, 3, 0.25)[0])
    model = network([conv("ConvTranspose", group=group, strides=[2, 2])], {"w": w}, (1, 6, 3, 4))
    evaluator = run if group == 1 else runtime  # ONNX's own fails at groups here
    check(tmp_path, model, numbers(1, 6, 3, 4), expected, evaluator)


def by_zero_point(w: NDArray, zero: NDArray) -> NDArray:
    """``w`` pruned by hand around ``zero``, which spreads to its shape."""
    masks = prune(w.astype(np.int64) - zero, 3, 0.25)[1]
    assert not np.array_equal(masks, prune(w, 3, 0.25)[1])
    return np.where(masks, w, zero.astype(w.dtype))


@pytest.mark.parametrize("zero", [np.uint8(120), np.uint8([120]), np.uint8([7, 250, 100, 180])], ids=str)
def test_conv_integer(tmp_path: Path, zero: NDArray) -> None:
    w, x = numbers(4, 3, 3, 3, low=0, high=255, dtype=np.uint8), numbers(1, 3, 6, 7, low=0, dtype=np.uint8)
    node = conv("ConvInteger", ["x", "w", "", "z"] if zero.ndim == 0 else ["x", "w", "xz", "z"])
    constants = {"w": w, "z": np.asarray(zero)} | ({"xz": np.uint8(3)} if zero.ndim else {})
    model = network([node], constants, kind=TensorProto.UINT8, output=TensorProto.INT32)
    expected = by_zero_point(w, np.asarray(zero).reshape(-1, 1, 1, 1).astype(np.int64))
    if zero.shape == (1,):  # what the evaluator takes for one per channel
        assert np.array_equal(initializers(cut(tmp_path, model)[0])["w"], expected)
    else:
        check(tmp_path, model, x, expected)


def test_conv_integer_without_zero_point(tmp_path: Path) -> None:
    w = numbers(4, 3, 3, 3, low=-128, high=127, dtype=np.int8)
    model = network([conv("ConvInteger")], {"w": w}, kind=TensorProto.INT8, output=TensorProto.INT32)
    check(tmp_path, model, numbers(1, 3, 6, 7, dtype=np.int8), prune(w, 3, 0.25)[0])


def test_qlinear_conv(tmp_path: Path) -> None:
    w, zero = numbers(4, 3, 3, 3, low=-128, high=127, dtype=np.int8), np.int8([-100, 50, 9, 120])
    constants = {"xs": np.float32(1), "xz": np.int8(1), "w": w, "ws": np.ones(4, np.float32), "wz": zero}
    constants |= {"ys": np.float32(99), "yz": np.int8(-3)}
    model = network([conv("QLinearConv", ["x", *constants])], constants, kind=TensorProto.INT8)
    expected = by_zero_point(w, zero.reshape(-1, 1, 1, 1).astype(np.int64))
    check(tmp_path, model, numbers(1, 3, 6, 7, dtype=np.int8), expected)


@pytest.mark.parametrize(
    ("zero", "axis"),
    [
        (np.int8(-100), 1),
        (np.int8([-100, 50, 9, 120]), 0),
        (np.int8([-100, 50, 9, 120]), -4),
        (np.int8([-100, 50, 9]), 1),
    ],
    ids=str,
)
def test_dequantised(tmp_path: Path, zero: NDArray, axis: int) -> None:
    zero = np.asarray(zero)
    w = numbers(4, 3, 3, 3, low=-128, high=127, dtype=np.int8)
    spread = zero.reshape(np.where(np.arange(4) == axis % 4, -1, 1)) if zero.ndim else zero
    expected = by_zero_point(w, spread.astype(np.int64))
    check(tmp_path, dequantised(w, zero, axis=axis), numbers(1, 3, 6, 7), expected)


def test_dequantised_without_zero_point(tmp_path: Path) -> None:
    w = numbers(4, 3, 3, 3, low=-128, high=127, dtype=np.int8)
    check(tmp_path, dequantised(w, None), numbers(1, 3, 6, 7), prune(w, 3, 0.25)[0])


def test_dequantised_axis_is_1_by_default(tmp_path: Path) -> None:
    """The outputs of a transposed convolution, where ONNX leaves the axis out."""
    w = numbers(3, 4, 3, 3, low=-128, high=127, dtype=np.int8)
    zero = np.int8([-100, 50, 9, 120])
    turned = w.transpose(1, 0, 2, 3)
    expected = by_zero_point(turned, zero.reshape(-1, 1, 1, 1).astype(np.int64)).transpose(1, 0, 2, 3)
    check(tmp_path, dequantised(w, zero, "ConvTranspose"), numbers(1, 3, 6, 7), expected)


def test_dequantised_in_blocks(tmp_path: Path) -> None:
    w, zero = numbers(4, 3, 3, 3, low=-128, high=127, dtype=np.int8), numbers(4, 2, 3, 3, low=-99, dtype=np.int8)
    expected = by_zero_point(w, zero[:, [0, 0, 1]].astype(np.int64))
    model = dequantised(w, zero, axis=1, block_size=2)
    assert np.array_equal(initializers(cut(tmp_path, model)[0])["w"], expected)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT16])
def test_dequantised_other_types(tmp_path: Path, kind: int) -> None:
    w = numbers(4, 3, 3, 3, low=0, high=7)
    model = dequantised(w, np.float32(5))
    for tensor in model.graph.initializer:
        if tensor.name in "wz":
            values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    found, _ = cut(tmp_path, model)
    assert np.array_equal(initializers(found)["w"].astype(int), by_zero_point(w, np.int64(5)))
    assert [tensor.data_type for tensor in found.graph.initializer] == [kind, TensorProto.FLOAT, kind]


def test_constant_node(tmp_path: Path) -> None:
    w = numbers(4, 3, 3, 3)
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w))
    found, _ = cut(tmp_path, network([constant, conv()], {}))
    expected = network([conv()], {"w": prune(w, 3, 0.25)[0]})
    assert np.array_equal(numpy_helper.to_array(found.graph.node[0].attribute[0].t), initializers(expected)["w"])
    assert np.array_equal(run(found, numbers(1, 3, 6, 7)), run(expected, numbers(1, 3, 6, 7)))


def test_typed_data(tmp_path: Path) -> None:
    w, model = numbers(4, 3, 3, 3), network([conv()], {"w": np.zeros(1, np.float32)})
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.ravel()))
    model.graph.initializer[0].doc_string = "kept"
    found, _ = cut(tmp_path, model)
    assert np.array_equal(initializers(found)["w"], prune(w, 3, 0.25)[0])
    assert found.graph.initializer[0].doc_string == "kept" and not found.graph.initializer[0].float_data


def test_huge_weights(tmp_path: Path) -> None:
    """Squares that no float holds."""
    w = numbers(4, 3, 3, 3, dtype=np.float64)
    found, _ = cut(tmp_path, network([conv()], {"w": w * 2.0**1000}, kind=TensorProto.DOUBLE))
    assert np.array_equal(initializers(found)["w"], prune(w, 3, 0.25)[0] * 2.0**1000)


def test_network(tmp_path: Path) -> None:
    """Layers are pruned one by one, shared weights once, other operators not at all."""
    constants = {"w": numbers(3, 3, 3, 3), "v": numbers(2, 3, 3, 3, seed=2), "m": numbers(7, 5)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "w"], ["b"], pads=[1, 1, 1, 1], name="again"),
        helper.make_node("Conv", ["b", "v"], ["c"], pads=[1, 1, 1, 1], name="second"),
        helper.make_node("MatMul", ["c", "m"], ["y"], name="dense"),
    ]
    model, x = network(nodes, constants), numbers(1, 3, 6, 7)
    found, pruned = cut(tmp_path, model)
    assert [node.name for node in pruned] == ["a", "second"]
    expected = replaced(model, w=prune(constants["w"], 3, 0.25)[0], v=prune(constants["v"], 3, 0.25)[0])
    assert found == expected
    assert np.array_equal(run(found, x), run(expected, x))


def test_subgraph(tmp_path: Path) -> None:
    """The branches of an If, one with a constant of its own, one with the graph's."""
    constants = {"w": numbers(4, 3, 3, 3), "u": numbers(4, 3, 3, 3, seed=2), "c": np.array(True)}
    output = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    inner = [helper.make_node("Conv", ["x", name], ["z"], name=name) for name in "wu"]
    own = [numpy_helper.from_array(constants.pop("u"), "u")]
    branches = {
        "then_branch": helper.make_graph([inner[0]], "then", [], output),
        "else_branch": helper.make_graph([inner[1]], "else", [], output, own),
    }
    model = network([helper.make_node("If", ["c"], ["y"], **branches)], constants)
    found, pruned = cut(tmp_path, model)
    assert sorted(node.name for node in pruned) == ["u", "w"]
    assert np.array_equal(initializers(found)["w"], prune(constants["w"], 3, 0.25)[0])
    for attribute in found.graph.node[0].attribute:
        for tensor in attribute.g.initializer:
            assert np.array_equal(numpy_helper.to_array(tensor), prune(numbers(4, 3, 3, 3, seed=2), 3, 0.25)[0])


def test_function(tmp_path: Path) -> None:
    """A function of the model with a constant of its own, called twice."""
    w = numbers(3, 3, 3, 3)
    opset = [helper.make_opsetid("", 22)]
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w))
    inner = helper.make_node("Conv", ["i", "w"], ["o"], name="inner")
    nodes = [helper.make_node("f", ["x"], ["a"], domain="own"), helper.make_node("f", ["a"], ["y"], domain="own")]
    model = network(nodes, {})
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(helper.make_function("own", "f", ["i"], ["o"], [constant, inner], opset))
    found, pruned = cut(tmp_path, model)
    assert [node.name for node in pruned] == ["inner"]
    value = found.functions[0].node[0].attribute[0].t
    assert np.array_equal(numpy_helper.to_array(value), prune(w, 3, 0.25)[0])


def test_onto_itself_and_again(tmp_path: Path) -> None:
    model, file = network([conv()], {"w": numbers(4, 3, 3, 3)}), tmp_path / "m.onnx"
    onnx.save(model, file)
    pruned = prune_file(str(file), file, patterns=3, kernel_sparsity=0.25)
    assert onnx.load(file) == replaced(model, w=prune(numbers(4, 3, 3, 3), 3, 0.25)[0])
    first = file.read_bytes()
    assert prune_file(str(file), file, patterns=3, kernel_sparsity=0.25) == pruned
    assert file.read_bytes() == first and list(tmp_path.iterdir()) == [file]


def test_external_data(tmp_path: Path) -> None:
    model, file, data = network([conv()], {"w": numbers(4, 3, 3, 3)}), tmp_path / "m.onnx", tmp_path / "w.bin"
    onnx.save(model, file, save_as_external_data=True, location="w.bin", size_threshold=0)
    stored = data.read_bytes()
    out = tmp_path / "folder" / "out.onnx"
    prune_file(str(file), out, patterns=3, kernel_sparsity=0.25)
    found = onnx.load(out, load_external_data=False)
    assert np.array_equal(initializers(found)["w"], prune(numbers(4, 3, 3, 3), 3, 0.25)[0])
    assert data.read_bytes() == stored
    data.write_bytes(stored[:20])
    refused("'w.bin' of shape (4, 3, 3, 3) takes 432 bytes", tmp_path, file.read_bytes())
    data.unlink()
    refused("its external data 'w.bin' is not there: ", tmp_path, file.read_bytes())


@pytest.mark.parametrize("name", ["digits/classifier.onnx", "digits_gan/generator.onnx"])
def test_examples(tmp_path: Path, name: str) -> None:
    model = onnx.load(EXAMPLES / name)
    found, pruned = cut(tmp_path, model, patterns=6, kernel_sparsity=0.3)
    before, after = initializers(model), initializers(found)
    names = [node.name for node in model.graph.node if node.op_type.startswith("Conv")]
    assert [node.name for node in pruned] == names and len(names) == 3
    for node in names:
        w = before.pop(f"{node}.weight_quantized")
        zero = before[f"{node}.weight_zero_point"].astype(np.int64)
        order = (1, 0, 2, 3) if node.startswith("up") else (0, 1, 2, 3)
        masks = prune((w - zero).transpose(order), 6, 0.3)[1].transpose(order)
        assert np.array_equal(after.pop(f"{node}.weight_quantized"), np.where(masks, w, zero))
    assert before.keys() == after.keys() and all(np.array_equal(before[key], after[key]) for key in before)
    assert found.graph.node == model.graph.node
