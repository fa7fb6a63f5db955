"""What passes between the stages of a network, at its face for waves: behind a parameter, nothing of it otherwise."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import data, stream

from selvage.hw.network.layer import CrossbarLayer
from selvage.hw.network.layer_probe import layer_probe
from selvage.mapping.stages import LayerStage


def network_probes(p: Any) -> dict[str, data.StructLayout]:
    """Return the members of a `hw.network.network.NetworkParameters`' network that show its streams; none without.

    ``probe_k`` has the words that leave stage k, and whether each of its sources offers and is taken; ``inside_k`` of a
    layer `hw.network.layer_probe.layer_probe`.
    """
    if not p.probes:
        return {}
    found = {}
    for k, stage in enumerate(p.plan.stages):
        sources = {f"source_{n}": 2 for n in range(0 if p.direct else len(stage.sources))}
        word = p.bits(stage.output.name) * p.plan.lanes[stage.output.name]
        found[f"probe_{k}"] = data.StructLayout({"valid": 1, "ready": 1, "word": word, **sources})
        if isinstance(stage, LayerStage):
            found[f"inside_{k}"] = layer_probe(p.layers[stage.name])
    return found


def show(m: Module, network: Any) -> None:
    """Connect the probes of a `hw.network.network.Network`."""
    p = network.p
    for k, (stage, component) in enumerate(zip(p.plan.stages, network.stages, strict=True)):
        sources = [] if p.direct else _sources(component, len(stage.sources))
        pairs = [Cat(source.ready, source.valid) for source in sources]
        word = Value.cast(component.o.payload)
        m.d.comb += getattr(network, f"probe_{k}").eq(Cat(component.o.valid, component.o.ready, word, *pairs))
        if isinstance(component, CrossbarLayer):
            m.d.comb += getattr(network, f"inside_{k}").eq(component.probe)


def _sources(component: Any, count: int) -> Sequence[stream.Interface]:
    return [component.i] if count == 1 else [getattr(component, f"i_{n}") for n in range(count)]
