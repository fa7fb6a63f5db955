"""The components of a tile that are tried alone, each with its bench."""

from collections.abc import Collection, Sequence

import pytest

from selvage.mapping.schedule import PAPER_BASELINE
from selvage.rtlsim.installed import verilator_there
from tb.benches.components import Case


def parametrize_kinds(metafunc: pytest.Metafunc, cases: Sequence[Case], second: Collection[str]) -> None:
    """Give a test all cases of a kind of component under Icarus; with ``-m verilator``, those named ``second`` too."""
    if "simulator" not in metafunc.fixturenames:
        return
    kinds: dict[str, list[Case]] = {}
    for case in cases:
        kinds.setdefault(case.component, []).append(case)
    chosen = [pytest.param(alike, "icarus", id=component) for component, alike in kinds.items()]
    if "verilator" in (metafunc.config.getoption("markexpr") or "") and verilator_there():
        chosen += [
            pytest.param([case], "verilator", id=f"{case.name}-verilator", marks=pytest.mark.verilator)
            for case in cases
            if case.name in second
        ]
    metafunc.parametrize(("cases", "simulator"), chosen)


CONV = dict(op="conv", channels=3, outputs=2, height=5, width=6, kernel=(3, 3), pads=(1, 1, 1, 1))


STRIDED = dict(op="conv", channels=5, outputs=3, height=7, width=6, kernel=(3, 2), stride=(2, 3), pads=(2, 1, 1, 1))


SKIPPING = dict(op="conv", channels=2, outputs=2, height=8, width=7, kernel=(2, 1), stride=(3, 2))


POINT = dict(op="conv", channels=6, outputs=2, kernel=(1, 1))


BORDER = dict(op="conv", channels=2, outputs=1, height=2, width=2, kernel=(2, 2), pads=(3, 2, 3, 2))


UP = dict(
    op="conv_transpose",
    channels=3,
    outputs=2,
    height=4,
    width=3,
    kernel=(4, 3),
    stride=(2, 2),
    pads=(1, 1, 0, 1),
)


UP_ODD = dict(op="conv_transpose", channels=2, outputs=2, height=3, width=4, kernel=(3, 4), stride=(2, 3))


UP_GAPS = dict(op="conv_transpose", channels=2, outputs=1, height=3, width=3, kernel=(2, 2), stride=(3, 4))


DILATED = dict(
    op="conv_transpose",
    channels=2,
    outputs=1,
    height=3,
    width=4,
    kernel=(2, 3),
    stride=(2, 2),
    dilation=(3, 2),
    pads=(1, 2, 2, 1),
    output_padding=(2, 1),
)


# A stride of three, wider than the kernel: of most steps no pixel is real.
UP_APART = dict(op="conv_transpose", channels=5, outputs=2, height=3, width=2, kernel=(2, 2), stride=(3, 3))


WIDE = dict(op="conv", channels=11, outputs=4, height=2, width=3, kernel=(1, 3))


DENSE = dict(op="dense", channels=21, outputs=3)


SHORT = dict(op="dense", channels=14, outputs=2)


GROUPS = dict(op="conv", channels=4, outputs=2, height=3, width=3, kernel=(2, 2), groups=2)


OFFSET = dict(encoding="offset", cell_bits=2, adc_bits=4, weight_bits=4)


MANY = dict(op="conv", channels=9, outputs=7, height=2, width=2, kernel=(2, 2))


UP_MANY = dict(op="conv_transpose", channels=2, outputs=6, height=3, width=3, kernel=(2, 2), stride=(1, 1))


UP_ROW = dict(op="conv_transpose", channels=1, outputs=1, height=2, width=4, kernel=(1, 3), stride=(1, 2))


