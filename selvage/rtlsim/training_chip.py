"""A training chip in a simulator without Python in it: iterations from given weights, images and noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import dropwhile, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import RtlError
from selvage.golden.training import Weights
from selvage.hw.macro.macro_views import model
from selvage.hw.training.chip import TrainingChip
from selvage.hw.training.chip_parameters import ChipParameters
from selvage.hw.training.stages import product_parameters
from selvage.mapping.training_chip import Product
from selvage.rtlsim.cache import work_folder
from selvage.rtlsim.fingerprint import fingerprint
from selvage.rtlsim.limits import bound_of_stages
from selvage.rtlsim.plain import Built, build_plain, call
from selvage.rtlsim.simulate import BUILD
from selvage.rtlsim.words import hex_lines
from selvage.verilog.convert import convert

Integers = NDArray[np.int64]
SOURCES = ("training.v", "crossbar.v", "bench.v")
MOST_SAMPLES, MOST_CODES = 2**16, 2**22  # samples of a run; codes of images, of noise, of weights
ANSWERS = 4 * 64  # clock cycles of writing and reading a row of two arrays, some times again
PAUSES = 3  # times as long a stage may take where what enters pauses


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """What a run showed.

    ``weights``: by network, after each iteration. ``cycles``: clock cycles of each logical cycle, from the load of the
    first sample to the last update. ``cells``: of each product that holds weights its arrays, (rows, columns), -1 where
    nothing was ever written.
    """

    weights: dict[str, list[Weights]]
    cycles: list[int]
    cells: dict[str, list[Integers]]

    @property
    def clocks(self) -> int:
        """Clock cycles of all of them."""
        return sum(self.cycles)


def build_chip(p: ChipParameters, *, simulator: str = "icarus", build: Path = BUILD) -> Built:
    """Generate and compile a training chip. Raises `SimulationError`."""
    plan = p.plan
    design = fingerprint(
        "training",
        plan.networks,
        plan.error_unit,
        plan.label_of_real,
        plan.schedule,
        plan.chip,
        p.skip,
        p.stochastic,
        plan.unit_error,
    )
    return build_plain("training", design, lambda: chip_verilog(p), SOURCES, simulator, build)


def chip_verilog(p: ChipParameters) -> dict[str, str]:
    """Return sources by file name: the chip, the macro, the bench around them."""
    chip = TrainingChip(p)
    macro = product_parameters(next(iter(p.plan.forward.values())), skip=p.skip).macro
    assert macro, "every network has a layer"
    texts = convert(chip, "training", chip.library.components), model(macro), _bench(p)
    return dict(zip(SOURCES, texts, strict=True))


def run_chip(
    p: ChipParameters,
    built: Built,
    weights: Mapping[str, Weights],
    images: Integers,
    *,
    noise: Integers | None = None,
    labels: Integers | None = None,
    seeds: Mapping[str, int] | None = None,
    iterations: int = 1,
    stalls: int = 0,
    reset_after: int = 0,
    faults: Mapping[str, str] | None = None,
) -> TrainingRun:
    """Simulate ``iterations`` from ``weights``, by network.

    With ``stalls``, a seed, what enters pauses at random; ``reset_after`` so many clock cycles the chip is reset once
    and everything begins anew; ``faults`` are files of faults (`hw.macro.programmable`) by the crossbar's place.

    ``images`` (N, C, H, W) and ``noise`` are codes in the order in which they are wanted, ``labels`` (N,) of one
    network's images. Raises `SimulationError`, and `RtlError` where the chip does not end or a row of cells stays
    wrong.
    """
    plan = p.plan
    with work_folder(built.where.parent) as run:
        _write(run / "image.hex", images, plan.networks["D"].formats.activations)
        if noise is not None:
            _write(run / "noise.hex", noise, plan.networks["G"].formats.activations)
        if labels is not None:
            (run / "label.hex").write_text(hex_lines(_packed(labels, 32), 32))
        for name, network in plan.networks.items():
            codes = np.concatenate([own.ravel() for own in weights[name]])
            (run / f"weights_{name}.hex").write_text(hex_lines(_packed(codes, network.formats.weights), 32))
        given = [f"+seed_{name}={seed}" for name, seed in (seeds or {}).items()]
        given += [f"+{name}={value}" for name, value in (("stalls", stalls), ("reset", reset_after)) if value]
        for place, text in (faults or {}).items():
            (run / f"faults_{place}.hex").write_text(text)
        given += ["+faults"] if faults else []
        call([*built.command, f"+iterations={iterations}", *given], run, run / "log.txt")
        return _read(p, run, iterations)


def _packed(codes: Integers, bits: int) -> bytes:
    return (codes.astype(np.int64).ravel() & (2**bits - 1)).astype("<u4").tobytes()


def _write(path: Path, maps: Integers, bits: int) -> None:
    """Write maps (N, C, H, W) in raster order, channels in order."""
    path.write_text(hex_lines(_packed(maps.transpose(0, 2, 3, 1), bits), 32))


def holders(p: ChipParameters) -> dict[str, tuple[Product, list[str]]]:
    """Return the products that hold weights, by name, each with the places of its crossbars in the chip."""
    found = {}
    for network, own in p.plan.networks.items():
        for layer in range(1, len(own.layers) + 1):
            for name, product in p.written(network, layer):
                found[name] = product, p.crossbar_places(name, product)
    return found


def _read(p: ChipParameters, run: Path, iterations: int) -> TrainingRun:
    lines = [line.split() for line in (run / "log.txt").read_text().splitlines()]
    if not any(line[:1] == ["end"] for line in lines):
        raise RtlError(
            f"the training chip has not ended its {iterations} iterations: no logical cycle began in "
            f"{_longest(p):,} clock cycles, see {run}"
        )
    failed = sum(int(line[1]) for line in lines if line[:1] == ["failed"])
    if failed:
        raise RtlError(f"{failed} rows of cells of the training chip stayed wrong, see {run}")
    starts = [int(line) for line in (run / "starts.txt").read_text().split()]
    each = (after - before for before, after in pairwise(starts))
    cycles = list(dropwhile(lambda clocks: clocks == 1, each))  # before the first load nothing has a sample
    weights = {}
    for name, network in p.plan.networks.items():
        codes = np.array((run / f"new_{name}.txt").read_text().split(), np.int64)
        shapes = [own.layer.weight_shape for own in network.layers]
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        each = codes.reshape(-1, ends[-1])
        weights[name] = [
            tuple(own.reshape(shape) for own, shape in zip(np.split(row, ends[:-1]), shapes, strict=True))
            for row in each
        ]
    cells = {}
    for name, (product, places) in holders(p).items():
        bits = product.placement.chip.cell_bits
        cells[name] = [_cells(run / f"cells_{place}.hex", product, bits) for place in places]
    return TrainingRun(weights, cycles, cells)


def _cells(path: Path, product: Product, bits: int) -> Integers:
    """Return the cells that a simulator wrote, of an array."""
    chip = product.placement.chip
    found = np.full((chip.rows, chip.columns), -1, np.int64)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("//", "@"))]
    for row, line in enumerate(lines):
        if "x" not in line:
            whole = int(line, 16)
            found[row] = [whole >> column * bits & (2**bits - 1) for column in range(chip.columns)]
    return found


def _longest(p: ChipParameters) -> int:
    """Return the clock cycles that a load of weights, or any logical cycle, takes at most, with pauses."""
    products = [product for product, _, _ in p.forward.values()]
    products += [product for own, _ in p.back.values() for product in own.stage.data if product]
    found = [sum(bound_of_stages(product_parameters(own, skip=p.skip))) for own in products]
    for own, _ in p.back.values():
        rows = sum(len(row.slots) + ANSWERS for row in own.stage.gradient.cells)
        images = own.swept.loops[0][0]
        found.append(rows + own.entered + own.left + images * sum(bound_of_stages(own.gradient)))
    for network in p.plan.networks:
        own = p.update(network)
        found.append(sum(own.words) + sum(len(row.slots) + ANSWERS for row in (*own.read.rows, *own.written.rows)))
    return PAUSES * max(found)


def _bench(p: ChipParameters) -> str:
    """Return the bench: sources that never pause, and files of what was seen."""
    plan = p.plan
    pins, parts, tells, logs, begins = [], [], [], [], []
    streams = {"image": plan.networks["D"].formats.activations}
    if "G" in plan.networks:
        streams["noise"] = plan.networks["G"].formats.activations
    else:
        layer = plan.networks["D"].layers[0].layer
        words = layer.channels * layer.height * layer.width
        top = max(1, (plan.logits - 1).bit_length()) - 1
        parts.append(_LABEL.format(most=MOST_SAMPLES))
        pins.append(f".label(labels[at_image / {words}][{top}:0])")
    for name, network in plan.networks.items():
        streams[f"weights_{name}"] = network.formats.weights
        parts.append(_NETWORK.format(name=name, top=network.formats.weights - 1))
        pins += [f".seed_{name}(seed_{name})", f".new_{name}(new_{name})", f".code_{name}(code_{name})"]
        pins.append(f".failed_{name}(failed_{name})")
        tells.append(f'      $display("failed %0d", failed_{name});')
        logs.append(f'    if (new_{name}) $fdisplay(file_{name}, "%0d", $signed(code_{name}));')
        begins += [f"    $fclose(file_{name});", f'    file_{name} = $fopen("new_{name}.txt", "w");']
    for name, bits in streams.items():
        parts.append(_SOURCE.format(name=name, top=bits - 1, most=MOST_CODES))
        pins += [
            f".{name}__valid(valid_{name})",
            f".{name}__ready(ready_{name})",
            f".{name}__payload(word_{name}[{bits - 1}:0])",
        ]
    for _, places in holders(p).values():
        tells += [f'      training.{place}.save("cells_{place}.hex");' for place in places]
        parts += [_FAULTS.format(place=place) for place in places]
    return _BENCH.format(
        parts="\n".join(parts),
        pins=",\n    ".join(pins),
        tells="\n".join(tells),
        logs="\n".join(logs),
        begins="\n".join(begins),
        patience=_longest(p),
    )


_FAULTS = """\
  initial if ($test$plusargs("faults")) begin
    #1 found = $fopen("faults_{place}.hex", "r");
    if (found != 0) begin
      $fclose(found);
      training.{place}.load_faults("faults_{place}.hex");
    end
  end
