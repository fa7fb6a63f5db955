"""Pruning of ONNX files: what is refused, by message, and that nothing is written then."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from selvage.base.errors import InputError
from selvage.frontend.prune import prune_file
from tb.models.onnx_models import numbers
from tb.models.prune_models import conv, dequantised, network
from tb.models.pruned import refused

PARAMETERS = [
    (dict(patterns=0), "node 'n': patterns = 0 must be at least 1"),
    (dict(patterns=127), "node 'n': patterns = 127, but only 126 keep 4 of 9 weights of a kernel"),
    (dict(patterns=10, entries=1), "node 'n': patterns = 10, but only 9 keep 1 of 9 weights of a kernel"),
    (dict(entries=0), "node 'n': entries = 0 of a pattern must be at least 1"),
    (dict(kernel_sparsity=-0.1), "node 'n': share of deleted kernels -0.1 is outside 0 .. 1, 1 excluded"),
    (dict(kernel_sparsity=1.0), "node 'n': share of deleted kernels 1.0 is outside 0 .. 1, 1 excluded"),
    (dict(kernel_sparsity=float("nan")), "node 'n': share of deleted kernels nan is outside 0 .. 1, 1 excluded"),
]


@pytest.mark.parametrize(("changes", "message"), PARAMETERS)
def test_parameters_refused(tmp_path: Path, changes: dict, message: str) -> None:
    refused(message, tmp_path, network([conv()], {"w": numbers(4, 3, 3, 3)}), **changes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_refused(tmp_path: Path, value: float) -> None:
    w = numbers(4, 3, 3, 3)
    w[3, 1, 0, 2] = value
    message = f"node 'n': weight 'w' holds {value} at [3, 1, 0, 2], and every weight must be finite"
    refused(message, tmp_path, network([conv()], {"w": w}))


def test_later_node_refused(tmp_path: Path) -> None:
    """Nothing is written though the first node can be pruned."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), conv(inputs=["a", "v"], name="late")]
    model = network(nodes, {"w": numbers(3, 3, 3, 3), "v": numbers(3, 3, 2, 3)})
    refused("node 'late': patterns = 16, but only 15 keep 4 of 6", tmp_path, model, patterns=16)


def test_no_convolution_refused(tmp_path: Path) -> None:
    message = "holds no convolution, and must hold one of Conv, ConvInteger, QLinearConv, ConvTranspose"
    refused(message, tmp_path, network([conv("MatMul")], {"w": numbers(7, 3)}))


def test_no_constant_refused(tmp_path: Path) -> None:
    """Computed weights, also where they are computed of constants."""
    rule = "must be an initializer or the tensor of a Constant, or a DequantizeLinear of one, to be pruned"
    for nodes in (
        [conv(inputs=["x", "x"], name="")],
        [helper.make_node("Relu", ["w"], ["v"]), conv(inputs=["x", "v"], name="")],
        [helper.make_node("DequantizeLinear", ["u", "s"], ["v"]), conv(inputs=["x", "v"], name="")],
    ):
        name = nodes[-1].input[1]
        quantise = helper.make_node("QuantizeLinear", ["w", "s"], ["u"])
        model = network([quantise, *nodes], {"w": numbers(4, 3, 3, 3), "s": np.float32(1)})
        refused(f"node 'y': weight {name!r} {rule}", tmp_path, model)


def test_rank_refused(tmp_path: Path) -> None:
    message = "node 'n': weight 'w' has rank 5, and 1-D and 2-D convolutions are pruned (rank 3 and 4)"
    refused(message, tmp_path, network([conv()], {"w": numbers(4, 3, 3, 3, 3)}, (1, 3, 6, 6, 6)))


def test_empty_refused(tmp_path: Path) -> None:
    message = "node 'n': weights must be (M, C, KH, KW), none of them 0, not (4, 0, 3, 3)"
    refused(message, tmp_path, network([conv()], {"w": numbers(4, 0, 3, 3)}))


def test_text_refused(tmp_path: Path) -> None:
    w = np.full((4, 3, 3, 3), "one", object)
    refused("weight 'w' holds string, and integers or floats are needed", tmp_path, network([conv()], {"w": w}))


