"""`selvage model shapes:NAME`: known networks by their shapes alone."""

import time
from typing import Any

from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.shapes import load_network
from selvage.commands.cli_options import AskedOfShapes
from selvage.commands.streams import progress, show
from selvage.commands.tables import cycle_table, network_table, table_of
from selvage.compiler.options import Options
from selvage.compiler.pruned_network import Pruning, check_pruned, count_pruned
from selvage.compiler.shape_cycles import Activations
from selvage.compiler.shapes import Synthetic, check_network, count_cycles, count_network, has_planes
from selvage.frontend.kinds import PREFIX
from selvage.mapping.sme import SmeParameters


class ShapesOptions(AskedOfShapes):
    """The options of ``shapes:NAME`` alone, and what is counted with them."""

    def synthetic(self, seed: int) -> Synthetic:
        """Return the weights that planes are counted with."""
        return Synthetic(self.weights, self.sparsity, seed)

    def activations(self, seed: int) -> Activations:
        """Return the activations that cycles are counted with."""
        return Activations(self.zeros, seed)

    def pruning(self, seed: int) -> Pruning:
        """Return the kernels that patterns are counted with."""
        return Pruning(self.patterns, self.kernel_sparsity, self.weights_per_kernel, seed)

    def check(self, mapping: str, sme: SmeParameters | None) -> None:
        """Raise `InputError` for an option that has no meaning with this mapping."""
        planes = mapping != "pattern" and has_planes(mapping, sme)
        kernels = ("patterns", "kernel_sparsity", "weights_per_kernel", "cells_per_weight")
        rules = [
            (("weights", "sparsity"), planes, "planes, of --mapping sme, or auto with --squeeze"),
            (("zeros",), mapping != "pattern" and not planes, "cycles, which the dense mapping has"),
            (kernels, mapping == "pattern", "--mapping pattern"),
        ]
        for names, allowed, what in rules:
            given = [name for name in names if getattr(self, name) != getattr(ShapesOptions, name)]
            if given and not allowed:
                raise InputError(f"--{given[0].replace('_', '-')} is for {what}")


def count_shapes(
    model_file: str, chip: str, options: Options, asked: ShapesOptions, *, pipeline: bool = False
) -> dict[str, Any]:
    """Print the tables, and return the JSON report. `InputError`: an option that shapes alone cannot have."""
    started = time.monotonic()
    if (options.schedule, options.fold, options.lossless) != ("auto", 1, False):
        raise InputError("shapes:NAME has no --schedule, --fold or --lossless")
    asked.check(options.mapping, options.sme)
    dense = options.mapping != "pattern" and not has_planes(options.mapping, options.sme)
    if not dense and (not options.skip or options.dynamic):
        raise InputError("--ou-skip and --dynamic-ou are for cycles, which shapes:NAME has of the dense mapping only")
    if not dense and (pipeline or options.copies):
        raise InputError(
            "--pipeline, --copies and --arrays are for cycles, which shapes:NAME has of the dense mapping only"
        )
    if options.mapping == "pattern":
        if options.sme:
            raise InputError(
                "shapes:NAME by patterns has no planes: --squeeze and its like are for --mapping sme or auto"
            )
        content = _count_pruned(model_file, chip, asked.pruning(options.seed), asked.cells_per_weight)
    else:
        content = _count(model_file, chip, options, asked, pipeline=pipeline or _several(options))
    seconds = round(time.monotonic() - started, 3)
    return {"simulator": "model", "seconds": seconds, "model": model_file, **content}


def _several(options: Options) -> bool:
    """Return whether some layer may stand more than once."""
    asked = options.copies
    return asked is not None and (asked.auto or max([asked.every, *asked.by_layer.values()]) > 1)


def _count(model_file: str, chip: str, options: Options, asked: ShapesOptions, *, pipeline: bool) -> dict[str, Any]:
    layers, loaded = load_network(model_file.removeprefix(PREFIX)), load_chip(chip)
    mapping, sme = options.mapping, options.sme
    check_network(loaded, mapping, sme)
    activations, synthetic = asked.activations(options.seed), asked.synthetic(options.seed)
    planes = has_planes(mapping, sme)
    with progress(transient=True) as bar:  # an error is one line
        task = bar.add_task(model_file, total=len(layers))

        def tick() -> None:
            bar.advance(task)

        if planes:
            content = count_network(layers, loaded, mapping, sme, synthetic, tick)
        else:
            how = {"skip": options.skip, "dynamic": options.dynamic, "copies": options.copies, "pipeline": pipeline}
            content = count_cycles(layers, loaded, activations, **how, tick=tick)
    show(network_table(content))
    if not planes:
        show(cycle_table(content))
    if pipeline:
        flow = content["pipeline"]
        show(
            f"as a pipeline {flow['per_image']:,.0f} cycles an image, those of {flow['slowest']}; "
            f"{flow['utilisation']:.1%} of the arrays' cycles are OU reads"
        )
    return content


def _count_pruned(model_file: str, chip: str, pruning: Pruning, slices: int) -> dict[str, Any]:
    layers, loaded = load_network(model_file.removeprefix(PREFIX)), load_chip(chip)
    check_pruned(layers, loaded, pruning, slices)
    with progress() as bar:
        task = bar.add_task(model_file, total=len(layers))
        content = count_pruned(layers, loaded, pruning, slices=slices, tick=lambda: bar.advance(task))
    names = [name for name in content if name.endswith(("_ratio", "packing", "_bits"))]
    show(table_of("dense over pattern", names, [[str(content[name]) for name in names]]))
    if content["skipped"]:
        show(f"left out, for patterns cannot prune them: {', '.join(content['skipped'])}")
    return content
