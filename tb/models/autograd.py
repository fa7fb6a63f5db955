"""Records gradients of PyTorch's autograd: integers in float64, exact. It needs the extra ``train``.

From the root of the repository: ``python -m tb.models.autograd``.
"""

from pathlib import Path

import numpy as np

from selvage.base.layer import Layer

FILE = Path(__file__).parents[1] / "test_golden" / "autograd.npz"
LAYERS = {
    "conv": dict(op="conv", channels=3, outputs=4, height=6, width=5, kernel=(3, 3), pads=(1, 1, 1, 1)),
    "conv_strided": dict(op="conv", channels=2, outputs=3, height=8, width=7, kernel=(4, 3), stride=(2, 3)),
    "conv_dilated": dict(op="conv", channels=2, outputs=2, height=9, width=9, kernel=(3, 2), dilation=(2, 3)),
    "conv_grouped": dict(op="conv", channels=4, outputs=6, height=5, width=5, kernel=(2, 2), groups=2),
    "conv_down": dict(op="conv", channels=1, outputs=8, height=8, width=8, kernel=(4, 4), stride=(2, 2), pads=(1,) * 4),
    "up": dict(
        op="conv_transpose", channels=4, outputs=2, height=4, width=4, kernel=(4, 4), stride=(2, 2), pads=(1,) * 4
    ),
    "up_odd": dict(
        op="conv_transpose",
        channels=2,
        outputs=3,
        height=3,
        width=4,
        kernel=(5, 3),
        stride=(2, 3),
        pads=(2, 1, 2, 1),
        output_padding=(1, 2),
    ),
    "up_dilated": dict(
        op="conv_transpose",
        channels=2,
        outputs=2,
        height=3,
        width=3,
        kernel=(2, 3),
        stride=(3, 2),
        dilation=(2, 2),
        output_padding=(2, 0),
    ),
    "up_grouped": dict(
        op="conv_transpose", channels=4, outputs=4, height=3, width=3, kernel=(3, 3), stride=(2, 2), groups=2
    ),
    "dense": dict(op="dense", channels=7, outputs=5),
}


def main() -> None:
    import torch
    from torch.nn import functional

    found = {}
    for index, (name, fields) in enumerate(LAYERS.items()):
        layer, rng = Layer(name=name, **fields), np.random.default_rng(index)
        x = rng.integers(-128, 128, (2, layer.channels, layer.height, layer.width))
        w = rng.integers(-128, 128, layer.weight_shape)
        dy = rng.integers(-128, 128, (2, layer.outputs, *layer.output_size))
        inputs, weights = (torch.tensor(own.astype(np.float64), requires_grad=True) for own in (x, w))
        how = {"stride": layer.stride, "padding": layer.pads[:2], "dilation": layer.dilation, "groups": layer.groups}
        if layer.op == "dense":
            y = (inputs[:, :, 0, 0] @ weights)[:, :, None, None]
        elif layer.op == "conv":
            y = functional.conv2d(inputs, weights, **how)
        else:
            y = functional.conv_transpose2d(inputs, weights, output_padding=layer.output_padding, **how)
        y.backward(torch.tensor(dy.astype(np.float64)))
        arrays = {
            "x": x,
            "w": w,
            "dy": dy,
            "y": y.detach().numpy(),
            "dx": inputs.grad.numpy(),
            "dw": weights.grad.numpy(),
        }
        found |= {f"{name}/{key}": np.rint(own).astype(np.int32) for key, own in arrays.items()}
        assert all(np.array_equal(found[f"{name}/{key}"], own) for key, own in arrays.items())
        found[f"{name}/layer"] = np.array(layer.model_dump_json())
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
