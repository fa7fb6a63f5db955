"""What kind of model a file holds."""

from pathlib import Path

PREFIX = "shapes:"  # before the name of a table of shapes, in the place of a file


def is_network(path: str) -> bool:
    """Return whether ``path`` is an ONNX file of more than one operator, or of one that no single layer is."""
    if Path(path).suffix == ".toml":
        return False
    from selvage.frontend.onnx.file import OPERATORS
    from selvage.frontend.onnx.read import is_operator, read_proto

    nodes = [node for node in read_proto(path).graph.node if not is_operator(node, "Constant")]
    return len(nodes) > 1 or any(not is_operator(node, *OPERATORS) for node in nodes)


def is_training(path: str) -> bool:
    """Return whether ``path`` is a training TOML: one that has a table of a network."""
    if Path(path).suffix != ".toml" or not Path(path).is_file():
        return False
    from selvage.base.chip import read_toml

    return any(key in read_toml(Path(path), "model") for key in ("network", "generator", "discriminator"))
