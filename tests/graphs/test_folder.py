"""A folder or file appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from circuit_tracer.errors import OutputError
from circuit_tracer.graphs.folder import new_file, new_folder


def earlier(path: Path) -> Path:
    path.mkdir()
    (path / "trace.json").write_text("old")
    return path


def test_folder_appears_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b"
    with new_folder(final) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "x").write_text("1")
        assert not final.exists()
        assert partial.name.startswith(".")
    assert (final / "sub" / "x").read_text() == "1"
    assert os.listdir(final.parent) == ["b"]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "a" / "b") as partial:
            (partial / "x").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_existing_needs_overwrite(tmp_path: Path) -> None:
    final = earlier(tmp_path / "t")
    with pytest.raises(OutputError, match="--overwrite"), new_folder(final):
        raise AssertionError("not reached")
    with new_folder(final, overwrite=True) as partial:
        (partial / "trace.json").write_text("new")
        assert (final / "trace.json").read_text() == "old"
    assert (final / "trace.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["t"]


def test_failed_overwrite_keeps_the_old(tmp_path: Path) -> None:
    final = earlier(tmp_path / "t")
    with pytest.raises(ValueError, match="x"), new_folder(final, overwrite=True):
        raise ValueError("x")
    assert (final / "trace.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["t"]


def test_overwrite_spares_what_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"no trace\.json"), new_folder(tmp_path, overwrite=True):
        raise AssertionError("not reached")
    assert (tmp_path / "thesis.tex").exists()


def test_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    with new_folder(tmp_path / "t") as partial:
        (partial / "x").write_text("1")
    assert os.listdir(tmp_path / "t") == ["x"]


def test_taken_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--overwrite"), new_folder(tmp_path / "t"):
        earlier(tmp_path / "t")
    assert (tmp_path / "t" / "trace.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["t"]


def test_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(OutputError, match="is a file"), new_folder(tmp_path / "f", overwrite=True):
        raise AssertionError("not reached")
    with pytest.raises(OutputError, match="part of the path"), new_folder(tmp_path / "f" / "t"):
        raise AssertionError("not reached")


def test_full_disk_inside_the_block(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), new_folder(tmp_path / "t"):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_what_the_block_cannot_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), new_folder(tmp_path / "t"):
        raise PermissionError(13, "Permission denied", "weights")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a place nobody can write")
def test_unwritable_place() -> None:
    with pytest.raises(OutputError, match="Cannot write"), new_folder("/proc/1/x"):
        raise AssertionError("not reached")


def test_new_file(tmp_path: Path) -> None:
    final = tmp_path / "a" / "g.xml"
    with new_file(final) as partial:
        partial.write_text("1")
        assert partial.suffix == ".xml"
    assert final.read_text() == "1"
    with pytest.raises(OutputError, match="--overwrite"), new_file(final):
        raise AssertionError("not reached")
    with pytest.raises(ValueError, match="x"), new_file(final, overwrite=True):
        raise ValueError("x")
    assert final.read_text() == "1"
    with new_file(final, overwrite=True) as partial:
        partial.write_text("2")
    assert final.read_text() == "2"
    assert os.listdir(tmp_path / "a") == ["g.xml"]
    with pytest.raises(OutputError, match="is a folder"), new_file(tmp_path, overwrite=True):
        raise AssertionError("not reached")
