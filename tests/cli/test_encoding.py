"""What a command prints where stdout is not UTF-8: nothing becomes a "?", nothing fails."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from circuit_tracer.cli.main import main
from circuit_tracer.cli.streams import as_typed
from circuit_tracer.graphs import prune, save_graph
from tests.graphs.builders import random_graph

NARROW = ("ascii", "cp1252", "latin-1", "cp437", "koi8-r", "shift_jis", "euc-kr")


@pytest.fixture
def traced() -> Path:
    """A graph with accents, Chinese, markup and a newline among its tokens."""
    folder = Path("graph")
    folder.mkdir()
    save_graph(prune(random_graph(n_tokens=11)), folder)
    return folder


def printed(encoding: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, str]:
    """What a command writes to stdout and stderr of one encoding."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    with pytest.raises(SystemExit):
        main(list(arguments))
    out, err = (_content(one) for one in streams)
    return out.decode(encoding), err.decode(encoding)


def _content(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()


@pytest.mark.parametrize("encoding", [*NARROW, "utf-8", "utf-8-sig", "utf-16"])
def test_json_says_the_same_in_every_encoding(
    encoding: str, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = printed(encoding, monkeypatch, "show", str(traced), "--json")
    record = json.loads(out)
    assert record["tokens"][8:] == [" été", " 猫", " <b>"]
    assert out.isascii() is not encoding.startswith("utf")


@pytest.mark.parametrize("encoding", NARROW)
def test_tables_have_escapes_for_what_cannot_be_printed(
    encoding: str, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, _ = printed("utf-8", monkeypatch, "show", str(traced))
    out, _ = printed(encoding, monkeypatch, "show", str(traced))
    assert out.count("?") == wide.count("?")
    cat = "猫"
    try:
        cat.encode(encoding)
    except UnicodeEncodeError:
        cat = "\\u732b"
    assert cat in out


def test_errors_name_what_is_wrong_in_every_encoding(
    traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, err = printed("cp1252", monkeypatch, "paths", str(traced), "--from", "黄été")
    assert '"\\u9ec4été"' in err


def test_files_are_utf_8_whatever_stdout_is(traced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed("ascii", monkeypatch, "export", str(traced), "--out", "g.json")
    assert " 猫" in json.loads(Path("g.json").read_bytes())["metadata"]["prompt_tokens"]


def test_help_can_be_printed_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = printed("ascii", monkeypatch, "steer", "--help")
    assert "--feature" in out


def test_arguments_are_text_also_where_the_locale_is_ascii() -> None:
    typed = "été 猫"
    assert as_typed(typed.encode().decode("ascii", "surrogateescape")) == typed
    assert as_typed([typed, "a"]) == [typed, "a"]
    assert as_typed("\udce9 is no UTF-8") == "\udce9 is no UTF-8"
    assert as_typed(7) == 7
