"""Schedules of training: which passes the samples of a batch make, and what each waits for.

A *pass* takes a batch sample by sample through a chain of stages, one layer in one direction each, a stage a *logical
cycle* (the time of the slowest stage). Of a GAN: R, real images through the discriminator and back; F, noise through
generator and discriminator, and back through the latter; G, the same and back through both; FG, F and G with one way
forward (Computation Sharing). Cycles are logical ones throughout. From ReGAN (Chen, Song, Chen, ASP-DAC 2018) and
PipeLayer (HPCA 2017).
"""

from dataclasses import dataclass
from functools import cached_property

from selvage.base.errors import InputError

SCHEDULES = ("none", "pipeline", "pipeline+rf", "sp", "cs", "sp+cs")
"""No pipeline; drained after each pass; R to F not drained; Spatial Parallelism; Computation Sharing; both."""
OVERLAPPED = ("pipeline", "sp", "cs", "sp+cs")
MOST_LAYERS = 64
MOST_BATCH = 4096


@dataclass(frozen=True)
class After:
    """An event, and how many cycles later at the earliest another may be.

    ``what`` is ``first`` or ``last`` (of the samples of pass ``of``, in its first stage) or ``update`` (of network
    ``of``); ``before``: that of the iteration before.
    """

    what: str
    of: str
    cycles: int
    before: bool = False


@dataclass(frozen=True)
class Pass:
    """The way of a batch; ``generator`` forward, ``back`` through it too, on copy ``copy`` of the discriminator."""

    name: str
    after: tuple[After, ...]
    generator: bool = False
    back: bool = False
    copy: int = 0


@dataclass(frozen=True)
class Update:
    """The cycle in which the weights of ``networks`` are rewritten."""

    networks: tuple[str, ...]
    after: tuple[After, ...]


@dataclass(frozen=True)
class Buffer:
    """Activations that wait for their backward stage; ``network`` is ``G`` or ``D``, ``copy`` of the latter.

    ``layer`` l: what leaves layer l, 0 what enters the network. ``depth``: samples that are there at once at most.
    """

    network: str
    copy: int
    layer: int
    depth: int

    @property
    def name(self) -> str:
        """Such as ``G_0`` for the noise, ``D_2``, or ``D1_2`` of the second copy."""
        return f"{self.network}{self.copy or ''}_{self.layer}"


@dataclass(frozen=True)
class TrainingSchedule:
    """One iteration; ``pipelined`` passes take a sample each cycle, others wait until the one before has left."""

    generator: int  # layers, 0 without one
    discriminator: int
    batch: int
    passes: tuple[Pass, ...]
    updates: tuple[Update, ...]
    pipelined: bool = True

    def stages(self, own: Pass) -> int:
        """Return the cycles of a sample: forward, its error, backward."""
        return own.generator * self.generator + 2 * self.discriminator + 1 + own.back * self.generator

    def spacing(self, own: Pass) -> int:
        """Return the cycles from sample to sample."""
        return 1 if self.pipelined else self.stages(own)

    def entry(self, own: Pass) -> int:
        """Return the stages before the discriminator's first."""
        return own.generator * self.generator

    @cached_property
    def copies(self) -> int:
        """How often the discriminator stands."""
        return 1 + max(own.copy for own in self.passes)

    @cached_property
    def buffers(self) -> tuple[Buffer, ...]:
        """The buffers of activations, in order of networks, copies and layers."""
        both = self.generator + self.discriminator
        found = [Buffer("G", 0, layer, 2 * (both - layer) + 1) for layer in range(self.generator)]
        layers = range(self.discriminator + 1)
        depths = [2 * (self.discriminator - layer) + 1 for layer in layers]
        return (*found, *(Buffer("D", copy, k, depths[k]) for copy in range(self.copies) for k in layers))

    def way(self, own: Pass) -> tuple[str, ...]:
        """Return the names of a pass's stages: its load, then forward (f), error (e) and backward (b) by layer."""
        place = f"D{own.copy or ''}"
        layers = {"G": range(1, self.generator + 1), place: range(1, self.discriminator + 1)}
        forward = [f"{name}_f{layer}" for name in (*["G"] * own.generator, place) for layer in layers[name]]
        back = [f"{name}_b{layer}" for name in (place, *["G"] * own.back) for layer in reversed(layers[name])]
        return "noise" if own.generator else "image", *forward, f"{place}_e", *back

    @cached_property
    def stage_names(self) -> tuple[str, ...]:
        """All stages, each once."""
        return tuple(dict.fromkeys(name for own in self.passes for name in self.way(own)))

    def kept(self, buffer: Buffer, own: Pass) -> tuple[int, int] | None:
        """Return the stages of ``own``, from 1, after which ``buffer`` holds a sample and with which it frees it.

        0 is the load before the first stage. None: the pass leaves nothing in it.
        """
        if buffer.network == "G":
            whole = 2 * (self.generator + self.discriminator) + 1
            return (buffer.layer, whole - buffer.layer) if own.back else None
        entry = self.entry(own)
        if own.copy != buffer.copy:
            return None
        return entry + buffer.layer, entry + 2 * self.discriminator + 1 - buffer.layer


