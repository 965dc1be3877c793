"""Labels from files: three forms, and what is wrong with them in one sentence."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.files import label_file
from circuit_tracer.graphs.files.label_file import check_known, read_labels

NEURONPEDIA = [
    {
        "modelId": "gemma-2-2b",
        "layer": "3-clt-hp",
        "index": "117",
        "description": " colours of\nfruit ",
        "typeName": "oai_token-act-pair",
    },
    {"modelId": "gemma-2-2b", "layer": "0-clt-hp", "index": "5", "description": 'a "quote", é'},
]
WANTED = {(3, 117): "colours of fruit", (0, 5): 'a "quote", é'}
LINES = "\n".join(json.dumps(entry) for entry in NEURONPEDIA)
FORMS = {
    "labels.csv": 'feature,layer,label\r\n117,3, colours of fruit \r\n5,0,"a ""quote"", é"\r\n',
    "labels.jsonl": '{"layer": 3, "feature": 117, "label": "colours of fruit"}\n\n'
    '{"layer": 0, "feature": 5, "label": "a \\"quote\\", \\u00e9"}\n',
    "export.jsonl": LINES,
    "export.json": json.dumps(NEURONPEDIA),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_all_forms_give_the_same_labels(tmp_path: Path, name: str, packed: bool) -> None:
    content = FORMS[name].encode("utf-8-sig")
    path = tmp_path / (name + ".gz" * packed)
    # two members, as concatenated downloads are
    halves = gzip.compress(content[:40]) + gzip.compress(content[40:])
    path.write_bytes(halves if packed else content)
    assert read_labels(path) == WANTED


def test_the_first_of_two_labels_stays_and_a_note_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("layer,feature,label\n0,1,first\n0,1,second\n")
    with caplog.at_level(logging.INFO, "circuit_tracer"):
        assert read_labels(path) == {(0, 1): "first"}
    assert "L0/1 is named more than once; the first label is taken" in caplog.text


def test_unknown_features_are_noted_and_refused_where_there_are_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = {(0, 1): "a", (9, 1): "b", (9, 2): "c"}
    with caplog.at_level(logging.INFO, "circuit_tracer"):
        check_known(labels, lambda layer, _: layer < 3, "the set")
    assert "2 features are not in the set and ignored (L9/1, ...)" in caplog.text
    with pytest.raises(UsageError, match="no feature that `labels` names is one of the set"):
        check_known(labels, lambda layer, _: layer > 9, "the set")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"layer,label\n1,x\n", "entry 1 of a.csv has no feature or index"),
        ("a.csv", b"layer,feature,label\n1,-2,x\n", "feature '-2'"),
        ("a.csv", b"layer,feature,label\n1,1.5,x\n", "feature '1.5'"),
        ("a.csv", b"", "holds no labels"),
        ("a.csv", b"layer,feature,label\n1,2," + b"x" * 200_000, "field larger than"),
        ("a.jsonl", b"[" * 100_000, "nested too deep"),
        ("a.csv", b"\xff\xfe\xfd", "no text in UTF-8"),
        ("a.jsonl", b'{"layer": 1, "feature": 2, "label": 3}', "label '3'"),
        ("a.jsonl", b'{"layer": 1, "feature": 2, "label": "x"}\n{', "line 2 of a.jsonl"),
        ("a.jsonl", b"7", "entry 1 of a.jsonl is no object"),
        ("a.json", b"[1", "cannot be read as JSON"),
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9], "ended before"),
        ("a.jsonl.gz", b"\x1f\x8bnothing", "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words.replace("(", r"\(")) as error:
        read_labels(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_bomb_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="is missing"):
        read_labels(tmp_path / "none.csv")
    monkeypatch.setattr(label_file, "MOST_BYTES", 1000)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b" " * 5000))
    with pytest.raises(UsageError, match="too large"):
        read_labels(tmp_path / "bomb.csv.gz")
