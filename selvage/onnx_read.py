"""What every reader of ONNX files needs: the model whole, and how messages call its nodes."""

from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, NodeProto
from onnx.external_data_helper import load_external_data_for_model

from selvage.layer_file import one_line
from selvage.onnx_sizes import check_contents
from spec.errors import InputError
from spec.limits import FILE
from spec.reading import read_regular


def read_proto(path: str) -> ModelProto:
    """The model as it is in the file; `InputError` when there is none."""
    content = read_regular(path, f"model {path!r}", FILE)
    try:
        return ModelProto.FromString(content)
    except DecodeError:
        raise InputError(f"model {path!r} is not an ONNX file, or is cut short") from None


def complete(proto: ModelProto, path: str) -> None:
    """Bring in weights kept in other files and let ONNX check the structure."""
    check_contents(proto, path)
    try:
        load_external_data_for_model(proto, str(Path(path).parent))
        onnx.checker.check_model(proto)
    except OSError as error:
        raise InputError(f"model {path!r}: its external data cannot be read: {one_line(error)}") from None
    except TypeError:  # what onnx raises for a location that is not UTF-8
        raise InputError(f"model {path!r}: its external data must have a file name in UTF-8") from None
    except EncodeError:
        raise InputError(f"model {path!r} is beyond 2 GB, the most that one ONNX file holds") from None
    except (onnx.checker.ValidationError, ValueError) as error:
        raise InputError(f"model {path!r} is not valid ONNX: {one_line(error)}") from None


def without_functions(proto: ModelProto, path: str) -> ModelProto:
    """The model with what its functions say in the place of each call."""
    try:
        return onnx.inliner.inline_local_functions(proto)
    except Exception as error:  # onnx raises what comes to hand
        raise InputError(f"model {path!r} calls a function as none of its own can be: {one_line(error)}") from None


def is_operator(node: NodeProto, *operators: str) -> bool:
    """Whether ``node`` is one of ONNX's own ``operators``."""
    return node.domain in ("", "ai.onnx") and node.op_type in operators


def name_of(node: NodeProto) -> str:
    """A node's name, or else its output's."""
    return node.name or next(iter(node.output), "")


def title_of(node: NodeProto) -> str:
    """How messages call a node."""
    return f"node {name_of(node)!r}"
