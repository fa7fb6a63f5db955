"""Operators that only move numbers: ONNX's own evaluation of the numbers of a map's codes says where each one goes."""

import math
from dataclasses import replace

import numpy as np
from onnx import NodeProto

from selvage.base.graph import Integers, Reorder, Reshape, Shape, Tensor
from selvage.base.limits import MAP
from selvage.frontend.onnx import nodes as nodes_of
from selvage.frontend.onnx.codes import is_codes
from selvage.frontend.onnx.evaluate import evaluate
from selvage.frontend.onnx.nodes import error, map_shape
from selvage.frontend.onnx.read import name_of
from selvage.frontend.onnx.reader import Reader, Value, Values, handles
from selvage.frontend.onnx.static import SHAPING
from selvage.frontend.onnx.values import Constant, Host, Map, Pending, Weights
from selvage.frontend.onnx.views import View, Viewed, factored, flowing, viewed
from selvage.golden.requantize import quantise

MOVERS = ("Slice", "Split", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "ReverseSequence")
LARGEST = 1e30  # beyond any code, and within float32
LONGEST_ORDER = 16384  # numbers of a map in any order: a table of them all
PAD_MODES = ("constant", "reflect", "edge", "wrap")


def check_moved(node: NodeProto, shape: tuple[int, ...]) -> None:
    """Raise `InputError` for a tensor of more numbers than may be moved, those of all images included."""
    MAP.check(math.prod(shape), f"node {name_of(node)!r}: a tensor of shape {shape}", "holds")


