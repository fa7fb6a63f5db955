"""The rooms of the house: who may import whom (the table is in docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (  # a room imports from the rooms before it, and from itself
    "base",
    "verilog",
    "golden",
    "mapping",
    "frontend",
    "sim",
    "hw",
    "compiler",
    "rtlsim",
    "papers",
    "report",
    "bundle",
    "commands",
)
NOT = {
    "verilog": FLOORS,
    "frontend": ("hw", "sim"),
    "sim": ("verilog",),
    "golden": ("verilog",),
    "mapping": ("verilog",),
}
"""Rooms below that a room knows nothing of all the same."""
PARTS = ("lib", "tile", "macro", "network", "training", "shell")
"""Of the gateware, likewise."""


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it, with the names it takes from each."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (own.name for own in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield from (f"{node.module}.{own.name}" for own in node.names)


def files(room: str) -> list[Path]:
    return sorted((ROOT / "selvage" / room).resolve().rglob("*.py"))


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_downward_only(room: str) -> None:
    allowed = {room, *FLOORS[: FLOORS.index(room)]} - set(NOT.get(room, ())) | {room}
    assert files(room)
    for path in files(room):
        for name in imports(path):
            top, _, rest = name.partition(".")
            assert top not in ("tb", "bench", "examples", *FLOORS), f"{path} imports {name}"
            if top == "selvage" and rest != "__version__":
                assert rest.split(".")[0] in allowed, f"{path} imports {name}"


def test_gateware_imports_downward_only() -> None:
    for index, part in enumerate(PARTS):
        allowed = PARTS[: index + 1]
        assert files(f"hw/{part}")
        for path in files(f"hw/{part}"):
            for name in imports(path):
                if name.startswith("selvage.hw."):
                    assert name.split(".")[2] in allowed, f"{path} imports {name}"


def test_models_and_gateware_do_not_know_each_other() -> None:
    for room, other in (("sim", "hw"), ("hw", "sim")):
        for path in files(room):
            assert not any(name.startswith(f"selvage.{other}.") for name in imports(path)), path


def test_every_file_stands_in_a_room() -> None:
    found = {path.name for path in (ROOT / "selvage").iterdir() if path.name != "__pycache__"}
    assert found == {*FLOORS, "__init__.py", "__main__.py", "api.py", "chips", "costs", "shapes"}


@pytest.mark.parametrize("room", ["golden", "hw", "sim"])
def test_a_room_at_the_top_has_one_name(room: str) -> None:
    """It lies at the top and is imported through the package."""
    assert (ROOT / "selvage" / room).resolve() == ROOT / room
    spec = ast.parse((ROOT / room / "__init__.py").read_text())
    with pytest.raises(ImportError, match=f"imported as selvage.{room}"):
        exec(compile(spec, room, "exec"), {"__name__": room})
