"""A module that is emitted once and instantiated wherever it is needed."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from amaranth.hdl import ClockSignal, Instance, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In


def ports_of(signature: wiring.Signature, interface: Any, prefix: str = "") -> dict[str, Any]:
    """Return the ports of an `Instance` with the members of ``signature``, seen from outside, joined to ``interface``.

    Member ``a.b`` is port ``a__b``, behind ``prefix``.
    """
    ports = {}
    for path, member, value in signature.flatten(interface):
        flow = member.flow  # pyright: ignore[reportAttributeAccessIssue]  # the stubs have the flow in its place
        ports[f"{'i' if flow is In else 'o'}_{prefix}{'__'.join(map(str, path))}"] = value
    return ports


class Shared(wiring.Component):
    """An instance of module ``name``, which is emitted once, with the signature of ``component``."""

    def __init__(self, component: wiring.Component, name: str) -> None:
        self.component = component
        self.name = name
        super().__init__(component.signature)

    if TYPE_CHECKING:  # the ports are those of the component

        def __getattr__(self, name: str) -> Any: ...

    def elaborate(self, platform: object) -> Instance:
        """Return the instance itself: there is no module around it."""
        ports = ports_of(self.signature, self)
        return Instance(self.name, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports)


class Library:
    """The modules of a design that are emitted once, by their parameters; their names begin with ``prefix``."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.components: dict[str, wiring.Component] = {}
        self._counts: Counter[str] = Counter()
        self._names: dict[Hashable, str] = {}

    def instance(self, kind: type, parameters: Hashable, name: str) -> Shared:
        """Return a `Shared` of ``kind(parameters)``; the first one with its parameters names the module."""
        return self.shared((kind, parameters), lambda: kind(parameters), name)

    def shared(self, key: Hashable, make: Callable[[], wiring.Component], name: str) -> Shared:
        """Return a `Shared` of what ``make`` returned when ``key`` was first seen."""
        if key not in self._names:
            name = f"{self.prefix}{name}"
            self._counts[name] += 1
            self._names[key] = f"{name}_{self._counts[name] - 1}"
            self.components[self._names[key]] = make()
        return Shared(self.components[self._names[key]], self._names[key])
