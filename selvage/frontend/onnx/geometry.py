"""Geometry of Conv and ConvTranspose from the attributes of an ONNX node."""

from typing import Any

from onnx import helper
from pydantic import ValidationError

from selvage.base.chip import one_sentence
from selvage.base.errors import InputError
from selvage.base.layer import Layer
from selvage.base.limits import check_layer
from selvage.frontend.onnx.operator import Operator
from selvage.frontend.onnx.read import title_of

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def geometry(operator: Operator, sides: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Return keys of a `Layer` from the attributes, which have one value an axis, begin and end for pads."""
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    stride = operator.per_axis("strides", ones)
    dilation = operator.per_axis("dilations", ones)
    output_padding = operator.per_axis("output_padding", zeros, low=0)
    if operator.per_axis("kernel_shape", kernel) != kernel:
        raise operator.error(
            f"kernel_shape = {operator.attribute('kernel_shape', kernel)} disagrees with weights of {kernel}"
        )
    extent = tuple((k - 1) * d + 1 + p for k, d, p in zip(kernel, dilation, output_padding, strict=True))
    pads = pads_of(operator, sides, stride, extent)
    begin, end = pads[: len(kernel)], pads[len(kernel) :]
    if operator.attribute("output_shape", None) is not None:
        beyond = _beyond(operator, sides, stride, extent)
        output_padding = tuple(size + more for size, more in zip(output_padding, beyond, strict=True))
        limits = tuple(max(pair) for pair in zip(stride, dilation, strict=True))
        if any(more and size >= limit for size, more, limit in zip(output_padding, beyond, limits, strict=True)):
            raise operator.error(
                f"output_shape = {operator.attribute('output_shape', ())} leaves {output_padding} behind what the "
                f"kernel reaches, and must leave less than the stride or the dilation, {limits}"
            )
    return {
        "height": sides[0] if len(sides) == 2 else 1,
        "width": sides[-1],
        "kernel": _pair(kernel, 1),
        "stride": _pair(stride, 1),
        "dilation": _pair(dilation, 1),
        "output_padding": _pair(output_padding, 0),
        "pads": (*_pair(begin, 0), *_pair(end, 0)),
    }


def _pair(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    """Return values of the two axes; ``fill`` for the height of a 1-D convolution."""
    return (fill,) * (2 - len(values)) + values


def pads_of(
    operator: Operator, sides: tuple[int, ...], stride: tuple[int, ...], extent: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the pads, all begins first: as given, or what auto_pad or output_shape asks for.

    ``extent`` is what the dilated kernel spans, output padding included.
    """
    pads = operator.per_axis("pads", (0,) * 2 * len(sides), low=0)
    auto = operator.attribute("auto_pad", "NOTSET")
    if auto not in AUTO_PADS:
        raise operator.error(f"auto_pad = {auto!r} is not one of {', '.join(AUTO_PADS)}")
    if auto != "NOTSET" and any(pads):
        raise operator.error(f"auto_pad = {auto!r} excludes pads = {pads}")
    axes = list(zip(sides, stride, extent, strict=True))
    if operator.attribute("output_shape", None) is not None:
        totals = _cropped(axes, operator.per_axis("output_shape", sides))
    elif not auto.startswith("SAME"):
        return pads
    elif operator.node.op_type == "ConvTranspose":
        totals = _cropped(axes, tuple(side * step for side, step, _ in axes))
    else:
        totals = [max((-(-side // step) - 1) * step + span - side, 0) for side, step, span in axes]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (*small, *large) if auto == "SAME_UPPER" else (*large, *small)


def _cropped(axes: list[tuple[int, int, int]], target: tuple[int, ...]) -> list[int]:
    """Return begin and end pads together, by axis, that leave ``target`` of a transposed convolution.

    There are none where its output is no larger.
    """
    return [max((side - 1) * step + span - size, 0) for (side, step, span), size in zip(axes, target, strict=True)]


def _beyond(
    operator: Operator, sides: tuple[int, ...], stride: tuple[int, ...], extent: tuple[int, ...]
) -> tuple[int, ...]:
    """Return by axis how far output_shape reaches beyond the full output; onnxruntime puts all of it at the end."""
    axes = zip(sides, stride, extent, operator.per_axis("output_shape", sides), strict=True)
    return tuple(max(size - (side - 1) * step - span, 0) for side, step, span, size in axes)


def make_explicit(operator: Operator, sides: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Give a ConvTranspose on a map of ``sides`` pads in the place of auto_pad and output_shape.

    Return whether it had those.
    ONNX's shape inference and its evaluator read these otherwise than onnxruntime does.
    """
    asked, node = ("auto_pad", "output_shape"), operator.node
    if not any(item.name in asked for item in node.attribute):
        return False
    found = geometry(operator, sides, kernel)
    kept = [item for item in node.attribute if item.name not in (*asked, "pads", "output_padding")]
    axes = len(sides)
    pads = (*found["pads"][2 - axes : 2], *found["pads"][4 - axes :])
    given = {"pads": pads, "output_padding": found["output_padding"][2 - axes :]}
    del node.attribute[:]
    node.attribute.extend(kept + [helper.make_attribute(name, value) for name, value in given.items()])
    return True


def layer_of(operator: Operator, **sides: Any) -> Layer:
    """Return the layer of the node. `InputError`: its geometry does not fit together."""
    try:
        layer = Layer(name=operator.node.name or operator.node.output[0], **sides)
    except ValidationError as error:
        raise InputError(one_sentence(error, title_of(operator.node))) from None
    check_layer(layer, title_of(operator.node))
    return layer
