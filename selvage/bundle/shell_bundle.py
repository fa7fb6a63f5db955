"""The files of a network's bus shell: its modules, register views, and the images of its cells and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from selvage.base.errors import InputError
from selvage.base.files import json_text, lines
from selvage.base.graph import Tensor
from selvage.bundle.buses import bus_files
from selvage.bundle.flow import Design, flow_files, timed
from selvage.bundle.readme import readme, together_notes
from selvage.bundle.shell_selftest import shell_selftest
from selvage.bundle.vectors import selftest_images
from selvage.bundle.verilog_bundle import code_json, crossbar_places, expected_codes, generator
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.compiler.parts import check_fits
from selvage.hw.macro.macro_views import view_files
from selvage.hw.network.network import NetworkParameters
from selvage.hw.shell.axi import FrameParameters
from selvage.hw.shell.programming import cell_image, table_image
from selvage.hw.shell.registers import register_views
from selvage.hw.shell.shell import Shell, ShellParameters
from selvage.rtlsim.predicted import image_cycles
from selvage.rtlsim.words import hex_lines, raster_words
from selvage.verilog.modules import convert_modules


def check_bus(bus: str | None) -> None:
    """Raise `InputError` for a bus that there is no shell for."""
    if bus is not None and bus not in bus_files():
        raise InputError(f"--bus {bus!r} is none of {', '.join(bus_files())}")


def shell_files(compiled: CompiledNetwork, options: Options, bus: str) -> dict[str, bytes]:
    """Return the files of a network's shell, by path. The same bytes for the same input.

    ``rtl.f`` lists the modules in ``rtl/``, ``shell`` the last; ``registers/`` has the SystemRDL source, C headers
    and HTML pages; ``cells.hex`` and ``tables.hex`` the words that a host loads (`hw.shell.programming.cell_image`,
    `table_image`), ``tables.json`` the addresses of the latter. Around it macros with a programming port, a self-test
    and flow files, as for a bare network (`bundle.verilog_bundle`). `InputError`: the chip does not hold the network
    at once.
    """
    check_fits(compiled)
    if not compiled.plan.layers:
        raise InputError(f"--bus {bus} needs a network with a layer on crossbars, and {compiled.graph.name!r} has none")
    network = NetworkParameters(compiled.plan, skip=options.skip, constants="loaded", programmable=True)
    p = ShellParameters(network, bus)
    shell, made = Shell(p), generator()
    together = _together(p)
    notes = {"shell": "\n// ".join([f"{compiled.graph.name!r} behind a bus.", *together_notes(together)])}
    modules = convert_modules(shell, "shell", shell.modules, generator=made, notes=notes if together else None)
    images = _images(p)
    design = Design(
        name="shell",
        rtl=tuple(f"rtl/{module.name}.v" for module in modules),
        macro=network.macro,
        crossbars=tuple(f"network.{place}" for place in network.crossbars),
        generator=made,
        inputs=(*(f"{kind}.hex" for kind in images), *_vector_files(p)),
    )
    texts = {f"rtl/{module.name}.v": module.text for module in modules}
    texts |= {f"{kind}.hex": lines(f"{word:08x}" for word in words) for kind, words in images.items()}
    if p.programming.tables:
        texts["tables.json"] = json_text(tables_json(p.network)) + "\n"
    texts |= flow_files(design) | {"README.md": readme(design, bus, bool(p.programming.tables), together)}
    texts["names.json"] = json_text(names_json(p, design)) + "\n"
    texts |= _selftest_files(p, design, compiled, {kind: len(words) for kind, words in images.items()})
    contents = {path: text.encode() for path, text in texts.items()}
    contents |= view_files(network.macro) if network.macro else {}
    contents |= {f"registers/{name}": content for name, content in register_views(p.registers).items()}
    return {f"shell/{name}": content for name, content in timed(contents).items()}


def _images(p: ShellParameters) -> dict[str, list[int]]:
    """Return the words that a host loads."""
    images = {"cells": cell_image(p.programming, (array.cells.tolist() for array in p.network.plan.arrays))}
    if p.programming.tables:
        images["tables"] = table_image(p.programming, p.network.table)
    return images


def _together(p: ShellParameters) -> list[list[str]]:
    """Return groups of streams that must be fed side by side, as the bus calls them."""
    prefix = bus_files()[p.bus].stream
    return [[f"{prefix}_{k}" for k in group] for group in p.network.plan.fed_together]


def _vector_files(p: ShellParameters) -> list[str]:
    sides = (("input", p.inputs), ("expected", p.outputs))
    return [f"selftest/{name}_{k}.hex" for name, frames in sides for k in range(len(frames))]


def _selftest_files(
    p: ShellParameters, design: Design, compiled: CompiledNetwork, loads: Mapping[str, int]
) -> dict[str, str]:
    graph, plan = compiled.graph, compiled.plan
    inputs = selftest_images(graph, [compiled.codes[tensor.name] for tensor in graph.inputs])
    expected = expected_codes(graph, plan, inputs)
    vectors = [*inputs, *(expected[name] for name in graph.outputs)]
    run = len(inputs[0]), loads, image_cycles(p.network.plan)
    bench = shell_selftest(design.name, p.bus, p.registers.addresses, p.inputs, p.outputs, *run)
    texts = {"selftest/selftest.v": bench}
    for path, codes, frame in zip(_vector_files(p), vectors, (*p.inputs, *p.outputs), strict=True):
        texts[path] = hex_lines(raster_words(codes, frame.bits, frame.lanes), frame.width)
    return texts


def names_json(p: ShellParameters, design: Design) -> dict:
    """Return addresses of the registers, what each stream carries, and which crossbar is which."""
    plan = p.network.plan

    def streams(tensors: Sequence[Tensor], frames: Sequence[FrameParameters]) -> list[dict]:
        return [
            {"tensor": tensor.name, "shape": list(tensor.shape), **asdict(frame), "data_bits": frame.data_bits}
            | code_json(p.network, tensor)
            for tensor, frame in zip(tensors, frames, strict=True)
        ]

    return {
        "top": design.name,
        "bus": p.bus,
        "registers": p.registers.addresses,
        "inputs": streams(plan.inputs, p.inputs),
        "together": _together(p),  # fed side by side, or all stand still
        "outputs": streams(plan.outputs, p.outputs),
        "crossbars": crossbar_places(plan, design),
    }


def tables_json(p: NetworkParameters) -> dict:
    """Return where in the tables each constant of each stage lies: words from the first behind an image's header."""
    stages = {
        part.stage: {
            field.name: {"address": part.base + field.address, "step": field.step, "count": field.count}
            for field in part.fields
        }
        for part in p.tables
    }
    return {"design": f"{p.design:08x}", "words": len(p.table), "stages": stages}
