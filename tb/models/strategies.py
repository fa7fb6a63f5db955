"""Strategies of Hypothesis for random cases, made of the same choices as those of a seed."""

from hypothesis import assume
from hypothesis import strategies as st

from bench.onnx_graph_operators import draw_graph
from bench.onnx_graphs import Drawn
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