"""

_LABEL = """\
  reg [31:0] labels [0:{most} - 1];
  initial $readmemh("label.hex", labels);
"""

_NETWORK = """\
  reg [31:0] seed_{name};
  wire new_{name};
  wire [{top}:0] code_{name};
  wire [15:0] failed_{name};
  integer file_{name};
  initial begin
    if (!$value$plusargs("seed_{name}=%d", seed_{name})) seed_{name} = 1;
    file_{name} = $fopen("new_{name}.txt", "w");
  end
"""

_SOURCE = """\
  reg [31:0] words_{name} [0:{most} - 1];
  integer at_{name} = 0;
  wire [31:0] word_{name} = words_{name}[at_{name}];
  wire ready_{name};
  reg valid_{name} = 1'b1;
  initial $readmemh("{name}.hex", words_{name});
  always @(posedge clk) begin
    if (valid_{name} && ready_{name}) at_{name} <= at_{name} + 1;
    // What is offered stays until it is taken.
    if (stalls != 0 && (!valid_{name} || ready_{name})) valid_{name} <= $random(chance) % 3 == 0;
    if (rst) at_{name} <= 0;
  end
"""

_BENCH = """\
`timescale 1ns/1ps
module bench;
  reg clk = 1'b0, rst = 1'b1, load = 1'b0;
  always #5 clk = ~clk;
  integer now = 0, quiet = 0, wanted, starts, stalls, chance, reset_after, found;
  reg [15:0] iterations = 16'd0;
  reg again = 1'b0;
  reg [1:0] state = 2'd0; // 0: the load is asked for; 1, 2: it goes on; 3: iterations
  wire start, idle, works;
  wire [15:0] ended;
{parts}
  training training (
    .clk(clk),
    .rst(rst),
    .iterations(iterations),
    .load(load),
    .idle(idle),
    .start(start),
    .works(works),
    .ended(ended),
    {pins}
  );
  initial begin
    if (!$value$plusargs("iterations=%d", wanted)) wanted = 1;
    if (!$value$plusargs("stalls=%d", stalls)) stalls = 0;
    if (!$value$plusargs("reset=%d", reset_after)) reset_after = 0;
    chance = stalls;
    starts = $fopen("starts.txt", "w");
    #42 rst = 1'b0;
  end
  always @(negedge clk) if (now != 0 && now == reset_after) begin
    // Everything begins anew, and what was seen is of no account.
    now = now + 1;
    rst = 1'b1;
    again = 1'b1;
    iterations = 16'd0;
    state = 2'd0;
  end else if (rst && again) begin
    rst = 1'b0;
    $fclose(starts);
    starts = $fopen("starts.txt", "w");
{begins}
  end else if (!rst) begin
    now = now + 1;
    quiet = state < 2'd2 || state == 2'd3 && start ? 0 : quiet + 1;
    load = state == 2'd0;
{logs}
    if (state == 2'd2 && idle) begin
      state = 2'd3;
      iterations = wanted;
    end else if (state != 2'd3) state = state == 2'd0 ? 2'd1 : 2'd2;
    if (iterations != 0 && start) $fdisplay(starts, "%0d", now);
    if (iterations != 0 && ended == iterations || quiet == {patience}) begin
      if (iterations != 0 && ended == iterations) $display("end");
{tells}
      $fclose(starts);
      $finish;
    end
  end
endmodule
"""
