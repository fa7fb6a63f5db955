"""Models that are refused when they are pruned."""

import re
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from selvage.base.errors import InputError
from selvage.frontend.prune import prune_file


def refused(message: str, path: Path, model: ModelProto | bytes, **changes: Any) -> None:
    """A one-line `InputError` that holds ``message``, and no file more than before."""
    file, out = path / "in.onnx", path / "new" / "out.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    before = sorted(path.rglob("*"))
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        prune_file(str(file), out, **dict(patterns=3, kernel_sparsity=0.25) | changes)
    assert "\n" not in str(caught.value)
    assert sorted(path.rglob("*")) == before
