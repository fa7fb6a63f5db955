"""The wheel by itself: one name in site-packages, all commands with their data, from another folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "examples" / "layer" / "small.toml"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs, and nothing else."""
    where = tmp_path_factory.mktemp("wheel")
    source = where / "source"  # a copy, for the build leaves files beside what it builds
    for name in ("selvage", "golden", "hw", "sim"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", where, source], check=True, capture_output=True)
    (wheel,) = where.glob("*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", where / "site", wheel], check=True)
    return where / "site"


def call(place: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the wheel's, in another folder."""
    program = "import selvage, sys; from selvage.commands.start import main; print(selvage.__file__); main()"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_name_and_no_test(place: Path) -> None:
    names = {path.name for path in place.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"selvage", "bin"}
    inside = {path.name for path in (place / "selvage").iterdir()}
    assert {"golden", "hw", "sim", "chips", "shapes"} <= inside and not {"tb", "bench"} & inside
    assert not list(place.rglob("test_*")) and not any(path.is_symlink() for path in place.rglob("*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--help"], "Periphery of ReRAM"),
        (["model", "shapes:sngan", "--chip", "isaac"], "crossbars"),
        (["sim", str(LAYER), "--chip", "tiny"], "match"),
        (["verilog", str(LAYER), "--schedule", "red", "--bus", "axi", "--out", "v"], "files in v"),
    ],
    ids=["help", "model", "sim", "verilog"],
)
def test_commands_run_from_another_folder(place: Path, tmp_path: Path, words: list[str], says: str) -> None:
    done = call(place, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(place)) and says in done.stdout


def test_what_is_not_asked_for_is_not_loaded(place: Path, tmp_path: Path) -> None:
    """Neither by `import selvage` nor by ``--help``."""
    heavy = ("onnx", "onnxruntime", "systemrdl", "peakrdl_html", "amaranth", "cocotb", "pytest", "numpy")
    program = (
        f"import sys, selvage\nassert not set({heavy}) & set(sys.modules)\n"
        "sys.argv = ['selvage', '--help']\nfrom selvage.commands.cli import command\ncommand()\n"
        f"assert not set({heavy}) & set(sys.modules), set({heavy}) & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