CASES = [
    Case("address_conv", "address", CONV),
    Case("address_strided", "address", STRIDED),
    Case("address_skipping", "address", SKIPPING),
    Case("address_point", "address", POINT),
    Case("address_border", "address", BORDER),
    Case("address_red", "address", UP),
    Case("address_zeros", "address", UP, schedule="zero-padding"),
    Case("address_zeros_odd", "address", UP_ODD, schedule="zero-padding"),
    Case("address_zeros_dilated", "address", DILATED, schedule="zero-padding"),
    Case("address_zeros_loaded", "address", UP, schedule=PAPER_BASELINE),
    Case("address_zeros_kinds", "address", UP_APART, schedule="zero-padding"),
    Case("steps_strided", "steps", STRIDED),
    Case("steps_skipping", "steps", SKIPPING),
    Case("steps_border", "steps", BORDER),
    Case("steps_red", "steps", UP),
    Case("steps_zeros_dilated", "steps", DILATED, schedule="zero-padding"),
    Case("steps_copy", "steps", CONV, copies=4, copy=3),
    Case("steps_copy_rows", "steps", STRIDED, copies=5, copy=1),
    Case("steps_copy_row", "steps", CONV, copies=6, copy=2),
    Case("steps_copy_column", "steps", dict(SKIPPING, width=2), copies=2, copy=1),
    Case("steps_copy_once", "steps", UP, copies=15, copy=14),
    Case("buffer_conv", "buffer", CONV),
    Case("buffer_strided", "buffer", STRIDED, zero_point=-7),
    Case("buffer_skipping", "buffer", SKIPPING, raw_signed=False, zero_point=128),
    Case("buffer_point", "buffer", POINT, raw_signed=False),
    Case("buffer_border", "buffer", BORDER),
    Case("buffer_red", "buffer", UP),
    Case("buffer_zeros", "buffer", UP_ODD, schedule="zero-padding"),
    Case("buffer_zeros_loaded", "buffer", UP_ODD, schedule=PAPER_BASELINE),
    Case("buffer_zeros_kinds", "buffer", UP_APART, schedule="zero-padding"),
    Case("buffer_dense", "buffer", DENSE),
    Case("engine_conv", "engine", CONV),
    Case("engine_every_read", "engine", POINT, skip=False),
    Case("engine_unsigned", "engine", STRIDED, raw_signed=False, array=2),
    Case("engine_red", "engine", UP, fold=2, array=1),
    Case("engine_zeros", "engine", UP, schedule="zero-padding"),
    Case("engine_zeros_every_read", "engine", UP_ODD, schedule="zero-padding", skip=False),
    Case("engine_zeros_kinds", "engine", UP_APART, schedule="zero-padding", dynamic=True),
    Case("engine_groups", "engine", GROUPS),
    Case("engine_offset", "engine", CONV, changes=OFFSET),
    Case("engine_short", "engine", SHORT, changes=dict(weight_bits=2, input_bits=1), raw_signed=False),
    Case("engine_dynamic", "engine", CONV, dynamic=True),
    Case("engine_dynamic_every_plane", "engine", DENSE, dynamic=True, skip=False),
    Case("engine_dynamic_offset", "engine", CONV, changes=OFFSET, dynamic=True),
    Case("accumulator_dynamic", "accumulator", CONV, dynamic=True),
    Case("engine_wide", "engine", WIDE, chip="ou9x8"),
    Case("accumulator_conv", "accumulator", CONV),
    Case("accumulator_unsigned", "accumulator", WIDE, raw_signed=False, changes=dict(read_latency=4)),
    Case("accumulator_offset", "accumulator", CONV, changes=OFFSET),
    Case("accumulator_offset_unsigned", "accumulator", POINT, changes=OFFSET, raw_signed=False),
    Case("accumulator_red", "accumulator", UP, fold=2, array=1),
    Case("splice_beats", "splice", CONV),
    Case("splice_banks", "splice", UP),
    Case("splice_folded", "splice", UP, fold=2),
    Case("splice_uneven", "splice", STRIDED),
    Case("splice_aligned", "splice", WIDE, chip="ou9x8"),
    Case("splice_offset", "splice", STRIDED, changes=OFFSET, raw_signed=False),
    Case("splice_offset_beats", "splice", CONV, changes=dict(encoding="offset", cell_bits=2, adc_bits=4)),
    Case("splice_offset_parts", "splice", CONV, changes=dict(OFFSET, weight_bits=6)),
    Case("splice_six_bits", "splice", CONV, changes=dict(weight_bits=6)),
    Case("splice_three_bits", "splice", MANY, changes=dict(weight_bits=3)),
    Case("output_conv", "output", STRIDED),
    Case("output_red", "output", UP),
    Case("output_red_odd", "output", DILATED),
    Case("output_copy", "output", DILATED, copies=4, copy=2),
    Case("output_copy_rows", "output", DILATED, copies=9, copy=8),
    Case("output_overlap", "output", DILATED, schedule="padding-free"),
    Case("overlap_stride", "overlap", UP, schedule="padding-free"),
    Case("overlap_odd", "overlap", UP_ODD, schedule="padding-free", changes=dict(weight_bits=2)),
    Case("overlap_gaps", "overlap", UP_GAPS, schedule="padding-free"),
    Case("overlap_dilated", "overlap", DILATED, schedule="padding-free"),
    Case("overlap_row", "overlap", UP_ROW, schedule="padding-free", changes=dict(weight_bits=4)),
    Case("overlap_part", "overlap", UP, schedule="padding-free", tile=1),
    Case("overlap_banks", "overlap", UP_MANY, schedule="padding-free", changes=dict(weight_bits=2)),
]
