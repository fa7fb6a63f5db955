"""Strategies of Hypothesis for random cases, made of the same choices as those of a seed."""

from hypothesis import assume
from hypothesis import strategies as st

from bench.onnx_graph_operators import draw_graph
from bench.onnx_graphs import Drawn
from selvage.base.layer import Layer
from tb.models.choices import Choices
from tb.models.draws import Draw, draw_case


class Shrinking(Choices):
    """Choices of Hypothesis."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integers(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


@st.composite
def draws(draw: st.DrawFn) -> Draw:
    """Random layers on random chips."""
    found = draw_case(Shrinking(draw))
    assume(found is not None)
    return found


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    """Random quantised ONNX graphs."""
    return draw_graph(Shrinking(draw))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Layers of any geometry."""
    pick = draw(st.sampled_from(["conv", "conv_transpose", "dense"]))
    groups = draw(st.sampled_from([1, 1, 2]))
    fields: dict = {"op": pick, "channels": draw(st.integers(1, 3)), "outputs": draw(st.integers(1, 3))}
    if pick == "dense":
        return Layer(**fields)
    pairs = {name: st.tuples(*[st.integers(1, most)] * 2) for name, most in (("kernel", 4), ("stride", 3))}
    fields |= {name: draw(pair) for name, pair in pairs.items()}
    fields |= {"dilation": draw(st.tuples(*[st.integers(1, 3)] * 2)), "pads": draw(st.tuples(*[st.integers(0, 2)] * 4))}
    fields |= {"groups": groups, "channels": fields["channels"] * groups, "outputs": fields["outputs"] * groups}
    # Large enough for the kernel, and for the pads that crop an output.
    least = [(k - 1) * d + 5 for k, d in zip(fields["kernel"], fields["dilation"], strict=True)]
    fields |= {"height": least[0] + draw(st.integers(0, 3)), "width": least[1] + draw(st.integers(0, 3))}
    if pick == "conv_transpose":
        bounds = [max(s, d) - 1 for s, d in zip(fields["stride"], fields["dilation"], strict=True)]
        fields["output_padding"] = tuple(draw(st.integers(0, bound)) for bound in bounds)
    return Layer(**fields)
