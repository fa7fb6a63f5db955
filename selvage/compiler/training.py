"""A training session: the golden loop over iterations, whose state can be kept and taken up again."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.files import write_whole
from selvage.base.text import value
from selvage.frontend.numpy_files import read_npz
from selvage.frontend.training_file import TrainingFile
from selvage.golden.fixed_point import LFSR_BITS
from selvage.golden.training import Codes, Gan, State, Supervised, TrainedNetwork, Way, Weights
from selvage.mapping.training import TrainingSchedule, training_schedule
from selvage.mapping.training_chip import TrainingPlan

MOST_ITERATIONS = 2**16 - 1
MOST_SEED = 2**30


def check_seed(seed: int) -> None:
    """Raise `InputError` for a seed that no session has."""
    if not 0 <= seed <= MOST_SEED:
        raise InputError(f"--seed {seed} is not from 0 to {MOST_SEED}")


@dataclass(frozen=True, eq=False)
class Batch:
    """What an iteration takes: image codes, labels of one network, noise for each way forward of the generator."""

    images: Codes
    labels: NDArray[np.int64] | None
    noise: tuple[Codes, ...]


@dataclass(frozen=True, eq=False)
class Session:
    """A training file under a schedule. `InputError`: the file's formats do not fit its chip."""

    file: TrainingFile
    schedule_name: str
    overlap: bool
    seed: int

    @cached_property
    def schedule(self) -> TrainingSchedule:
        """The schedule of an iteration."""
        layers = {name: len(own) for name, own in self.file.layers.items()}
        sizes = layers.get("G", 0), layers["D"], self.file.entry.batch
        return training_schedule(*sizes, self.schedule_name, overlap=self.overlap)

    @cached_property
    def _started(self) -> tuple[dict[str, TrainedNetwork], dict[str, Weights]]:
        return self.file.networks(self.seed)

    @cached_property
    def plan(self) -> TrainingPlan:
        """The training chip."""
        file = self.file
        how = file.error_unit, file.label_of_real, self.schedule, file.chip
        return TrainingPlan(self._started[0], *how, unit_error=self.unit_error)

    @property
    def shares(self) -> bool:
        """Whether both networks learn of one way forward."""
        return any(own.name == "FG" for own in self.schedule.passes)

    @property
    def unit_error(self) -> bool:
        """Whether a unit error goes back through the discriminator, for both networks."""
        return self.file.entry.unit_error and self.shares

    @cached_property
    def golden(self) -> Gan | Supervised:
        """The golden loop."""
        networks, _ = self._started
        unit = self.file.error_unit
        if "G" not in networks:
            return Supervised(networks["D"], unit)
        descent = "simultaneous" if self.shares else "alternating"
        return Gan(networks["G"], networks["D"], unit, self.file.label_of_real, descent, self.unit_error)

    @cached_property
    def first(self) -> State:
        """The state before the first iteration."""
        weights, stochastic = self._started[1], self.file.entry.rounding == "stochastic"
        random = (2 * self.seed + 1, 2 * self.seed + 2) if stochastic else (0, 0)
        return State(weights.get("G", ()), weights["D"], random)

    def batch(self, iteration: int) -> Batch:
        """Return what iteration ``iteration``, from 0, takes: drawn from its number, so that it can be taken up."""
        file, rng = self.file, np.random.default_rng([self.seed, iteration])
        chosen = rng.integers(0, len(file.images), file.entry.batch)
        labels = file.labels[chosen] if file.labels is not None and "G" not in file.layers else None
        ways = (1 if self.shares else 2) if "G" in file.layers else 0
        noise = tuple(file.noise(file.entry.batch, rng) for _ in range(ways))
        return Batch(file.images[chosen], labels, noise)

    def followed(self, state: State, batch: Batch) -> tuple[State, dict[str, Way]]:
        """Return the state after an iteration, and what its passes did."""
        if isinstance(self.golden, Supervised):
            assert batch.labels is not None, "one network has labels"
            return self.golden.followed(state, batch.images, batch.labels)
        return self.golden.followed(state, batch.images, batch.noise)

    def losses(self, ways: dict[str, Way], batch: Batch) -> dict[str, float]:
        """Return the cross entropy of each pass's logits, a sample's."""
        scale, found = 2.0**-self.file.error_unit.fraction, {}
        for name, way in ways.items():
            logits = way.judged[-1].reshape(len(way.judged[-1]), -1) * scale
            wanted = np.full(logits.shape, {"R": self.file.entry.label_of_real, "F": 0.0, "G": 1.0}[name])
            if batch.labels is not None:
                wanted = np.eye(logits.shape[1])[batch.labels]
            each = np.logaddexp(0, logits) - wanted * logits
            found[name] = float(each.sum(1).mean())
        return found

    def samples(self, state: State, count: int) -> Codes:
        """Return maps that the generator makes of noise that is always the same."""
        assert isinstance(self.golden, Gan), "two networks have a generator"
        noise = self.file.noise(count, np.random.default_rng([self.seed, 2**32]))
        return self.golden.generator.forward(state.generator, noise)[-1]

    @cached_property
    def fingerprint(self) -> str:
        """What a kept state belongs to: the file, its data, the seed, and which descent."""
        digest = blake2b(digest_size=16)
        layers = [(layer.model_dump(), leak) for own in self.file.layers.values() for layer, leak in own]
        digest.update(repr((self.file.entry.model_dump(), layers, self.seed, self.shares)).encode())
        digest.update(self.file.images.tobytes())
        for own in self.file.start.values():
            digest.update(b"".join(values.tobytes() for values in own))
        digest.update(b"" if self.file.labels is None else self.file.labels.tobytes())
        return digest.hexdigest()


