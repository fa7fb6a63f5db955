"""`selvage train` with a training file: states that are taken up again, pictures, RTL, and what is refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tb.test_commands.test_cli import ROOT, refused, selvage

GAN = ROOT / "examples" / "digits_gan" / "train.toml"
LAYERS = """
layers = [
  { op = "conv", outputs = 2, kernel = [3, 3], stride = [1, 1], pads = [1, 1, 1, 1], slope = 0.5 },
  { op = "dense", outputs = 2 },
]
"""
ONE = f'batch = 2\ndata = "data.npz"\nrounding = "stochastic"\n[network]\nrate = 3\n{LAYERS}'
TWO = (
    'batch = 2\ndata = "data.npz"\n[generator]\nrate = 3\nnoise = 2\n'
    f'layers = [{{ op = "dense", outputs = [1, 4, 4] }}]\n[discriminator]\nrate = 3\n{LAYERS.replace("= 2 }", "= 1 }")}'
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with data and both kinds of files."""
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "data.npz", images=rng.random((9, 1, 4, 4)), labels=rng.integers(0, 2, 9))
    (tmp_path / "one.toml").write_text(ONE)
    (tmp_path / "two.toml").write_text(TWO)
    return tmp_path


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def same(first: Path, second: Path) -> bool:
    a, b = arrays(first), arrays(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    how = [str(GAN), "--simulator", "none", "--schedule", "sp+cs", "--seed", "3"]
    whole = selvage("train", *how, "--iterations", "200", "--out", "whole", "--pictures", "100", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    pictures = sorted(path.name for path in (tmp_path / "whole").glob("*.png"))
    assert pictures == ["samples_000100.png", "samples_000200.png"]
    command = [sys.executable, "-m", "selvage", "train", *how, "--iterations", "200", "--out", "killed"]
    run = subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    state = tmp_path / "killed" / "state.npz"
    while not state.exists() or arrays(state)["at"][0] < 20:
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    reached = arrays(state)["at"][0]
    assert 20 <= reached < 200
    again = selvage("train", *how, "--iterations", "200", "--out", "killed", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{reached} iterations are there already" in again.stdout
    assert same(state, tmp_path / "whole" / "state.npz")


def test_rtl_is_golden_from_a_state_on(place: Path) -> None:
    """Two iterations, then two more through RTL, which must begin where the others ended."""
    how = ["one.toml", "--out", "run", "--json", "-"]
    first = selvage("train", *how, "--iterations", "2", "--simulator", "none", cwd=place)
    assert (first.returncode, json.loads(first.stdout)["match"]) == (0, None), first.stderr
    run = selvage("train", *how, "--iterations", "4", cwd=place)
    content = json.loads(run.stdout)
    assert (run.returncode, content["match"], content["iterations"]) == (0, True, 4), run.stderr
    assert content["clock_cycles"] == content["clock_cycles_model"] > 1000
    assert (len(content["losses"]), content["first_iteration"], content["iterations_of_clock_cycles"]) == (2, 3, 2)


def test_a_state_is_kept_when_rtl_has_agreed(place: Path) -> None:
    """A chip that does something else leaves none, so that the next run is no pass."""
    program = (
        "from selvage.hw.training import stages; stages.sloped = lambda error, *_: error; "
        "from selvage.rtlsim import fingerprint; fingerprint.gateware_version = lambda: 'planted'; "
        "from selvage.commands.start import main; main()"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())}
    command = [sys.executable, "-c", program, "train", "one.toml", "--out", "run", "--iterations", "2"]
    run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1 and "MISMATCH" in run.stdout, run.stderr
    assert not (place / "run" / "state.npz").exists()


def test_a_bundle_tests_itself(place: Path) -> None:
    run = selvage("verilog", "one.toml", "--out", "chip", cwd=place)
    assert run.returncode == 0, run.stderr
    commands = ["iverilog", "-g2005", "-Wall", "-f", "selftest.f", "-o", "t"], ["vvp", "-n", "t"]
    told = [subprocess.run(c, cwd=place / "chip", capture_output=True, text=True, check=True) for c in commands]
    assert told[0].stderr == "" and told[1].stdout.splitlines()[-1] == "PASS"
    expected = place / "chip" / "selftest" / "expected_D.hex"
    lines = expected.read_text().splitlines()
    lines[3] = f"{int(lines[3], 16) ^ 1:08x}"
    expected.write_text("\n".join(lines) + "\n")
    wrong = subprocess.run(commands[1], cwd=place / "chip", capture_output=True, text=True, check=True)
    assert "FAIL weight 3 of D" in wrong.stdout and "PASS" not in wrong.stdout


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("one", ("batch = 2", "batch = 0"), "batch = 0"),
        ("one", ("rate = 3", "rate = 32"), "places, more than 32: its learning rate is too low"),
        (
            "one",
            ('"stochastic"\n[network]\nrate = 3', '"nearest"\n[network]\nrate = 18'),
            "rounds every update of layer",
        ),
        ("one", ("batch = 2", "batch = 2\nformats = { weights = 2 }"), "formats.weights = 2"),
        ("one", ("rate = 3", "rate = 3\nheadroom = 7"), "headroom = 7 leaves weights of 8 bits less than two"),
        ("one", ("rate = 3", "rate = 3\nnoise = 4"), "network has the key 'noise'"),
        ("one", ("batch = 2", "batch = 2\nunit_error = true"), "unit_error is of a generator and a discriminator"),
        ("one", ("outputs = 2 },\n]", "outputs = 2, slope = 0.5 },\n]"), "leaves logits: it is linear"),
        ("one", ("outputs = 2, kernel", "outputs = 8000, kernel"), "codes that leave it are more than the 65,536"),
        ("one", ("batch = 2", 'batch = 2\nchip = "chip.toml"'), "chip"),
        ("one", ("rate = 3", ""), "lacks the key 'network.rate'"),
        ("one", ("slope = 0.5", "slope = 0.3"), "slope = 0.3 must be 0, 1, or a power of two"),
        ("one", ("slope = 0.5", 'normalization = "batch"'), "couples the samples of a batch"),
        ("one", ("outputs = 2 },", 'outputs = 2, normalization = "frozen" },'), "last, and is not normalised"),
        ("one", ("outputs = 2 },\n]", "outputs = 1 },\n]"), "from 0 to 0"),
        ("one", ("[3, 3]", "[9, 9]"), "the output would be"),
        ("one", ('"data.npz"', '"../data.npz"'), "must lie in the folder"),
        ("one", ("batch = 2", 'batch = 2\nchip = "isaac"'), "needs encoding = 'differential'"),
        ("one", ("batch = 2", "batch = 2\nformats = { weights = 12 }"), "weights of 12 bits of network D"),
        ("one", ("batch = 2", "batch = 2\ncolour = 3"), "unknown key 'colour'"),
        ("one", ("[network]", "[generator]\nnoise = 3"), "needs the table 'network', or both"),
        ("two", ("[1, 4, 4]", "[1, 4, 5]"), "the generator makes maps (1, 4, 5), and the images are (1, 4, 4)"),
        ("two", ("outputs = 1 }", "outputs = 3 }"), "and needs one logit"),
        ("two", ("noise = 2\n", ""), "lacks the key 'noise'"),
    ],
)
def test_bad_files(kind: str, change: tuple[str, str], says: str, place: Path) -> None:
    text = (place / f"{kind}.toml").read_text()
    assert change[0] in text
    (place / "bad.toml").write_text(text.replace(*change))
    refused(selvage("train", "bad.toml", "--simulator", "none", "--out", "run", cwd=place), says, place)
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs a training file, a TOML, or --count"),
        (["one.toml", "--count"], "--count takes no file"),
        (["one.toml", "--schedule", "cs"], "schedule 'cs' is for two networks"),
        (["one.toml", "--iterations", "0"], "--iterations 0 is not from 1 to 65535"),
        (["one.toml", "--seed", "-1"], "--seed -1 is not from 0"),
        (["one.toml", "--pictures", "2"], "--pictures needs --out"),
        (["one.toml", "--pictures", "2", "--out", "run"], "one network has none"),
        (["one.toml", "--json", "data.npz"], "its data and --json are both"),
        (["one.toml", "--out", "run", "--json", "run/state.npz"], "the state and --json are both"),
        (["one.toml", "--iterations", "60000"], "are more than a simulator takes at once"),
        (["one.toml", "--json", "one.toml"], "the training file and --json are both one.toml"),
        (["none.toml"], "none.toml"),
        (["one.toml", "--simulator", "vcs"], "--simulator 'vcs' is none of"),
    ],
)
def test_bad_options(arguments: list[str], says: str, place: Path) -> None:
    refused(selvage("train", *arguments, cwd=place), says, place)


