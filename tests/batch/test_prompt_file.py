"""Prompt files: every format, and every kind of bad line with its number."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from circuit_tracer.batch.prompt_file import (
    PromptFile,
    PromptLine,
    parse_prompts,
    read_prompts,
    read_roles,
)
from circuit_tracer.errors import UsageError

RECORDS: list[dict[str, Any]] = [
    {
        "id": "one",
        "prompt": "a banana is",
        "targets": ["yellow", "red"],
        "roles": {"object": "banana", "verdict": 3},
        "tags": ["fact", "colour"],
        "answer": "ignored",
    },
    {"id": "two", "prompt": 'is a "banana", yellow ?', "contrast": "yes,no"},
    {"prompt": "the sky\nis"},
]
LINES = (
    PromptLine(
        line=1,
        prompt="a banana is",
        name="one",
        targets=("yellow", "red"),
        roles=(("object", "banana"), ("verdict", 3)),
        tags=("fact", "colour"),
    ),
    PromptLine(line=2, prompt='is a "banana", yellow ?', name="two", contrast="yes,no"),
    PromptLine(line=3, prompt="the sky\nis"),
)


def _same(found: PromptFile, lines: tuple[int, ...]) -> None:
    assert found.bad == ()
    assert [one.line for one in found.prompts] == list(lines)
    for one, line in zip(found.prompts, LINES, strict=True):
        assert one.__dict__ | {"line": 0} == line.__dict__ | {"line": 0}


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("\ufeff" + "\r\n\n".join(json.dumps(r) for r in RECORDS), encoding="utf-8")
    _same(read_prompts(path), (1, 3, 5))


def test_csv_with_quoted_line_ends_and_lists_of_either_form(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        "id,prompt,targets,contrast,roles,tags,answer\r\n"
        'one,a banana is,yellow|red,,"{""object"": ""banana"", ""verdict"": 3}",'
        '"[""fact"", ""colour""]",x\r\n'
        'two,"is a ""banana"", yellow ?",,"yes,no",,,\r\n'
        ',"the sky\nis",,,,,\r\n',
        encoding="utf-8",
        newline="",
    )
    _same(read_prompts(path), (2, 3, 5))


def test_parquet_with_roles_as_a_struct(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    rows = [{k: v for k, v in r.items() if k != "roles"} for r in RECORDS]
    table = pa.Table.from_pylist([{**rows[0], "contrast": None}, *rows[1:]])
    roles = pa.array([json.dumps(r.get("roles")) for r in RECORDS])
    assert "targets" in table.column_names
    pq.write_table(table.append_column("not_roles", roles), path)
    found = read_prompts(path)
    assert [one.prompt for one in found.prompts] == [one.prompt for one in LINES]
    assert [one.targets for one in found.prompts] == [one.targets for one in LINES]
    struct = pa.Table.from_pylist([{"prompt": "a", "roles": {"x": 1}}, {"prompt": "b"}])
    pq.write_table(struct, path)
    assert [one.roles for one in read_prompts(path).prompts] == [(("x", 1),), ()]


def test_plain_text_passes_over_empty_lines_and_keeps_numbers() -> None:
    found = parse_prompts(b"a banana is\n\n  \nthe sky is\n", "txt")
    assert [(one.line, one.prompt) for one in found.prompts] == [
        (1, "a banana is"),
        (4, "the sky is"),
    ]


def test_stdin_is_taken_for_what_it_begins_like() -> None:
    assert parse_prompts(b'{"prompt": "x"}\n', None).prompts[0].prompt == "x"
    assert parse_prompts(b"x y\n{z}\n", None).prompts[1].prompt == "{z}"


BAD = {
    b"{": "is no JSON",
    b"[1]": "is no object",
    b"{}": "has no prompt",
    b'{"prompt": 3}': 'something other than text as "prompt"',
    b'{"prompt": " "}': 'has an empty "prompt"',
    b'{"prompt": "\\ud800"}': "half a character",
    b"\xff\xfe": "is not UTF-8",
    b'{"prompt": "x", "targets": 3}': 'has "targets" that are no list',
    b'{"prompt": "x", "targets": [3]}': 'something other than text as "targets"',
    b'{"prompt": "x", "targets": ["a"], "contrast": "a,b"}': "both targets and contrast",
    b'{"prompt": "x", "roles": {"a": 1.5}}': "has roles that are none",
    b'{"prompt": "x", "roles": {"a": true}}': "has roles that are none",
    b'{"prompt": "x", "tags": {"a": 1}}': 'has "tags" that are no list',
    b'{"prompt": "x", "id": "a\\u0007"}': "has an id that is none",
    b'{"prompt": "x", "id": "known"}': 'has the id "known" of line 1 again',
    b"[" * 100_000: "is no JSON",
    b'{"prompt": "x", "prompt": "y"}': "has 'prompt' twice",
    b'{"prompt": "x", "roles": {"a": 1, "a": 2}}': "has 'a' twice",
    b'{"\\ud800": 1, "\\ud800": 2}': "twice",
    b'{"prompt": NaN}': 'something other than text as "prompt"',
    b'{"prompt": "x\\u0000"}': 'has a null byte in "prompt"',
    b'{"prompt": "x", "id": ' + b"9" * 30 + b"}": 'something other than text as "id"',
    b'{"prompt": "x", "id": ' + b"9" * 5000 + b"}": "too long a number",
    b'{"prompt": "x", "roles": {"a": ' + b"9" * 30 + b"}}": "has roles that are none",
}


@pytest.mark.parametrize("line", BAD, ids=lambda line: str(BAD[line]))
def test_a_bad_line_is_reported_with_its_number_and_the_others_stay(line: bytes) -> None:
    content = b'{"prompt": "a", "id": "known"}\n' + line + b'\n{"prompt": "b"}\n'
    found = parse_prompts(content, "jsonl", "p.jsonl")
    assert [one.prompt for one in found.prompts] == ["a", "b"]
    (bad,) = found.bad
    assert bad.line == 2
    assert bad.message.startswith("line 2 of p.jsonl ")
    assert BAD[line] in bad.message


def test_bad_rows_of_csv_and_parquet(tmp_path: Path) -> None:
    found = parse_prompts(b'prompt,id\na,1\nb,2,3\n"c"d,4\ne,5\n', "csv")
    assert [one.prompt for one in found.prompts] == ["a", "e"]
    assert [bad.line for bad in found.bad] == [3, 4]
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"prompt": ["a", None, "b"]}), path)
    assert [bad.line for bad in read_prompts(path).bad] == [2]
    assert len(parse_prompts(path.read_bytes(), None).prompts) == 2  # from stdin
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(UsageError, match='no column prompt; its columns are "text"'):
        read_prompts(path)
    pq.write_table(pa.table({"prompt": [1]}), path)
    with pytest.raises(UsageError, match="write it as text"):
        read_prompts(path)


def _parsed(
    content: bytes, format: Literal["txt", "csv"] = "csv"
) -> tuple[list[str], dict[int, str]]:
    """The prompts, and the message of each bad line."""
    found = parse_prompts(content, format, "p.csv")
    for bad in found.bad:
        assert bad.message.startswith(f"line {bad.line} of p.csv ")
    return [one.prompt for one in found.prompts], {bad.line: bad.message for bad in found.bad}


def test_a_quote_that_is_never_closed_loses_no_line_without_a_word() -> None:
    prompts, messages = _parsed(b'prompt,id\na,1\n\n"b is,2\nc,3\n\nd,4\n')
    assert prompts == ["a"]
    assert list(messages) == [4, 5, 7]
    assert "a quote that is never closed" in messages[4]
    assert "inside the quote that line 4 opens" in messages[5]
    prompts, messages = _parsed(b'prompt,id\na,1\n"b is,2\nc,3\n"d",4\ne,5\n')
    assert prompts == ["a", "e"]
    assert list(messages) == [3, 4, 5]
    assert "goes on after a closing quote" in messages[3]


def test_a_quote_that_is_never_closed_in_a_long_file() -> None:
    rows = b"".join(b"prompt number %d,%d\n" % (n, n) for n in range(20_000))
    assert len(rows) > 2 * csv.field_size_limit()
    before = csv.field_size_limit()
    prompts, messages = _parsed(b'prompt,id\na,1\n"b is,2\n' + rows)
    assert prompts == ["a"]
    assert len(messages) == 20_001
    assert csv.field_size_limit() == before


def test_csv_as_spreadsheets_write_it() -> None:
    long = "a " * 200_000
    content = f"\ufeffprompt,id\r\ncaf\u00e9,1\r\n{long},2\r\na\ufffdb,3\r\n,,\r\n,\r\n"
    assert _parsed(content.encode()) == (["café", long, "a\ufffdb"], {})
    prompts, messages = _parsed("prompt,note\ncafé,x\nb,é\nc,x\n".encode("latin-1"))
    assert prompts == ["c"]
    assert list(messages) == [2, 3]
    assert "is not UTF-8" in messages[2]


def test_blank_lines_of_any_width_are_ignored() -> None:
    assert _parsed("\u00a0\n \t\nx\n".encode(), "txt") == (["x"], {})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.doc", b"x", "does not follow from its name"),
        ("p.txt", b" \n", "holds no prompt"),
        ("p.jsonl", b"{\n", "line 1 of"),
        ("p.csv", b"text;id\na\n", 'no column prompt; its columns are "text;id"'),
        ("p.csv", b"", "is empty"),
        ("p.csv", b"prompt\n", "holds no prompt"),
        ("p.csv", b"prompt,id,prompt\na,b,c\n", "two columns prompt"),
        ("p.csv", b'"prompt,id\na,1\n', "the first line of .* is no CSV"),
        ("p.csv", "prompt\na\n".encode("utf-16"), "text in UTF-16"),
        ("p.txt", "a\n".encode("utf-16"), "text in UTF-16"),
        ("p.jsonl", b'[\n{"prompt": "a"},\n{"prompt": "b"}\n]\n', "one JSON list"),
        ("p.jsonl", b"", "holds no prompt"),
        ("p.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_files_that_cannot_be_read_at_all(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_prompts(tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")


def test_the_files_that_ship_are_prompt_files() -> None:
    folder = Path(__file__).resolve().parents[2] / "prompts"
    for file in folder.glob("*.jsonl"):
        assert read_prompts(file).bad == ()


def test_roles_by_prompt(tmp_path: Path) -> None:
    path = tmp_path / "roles.jsonl"
    lines = ['{"prompt": "a banana is", "roles": {"verb": "is", "first": 1}}']
    lines += ["", '{"prompt": "is banana a", "id": 3, "roles": {"verb": 1, "last": "a"}}']
    path.write_text("\n".join([*lines, '{"prompt": "without"}']))
    assert read_roles(path) == {
        "a banana is": {"verb": "is", "first": 1},
        "is banana a": {"verb": 1, "last": "a"},
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "line 1 of .* is no JSON"),
        ('{"prompt": "y", "roles": {"a": 1}}\n{', "line 2 of .* is no JSON"),
        ('{"prompt": 1}', 'line 1 of .* something other than text as "prompt"'),
        ('{"prompt": "x"}', "gives no roles"),
        ('{"prompt": "x", "roles": {"a": 1.5}}', "line 1 of .* has roles that are none"),
        ('{"prompt": "x", "roles": [1]}', "line 1 of .* has roles that are none"),
        ("", "holds no prompt"),
    ],
)
def test_a_wrong_roles_file_is_explained(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "roles.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=says):
        read_roles(path)


def test_a_field_that_is_nearly_one_is_noted_once(caplog: pytest.LogCaptureFixture) -> None:
    lines = b'{"prompt": "a", "target": ["b"], "answer": "b"}\n' * 2
    with caplog.at_level("INFO", "circuit_tracer"):
        assert len(parse_prompts(lines, "jsonl").prompts) == 2
    assert caplog.messages == ['line 1 of stdin: "target" is ignored; is it "targets"?']