def test_zero_point_refused(tmp_path: Path) -> None:
    w, title = numbers(4, 3, 3, 3, dtype=np.int8), "node 'n': weight 'v': its zero point 'z'"
    for zero, attributes, message in (
        (np.zeros(4, np.int8), {}, "has shape (4,), and must hold 1 value, or 3, one for each along axis 1"),
        (np.zeros(3, np.int8), dict(axis=0), "has shape (3,), and must hold 1 value, or 4, one for each along axis 0"),
        (np.zeros((4, 1, 3, 3), np.int8), dict(block_size=2), "has shape (4, 1, 3, 3), and must hold 1 value, or 3"),
        (np.zeros(4, np.int8), dict(axis=4), "has axis = 4, and the weights have rank 4"),
        (np.uint8(0), {}, "holds uint8, and must hold int8 as the weights do"),
    ):
        refused(f"{title} {message}", tmp_path, dequantised(w, np.asarray(zero), **attributes))
    model = dequantised(w, np.zeros((), np.int8))
    model.graph.node.insert(0, helper.make_node("Identity", ["z"], ["i"]))
    model.graph.node[1].input[2] = "i"
    message = "weight 'v': its zero point 'i' must be an initializer or the tensor of a Constant"
    refused(message, tmp_path, model)


def test_other_use_refused(tmp_path: Path) -> None:
    """Other nodes stay as they are, and so the weights they read."""
    w = {"w": numbers(3, 3, 3, 3)}
    relu = helper.make_node("Relu", ["w"], ["r"], name="other")
    rule = "as well, and weights to prune must serve convolutions only"
    message = f"node 'n': weight 'w' is read by node 'other' (Relu) {rule}"
    refused(message, tmp_path, network([relu, conv()], w))
    model = dequantised(w["w"].astype(np.int8), None)
    model.graph.node.append(helper.make_node("Relu", ["v"], ["r"], name="other"))
    refused(message, tmp_path, model)
    model = network([conv()], w)
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3, 3, 3]))
    refused(f"node 'n': weight 'w' is the output 'w' of the graph {rule}", tmp_path, model)


def test_shared_by_two_zero_points_refused(tmp_path: Path) -> None:
    constants = {"w": numbers(3, 3, 3, 3, dtype=np.int8), "s": np.float32(1), "z": np.int8(4)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["u"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        helper.make_node("Conv", ["x", "u"], ["a"], name="first"),
        conv(inputs=["a", "v"]),
    ]
    message = "node 'n': weight 'v' is shared with node 'first', and must have the same zero point in both"
    refused(message, tmp_path, network(nodes, constants))


def test_files_refused(tmp_path: Path) -> None:
    good = network([conv()], {"w": numbers(4, 3, 3, 3)}).SerializeToString()
    for content, message in (
        (good[:-5], "is not an ONNX file, or is cut short"),
        (b"garbage", "is not an ONNX file, or is cut short"),
        (b"", "is not valid ONNX: "),
    ):
        refused(message, tmp_path, content)
    for path, message in ((tmp_path / "none.onnx", "No such file or directory"), (tmp_path, "it is a directory")):
        with pytest.raises(InputError, match=f"cannot be read: {message}"):
            prune_file(str(path), tmp_path / "out.onnx", patterns=3, kernel_sparsity=0)


def test_output_refused(tmp_path: Path) -> None:
    """Before any work: the model is not even looked for."""
    file = tmp_path / "file"
    file.touch()
    for out, message in ((tmp_path, "is a directory"), (file / "out.onnx", "cannot be written: ")):
        with pytest.raises(InputError, match=message):
            prune_file("none.onnx", out, patterns=3, kernel_sparsity=0)
    assert list(tmp_path.iterdir()) == [file] and not file.read_bytes()


def test_any_broken_bytes_refused(tmp_path: Path) -> None:
    """Cut or altered anywhere, a file is pruned or refused, never more than that."""
    w = numbers(1, 2, 2, 2, dtype=np.int8)
    good = dequantised(w, np.int8([1, 2]), shape=(1, 2, 3, 3), axis=1).SerializeToString()
    rng, file, out, count = np.random.default_rng(7), tmp_path / "broken.onnx", tmp_path / "out.onnx", 0
    for position in range(len(good)):
        altered = bytes([*good[:position], int(rng.integers(256)), *good[position + 1 :]])
        for content in (good[:position], altered):
            file.write_bytes(content)
            try:
                prune_file(str(file), out, patterns=1, kernel_sparsity=0.5)
            except InputError as error:
                assert "\n" not in str(error)
                count += 1
    assert count > len(good)


def test_more_entries_than_any_kernel_has_are_refused(tmp_path: Path) -> None:
    out, model = tmp_path / "pruned.onnx", Path(__file__).parents[2] / "examples" / "digits" / "classifier.onnx"
    with pytest.raises(InputError, match="entries = 10 is more than the 9 weights of the largest kernel of"):
        prune_file(str(model), out, patterns=1, kernel_sparsity=0.2, entries=10)
    assert not out.exists()
