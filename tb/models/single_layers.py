"""Models of one operator, imported and run, or refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.compiler.model_file import Model, from_maps, input_shape, load_model, read_input, to_maps
from selvage.golden.layer import evaluate
from tb.models.onnx_models import (
    runtime,
    write,
)


def refused(message: str, call: Any, *args: Any) -> None:
    """``call(*args)`` must raise a one-line `InputError` that holds ``message``."""
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        call(*args)
    assert "\n" not in str(caught.value)


def refused_model(message: str, path: Path, *args: Any, **kwargs: Any) -> None:
    refused(message, load_model, write(path, *args, **kwargs))


def run(model: Model, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Golden output for ``x``, both in ONNX's layout."""
    y = evaluate(model.layer, to_maps(model, x) - model.zero_point, model.weights)
    if model.bias is not None:
        assert model.bias.shape == (model.layer.outputs,) and model.bias.dtype == np.int64
        y = y + model.bias[:, None, None]
    return from_maps(model, y, x.shape)


def check(path: str, x: NDArray, evaluator: Any = runtime) -> Model:
    """The model in ``path`` must compute what ``evaluator`` does; it is returned."""
    given = Path(path).with_name("x.npy")
    np.save(given, x)
    model = load_model(path, input_shape(str(given)))
    assert model.weights.dtype == np.int64 and model.weights.shape == model.layer.weight_shape
    y, expected = run(model, read_input(model, str(given))), evaluator(path, x)
    assert y.shape == expected.shape
    assert np.array_equal(y, expected)
    return model