def training_schedule(
    generator: int, discriminator: int, batch: int, schedule: str, *, overlap: bool = False
) -> TrainingSchedule:
    """Return the schedule of networks of so many layers; without a ``generator``, 0, of one network.

    ``overlap``: an iteration begins as soon as its weights are there, not when the one before has ended. `InputError`:
    a value that no schedule has.
    """
    _check(generator, discriminator, batch, schedule, overlap)
    if not generator:
        return _single(discriminator, batch, pipelined=schedule != "none")
    g, d = generator, discriminator
    begin = After("update", "G", 1, before=True)
    real, fake, both = 2 * d + 1, g + 2 * d + 1, 2 * g + 2 * d + 1  # from a pass's first stage to the cycle after
    if schedule in ("none", "pipeline", "pipeline+rf", "sp"):
        r_first, f_first = (begin,), (After("last", "R", real),)
        g_first: tuple[After, ...] = (After("update", "D", 1),)
        if schedule == "sp":
            f_first = (begin,)
        if schedule == "pipeline+rf" or (overlap and schedule == "pipeline"):
            f_first = (begin, *_behind(g, batch))
        if overlap:
            g_first = (After("last", "F", 2 * d + 2),)  # it reaches the discriminator after the update
            r_first = (
                (After("last", "G", g + 1, before=True),)
                if schedule == "pipeline"
                else (After("update", "D", 1, before=True),)
            )
        return TrainingSchedule(
            g,
            d,
            batch,
            (
                Pass("R", r_first, copy=int(schedule == "sp")),
                Pass("F", f_first, generator=True),
                Pass("G", g_first, generator=True, back=True),
            ),
            (
                Update(("D",), (After("last", "R", real), After("last", "F", fake))),
                Update(("G",), (After("last", "G", both),)),
            ),
            pipelined=schedule != "none",
        )
    shared = schedule == "cs"  # R and FG on one discriminator
    if not overlap:
        passes = (
            Pass("R", (begin,), copy=int(not shared)),
            Pass("FG", (After("last", "R", real) if shared else begin,), generator=True, back=True),
        )
        ended = (After("last", "R", real), After("last", "FG", both))
        return TrainingSchedule(g, d, batch, passes, (Update(("D", "G"), ended),))
    passes = (
        Pass("R", (After("update", "D", 1, before=True),), copy=int(not shared)),
        Pass("FG", (begin, *(_behind(g, batch) if shared else ())), generator=True, back=True),
    )
    updates = (
        Update(("D",), (After("last", "R", real), After("last", "FG", fake))),
        Update(("G",), (After("last", "FG", both),)),
    )
    return TrainingSchedule(g, d, batch, passes, updates)


def _behind(generator: int, batch: int) -> tuple[After, ...]:
    """Return what makes noise reach the discriminator behind the last real image; nothing where it does anyway."""
    wait = batch - generator
    return (After("first", "R", wait),) if wait > 0 else ()


def _single(layers: int, batch: int, *, pipelined: bool) -> TrainingSchedule:
    own = Pass("R", (After("update", "D", 1, before=True),))
    update = Update(("D",), (After("last", "R", 2 * layers + 1),))
    return TrainingSchedule(0, layers, batch, (own,), (update,), pipelined)


def _check(generator: int, discriminator: int, batch: int, schedule: str, overlap: bool) -> None:
    if schedule not in SCHEDULES:
        raise InputError(f"--schedule {schedule!r} is none of {', '.join(SCHEDULES)}")
    for name, number, least, most in (
        ("generator layers", generator, 0, MOST_LAYERS),
        ("discriminator layers", discriminator, 1, MOST_LAYERS),
        ("samples of a batch", batch, 1, MOST_BATCH),
    ):
        if not least <= number <= most:
            raise InputError(f"{number} {name} are not from {least} to {most}")
    if not generator and (schedule not in ("none", "pipeline") or overlap):
        how = f"schedule {schedule!r}" if schedule not in ("none", "pipeline") else "--overlap"
        raise InputError(f"{how} is for two networks, and there is no generator")
    if overlap and schedule not in OVERLAPPED:
        raise InputError(f"--overlap is of the schedules {', '.join(OVERLAPPED)}, not {schedule}")
