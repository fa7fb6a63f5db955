"""Dense weights of a float ONNX file as circulant blocks: the nearest ones, which training may go on from."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from selvage.base.circulant import averaged, check_size
from selvage.base.errors import InputError
from selvage.base.files import check_writable, write_whole
from selvage.frontend.onnx.read import complete, is_operator, name_of, read_proto


@dataclass(frozen=True)
class BlockedNode:
    """A dense layer of ``rows`` x ``columns`` weights, of which ``numbers`` differ now; ``lost``: of their squares."""

    name: str
    rows: int
    columns: int
    numbers: int
    lost: float


def prune_to_blocks(model: str, out: Path, size: int) -> list[BlockedNode]:
    """Write the float ONNX file ``model`` to ``out``, its dense weights made of circulant blocks of ``size``.

    Each number of a block is the mean of its diagonal, the nearest there is. Layers whose sides ``size`` does not
    divide stay as they are. `InputError`: no layer can be; the file cannot be read or written.
    """
    check_size(size)
    check_writable(out)
    proto = read_proto(model)
    complete(proto, model, as_it_is=True)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    readers = Counter(name for node in proto.graph.node for name in node.input)
    found, others = [], []
    for node in proto.graph.node:
        tensor = constants.get(node.input[1]) if is_operator(node, "Gemm", "MatMul") else None
        if tensor is None or len(tensor.dims) != 2 or readers[tensor.name] > 1:
            continue
        turned = any(item.name == "transB" and item.i for item in node.attribute)
        weights = numpy_helper.to_array(tensor)
        weights = weights.T if turned else weights
        if weights.dtype.kind != "f" or not np.isfinite(weights).all():
            raise InputError(f"node {name_of(node)!r}: weight {tensor.name!r} must hold finite floats")
        rows, columns = weights.shape
        if rows % size or columns % size:
            others.append(f"{name_of(node)!r} has {rows} x {columns}")
            continue
        near = averaged(weights.astype(np.float64), size)
        energy = float((weights.astype(np.float64) ** 2).sum())
        lost = float(((weights - near) ** 2).sum()) / energy if energy else 0.0
        made = (near.T if turned else near).astype(weights.dtype)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(made), tensor.name))
        found.append(BlockedNode(name_of(node), rows, columns, rows * columns // size, lost))
    if not found:
        why = f": {others[0]} weights" if others else ", for it has no dense layer with constant weights of its own"
        raise InputError(f"model {model!r} holds no layer that blocks of {size} divide{why}")
    write_whole(out, proto.SerializeToString())
    return found
