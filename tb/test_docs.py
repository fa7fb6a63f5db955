"""The papers are true: their commands run, the options they name exist, and so does every file that they point at.

Fenced blocks of a page run in the order of the page, in a folder of its own with a copy of ``examples/``:

* ``sh`` is a script of the shell; ``console`` has a command behind ``$`` and then what it prints, of which the
  numbers are compared;
* ``python`` is run as a file.

A comment before a block keeps it from running: ``<!-- parsed only: why -->``, of what takes long or changes the
machine, and ``<!-- needs PATH -->``, as long as the repository has no such file. All
options are looked up in ``--help``.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = ("selvage", "golden", "hw", "sim", "tb", "bench", "examples", "docs", "tools", ".ci")
"""Folders whose files a page may name; what begins with another name is made by a command."""
FENCE = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#\s]*)(?:#[^)\s]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
NUMBER = re.compile(r"\d[\d,.]*")
SECONDS = 300
"""That a block may take."""

names = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@dataclass(frozen=True)
class Block:
    """A fenced block of ``page`` from ``line`` on."""

    page: Path
    line: int
    kind: str
    text: str
    mark: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is to be run."""
        needed = self.mark.removeprefix("needs ")
        return not self.mark.startswith("parsed only") and (needed == self.mark or (ROOT / needed).exists())

    @property
    def script(self) -> str:
        """Commands of the shell: of a console, what stands behind its prompts."""
        if self.kind == "console":
            return "\n".join(line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ "))
        return self.text

    @property
    def printed(self) -> str:
        """What a console shows."""
        return "\n".join(line for line in self.text.splitlines() if not line.startswith("$ "))


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, own.start()) + 1, own["kind"], own["text"], own["mark"] or "")
        for own in FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def numbers(text: str) -> list[str]:
    return [own.rstrip(".,") for own in NUMBER.findall(text)]


def commands(script: str) -> Iterator[list[str]]:
    """The words of each command that a script begins a line with; lines that go on are joined, documents left out."""
    script = re.sub(r"<<'(\w+)'(.*?)^\1$", r"\2", script.replace("\\\n", " "), flags=re.M | re.S)
    for line in script.splitlines():
        if re.match(r"(selvage|python|make|pip|mkdocs) ", line):
            try:
                yield shlex.split(line.split(" || ")[0], comments=True)
            except ValueError:  # a quotation of several lines, as of python -c
                continue


def named(page: Path) -> Iterator[list[str]]:
    """All commands that a page names: in blocks, and between backticks."""
    for block in blocks(page):
        if block.kind in ("sh", "console"):
            yield from commands(block.script)
    for code in CODE.findall(prose(page)):
        yield from commands(code)


@cache
def help_of(command: str) -> str:
    """What a command says of itself."""
    words = [sys.executable, "-m", "selvage", *([command] if command else []), "--help"]
    return subprocess.run(words, env=environment(), capture_output=True, text=True, check=True, timeout=SECONDS).stdout


def subcommands() -> list[str]:
    """Names of the commands of `selvage`."""
    return re.findall(r"^  ([a-z]+) ", help_of("").partition("Commands:")[2], re.M)


def environment(folder: Path | None = None) -> dict[str, str]:
    """For commands that run in ``folder``, where they find `selvage` and keep what they build."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    if folder:
        given |= {"SELVAGE_BUILD": str(folder / "compiled"), "PATH": f"{folder / 'bin'}{os.pathsep}{given['PATH']}"}
    return given


def workplace(folder: Path) -> Path:
    """A folder as a reader has it after the installation, with `selvage` and `python` on the path."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "bin").mkdir()
    for name, words in (("selvage", [sys.executable, "-m", "selvage"]), ("python", [sys.executable])):
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)
    return folder


@names
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    """Each in turn, without a failure; and a console shows the numbers that come."""
    found = [block for block in blocks(page) if block.runs and block.kind in ("sh", "console", "python")]
    folder = workplace(tmp_path) if found else tmp_path
    for block in found:
        words = [sys.executable, "-c", block.text] if block.kind == "python" else ["sh", "-euc", block.script]
        done = subprocess.run(
            words, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{block.where} ends with {done.returncode}\n{done.stdout}\n{done.stderr}"
        if block.kind == "console":
            assert numbers(block.printed) == numbers(done.stdout), f"{block.where} prints\n{done.stdout}"


@names
def test_options_exist(page: Path) -> None:
    """Commands and options of `selvage`, modules that `python -m` runs, targets of `make`, extras of `pip`."""
    makefile, project = ((ROOT / name).read_text() for name in ("Makefile", "pyproject.toml"))
    for words in named(page):
        match words:
            case ["selvage", *rest]:
                command = next((word for word in rest if word in subcommands()), "")
                for option in (word.split("=")[0] for word in rest if word.startswith("--")):
                    known = help_of(command) + help_of("")
                    assert re.search(rf"(?<![\w-]){option}(?![\w-])", known), f"{page.name}: {words} has no {option}"
                first = next((word for word in rest if not word.startswith("-") and not word.isupper()), "")
                assert command or not first, f"{page.name}: {words} is no command"
            case ["python", "-m", module, *_]:
                path = ROOT / module.replace(".", "/")
                found = path.is_dir() or path.with_suffix(".py").exists() or module == "pytest"
                assert found, f"{page.name}: {module} is missing"
            case ["make", target, *_]:
                assert re.search(rf"^{target}:", makefile, re.M), f"{page.name}: make has no target {target}"
            case ["pip", *rest]:
                for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(rest)):
                    for own in extra.split(","):
                        assert re.search(rf"^{own} = \[", project, re.M), f"{page.name}: there is no extra {own}"


@names
def test_options_in_tables_exist(page: Path) -> None:
    """Options that stand between backticks by themselves belong to some command."""
    known = "".join(help_of(command) for command in ("", *subcommands()))
    outside = "".join(" ".join(words) for words in named(page) if words[0] != "selvage") + page.read_text()
    for code in CODE.findall(prose(page)):
        option = re.match(r"--[a-z-]+", code)
        if option and not re.search(rf"{option[0]}(?![\w-])", known):
            others = re.findall(rf"(?:verilator|mkdocs|pip|bench)[^`\n]* {option[0]}\b", outside)
            assert others, f"{page.name}: no command has the option {option[0]}"


@names
def test_files_exist(page: Path) -> None:
    """Files that a page links to, and those between backticks that are of the repository."""
    for link in LINK.finditer(page.read_text()):
        assert not link["path"] or (page.parent / link["path"]).exists(), f"{page.name} links to {link['path']}"
    for code in CODE.findall(prose(page)):
        if re.fullmatch(r"[\w.*/-]+", code) and (code.split("/")[0] in TOP and "/" in code):
            assert any(ROOT.glob(code.rstrip("/"))), f"{page.name} names {code}"
        elif re.fullmatch(r"[\w-]+\.(md|toml|yml)", code):
            made = any(f"> {code}" in block.text for block in blocks(page))
            assert made or (ROOT / code).exists() or (page.parent / code).exists(), f"{page.name} names {code}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_pages_are_short() -> None:
    for page in PAGES:
        assert len(page.read_text().splitlines()) <= 400, page.name


def test_every_page_is_on_the_site() -> None:
    listed = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(listed) == sorted(page.name for page in PAGES if page.parent.name == "docs")
