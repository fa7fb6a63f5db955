"""The command that runs one step of one tile again, with waves."""

import shlex
from collections.abc import Callable, Sequence

Again = Callable[[str, int, int], str]  # of a layer, a tile and a step
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

    def command(layer: str, tile: int, step: int) -> str:
        if "sim" not in words:
            return ""
        kept, rest = [], iter(words)
        for word in rest:
            name, _, value = word.partition("=")
            if name not in LEFT_OUT:
                kept.append(word)
            elif LEFT_OUT[name] and not value:
                next(rest, None)
        named = ["--layer", layer] if network else []
        window = ["--tile", str(tile), "--waves", FOLDER, "--waves-from", str(step), "--waves-steps", "1"]
        return shlex.join(["selvage", *kept, *named, *window])

    return command


def never(layer: str, tile: int, step: int) -> str:
    """Return no command: the run was not asked for on a command line."""
    return ""
