"""Folders of work in progress: a process's own while it lives, and removed by a later one when it was killed.

A lock file beside each folder says that somebody works there. The system opens the lock when its process ends, however
it ends, so what a killed process leaves is known by a lock that nobody holds.
"""

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from selvage.base.errors import InputError

KEPT = "failed"  # the file that marks a folder whose work failed and whose logs somebody may want to read
ROOM = 2**20  # bytes that must find room, or else a failure is laid to the disk


@contextlib.contextmanager
def held(lock: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``lock``, which is there only as long as somebody holds it or was killed with it.

    Its folder is made. `TimeoutError`: another holds it, and ``wait`` is off. `OSError`: it cannot be made.
    """
    held_lock = FileLock(lock, timeout=-1 if wait else 0)
    for last in (False,) * 99 + (True,):
        _make_folder(lock.parent)
        try:
            held_lock.acquire()
            break
        except FileNotFoundError:  # whoever left the folder last has just removed it
            if last:
                raise
    try:
        yield
    finally:
        # Those who wait for the file see that it is gone and make another.
        lock.unlink(missing_ok=True)
        held_lock.release()


def _make_folder(place: Path) -> None:
    """Make a folder, which another process may remove, empty, while it is looked at whether it is there."""
    while True:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if os.path.lexists(place) and not place.is_dir():
                raise
        else:
            return


@contextlib.contextmanager
def working(place: Path, name: str = "", *, what: str = "folder", keep: bool = False) -> Iterator[Path]:
    """Yield a new and empty folder in ``place``, gone at the end unless it has been renamed.

    ``name`` is for one at a time.

    With ``keep``, a folder whose work raises an exception stays, for its logs. Folders in ``place`` whose processes
    were killed are removed first. `InputError`, which calls the place ``what``: it cannot be written, be it before the
    work or, when that failed, after it.
    """
    lock = place / f"{name or secrets.token_hex(4)}.lock"
    folder = lock.with_suffix("")
    with contextlib.ExitStack() as stack:
        try:
            _sweep(place)
            stack.callback(_remove_empty, place)
            stack.enter_context(held(lock))
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        except OSError as error:
            raise InputError(f"{what} {place} cannot be written: {error.strerror}") from None
        kept = False
        try:
            yield folder
        except InputError:  # says already what is wrong
            kept = keep
            raise
        except Exception:
            if full := obstacle(folder):
                raise InputError(f"{what} {place} cannot be written: {full}") from None
            kept = keep
            raise
        finally:
            if kept:
                (folder / KEPT).touch()
            else:
                shutil.rmtree(folder, ignore_errors=True)


def obstacle(folder: Path) -> str:
    """Return why nothing can be written to ``folder``; empty where it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _sweep(place: Path) -> None:
    """Remove what killed processes left in ``place``."""
    try:
        locks = list(place.glob("*.lock"))
    except FileNotFoundError:  # another has just removed the folder, which `Path.glob` saw a moment before
        return
    for lock in locks:
        # An error that is none of the lock's being held is met again where a folder is made.
        with contextlib.suppress(OSError, Timeout), held(lock, wait=False):
            if not (lock.with_suffix("") / KEPT).exists():
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)


def _remove_empty(place: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or removed by another
        place.rmdir()


def _check_own(place: Path) -> None:
    """Make a folder for this user alone; `InputError`: it is there and another's, or a link."""
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
    except OSError as error:
        raise InputError(f"folder {place} cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise InputError(f"folder {place} is not this user's")


@contextlib.contextmanager
def temporary() -> Iterator[None]:
    """Keep temporary files of this process, its libraries and its tools in one folder, which goes with them.

    Where none can be made, or somebody else has made it, they are where they always are.
    """
    place, before = Path(tempfile.gettempdir()) / f"selvage_{os.getuid()}", tempfile.tempdir
    with contextlib.ExitStack() as stack:
        try:
            _check_own(place)
            folder = stack.enter_context(working(place))
        except InputError:
            yield
            return
        stack.enter_context(variable("TMPDIR", str(folder)))
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the processes that are started meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def part_of(path: Path) -> Path:
    """Return where a file is written before it is renamed to ``path``.

    The name is the same each time, so that the next run takes away what a killed one left.
    """
    return path.with_name(f".{path.name}.part")


def put_whole(source: Path, target: Path) -> None:
    """Move a file to ``target``, be it on another disk, where it appears whole. `InputError`: it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, part_of(target))
        part_of(target).replace(target)
    except OSError as error:
        raise InputError(f"output {target} cannot be written: {error.strerror}") from None