def keep(path: Path, session: Session, state: State) -> None:
    """Write a state, whole or not at all."""
    arrays: dict[str, NDArray] = {f"G_{k}": own for k, own in enumerate(state.generator)}
    arrays |= {f"D_{k}": own for k, own in enumerate(state.discriminator)}
    arrays["at"] = np.array([state.iteration, *state.random], np.int64)
    arrays["session"] = np.frombuffer(bytes.fromhex(session.fingerprint), np.uint8)
    file, named = BytesIO(), cast(dict[str, Any], arrays)  # the stubs take names for options
    np.savez(file, **named)
    write_whole(path, file.getvalue())


def kept(path: Path, session: Session) -> State:
    """Return the state in ``path``. `InputError`: it is broken, or of another session."""
    what = f"state {value(str(path))}"
    arrays = read_npz(path, what)
    first = session.first
    wanted = {f"G_{k}": own for k, own in enumerate(first.generator)}
    wanted |= {f"D_{k}": own for k, own in enumerate(first.discriminator)}
    missing = [name for name in ("at", "session", *wanted) if name not in arrays]
    if missing:
        raise InputError(f"{what} lacks the array {missing[0]!r}")
    for name in ("at", "session", *wanted):
        if arrays.header(name).dtype.kind not in "iu":
            raise InputError(f"{what}: {name!r} holds {arrays.header(name).dtype}, and integers are needed")
    if arrays["session"].astype(np.uint8).tobytes().hex() != session.fingerprint:
        raise InputError(f"{what} is of another training file, other data, another seed or another descent")
    high = 2 ** (session.file.formats.weights - 1) - 1
    for name, own in wanted.items():
        if arrays[name].shape != own.shape or arrays[name].min() < -high or arrays[name].max() > high:
            raise InputError(f"{what}: {name!r} has no weights {own.shape} from {-high} to {high}")
    found = {name: arrays[name].astype(np.int64) for name in wanted}
    at = arrays["at"]
    if at.shape != (3,) or not 0 <= at[0] <= MOST_ITERATIONS or not 0 <= at[1:].min() <= at[1:].max() < 2**LFSR_BITS:
        raise InputError(f"{what}: 'at' is no iteration with two states of random registers")
    if ((at[1:] == 0) != (np.array(first.random) == 0)).any():
        raise InputError(f"{what}: 'at' has states of random registers of another rounding")
    parts = [tuple(own for name, own in found.items() if name[0] == network) for network in "GD"]
    return State(parts[0], parts[1], (int(at[1]), int(at[2])), int(at[0]))
