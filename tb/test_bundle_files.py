"""How the files of a bundle are written: over an earlier one, and broken off."""

from pathlib import Path

import pytest

from selvage.verilog_bundle import write_files
from tb.test_verilog_bundle import files_of, small


def test_rewritten(tmp_path: Path) -> None:
    """Files of an earlier bundle go, others do not; what is the same keeps its time; what a killed run left goes."""
    files = files_of(small())
    write_files(files, tmp_path)
    kept = tmp_path / "rtl" / "network.v"
    before = kept.stat().st_mtime_ns
    gone = next(name for name in files if name.startswith("rtl/accumulator"))
    fewer = {name: content for name, content in files.items() if name not in (gone, "selftest/input_0.hex")}
    mine, left = tmp_path / "rtl" / "mine.v", tmp_path / "rtl" / ".network.v.a1b2c3d4"
    mine.touch()
    left.touch()
    paths = write_files(fewer, tmp_path)
    assert kept.stat().st_mtime_ns == before and mine.exists()
    assert not any((tmp_path / path).exists() for path in (gone, "selftest/input_0.hex", left))
    assert (tmp_path / "files.txt").read_text().split() == sorted(str(path.relative_to(tmp_path)) for path in paths)


def test_a_killed_run_leaves_no_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(small())
    write_files(files, tmp_path)

    def killed(contents: object, out: Path) -> list[Path]:
        raise KeyboardInterrupt

    monkeypatch.setattr("selvage.verilog_bundle.write_changed", killed)
    with pytest.raises(KeyboardInterrupt):
        write_files(files, tmp_path)
    assert not (tmp_path / "files.txt").exists()
