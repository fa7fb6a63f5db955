"""The pipeline controller of training: which stage works on which sample, in which place, and when weights change."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.training.dependency import ITERATION_BITS, Dependency, Issue, Places, places_layout
from selvage.mapping.training import After, Pass, TrainingSchedule, Update

CYCLE_BITS = 32


@dataclass(frozen=True)
class ControllerParameters:
    """The schedule, and whether there are counters of logical cycles and of samples in buffers."""

    schedule: TrainingSchedule
    counters: bool = True


class TrainingController(wiring.Component):
    """The controller: the timing table and the rules are in ``docs/training.md``.

    A logical cycle lasts until every stage that has a sample, and every update, is done; then the next begins in the
    following clock cycle.

    Members
    -------
    iterations : how many are wanted in all; it may grow at any time
    done : of each stage (`TrainingSchedule.stage_names`), then of each update: finished, until the next ``start``
    start : high in the first clock cycle of a logical cycle
    passes : of each stage, which pass has a sample in it
    updates : which weights are rewritten
    places_B : of buffer B what its `Places` show
    ended : iterations that have ended
    cycles : logical cycles in which a layer worked or weights were rewritten
    """

    iterations: Signal
    done: Signal
    start: Signal
    passes: data.View
    updates: Signal
    ended: Signal
    cycles: Signal

    def __init__(self, parameters: ControllerParameters) -> None:
        self.p = parameters
        s = parameters.schedule
        stages = len(s.stage_names)
        super().__init__(
            {
                "iterations": In(ITERATION_BITS),
                "done": In(stages + len(s.updates)),
                "start": Out(1),
                "passes": Out(data.ArrayLayout(len(s.passes), stages)),
                "updates": Out(len(s.updates)),
                **{f"places_{own.name}": Out(places_layout(own.depth)) for own in s.buffers},
                "ended": Out(ITERATION_BITS),
                "cycles": Out(CYCLE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the barrier, the rules, the chains of passes and the places of buffers."""
        m = Module()
        s, advance = self.p.schedule, Signal()
        active = Cat(Cat(own.any() for own in self.passes), self.updates)
        m.d.comb += advance.eq((~active | self.done).all())
        m.d.sync += self.start.eq(advance)
        issues = {own.name: Issue(s.batch, s.spacing(own), len(own.after)) for own in s.passes}
        fires = {name: Signal(name=f"update_{name}") for own in s.updates for name in own.networks}
        chains = {}
        for own in s.passes:
            m.submodules[f"issue_{own.name}"] = issue = issues[own.name]
            held = self._rules(m, advance, own, issues, fires, issue.first)
            m.d.comb += [issue.advance.eq(advance), issue.iterations.eq(self.iterations), issue.there.eq(Cat(held))]
            chains[own.name] = chain = Signal(s.stages(own) + 1, name=f"chain_{own.name}")
            with m.If(advance):
                m.d.sync += chain.eq(Cat(issue.sample, chain[:-1]))
        for index, own in enumerate(s.updates):
            fire = fires[own.networks[0]]
            held = self._rules(m, advance, own, issues, fires, fire)
            m.d.comb += [fires[name].eq(Cat(held).all()) for name in own.networks]
            with m.If(advance):
                m.d.sync += self.updates[index].eq(fire)
        self._show(m, chains)
        self._buffers(m, advance, chains)
        self._count(m, advance, chains)
        return m

    def _rules(
        self, m: Module, advance: Signal, own: Pass | Update, issues: dict[str, Issue], fires: dict[str, Signal],
        used: Value,
    ) -> list[Value]:  # fmt: skip
        """Return whether each rule of ``own`` holds in the next logical cycle; ``used`` says that it begins then."""
        held: list[Value] = []
        name = own.name if isinstance(own, Pass) else f"update_{''.join(own.networks)}"
        for index, rule in enumerate(own.after):
            delay = _delay(rule, own)
            m.submodules[f"rule_{name}_{index}"] = dependency = Dependency(delay, fulfilled=rule.before)
            event = fires[rule.of] if rule.what == "update" else getattr(issues[rule.of], rule.what)
            m.d.comb += [dependency.advance.eq(advance), dependency.event.eq(event), dependency.used.eq(used)]
            held.append(dependency.there)
        return held

    def _show(self, m: Module, chains: dict[str, Signal]) -> None:
        """Show of each stage which pass has a sample in it."""
        s = self.p.schedule
        for bit, own in enumerate(s.passes):
            way = s.way(own)
            for stage, name in enumerate(s.stage_names):
                here = chains[own.name][way.index(name)] if name in way else Const(0, 1)
                m.d.comb += self.passes[stage][bit].eq(here)

    def _buffers(self, m: Module, advance: Signal, chains: dict[str, Signal]) -> None:
        """Connect the places of each buffer with the stages that keep and free samples."""
        s = self.p.schedule
        for buffer in s.buffers:
            places = Places(buffer.depth, counters=self.p.counters)
            m.submodules[f"places_{buffer.name}"] = places
            ends: tuple[list[Value], list[Value]] = [], []
            for own in s.passes:
                for found, stage in zip(ends, s.kept(buffer, own) or (), strict=False):
                    found.append(chains[own.name][stage])
            m.d.comb += [
                places.advance.eq(advance),
                places.kept.eq(Cat(ends[0]).any()),
                places.freed.eq(Cat(ends[1]).any()),
                getattr(self, f"places_{buffer.name}").eq(places.shown),
            ]

    def _count(self, m: Module, advance: Signal, chains: dict[str, Signal]) -> None:
        """Count the iterations that have ended, and logical cycles."""
        with m.If(advance & self.updates[-1]):
            m.d.sync += self.ended.eq(self.ended + 1)
        if self.p.counters:
            works = Cat(chain[1:] for chain in chains.values()).any() | self.updates.any()
            m.d.sync += self.cycles.eq(Mux(advance & works, self.cycles + 1, self.cycles))


def _delay(rule: After, own: Pass | Update) -> int:
    """Return the logical cycles from the decision on an event to that on what waits for it.

    A pass is decided on by its load, a cycle before its first stage; an update by its own cycle.
    """
    return rule.cycles + (rule.what != "update") - isinstance(own, Pass)
