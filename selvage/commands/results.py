"""The places of results: checks before a run, and the JSON report after it."""

import json
import sys
import tomllib
from pathlib import Path

from selvage.base.errors import InputError
from selvage.base.files import write_whole
from selvage.frontend.kinds import PREFIX


def check_is_file(model: str) -> None:
    """Raise `InputError` for shapes, which no command but one takes."""
    if model.startswith(PREFIX):
        raise InputError(f"{model!r} has shapes alone: it is for selvage model")


def check_outputs_apart(outputs: dict[str, Path | None], inputs: dict[str, str | Path | None]) -> None:
    """Raise `InputError` when a file would be written that a command reads, or two outputs are one file.

    Both are by the names that the command line has for them; ``-`` is no file.
    """
    seen = {what: Path(path).resolve() for what, path in inputs.items() if path is not None}
    for what, path in outputs.items():
        if path is None or str(path) == "-":
            continue
        for other, known in seen.items():
            if known == path.resolve():
                raise InputError(f"{other} and {what} are both {path}")
        seen[what] = path.resolve()


def weights_file(model: str) -> Path | None:
    """Return the file of weights that a layer's TOML names; None of other models, and where that cannot be told."""
    path = Path(model)
    if path.suffix != ".toml" or not path.is_file():
        return None
    try:
        named = tomllib.loads(path.read_text()).get("weights")
    except (OSError, ValueError):
        return None  # whoever loads it says what is wrong
    return path.parent / named if isinstance(named, str) and "\0" not in named else None


def emit(content: dict | list, where: Path | None) -> None:
    """Write the JSON report to a file, or for ``-`` to the standard output."""
    text = json.dumps(content, indent=2) + "\n"
    if where is None:
        return
    if str(where) == "-":
        sys.stdout.write(text)
    else:
        write_whole(where, text.encode())
