"""The bundle of a training chip: its modules, the macro, flow files, and a self-test of an iteration."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from selvage.base.files import json_text
from selvage.bundle.flow import WAIVED, Design, flow_files, timed
from selvage.bundle.verilog_bundle import generator
from selvage.compiler.training import Session
from selvage.hw.macro.macro_views import view_files
from selvage.hw.training.chip import TrainingChip
from selvage.hw.training.chip_parameters import ChipParameters
from selvage.hw.training.stages import product_parameters
from selvage.rtlsim.words import hex_lines
from selvage.sim.training_chip import ChipCycles
from selvage.verilog.modules import convert_modules

PATIENCE = 4  # times the cycles of the model, after which the self-test gives up


def training_files(session: Session) -> dict[str, bytes]:
    """Return the files of a session's training chip, by path. The same bytes for the same input.

    ``rtl.f`` lists the modules in ``rtl/``, ``training`` the last; the self-test in ``selftest/`` loads the weights of
    the session's first state, lets an iteration run, and compares the new weights with golden's.
    """
    p = ChipParameters(session.plan, stochastic=session.file.entry.rounding == "stochastic")
    chip, made = TrainingChip(p), generator()
    note = {"training": f"Training of {session.file.name!r}, schedule {session.schedule_name}."}
    modules = convert_modules(chip, "training", chip.library.components, generator=made, notes=note)
    vectors, cycles = _vectors(session)
    crossbars = tuple(_crossbars(p))
    design = Design(
        name="training",
        rtl=tuple(f"rtl/{module.name}.v" for module in modules),
        macro=product_parameters(next(iter(p.plan.forward.values())), skip=p.skip).macro,
        crossbars=crossbars,
        generator=made,
        inputs=tuple(f"selftest/{name}.hex" for name in vectors),
    )
    texts = {f"rtl/{module.name}.v": module.text for module in modules}
    texts |= {f"selftest/{name}.hex": hex_lines(_packed(codes), 32) for name, codes in vectors.items()}
    texts["selftest/selftest.v"] = _selftest(p, session, vectors, cycles)
    texts |= flow_files(design) | {"README.md": _page(design, session)}
    names = {
        "top": design.name,
        "generator": made,
        "modules": {m.name: {"file": f"rtl/{m.name}.v", "places": list(m.origins)} for m in modules},
        "crossbars": list(crossbars),
    }
    texts["names.json"] = json_text(names) + "\n"
    contents = {path: text.encode() for path, text in texts.items()}
    return timed(contents | (view_files(design.macro) if design.macro else {}))


def _crossbars(p: ChipParameters) -> Iterator[str]:
    """Yield the place of each crossbar below the top."""
    for name, (product, _, _) in p.forward.items():
        yield from p.crossbar_places(name, product)
    for name, (back, _) in p.back.items():
        for k, product in enumerate(back.stage.data):
            if product:
                yield from p.crossbar_places(f"{name}.{k}", product)
        yield from (f"{name}.gradient.network.{place}" for place in p.crossbars(back.stage.gradient))


def _vectors(session: Session) -> tuple[dict[str, NDArray[np.int64]], int]:
    """Return what enters in an iteration and the weights that must leave, by file; and the model's clock cycles."""
    batch, first = session.batch(0), session.first
    after, ways = session.followed(first, batch)
    found = {"image": batch.images.transpose(0, 2, 3, 1)}
    if batch.noise:
        found["noise"] = np.concatenate(batch.noise).transpose(0, 2, 3, 1)
    if batch.labels is not None:
        found["label"] = batch.labels
    for name in session.plan.networks:
        found[f"weights_{name}"] = np.concatenate([own.ravel() for own in first.of(name)])
        found[f"expected_{name}"] = np.concatenate([own.ravel() for own in after.of(name)])
    return found, sum(ChipCycles(session.plan).cycles([ways]))


def _packed(codes: NDArray[np.int64]) -> bytes:
    return codes.astype("<i4").tobytes()


