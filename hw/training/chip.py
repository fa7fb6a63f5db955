"""The training chip: the stages of a schedule, their buffers, the controller and an update unit for each network.

A logical cycle: the stages backward copy what they need from the buffers; when all have, every stage works, and writes
what it makes; the controller waits until the last has ended.
"""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.shared import Library
from selvage.hw.network.crossbar_control import CrossbarControl, spread
from selvage.hw.training.cells import FAILED_BITS
from selvage.hw.training.chip_parameters import ChipParameters
from selvage.hw.training.controller import CYCLE_BITS, TrainingController
from selvage.hw.training.dependency import ITERATION_BITS
from selvage.hw.training.error import ErrorParameters, ErrorStage
from selvage.hw.training.maps import MapMemory, Sink, Source, address_bits, codes, in_order
from selvage.hw.training.stages import BackLayer, Layer, product_parameters
from selvage.hw.training.update import RANDOM_BITS, UpdateUnit
from selvage.mapping.training import Pass


class TrainingChip(wiring.Component):
    """A training chip. Weights are loaded before the first iteration; images and noise come when they are wanted.

    Members
    -------
    iterations : how many are wanted in all; 0 until weights are loaded
    load : weights and seeds are taken; ``idle`` when they are there
    weights_N, seed_N : of network N: codes layer by layer, and the random register's state
    image, label, noise : what enters, a map after the other; the label of one network's image, while it comes
    new_N, code_N : weights after an update, one after the other
    start, works : a logical cycle begins; its stages begin to work
    ended, cycles : iterations, and logical cycles (`TrainingController`)
    failed_N : rows of cells that stayed wrong
    """

    iterations: Signal
    load: Signal
    idle: Signal
    image: stream.Interface
    noise: stream.Interface
    label: Signal
    start: Signal
    works: Signal
    ended: Signal
    cycles: Signal

    def __init__(self, parameters: ChipParameters) -> None:
        self.p = p = parameters
        self.library = Library()
        plan = p.plan
        self.forward = {name: self._layer(name) for name in p.forward}
        self.back = {name: BackLayer(own, self.library) for name, (own, _) in p.back.items()}
        self.updates = {name: UpdateUnit(p.update(name)) for name in plan.networks}
        bits = {name: network.formats.activations for name, network in plan.networks.items()}
        members: dict[str, wiring.Member] = {
            "iterations": In(ITERATION_BITS), "load": In(1), "idle": Out(1), "image": In(codes(bits["D"])),
            "start": Out(1), "works": Out(1), "ended": Out(ITERATION_BITS), "cycles": Out(CYCLE_BITS),
        }  # fmt: skip
        if "G" in bits:
            members["noise"] = In(codes(bits["G"]))
        else:
            members["label"] = In(range(max(2, plan.logits)))
        for name, network in plan.networks.items():
            members |= {
                f"weights_{name}": In(stream.Signature(data.ArrayLayout(network.formats.weights, 1))),
                f"seed_{name}": In(RANDOM_BITS),
                f"new_{name}": Out(1),
                f"code_{name}": Out(network.formats.weights),
                f"failed_{name}": Out(FAILED_BITS),
            }
        super().__init__(members)

    def _layer(self, name: str) -> Layer:
        """Return a stage forward."""
        product, before, _ = self.p.forward[name]
        own = self.p.buffers[before]
        source = in_order(self.p.words(own), product.plan.inputs[0].format.raw_bits, own.depth)
        return Layer(product_parameters(product, skip=self.p.skip), source, product.leaving, self.library)

    def elaborate(self, platform: object) -> Module:
        """Connect the controller, the buffers, the stages and the update units."""
        m = Module()
        p = self.p
        m.submodules.controller = self.controller = controller = TrainingController(p.controller)
        m.d.comb += [
            controller.iterations.eq(self.iterations),
            self.start.eq(controller.start),
            self.ended.eq(controller.ended),
            self.cycles.eq(controller.cycles),
        ]
        self.controls: dict[str, CrossbarControl] = {}
        self.ends: dict[str, Value] = {}
        self.copied: list[Value] = []
        self.rings = {
            name: MapMemory(p.words(own) * own.depth, p.plan.networks[own.network].formats.activations, 2)
            for name, own in p.buffers.items()
        }
        self.writers: dict[str, list[tuple[Value, Value, Value]]] = {name: [] for name in self.rings}
        for name, ring in self.rings.items():
            m.submodules[f"ring_{name}"] = ring
        self.errors = self._errors(m)
        self._inputs(m)
        for name in p.forward:
            self._forward(m, name)
        for name in (name for name in p.plan.schedule.stage_names if name.endswith("_e")):
            self._error(m, name)
        for name in p.back:
            self._back(m, name)
        self._write_rings(m)
        self._updates(m)
        self._sequence(m)
        return m

    def _active(self, stage: str, passes: tuple[Pass, ...] | None = None) -> Value:
        """Return whether a stage has a sample; of these ``passes``."""
        schedule = self.p.plan.schedule
        bits = self.controller.passes[schedule.stage_names.index(stage)]
        if passes is None:
            return bits.any()
        chosen = [bits[schedule.passes.index(own)] for own in passes]
        return Cat(chosen).any() if chosen else Const(0, 1)

    def _base(self, name: str, place: str) -> Value:
        """Return the first address of a place of a buffer: where one ``writes``, ``forward`` or ``back``."""
        own = self.p.buffers[name]
        at = getattr(self.controller, f"places_{name}")[place]
        return (at * self.p.words(own))[: address_bits(self.p.words(own) * own.depth)] if own.depth > 1 else Const(0, 1)

    def _errors(self, m: Module) -> dict[tuple[str, int], MapMemory]:
        """Return the buffer of the error of each stage backward, by branch."""
        found = {}
        for name, (back, _) in self.p.back.items():
            for branch in range(back.stage.branches):
                found[name, branch] = store = MapMemory(back.left, back.error_bits, 1)
                m.submodules[f"error_{name}_{branch}"] = store
        return found

    def _inputs(self, m: Module) -> None:
        """Load what enters, a map a logical cycle."""
        schedule = self.p.plan.schedule
        for own in schedule.passes:
            stage = schedule.way(own)[0]
            if stage in self.ends:
                continue
            source: stream.Interface = getattr(self, stage)
            buffer = "G_0" if own.generator else f"D{own.copy or ''}_0"
            m.submodules[f"{stage}_sink"] = sink = Sink(self.p.words(self.p.buffers[buffer]))
            begin, taking, word = (Signal(name=f"{stage}_{name}") for name in ("begins", "takes", "word"))
            m.d.comb += [
                begin.eq(self.works & self._active(stage)),
                sink.begin.eq(begin),
                source.ready.eq(taking & ~sink.done),
                word.eq(source.valid & source.ready),
                sink.word.eq(word),
            ]
            with m.If(begin):
                m.d.sync += taking.eq(1)
            with m.Elif(sink.done):
                m.d.sync += taking.eq(0)
            self.ends[stage] = sink.done
            self.writers[buffer].append((word, sink.address, source.payload[0]))

    def _forward(self, m: Module, name: str) -> None:
        """Add a stage forward between its buffers."""
        _, before, after = self.p.forward[name]
        m.submodules[name] = layer = self.forward[name]
        wiring.connect(m, layer.reader, self.rings[before].reader(0))
        m.d.comb += [
            layer.begin.eq(self.works & self._active(name)),
            layer.base.eq(self._base(before, "forward")),
        ]
        self.controls[name], self.ends[name] = layer.control, layer.done
        self.writers[after].append((layer.word, layer.address, layer.data))

    def _error(self, m: Module, name: str) -> None:
        """Add the error unit of a discriminator: from its logits to the errors of its last layer."""
        plan, place = self.p.plan, name.removesuffix("_e")
        last = f"{place}_b{len(plan.networks['D'].layers)}"
        stores = [store for (stage, _), store in self.errors.items() if stage == last]
        logits = self.rings[f"{place}_{len(plan.networks['D'].layers)}"]
        m.submodules[f"{name}_source"] = source = Source(in_order(plan.logits, logits.bits))
        m.submodules[name] = unit = ErrorStage(ErrorParameters(plan.error_unit, 2 if plan.unit_error else len(stores)))
        m.submodules[f"{name}_sink"] = sink = Sink(plan.logits)
        wiring.connect(m, source.reader, logits.reader(1))
        wiring.connect(m, source.o, unit.i)
        begin = Signal(name=f"{name}_begins")
        m.d.comb += [
            begin.eq(self.works & self._active(name)),
            source.begin.eq(begin),
            sink.begin.eq(begin),
            sink.word.eq(unit.word),
        ]
        for branch in range(unit.p.branches):
            m.d.comb += getattr(unit, f"label_{branch}").eq(self._label(m, name, branch, source.o))
        if plan.unit_error:
            self._scales(m, place, unit)
        for branch, store in enumerate(stores):
            error = Const(2**plan.error_unit.unit_places) if plan.unit_error else getattr(unit, f"error_{branch}")
            m.d.comb += [
                store.write.eq(unit.word),
                store.address.eq(sink.address),
                store.data.eq(error),
            ]
        self.ends[name] = sink.done

    def _scales(self, m: Module, place: str, unit: ErrorStage) -> None:
        """Let both errors of the logit go along with the unit error, from layer to layer."""
        layers = self.p.plan.schedule.discriminator
        for branch, pin in enumerate(("scale", "wanted")):
            error = getattr(unit, f"error_{branch}")
            line = [Signal.like(error, name=f"{place}_{pin}_{k}") for k in range(layers + 1)]
            with m.If(unit.word):
                m.d.sync += line[0].eq(error)
            with m.If(self.start):
                m.d.sync += [after.eq(before) for before, after in pairwise(line)]
            for k in range(layers):
                m.d.comb += getattr(self.back[f"{place}_b{layers - k}"], pin).eq(line[k + 1])

    def _label(self, m: Module, stage: str, branch: int, logits: stream.Interface) -> Value:
        """Return the label of the logit at the error unit."""
        plan = self.p.plan
        one = plan.error_unit.one
        if len(plan.networks) == 1:
            # The label goes along with its image, from its load to the error.
            classes = range(max(2, plan.logits))
            line = [Signal(classes, name=f"label_{k}") for k in range(plan.schedule.discriminator + 2)]
            at = Signal(classes)
            with m.If(self.works & self._active("image")):
                m.d.sync += line[0].eq(self.label)
            with m.If(self.start):
                m.d.sync += [after.eq(before) for before, after in pairwise(line)]
            with m.If(self.works):
                m.d.sync += at.eq(0)
            with m.Elif(logits.valid):
                m.d.sync += at.eq(at + 1)
            return Mux(at == line[-1], one, 0)
        if branch:
            return Const(one)
        by_name = {own.name: own for own in plan.passes(stage)}
        real = [by_name[name] for name in ("R",) if name in by_name]
        wanted = [by_name[name] for name in ("G",) if name in by_name]
        return Mux(
            self._active(stage, tuple(real)), plan.label_of_real, Mux(self._active(stage, tuple(wanted)), one, 0)
        )

    def _back(self, m: Module, name: str) -> None:
        """Add a stage backward, between the buffer of what entered its layer and those of errors."""
        p, (parameters, buffer) = self.p, self.p.back[name]
        m.submodules[name] = layer = self.back[name]
        wiring.connect(m, layer.reader, self.rings[buffer].reader(1))
        first = Signal(name=f"{name}_first", init=1)
        graded = self._active(name, p.plan.graded(name))
        m.d.comb += [
            layer.load.eq(self.start & self._active(name)),
            layer.begin.eq(self.works & self._active(name)),
            layer.base.eq(self._base(buffer, "back")),
            layer.graded.eq(graded),
            layer.first.eq(first),
        ]
        with m.If(self.works & graded):
            m.d.sync += first.eq(0)
        with m.If(self.works & self._updated(name[0])):
            m.d.sync += first.eq(1)
        self.copied.append(~self._active(name) | layer.loaded)
        self.ends[name] = layer.done
        for branch in range(parameters.stage.branches):
            wiring.connect(m, getattr(layer, f"error_{branch}"), self.errors[name, branch].reader(0))
            if parameters.stage.data[branch]:
                self.controls[f"{name}.{branch}"] = getattr(layer, f"control_{branch}")
                self._pass_back(m, name, branch, layer)

    def _pass_back(self, m: Module, name: str, branch: int, layer: BackLayer) -> None:
        """Write the error of what entered a layer where the stage before it reads it, in the passes that go on."""
        plan, (place, k) = self.p.plan, name.split("_b")
        passes = tuple(own for own in plan.passes(name) if own.name == "FG" or not branch)
        to = f"{place}_b{int(k) - 1}", branch
        if k == "1":  # the generator's error is what the generator wants
            passes = tuple(own for own in passes if own.back)
            to = f"G_b{plan.schedule.generator}", 0
        m.d.comb += getattr(layer, f"runs_{branch}").eq(self._active(name, passes))
        store = self.errors[to]
        m.d.comb += [
            store.write.eq(getattr(layer, f"word_{branch}")),
            store.address.eq(getattr(layer, f"address_{branch}")),
            store.data.eq(getattr(layer, f"data_{branch}")),
        ]

    def _write_rings(self, m: Module) -> None:
        """Let each buffer be written by the stage that has a code for it: there is one at a time."""
        for name, ring in self.rings.items():
            base, writers = self._base(name, "writes"), self.writers[name]
            m.d.comb += ring.write.eq(Cat(word for word, _, _ in writers).any())
            for word, address, code in writers:
                with m.If(word):
                    m.d.comb += [ring.address.eq(base + address), ring.data.eq(code)]

    def _updated(self, network: str) -> Value:
        """Return whether a network's weights are rewritten in this logical cycle."""
        updates = self.p.plan.schedule.updates
        return next(self.controller.updates[k] for k, own in enumerate(updates) if network in own.networks)

    def _updates(self, m: Module) -> None:
        """Add the update units, with the crossbars that hold weights and the accumulators of gradients."""
        p = self.p
        for network, unit in self.updates.items():
            m.submodules[f"update_{network}"] = unit
            layers = range(1, len(p.plan.networks[network].layers) + 1)
            held = [(name, product) for layer in layers for name, product in p.written(network, layer)]
            spread(m, unit.control, [(self.controls[name], len(p.crossbars(product))) for name, product in held])
            for layer in layers:
                for copy, place in enumerate(p.copies(network)):
                    sums = getattr(m.submodules, f"{place}_b{layer}").sums
                    wiring.connect(m, getattr(unit, f"gradient_{layer - 1}_{copy}"), sums)
            wiring.connect(m, wiring.flipped(getattr(self, f"weights_{network}")), unit.weights)
            m.d.comb += [
                unit.load.eq(self.load),
                unit.begin.eq(self.load | (self.works & self._updated(network))),
                unit.seed.eq(getattr(self, f"seed_{network}")),
                getattr(self, f"new_{network}").eq(unit.new),
                getattr(self, f"code_{network}").eq(unit.code),
                getattr(self, f"failed_{network}").eq(unit.failed),
            ]
        m.d.comb += self.idle.eq(Cat(unit.done for unit in self.updates.values()).all())

    def _sequence(self, m: Module) -> None:
        """Let stages work when all copies are there; tell the controller when they have ended."""
        schedule, waits, working = self.p.plan.schedule, Signal(), Signal()
        m.d.comb += self.works.eq(waits & ~self.start & Cat(self.copied).all())
        with m.If(self.works):
            m.d.sync += [waits.eq(0), working.eq(1)]
        with m.If(self.start):
            m.d.sync += [waits.eq(1), working.eq(0)]
        ends = [self.ends[name] for name in schedule.stage_names]
        ends += [Cat(self.updates[name].done for name in own.networks).all() for own in schedule.updates]
        m.d.comb += self.controller.done.eq(Cat(ends) & (working & ~self.start).replicate(len(ends)))
