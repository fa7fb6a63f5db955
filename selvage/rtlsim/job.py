"""What one simulation of a tile is given and what it brings back: plain arrays in an .npz file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.noise import Noise
from selvage.sim.crossbar import Crossbar
from selvage.sim.devices import NoisyCrossbar

PERIOD = 10  # ns of a clock cycle


@dataclass
class TileJob:
    """One tile, its activations as stream words, and how the streams are to stall."""

    chip: Chip
    crossbars: list[Crossbar | NoisyCrossbar]
    words: list[int]
    beats: int
    request_bits: int
    predicted: int  # cycles, when no stream pauses
    counters: list[str]
    stalls: dict[str, Any] = field(default_factory=dict)
    reset_after: int = 0
    ends: bool = False  # with the last of ``beats``, though the tile has more to do
    result: str = ""

    @property
    def codes_bits(self) -> int:
        """Bits of the codes of one read."""
        return self.chip.adc_bits * self.chip.ou_cols


@dataclass
class Record:
    """What a run showed at the pins."""

    beats: list[int] = field(default_factory=list)
    first: int = 0  # cycle of the first read
    cycles: int = 0  # from the first word offered to the last beat taken
    fetched: int = 0
    reads: list[int] = field(default_factory=list)  # per macro


def pack_words(values: NDArray[np.int64], bits: int) -> bytes:
    """Pack integers (words, lanes) as little-endian words of ``lanes * bits`` bits, in whole bytes."""
    planes = (values[:, :, None] >> np.arange(bits) & 1).astype(np.uint8)
    return np.packbits(planes.reshape(len(values), -1), axis=1, bitorder="little").tobytes()


def save_job(path: Path, *, cells: list[NDArray], words: bytes, fields: dict[str, Any]) -> None:
    """Write a job file: the ``cells`` of each crossbar, the stream ``words``, and all other fields of a `TileJob`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, cells=np.stack(cells), words=np.frombuffer(words, np.uint8), fields=np.array(json.dumps(fields)))


def load_job(path: str) -> TileJob:
    """Read a job file inside the simulator."""
    with np.load(path, allow_pickle=False) as file:
        fields = json.loads(str(file["fields"]))
        chip = Chip(**fields.pop("chip"))
        size, raw = fields.pop("word_bytes"), file["words"].tobytes()
        words = [int.from_bytes(raw[k : k + size], "little") for k in range(0, len(raw), size)]
        noise, keys, importance = (fields.pop(name) for name in ("noise", "keys", "importance"))
        crossbars: list[Crossbar | NoisyCrossbar] = [Crossbar(cells, chip) for cells in file["cells"]]
        if noise:
            drawn = zip(file["cells"], keys, importance, strict=True)
            crossbars = [NoisyCrossbar(cells, chip, Noise.model_validate(noise), *own) for cells, *own in drawn]
    return TileJob(chip=chip, crossbars=crossbars, words=words, **fields)


def save_result(job: TileJob, record: Record, counters: dict[str, int]) -> None:
    """Write what a run brought: the beats as hexadecimal, for they are wider than any NumPy integer."""
    content = {
        "beats": [format(beat, "x") for beat in record.beats],
        "cycles": record.cycles,
        "fetched": record.fetched,
        "reads": record.reads,
        "counters": counters,
    }
    Path(job.result).write_text(json.dumps(content))


def save_fault(job: TileJob, sentence: str, record: Record) -> None:
    """Write what the gateware did wrong instead of a result, and the beats that had left it."""
    beats = [format(beat, "x") for beat in record.beats]
    Path(job.result).write_text(json.dumps({"fault": sentence, "beats": beats}))