def test_one_run_at_a_time(place: Path) -> None:
    """The second is refused, and the first one's state is whole."""
    how = ["--simulator", "none", "--out", "run", "--iterations", "300"]
    command = [sys.executable, "-m", "selvage", "train", str(GAN), *how]
    run = subprocess.Popen(command, cwd=place, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    while not (place / "run" / "state.npz").exists():
        assert run.poll() is None
        time.sleep(0.02)
    refused(selvage("train", str(GAN), *how, "--seed", "2", cwd=place), "is being written by another run", place)
    assert run.wait() == 0
    assert arrays(place / "run" / "state.npz")["at"][0] == 300


def test_bad_labels(place: Path) -> None:
    images = np.random.default_rng(1).random((9, 1, 4, 4))
    for labels, says in (
        (np.array(["a"] * 9), "integers are needed"),
        (np.full(9, 0.5), "integers are needed"),
        (np.full(9, 2), "from 0 to 1"),
    ):
        np.savez(place / "data.npz", images=images, labels=labels)
        refused(selvage("train", "one.toml", "--simulator", "none", cwd=place), says, place)


def test_bad_states(place: Path) -> None:
    """A state that is cut, and one of another seed: one sentence, and the file as it was."""
    how = ["one.toml", "--simulator", "none", "--out", "run"]
    assert selvage("train", *how, cwd=place).returncode == 0
    state = place / "run" / "state.npz"
    refused(selvage("train", *how, "--seed", "5", cwd=place), "is of another training file", place)
    whole = arrays(state)
    changes = {"D_0": whole["D_0"] + 500, "D_1": whole["D_1"] * 0.5, "at": np.array([1, 0, 0]), "session": np.zeros(3)}
    for name, wrong in changes.items():
        np.savez(state, **(whole | {name: wrong}))
        refused(selvage("train", *how, cwd=place), "state", place)
    np.savez(state, **whole)
    content = state.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    refused(selvage("train", *how, cwd=place), "state", place)
    assert state.read_bytes() == content[: len(content) // 2]
