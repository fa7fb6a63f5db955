"""The command that runs one step of one tile again, with waves."""

import shlex
from collections.abc import Callable, Sequence

# Of a layer, a tile and a step; of what is between tiles they are None, and the whole run is repeated.
Again = Callable[[str, int | None, int | None], str]
FOLDER = "waves"
# What a repeated run does not need; whether a word follows.
LEFT_OUT = {
    "--waves": True,
    "--waves-from": True,
    "--waves-steps": True,
    "--tile": True,
    "--layer": True,
    "--json": True,
    "--output": True,
    "--simulator": True,
    "--pipeline": False,
}


def again_as(words: Sequence[str], *, network: bool) -> Again:
    """Return what repeats a step of a run that was asked for by ``words``, those of the command line.

    It returns nothing where the words are of no `selvage sim`.
    """

    def command(layer: str, tile: int | None, step: int | None) -> str:
        if "sim" not in words:
            return ""
        whole = tile is None or step is None
        kept, rest = [], iter(words)
        for word in rest:
            name, _, value = word.partition("=")
            if name not in LEFT_OUT or (whole and name == "--pipeline"):
                kept.append(word)
            elif LEFT_OUT[name] and not value:
                next(rest, None)
        if whole:
            return shlex.join(["selvage", *kept, "--waves", FOLDER])
        named = ["--layer", layer] if network else []
        window = ["--tile", str(tile), "--waves", FOLDER, "--waves-from", str(step), "--waves-steps", "1"]
        return shlex.join(["selvage", *kept, *named, *window])

    return command


def never(layer: str, tile: int | None, step: int | None) -> str:
    """Return no command: the run was not asked for on a command line."""
    return ""