class MoveReader(Reader):
    """What operators make of values whose codes they only move, and the maps that others read in their own order."""

    @handles(*SHAPING)
    def reshaped(self, node: NodeProto, inputs: Values) -> Value:
        """Return the same value in another shape, or turned."""
        if node.op_type == "Dropout" and len(inputs) > 2 and self.constant(node, inputs[2], "training_mode").any():
            return Host(node, "drops values at random (training_mode)")
        value = self.passed(node, inputs[0])
        plain = not isinstance(value, Map | Viewed) or value.view is None
        if plain and self.keeps_order(node) and self.onnx_shape(node.output[0], node)[:1] == (self.static.batch,):
            return value
        return self.carried_once(node, value, inputs[1:])

    def keeps_order(self, node: NodeProto) -> bool:
        """Return whether a node keeps the order of numbers: only axes of one element are turned."""
        if node.op_type != "Transpose":
            return True
        read = self.onnx_shape(node.input[0], node)
        order = nodes_of.operator_of(node).attribute("perm", tuple(reversed(range(len(read)))))
        long = [axis for axis in order if read[axis] > 1]
        return long == sorted(long)

    @handles(*(name for name in MOVERS if name != "Split"))
    def moving(self, node: NodeProto, inputs: Values) -> Value:
        """Return the codes that a node takes of a map, in its order."""
        return self.carried_once(node, self.passed(node, inputs[0]), inputs[1:])

    @handles("Split")
    def split(self, node: NodeProto, inputs: Values) -> Value | list[Value]:
        """Return the parts of a map."""
        return self.carried(node, self.passed(node, inputs[0]), inputs[1:])

    def carried_once(self, node: NodeProto, value: Value, others: Values) -> Value:
        """Return what `carried` does of a node with one result."""
        found = self.carried(node, value, others)
        return found[0] if isinstance(found, list) else found

    def carried(self, node: NodeProto, value: Value, others: Values) -> Value | list[Value]:
        """Return the results of a node that moves the codes of a value as it would move their numbers."""
        if not isinstance(value, Map | Pending):
            return Host(node, "moves what is no map")
        if any(not isinstance(other, Constant | Weights | None) for other in others):
            return Host(node, "takes indices or sizes that are not constant")
        for name in node.output:
            check_moved(node, self.static.shapes.get(name, ()))
        seen, fill = self.seen(node, value)
        given = [other.array for other in others if isinstance(other, Constant | Weights)]
        results = evaluate(node, [seen, *given], self.static.opsets)
        for name, numbers in zip([name for name in node.output if name], results, strict=True):
            if numbers.shape != self.onnx_shape(name, node):
                shape = self.onnx_shape(name, node)
                raise error(node, f"it makes {name!r} of {numbers.shape}, and by ONNX's rules that has {shape}")
        if any(not numbers.size for numbers in results):
            return Host(node, "leaves nothing of a map")
        return [self.with_view(node, value, View(numbers.astype(np.int64), fill, node)) for numbers in results]

    def seen(self, node: NodeProto, value: Map | Pending) -> tuple[Integers, int]:
        """Return the number of each code as ONNX sees it, and the code of -1."""
        if isinstance(value, Map | Viewed) and value.view is not None:
            return value.view.numbers, value.view.fill
        check_moved(node, self.onnx_shape(node.input[0], node))
        return self.counted(node, 0), 0

    def counted(self, node: NodeProto, position: int) -> Integers:
        """Return the numbers of what a node reads where they are in their own order, in ONNX's shape."""
        shape = self.onnx_shape(node.input[position], node)
        return np.arange(math.prod(shape), dtype=np.int64).reshape(shape)

    def of_all_images(self, numbers: Integers) -> Integers:
        """Return numbers of one image, of all of its map's, for each image, the batch as an axis before them."""
        return numbers + np.arange(self.static.batch).reshape(-1, *(1,) * numbers.ndim) * numbers.size

    def with_view(self, node: NodeProto, value: Map | Pending, view: View) -> Value:
        """Return a value as a view has it; without one where nothing has moved."""
        if self.per_image(view.numbers, self.numbers_of(value)) is None:
            return Host(node, "moves numbers from one image to another")
        plain = view.numbers.shape[0] == self.static.batch and self.is_plain(view.numbers, value)
        if isinstance(value, Map):
            return replace(value, view=None if plain else view)
        return viewed(value.before if isinstance(value, Viewed) else value, None if plain else view)

    def is_plain(self, numbers: Integers, value: Map | Pending) -> bool:
        """Return whether numbers are all of a value's, in their order."""
        flat = numbers.reshape(-1)
        return flat.size == self.static.batch * self.numbers_of(value) and bool((flat == np.arange(flat.size)).all())

    @staticmethod
    def numbers_of(value: Map | Pending) -> int:
        """Return the numbers of one image of a value."""
        return value.tensor.numbers if isinstance(value, Map) else math.prod(value.shape)

    def per_image(self, numbers: Integers, count: int) -> Integers | None:
        """Return the numbers of one image, of ``count``, without the axis of the batch; ``None``: they are mixed.

        Of a single image the first axis may be any.
        """
        batch = self.static.batch
        if numbers.shape[:1] != (batch,):
            return numbers if batch == 1 else None
        own = numbers - np.arange(batch).reshape(-1, *(1,) * (numbers.ndim - 1)) * count
        own = np.where(numbers < 0, -1, own)
        return own[0] if (own == own[0]).all() and own[0].max(initial=-1) < count else None

    @handles("Pad")
    def padded(self, node: NodeProto, inputs: Values) -> Value:
        """Read Pad: of a constant that is a code, or of the map's own codes."""
        value = self.passed(node, inputs[0])
        if not isinstance(value, Map):
            value = self.settled(node, value)
        operator = nodes_of.operator_of(node)
        mode = operator.attribute("mode", "constant")
        shape = self.onnx_shape(node.input[0], node)
        extents = self.pads(node, inputs, len(shape))
        for side, (low, high) in zip(shape, extents, strict=True):
            if side + min(low, 0) + min(high, 0) <= 0 or -low > side or -high > side:
                raise error(node, f"its pads {low} and {high} leave nothing of a side of {side}")
            if mode == "reflect" and max(low, high) >= side:
                raise error(node, f"its pads {low} and {high} reflect more than a side of {side} has")
        check_moved(node, self.onnx_shape(node.output[0], node))
        if any(extents[0]) or mode not in PAD_MODES:
            return Host(node, f"is not supported with mode = {mode!r} and {extents[0]} before and behind images")
        numbers, fill = self.seen(node, value)
        axes = zip(shape, extents, strict=True)
        keep = tuple(slice(max(-low, 0), side - max(-high, 0)) for side, (low, high) in axes)
        more = [(max(low, 0), max(high, 0)) for low, high in extents]
        if mode == "constant":
            numbers = np.pad(numbers[keep], more, constant_values=-1)
        else:
            numbers = np.pad(numbers[keep], more, mode=mode)
        if mode == "constant" and any(map(any, more)):
            code = self.padding_code(node, inputs, value)
            if fill != code and value.view is not None and (value.view.numbers < 0).any():
                return Host(node, "pads with another number than the Pad before it")
            fill = code
        return self.with_view(node, value, View(numbers, fill, node))

    def pads(self, node: NodeProto, inputs: Values, rank: int) -> list[tuple[int, int]]:
        """Return what is added before and behind each axis."""
        given = nodes_of.operator_of(node).attribute("pads", None)
        if given is None:
            given = self.constant(node, inputs[1], "pads").astype(np.int64).reshape(-1).tolist()
        axes = list(range(rank))
        if len(inputs) > 3 and inputs[3] is not None:
            axes = [int(axis) % rank for axis in self.constant(node, inputs[3], "axes").reshape(-1)]
        found = [(0, 0)] * rank
        for k, axis in enumerate(axes):
            found[axis] = int(given[k]), int(given[k + len(axes)])
        return found

    def padding_code(self, node: NodeProto, inputs: Values, value: Map) -> int:
        """Return the code that Pad adds. `InputError`: its number is none of the map's."""
        given = np.asarray(nodes_of.operator_of(node).attribute("value", 0.0))
        if len(inputs) > 2 and inputs[2] is not None:
            given = self.constant(node, inputs[2], "value").reshape(())
        if is_codes(value):
            return int(given)
        if np.isnan(given):
            raise error(node, f"it pads with {float(given)}, and must with a number")
        # Of a number between two codes the nearer one, to which the QuantizeLinear behind it rounds.
        return int(quantise(np.float32(np.clip(given, -LARGEST, LARGEST)), value.tensor))

    def as_map(self, node: NodeProto, value: Value | None, position: int = 0) -> Tensor:
        """Return the tensor of a map that a node reads pixel by pixel, put in order where that is needed."""
        found = self.settled(node, value)
        shape = map_shape(node, self.with_images(self.onnx_shape(node.input[position], node)))
        return self.in_order(node, found, self.as_seen(node, found, position), shape)

    def as_own_map(self, node: NodeProto, value: Value | None, position: int) -> Value | None:
        """Return a map of which a node reads a part as a map of its own; other values as they are."""
        if not isinstance(value, Map):
            return value
        return replace(value, tensor=self.as_map(node, value, position), view=None)

    def as_seen(self, node: NodeProto, value: Map, position: int) -> Integers:
        """Return the numbers of one image of a map that a node reads, as ONNX sees them."""
        numbers = value.view.numbers if value.view else self.counted(node, position)
        own = self.per_image(numbers, value.tensor.numbers)
        if own is None:
            raise error(node, f"it reads {node.input[position]!r}, in which images are mixed")
        return own

    def in_order(self, node: NodeProto, value: Map, numbers: Integers, shape: Shape) -> Tensor:
        """Return a map of ``shape`` whose codes are ``numbers`` of a map, made by a `Reorder` where it is another.

        `InputError`: no sums of a channel's, a row's and a column's number make them.
        """
        source, wanted = value.tensor, numbers.reshape(shape)
        if source.shape == shape and (wanted.reshape(-1) == np.arange(wanted.size)).all():
            return source
        fill = value.view.fill if value.view else 0
        key = ("order", source.name, shape, wanted.tobytes(), fill)
        if key not in self.made:
            title = name_of(value.view.origin if value.view else node)
            to = Tensor(self.names.fresh(f"{source.name}/{title}"), shape, source.scale, source.format)
            numbers = flowing(wanted, source.shape)
            if np.array_equal(numbers.transpose(1, 2, 0).reshape(-1), np.arange(source.numbers)):
                self.add(Reshape(name=title, inputs=(source.name,), output=to))
            elif (axes := factored(numbers)) is not None:
                self.reorder(title, source, to, axes, fill)
            elif numbers.size <= LONGEST_ORDER:
                # As one pixel any order is a sum; its channels then are the words of the map.
                pixel = replace(to, name=self.names.fresh(f"{to.name}/order"), shape=(numbers.size, 1, 1))
                axes = factored(numbers.transpose(1, 2, 0).reshape(-1, 1, 1))
                assert axes, "numbers along one axis are a sum"
                self.reorder(self.names.fresh(f"{title}/order"), source, pixel, axes, fill)
                self.add(Reshape(name=title, inputs=(pixel.name,), output=to))
            else:
                raise error(
                    node,
                    f"it reads {numbers.size} numbers of {source.name!r} in an order that no sum of rows, columns and "
                    f"channels is, and {LONGEST_ORDER} are supported",
                )
            self.made[key] = to
        return self.made[key]

    def reorder(self, name: str, source: Tensor, to: Tensor, axes: tuple[Integers, ...], fill: int) -> None:
        """Add a `Reorder` by what channels, rows and columns add."""
        channels, rows, columns = axes
        own = {"channels": channels, "rows": rows, "columns": columns, "fill": fill}
        self.add(Reorder(name=name, inputs=(source.name,), output=to, **own))

    def aligned(self, node: NodeProto, values: list[Map]) -> tuple[list[Tensor], View | None]:
        """Return maps of one shape and order, for a node that reads all number by number, and how ONNX sees its result.

        Maps of fewer numbers are spread as ONNX does it.
        """
        made = self.onnx_shape(node.output[0], node)
        seen = []
        for k, value in enumerate(values):
            seen.append(np.broadcast_to(value.view.numbers if value.view else self.counted(node, k), made))
        images = []
        for own, value in zip(seen, values, strict=True):
            image = self.per_image(own, value.tensor.numbers)
            if image is None:
                raise error(node, f"it reads {value.tensor.name!r}, in which images are mixed")
            images.append(image)
        whole = next((k for k, value in enumerate(values) if self.is_all(images[k], value.tensor.numbers)), None)
        if whole is None:
            shape = map_shape(node, self.with_images(made))
            tensors = [self.in_order(node, v, own, shape) for v, own in zip(values, images, strict=True)]
            return tensors, None
        shape, base = values[whole].tensor.shape, images[whole].reshape(-1)
        tensors = []
        for value, own in zip(values, images, strict=True):
            wanted = np.empty(base.size, np.int64)
            wanted[base] = own.reshape(-1)
            tensors.append(self.in_order(node, value, wanted, shape))
        view = values[whole].view
        return tensors, view and replace(view, origin=node)

    @staticmethod
    def is_all(numbers: Integers, count: int) -> bool:
        """Return whether numbers are each below ``count`` once."""
        return numbers.size == count and bool((np.sort(numbers.reshape(-1)) == np.arange(count)).all())
