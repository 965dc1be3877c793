"""A folder or file appears whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from circuit_tracer.errors import OutputError
from circuit_tracer.graphs.files.atomic import bring_back, new_file, new_folder


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
    with pytest.raises(OutputError, match="`overwrite`"), new_folder(final):
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
    with pytest.raises(OutputError, match="`overwrite`"), new_folder(tmp_path / "t"):
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
    with pytest.raises(OutputError, match="cannot write"), new_folder("/proc/1/x"):
        raise AssertionError("not reached")


def test_new_file(tmp_path: Path) -> None:
    final = tmp_path / "a" / "g.xml"
    with new_file(final) as partial:
        partial.write_text("1")
        assert partial.suffix == ".xml"
    assert final.read_text() == "1"
    with pytest.raises(OutputError, match="`overwrite`"), new_file(final):
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


def test_overwriting_keeps_what_the_user_put_there(tmp_path: Path) -> None:
    final = earlier(tmp_path / "t")
    (final / "graph.svg").write_text("old figure")
    (final / "notes.txt").write_text("mine")
    (final / "papers").mkdir()
    (final / "papers" / "paper.pdf").write_text("years of work")
    ours = ("trace.json", "graph.svg")
    with new_folder(final, overwrite=True, ours=ours) as partial:
        (partial / "trace.json").write_text("new")
    assert sorted(os.listdir(final)) == ["notes.txt", "papers", "trace.json"]
    assert (final / "trace.json").read_text() == "new"
    assert (final / "papers" / "paper.pdf").read_text() == "years of work"
    assert os.listdir(tmp_path) == ["t"]
    with new_folder(final, overwrite=True) as partial:
        (partial / "trace.json").write_text("newer")
    assert os.listdir(final) == ["trace.json"]


def test_a_swap_that_fails_puts_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = earlier(tmp_path / "t")
    (final / "notes.txt").write_text("mine")
    whole = os.replace

    def replace_but_not_the_new(source: Path, target: Path) -> None:
        if str(source).endswith(".ready") and target == final:
            raise OSError(28, "No space left on device")
        whole(source, target)

    def attempt() -> None:
        with new_folder(final, overwrite=True, ours=["trace.json"]) as partial:
            (partial / "trace.json").write_text("new")
            monkeypatch.setattr(os, "replace", replace_but_not_the_new)

    with pytest.raises(OutputError, match="disk is full"):
        attempt()
    assert sorted(os.listdir(final)) == ["notes.txt", "trace.json"]
    assert (final / "trace.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["t"]


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_what_a_process_killed_between_two_renames_left_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    final = earlier(tmp_path / "t")
    (final / "notes.txt").write_text("mine")
    done, rename = [], os.rename

    def rename_until_killed(source: Path, target: Path) -> None:
        if len(done) == renames:
            raise KeyboardInterrupt  # and so does what would put things back
        done.append(rename(source, target))

    def killed() -> None:
        with new_folder(final, overwrite=True, ours=["trace.json"]) as partial:
            (partial / "trace.json").write_text("new")
            monkeypatch.setattr(os, "replace", rename_until_killed)
            monkeypatch.setattr(os, "rename", rename_until_killed)

    with pytest.raises(KeyboardInterrupt):
        killed()
    monkeypatch.undo()
    assert final.exists() == (renames == 1)
    bring_back(final, ours=["trace.json"])
    assert (final / "trace.json").read_text() == ("old" if renames == 1 else "new")
    assert (final / "notes.txt").read_text() == "mine"
    assert renames == 1 or os.listdir(tmp_path) == ["t"]


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(OutputError, match="no regular file"), new_file(place, overwrite=True):
            raise AssertionError("not reached")
    assert (tmp_path / "pipe").is_fifo()


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for new in (new_file, new_folder):
        for place in (tmp_path / "a", tmp_path / "a" / "x"):
            with pytest.raises(OutputError, match="circle"), new(place, overwrite=True):
                raise AssertionError("not reached")


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    names = [".t.0123abcd.partial", ".t.0123abce.partial", ".t2.0123abcd.partial", ".t.x.partial"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
        if name != names[1]:
            os.utime(tmp_path / name, (0, time.time() - 90_000))
    with new_folder(tmp_path / "t") as partial:
        (partial / "x").write_text("1")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "t"])
