"""Options of the commands: their words and what they mean. Nothing here loads what computes."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from selvage.base.build import VARIABLE

if TYPE_CHECKING:
    from selvage.compiler.options import Options


def folder(text: str | Path) -> Path:
    """Return a folder by its name, which an empty word is not. Defaults, which come as paths, pass too."""
    if not str(text).strip():
        raise typer.BadParameter("the name of a folder is empty; the present one is '.'")
    return Path(text)


def build(text: str | Path) -> Path:
    """Return the folder of what is compiled, whose name Icarus has in quotes."""
    if '"' in str(text) or "\\" in str(text):
        raise typer.BadParameter(f"the folder {str(text)!r} has a quote or a backslash, which Icarus does not take")
    return folder(text)


def file(text: str | Path) -> Path:
    """Return a file by its name, which an empty word is not."""
    if not str(text).strip():
        raise typer.BadParameter("the name of a file is empty")
    return Path(text)


def place_of_json(where: Path | None) -> Path | None:
    """Return the place of ``--json``. For ``-``, what else would be printed goes to the standard error."""
    from selvage.commands.streams import json_alone

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
Baseline = Annotated[
    str,
    typer.Option(help="of zero-padding: skipping (its inserted zeros are not loaded), or paper (they are)"),
]
Mapping = Annotated[
    str,
    typer.Option(help="auto, that of fewest cycles, or a scheme: dense, sme, pattern (with planes when squeezed), sre"),
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
Waves = Annotated[
    Path | None, typer.Option(parser=folder, help="folder for FST waves, with what GTKWave and Surfer need")
]
WavesFrom = Annotated[int, typer.Option("--waves-from", help="the first step whose waves are written")]
WavesSteps = Annotated[int | None, typer.Option("--waves-steps", help="how many steps, of all that there are")]
TileNumber = Annotated[
    int | None, typer.Option("--tile", help="this tile alone, and no further than its waves go: with --waves")
]
LayerName = Annotated[str | None, typer.Option("--layer", help="networks: the layer whose tile --tile is")]
Build = Annotated[
    Path, typer.Option("--build", envvar=VARIABLE, parser=build, help="folder of what is compiled, kept for later")
]
NoiseFile = Annotated[
    Path | None, typer.Option("--noise", parser=file, help="crossbars that are not ideal: a TOML file")
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
Copies = Annotated[
    str | None,
    typer.Option(help="networks: how often layers stand: auto, a number, or layer=number,layer=number and so on"),
]
Arrays = Annotated[
    str | None,
    typer.Option(help="networks: the most arrays, or +25%: of one copy each; --copies auto without it: +25%"),
]
Circulant = Annotated[
    str | None,
    typer.Option(help="networks: dense layers of circulant blocks: auto, a block size, or layer=size and so on"),
]
Partial = Annotated[bool, typer.Option("--partial", help="networks: the host computes all that has no gateware")]
Lossless = Annotated[bool, typer.Option("--lossless", help="refuse a chip whose ADC can clip")]


@dataclass(frozen=True)
class Asked:
    """The options of all commands that place a model on a chip, as they are written."""

    chip: ChipName = "ou9x8"
    input_file: InputFile = None
    schedule: Schedule = "auto"
    baseline: Baseline = "skipping"
    mapping: Mapping = "auto"
    squeeze: Squeeze = None
    significant_bits: Significant = None
    compact: Compact = "off"
    sort_rows: SortRows = "off"
    rounding: Rounding = "round"
    ou_skip: Skip = "on"
    dynamic_ou: Dynamic = "off"
    seed: Seed = 0
    lossless: Lossless = False
    shape: Shape = None
    copies: Copies = None
    arrays: Arrays = None
    circulant: Circulant = None
    partial: Partial = False

    def options(self, **others: Any) -> "Options":
        """Return them as `Options`, with ``others`` of its fields. `InputError`: one is no value of its option."""
        from selvage.compiler.circulant import circulant_asked
        from selvage.compiler.copies_asked import copies_asked
        from selvage.compiler.options import Options, schedule_of, sme_of, switch
        from selvage.frontend.options import shape_of

        return Options(
            schedule=schedule_of(self.schedule, self.baseline),
            mapping=self.mapping,
            skip=switch("ou-skip", self.ou_skip),
            dynamic=switch("dynamic-ou", self.dynamic_ou),
            seed=self.seed,
            lossless=self.lossless,
            sme=sme_of(self.squeeze, self.significant_bits, self.compact, self.sort_rows, self.rounding),
            shape=shape_of(self.shape),
            copies=copies_asked(self.copies, self.arrays),
            circulant=circulant_asked(self.circulant),
            partial=self.partial,
            **others,
        )


@dataclass(frozen=True)
class AskedOfShapes:
    """The options of ``shapes:NAME`` alone."""

    weights: Weights = "laplace"
    sparsity: Sparsity = 0.0
    zeros: Zeros = 0.5
    patterns: Patterns = 10
    kernel_sparsity: KernelSparsity = 0.44
    weights_per_kernel: PerKernel = 3.5
    cells_per_weight: CellsPerWeight = 1


@dataclass(frozen=True)
class AskedOfWaves:
    """The options of waves."""

    waves: Waves = None
    waves_from: WavesFrom = 0
    waves_steps: WavesSteps = None
    tile: TileNumber = None
    layer: LayerName = None


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the fields of dataclasses of options, one option each, in the place of these."""
    hints = get_type_hints(command, include_extras=True)
    kinds = {name: hint for name, hint in hints.items() if hasattr(hint, "__dataclass_fields__")}
    parameters: list[inspect.Parameter] = []
    kind = inspect.Parameter.KEYWORD_ONLY
    for name, parameter in inspect.signature(command).parameters.items():
        if name in kinds:
            types = get_type_hints(kinds[name], include_extras=True)
            parameters += [
                inspect.Parameter(field.name, kind, default=field.default, annotation=types[field.name])
                for field in fields(kinds[name])
            ]
        else:
            parameters.append(parameter.replace(kind=kind, annotation=hints[name]))

    def run(**given: Any) -> None:
        asked = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in kinds.items()
        }
        command(**asked, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