def _selftest(p: ChipParameters, session: Session, vectors: dict[str, NDArray[np.int64]], cycles: int) -> str:
    """Return module ``selftest``: its last line is PASS, or FAIL and the first weight that differs."""
    plan, pins, parts, checks = p.plan, [], [], []
    loading = sum(ChipCycles(plan).update(name) for name in plan.networks)
    bits = {"image": plan.networks["D"].formats.activations}
    if "G" in plan.networks:
        bits["noise"] = plan.networks["G"].formats.activations
    for name, seed in zip("GD", session.first.random, strict=True):
        if name in plan.networks:
            own = plan.networks[name].formats.weights
            bits[f"weights_{name}"] = own
            count = vectors[f"expected_{name}"].size
            parts.append(_NETWORK.format(name=name, top=own - 1, last=count - 1))
            checks.append(_CHECK.format(name=name, count=count))
            pins += [f".seed_{name}(32'd{seed or 1})", f".new_{name}(new_{name})", f".code_{name}(code_{name})"]
            pins.append(f".failed_{name}(failed_{name})")
    for name, width in bits.items():
        parts.append(_SOURCE.format(name=name, top=width - 1, last=vectors[name].size - 1))
        pins += [f".{name}__valid(1'b1)", f".{name}__ready(ready_{name})", f".{name}__payload(word_{name})"]
    if "label" in vectors:
        top = max(1, (plan.logits - 1).bit_length()) - 1
        words = vectors["image"].size // vectors["label"].size
        parts.append(_LABEL.format(last=vectors["label"].size - 1))
        pins.append(f".label(labels[at_image / {words}][{top}:0])")
    counts = " && ".join(f"seen_{name} == {vectors[f'expected_{name}'].size}" for name in plan.networks)
    failed = " || ".join(f"failed_{name} != 0" for name in plan.networks)
    return _SELFTEST.format(
        parts="\n".join(parts), pins=",\n    ".join(pins), checks="\n".join(checks), counts=counts, failed=failed,
        limit=PATIENCE * (cycles + loading),
    )  # fmt: skip


def _page(design: Design, session: Session) -> str:
    """Return the page for those who have nothing else of ours."""
    waived = " ".join(f"-Wno-{name}" for name in WAIVED)
    return _PAGE.format(
        generator=design.generator, name=session.file.name, schedule=session.schedule_name, waived=waived,
        count=len(design.crossbars), batch=session.file.entry.batch,
    )  # fmt: skip


_SOURCE = """\
  reg [31:0] words_{name} [0:{last}];
  integer at_{name} = 0;
  wire [31:0] next_{name} = words_{name}[at_{name} > {last} ? 0 : at_{name}];
  wire [{top}:0] word_{name} = next_{name}[{top}:0];
  wire ready_{name};
  initial $readmemh("selftest/{name}.hex", words_{name});
  always @(posedge clk) if (!rst && ready_{name}) at_{name} <= at_{name} + 1;
"""

_LABEL = """\
  reg [31:0] labels [0:{last}];
  initial $readmemh("selftest/label.hex", labels);
"""

_NETWORK = """\
  reg [31:0] expected_{name} [0:{last}];
  integer seen_{name} = 0;
  wire new_{name};
  wire signed [{top}:0] code_{name};
  wire [15:0] failed_{name};
  initial $readmemh("selftest/expected_{name}.hex", expected_{name});
"""

_CHECK = """\
    if (new_{name}) begin
      if (seen_{name} >= {count} || $signed(expected_{name}[seen_{name}]) !== code_{name}) begin
        if (!wrong) $display("FAIL weight %0d of {name} is %0d", seen_{name}, code_{name});
        wrong = 1'b1;
      end
      seen_{name} = seen_{name} + 1;
    end"""

_SELFTEST = """\
module selftest;
  reg clk = 1'b0, rst = 1'b1, load = 1'b0, wrong = 1'b0;
  always #5 clk = ~clk;
  integer now = 0;
  reg [15:0] iterations = 16'd0;
  wire start, idle, works;
  wire [15:0] ended;
  wire [31:0] cycles;
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
    .cycles(cycles),
    {pins}
  );
  always @(negedge clk) begin
    now = now + 1;
    if (now == 5) rst = 1'b0;
    load = now == 6;
    if (now > 8 && idle && iterations == 0) iterations = 16'd1;
{checks}
    if (iterations != 0 && ended == iterations || now == {limit}) begin
      if (!wrong && ended == 16'd1 && {counts} && !({failed})) $display("PASS");
      else if (!wrong) $display("FAIL the iteration has not ended with all weights after %0d cycles", now);
      $finish;
    end
  end
endmodule
"""

_PAGE = """\
# training

{generator} made it: a chip that trains {name!r}, schedule {schedule}, {batch} samples a batch, with its {count}
crossbars. `names.json` says where each stands below the top, and which module is what.

## Check it
    iverilog -g2005 -f selftest.f -o t && vvp t
    verilator --binary --timing -Wno-fatal -f selftest.f && obj_dir/Vselftest
    verilator --lint-only -Wall {waived} -f rtl.f

The first takes minutes. The last line is `PASS`, or `FAIL` with the first weight that differs.

## Use it
`clk`; `rst` is high and synchronous. Streams have `valid`, `ready`, `payload`; a word moves at a rising edge at which
both are 1.
1. Raise `load` for a cycle, and feed the weights, layer by layer, each in the order of its array; `seed_` is the state
   of a random register, not 0. `idle` is high when all are in the cells.
2. Set `iterations` to how many are wanted in all. Feed `image` (and `noise`, or `label` beside it) a code a word: a map
   after the other, its pixels line by line, a pixel's channels in order.
3. With `new_` a weight's new code is at `code_`, in the order in which they were loaded. `ended` counts iterations,
   `failed_` rows of cells that stayed wrong.
"""
