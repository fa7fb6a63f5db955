"""Options of the commands: their words, and what is made of them."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from selvage.base.build import VARIABLE
from selvage.base.errors import InputError
from selvage.base.files import write_whole
from selvage.commands.streams import json_alone
from selvage.compile.compile_layer import Options
from selvage.compile.compile_network import NetworkOptions
from selvage.compile.shapes import PREFIX
from selvage.frontend.options import shape_of
from selvage.mapping.sme import SmeParameters


def folder(text: str | Path) -> Path:
    """A folder by its name, which an empty word is not. Defaults, which come as paths, pass too."""
    if not str(text).strip():
        raise typer.BadParameter("the name of a folder is empty; the present one is '.'")
    return Path(text)


def file(text: str | Path) -> Path:
    """A file by its name, which an empty word is not."""
    if not str(text).strip():
        raise typer.BadParameter("the name of a file is empty")
    return Path(text)


def place_of_json(where: Path | None) -> Path | None:
    """``--json``. For ``-``, what else would be printed goes to the standard error."""
    json_alone(str(where) == "-")
    return where


ModelFile = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="an ONNX file, a layer TOML, or (model) shapes:NAME"),
]
ChipName = Annotated[str, typer.Option("--chip", help="a ready chip, or a TOML file")]
InputFile = Annotated[
    Path | None,
    typer.Option("--input", parser=file, help="activations, .npy in ONNX's layout; .npz for several inputs"),
]
OutputFile = Annotated[
    Path | None, typer.Option("--output", parser=file, help="where the outputs go, .npy; .npz for several")
]
Schedule = Annotated[
    str,
    typer.Option(help="of a transposed convolution: red, zero-padding, padding-free, or auto, that of fewest cycles"),
]
Mapping = Annotated[
    str,
    typer.Option(help="auto (fewest cycles), dense, sme, pattern (with planes when squeezed), sre"),
]
Squeeze = Annotated[int | None, typer.Option(help="sme: top bit planes to empty")]
Significant = Annotated[int | None, typer.Option("--significant-bits", help="sme: of each weight, 3 unless given")]
Compact = Annotated[str, typer.Option(help="sme: on or off: drop the rows that are empty in a plane")]
SortRows = Annotated[str, typer.Option("--sort-rows", help="sme: on or off: one shift a block, after the ADC")]
Patterns = Annotated[int, typer.Option(help="shapes with pattern: kinds of kernels, the empty one included")]
KernelSparsity = Annotated[float, typer.Option("--kernel-sparsity", help="share of the kernels that is deleted")]
PerKernel = Annotated[float, typer.Option("--weights-per-kernel", help="shapes with pattern: of a kept kernel")]
CellsPerWeight = Annotated[int, typer.Option("--cells-per-weight", help="shapes with pattern")]
Rounding = Annotated[str, typer.Option(help="sme: round or truncate what is squeezed out")]
Weights = Annotated[str, typer.Option(help="shapes with planes: gauss, laplace or t4, synthetic weights")]
Zeros = Annotated[float, typer.Option(help="shapes: share of the activations that is zero")]
Sparsity = Annotated[float, typer.Option(help="shapes with planes: share of the weights that is pruned")]
Skip = Annotated[str, typer.Option("--ou-skip", help="on or off: leave out OUs that drive nothing")]
Dynamic = Annotated[str, typer.Option("--dynamic-ou", help="on or off: OUs of the rows that drive, adjacent or not")]
Fold = Annotated[int, typer.Option(help="phases that share an array's rows (red)")]
Simulator = Annotated[str, typer.Option(help="icarus or verilator")]
Waves = Annotated[Path | None, typer.Option(parser=folder, help="folder for FST waves and a GTKWave save file")]
Build = Annotated[
    Path, typer.Option("--build", envvar=VARIABLE, parser=folder, help="folder of what is compiled, kept for later")
]
Seed = Annotated[int, typer.Option(help="draws the activations when there is no --input")]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        parser=file,
        help="where the JSON report goes; - is the standard output, which is its alone",
        callback=place_of_json,
    ),
]
Shape = Annotated[str | None, typer.Option(help="networks: shape of the input where sides are free, such as 1,3,32,32")]
Pipeline = Annotated[bool, typer.Option("--pipeline", help="networks: all layers at work at once, in one simulation")]
Lossless = Annotated[bool, typer.Option("--lossless", help="refuse a chip whose ADC can clip")]


def check_is_file(model: str) -> None:
    """`InputError` for shapes, which no command but one takes."""
    if model.startswith(PREFIX):
        raise InputError(f"{model!r} has shapes alone: it is for selvage model")


def check_outputs_apart(outputs: dict[str, Path | None], inputs: dict[str, str | Path | None]) -> None:
    """`InputError` when a file would be written that a command reads, or two outputs are one file; ``-`` is none.

    Both by the names that the command line has for them.
    """
    seen = {what: Path(path).resolve() for what, path in inputs.items() if path is not None}
    for what, path in outputs.items():
        if path is None or str(path) == "-":
            continue
        for other, known in seen.items():
            if known == path.resolve():
                raise InputError(f"{other} and {what} are both {path}")
        seen[what] = path.resolve()


def switch(name: str, value: str) -> bool:
    """Of ``on`` or ``off``. `InputError`: it is neither."""
    if value not in ("on", "off"):
        raise InputError(f"--{name} {value!r} is neither on nor off")
    return value == "on"


def network_options(options: Options, shape: str | None) -> NetworkOptions:
    """Options of a whole network. `InputError`: one that a network cannot have."""
    if options.fold != 1:
        raise InputError(f"--fold {options.fold} is for a single layer, and this model is a network")
    if options.waves:
        raise InputError(f"--waves {options.waves} is for a single layer, and this model is a network")
    return NetworkOptions(
        schedule=options.schedule,
        mapping=options.mapping,
        skip=options.ou_skip,
        dynamic=options.dynamic,
        sme=options.sme,
        simulator=options.simulator,
        seed=options.seed,
        lossless=options.lossless,
        shape=shape_of(shape),
        build=options.build,
    )


def check_no_network(shape: str | None, *, pipeline: bool = False) -> None:
    """`InputError` for an option of networks."""
    if shape is not None or pipeline:
        raise InputError(
            f"{'--shape' if shape is not None else '--pipeline'} is for networks, and this model is a single layer"
        )


def sme_of(
    squeeze: int | None, significant: int | None, compact: str, sort_rows: str, rounding: str
) -> SmeParameters | None:
    """Of the options; None where none of them is given."""
    if rounding not in ("round", "truncate"):
        raise InputError(f"--rounding {rounding!r} is neither round nor truncate")
    given = SmeParameters(
        significant_bits=3 if significant is None else significant,
        squeeze=squeeze or 0,
        truncate=rounding == "truncate",
        compact=switch("compact", compact),
        sort=switch("sort-rows", sort_rows),
    )
    return None if squeeze is None and significant is None and given == SmeParameters() else given


def emit(content: dict, where: Path | None) -> None:
    """The JSON report, to a file or for ``-`` to the standard output."""
    text = json.dumps(content, indent=2) + "\n"
    if where is None:
        return
    if str(where) == "-":
        sys.stdout.write(text)
    else:
        write_whole(where, text.encode())
