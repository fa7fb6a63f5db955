"""What is compiled is kept whole or made again, and folders of work do not outlive those who work there."""

import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selvage.base.errors import InputError
from selvage.base.working import KEPT, held, temporary, working
from selvage.rtlsim.cache import MARK, WORK, compiled, whole

ROOT = Path(__file__).parents[2]
TEXTS = {"a.v": "module a; endmodule\n"}
DESIGN = "design"


class Maker:
    """Copies its source to ``product``, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, work: Path) -> None:
        self.made += 1
        (work / "product").write_text((work / "a.v").read_text())


def there(place: Path) -> list[str]:
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))


@contextlib.contextmanager
def process(code: str, *words: object) -> Iterator[subprocess.Popen]:
    """Python code in a process of its own, whose first line has been read; killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "ready\n"
        yield run
        run.kill()


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    make = Maker()
    where = compiled(tmp_path, DESIGN, lambda: TEXTS, ["-O1"], ["product"], make)
    assert compiled(tmp_path, DESIGN, lambda: TEXTS, ["-O1"], ["product"], make) == where and make.made == 1
    assert there(tmp_path) == sorted([where.name, *(f"{where.name}/{name}" for name in ("a.v", "product", MARK))])


def test_other_sources_or_options_are_another_product(tmp_path: Path) -> None:
    make = Maker()
    first, *others = (
        compiled(tmp_path, design, lambda texts=texts: texts, [how], ["product"], make)
        for design, texts, how in ((DESIGN, TEXTS, "-O1"), (DESIGN, TEXTS, "-O2"), ("other", {"a.v": ""}, "-O1"))
    )
    assert len({first, *others}) == make.made == 3
    assert (first / "product").read_text() == TEXTS["a.v"]


@pytest.mark.parametrize("spoil", ["cut", "longer", "gone", "no mark", "mark cut"])
def test_a_broken_product_is_made_again(tmp_path: Path, spoil: str) -> None:
    make = Maker()
    where = compiled(tmp_path, DESIGN, lambda: TEXTS, [], ["product"], make)
    product, mark = where / "product", where / MARK
    match spoil:
        case "cut":
            os.truncate(product, 5)
        case "longer":
            product.write_text(product.read_text() + "\n")
        case "gone":
            product.unlink()
        case "no mark":
            mark.unlink()
        case "mark cut":
            os.truncate(mark, 5)
    assert not whole(where)
    assert compiled(tmp_path, DESIGN, lambda: TEXTS, [], ["product"], make) == where and whole(where)
    assert make.made == 2 and product.read_text() == TEXTS["a.v"]


def test_what_fails_is_kept_for_its_log_until_it_is_made(tmp_path: Path) -> None:
    def fails(work: Path) -> None:
        (work / "log").write_text("why")
        raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            compiled(tmp_path, DESIGN, lambda: TEXTS, [], ["product"], fails)
    (folder,) = (tmp_path / WORK).iterdir()
    assert (folder / "log").read_text() == "why" and not whole(tmp_path / folder.name)
    with working(tmp_path / WORK):
        assert (folder / "log").exists(), "it is no killed one's"
    where = compiled(tmp_path, DESIGN, lambda: TEXTS, [], ["product"], Maker())
    assert where.name == folder.name and list(tmp_path.iterdir()) == [where]


HALF = """
import sys, time
from pathlib import Path
from selvage.rtlsim.cache import compiled
def make(work):
    (work / "product").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
compiled(Path(sys.argv[1]), "design", lambda: {"a.v": "module a; endmodule\\n"}, [], ["product"], make)
"""


def test_what_a_killed_run_half_made_is_not_used_and_goes(tmp_path: Path) -> None:
    with process(HALF, tmp_path):
        assert len(list((tmp_path / WORK).iterdir())) == 2, "a folder and its lock"
    make = Maker()
    other = compiled(tmp_path, DESIGN, lambda: TEXTS, ["other"], ["product"], make)
    assert list(tmp_path.iterdir()) == [other], "the next run, be it for something else, takes away what was left"
    where = compiled(tmp_path, DESIGN, lambda: TEXTS, [], ["product"], make)
    assert (where / "product").read_text() == TEXTS["a.v"] and make.made == 2


def test_who_lives_is_left_alone_and_waited_for(tmp_path: Path) -> None:
    """Its folder stays while others work beside it, and one who wants the same product gets it when it is let go."""
    with process(HALF, tmp_path) as run:
        compiled(tmp_path, DESIGN, lambda: TEXTS, ["other"], ["product"], Maker())
        assert [path.read_text() for path in (tmp_path / WORK).glob("*/product")] == ["half"]
        (lock,) = (tmp_path / WORK).glob("*.lock")
        with pytest.raises(TimeoutError), held(lock, wait=False):
            pass
        assert lock.exists()
        how = (tmp_path, DESIGN, _texts, [], ["product"], Maker())
        waiting = multiprocessing.get_context("spawn").Process(target=compiled, args=how)
        waiting.start()
        run.kill()
        waiting.join()
    assert waiting.exitcode == 0 and not (tmp_path / WORK).exists()


def _texts() -> dict[str, str]:
    return TEXTS


def test_a_folder_that_goes_while_it_is_looked_through_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Path.glob` of Python 3.11 sees that a folder is there, opens it a moment later, and raises when it has gone."""

    def gone(*_: object) -> Iterator[Path]:
        raise FileNotFoundError
        yield

    monkeypatch.setattr(Path, "glob", gone)
    with working(tmp_path / WORK) as folder:
        assert folder.is_dir()


def _many(place: Path) -> int:
    make = Maker()
    for k in range(20):
        where = compiled(place, DESIGN, lambda: TEXTS, [str(k)], ["product"], make)
        assert (where / "product").read_text() == TEXTS["a.v"]
        with working(place / WORK) as own:
            (own / "file").touch()
    return make.made


def test_many_at_once_make_each_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sum(pool.map(_many, [tmp_path] * 4)) == 20
    assert len(list(tmp_path.iterdir())) == 20, "no lock and no folder of work is left"


def test_temporary_files_of_a_killed_run_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import sys, tempfile, time
from selvage.base.working import temporary
with temporary():
    tempfile.mkdtemp()
    print("ready", flush=True)
    time.sleep(600)
"""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with process(code):
        pass
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert len(there(tmp_path)) == 4
    with temporary():
        (place,) = tmp_path.iterdir()
        assert len(there(place)) == 2 and os.environ["TMPDIR"].startswith(str(place))
    assert not there(tmp_path) and os.environ["TMPDIR"] == str(tmp_path)


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"build folder .*file/work cannot be written: Not a directory"):
        compiled(tmp_path / "file", DESIGN, lambda: TEXTS, [], ["product"], Maker())
    with pytest.raises(InputError, match=r"folder .*file cannot be written"), working(tmp_path / "file"):
        pass


def test_what_failed_for_want_of_room_is_laid_to_the_disk(tmp_path: Path) -> None:
    """A limit to the size of files stands for a disk that is full: what a tool says of it, or does not, is not told."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(InputError, match=rf"build folder {tmp_path}/work cannot be written: File too large"):

            def fails(work: Path) -> None:
                raise RuntimeError("the simulation failed")

            compiled(tmp_path, DESIGN, lambda: TEXTS, [], ["product"], fails)
        with pytest.raises(InputError, match="no such model"), working(tmp_path):
            raise InputError("no such model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not there(tmp_path), "what takes room is not kept"


def test_a_lock_is_there_as_long_as_it_is_held(tmp_path: Path) -> None:
    with held(tmp_path / "a" / "lock"):
        assert there(tmp_path) == ["a", "a/lock"]
        with pytest.raises(TimeoutError), held(tmp_path / "a" / "lock", wait=False):
            pass
    assert there(tmp_path) == ["a"]


def test_kept_marks_a_failure_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError), working(tmp_path / "w", keep=True):
        raise ValueError
    assert [path.name for path in (tmp_path / "w").rglob("*")][1:] == [KEPT]
    with pytest.raises(KeyboardInterrupt), working(tmp_path / "v", keep=True):
        raise KeyboardInterrupt
    assert not (tmp_path / "v").exists()
