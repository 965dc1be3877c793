"""Naming tokens on the command line: with a blank and without, by id, whitespace, bytes, commas."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from circuit_tracer.batch.stored_run import open_run
from circuit_tracer.workbench.index_pages import run_pages
from tests.cli.conftest import Run, run_command
from tests.tiny import tiny_module
from tests.vocabularies import byte_level, sentencepiece

PROMPT = "Answer: yes 4ご\n4"
LAST = 9


def _saved(folder: Path, tokenizer: PreTrainedTokenizerFast) -> str:
    tiny_module("llama", n_words=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def in_bytes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny model with GPT-2's kind of vocabulary."""
    return _saved(tmp_path_factory.mktemp("bytes"), byte_level())


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny model with SentencePiece's kind of vocabulary."""
    return _saved(tmp_path_factory.mktemp("pieces"), sentencepiece())


@pytest.fixture(scope="module")
def graph(in_bytes: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A graph that explains both forms of a word, and a newline."""
    out = tmp_path_factory.mktemp("graphs")
    done = run_command(
        *("trace", PROMPT, "-m", in_bytes, "-o", str(out), "--slug", "both", "--no-trust"),
        *("--target", "yes", "--target", " yes", "--target", "\n", "--format", "json"),
    )
    assert done.code == 0, done.err
    return str(out / "both")


def traced(run: Run, model: str, *options: str) -> list[str]:
    """The tokens that a trace explains."""
    done = run(
        "trace", "Answer:", "-m", model, "--no-trust", "--format", "json", "--json", *options
    )
    assert done.code == 0, done.err
    return [target["token"] for target in json.loads(done.out)["targets"]]


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("yes", "yes"),
        (" yes", " yes"),
        ("␣yes", " yes"),
        ("banana", " banana"),
        ("\n", "\n"),
        ("↵", "\n"),
        (" ", " "),
        ("<0xF0><0x9F>", "<0xF0><0x9F>"),
    ],
)
def test_a_target_is_the_token_that_was_typed(
    text: str, token: str, in_bytes: str, run: Run
) -> None:
    assert traced(run, in_bytes, "--target", text) == [token]


def test_a_target_can_be_given_by_its_id(in_bytes: str, run: Run) -> None:
    number = byte_level().convert_tokens_to_ids("Ġyes")
    assert traced(run, in_bytes, "--target", f"id:{number}") == [" yes"]


@pytest.mark.parametrize("text", [" France", "France", "␣France"])
def test_a_word_with_its_mark_is_found_as_it_is_printed(
    text: str, in_pieces: str, run: Run
) -> None:
    assert traced(run, in_pieces, "--target", text) == [" France"]


@pytest.mark.parametrize(
    ("contrast", "text"),
    [
        ("yes,no", "yes - no"),
        (" yes, no", "␣yes - ␣no"),
        ("id:9,\\,", "id:9 - ,"),
        ("\n, ", "↵ - ␣"),
    ],
)
def test_a_contrast_is_of_the_tokens_that_were_typed(
    contrast: str, text: str, in_bytes: str, run: Run
) -> None:
    assert traced(run, in_bytes, "--contrast", contrast) == [text]


def test_tables_and_names_tell_both_forms_of_a_word_apart(graph: str, run: Run) -> None:
    table = run("show", graph).out
    for name in ("␣yes ", " yes ", "↵ "):
        assert name in table
    names = {one["target"] for one in json.loads(run("paths", graph, "--json").out)["all_routes"]}
    assert names == {f"logit:{name}@{LAST}" for name in ("yes", "␣yes", "↵")}


def test_of_two_forms_the_one_that_was_taken_is_said(in_bytes: str, run: Run) -> None:
    done = run(
        "trace", "Answer:", "-m", in_bytes, "--no-trust", "--target", "yes", "--format", "json"
    )
    assert '"yes" is the token without a leading blank; "␣yes" is another one' in done.err
    assert "␣yes" not in done.out


@pytest.mark.parametrize("name", ["yes", "4", "ご", "@3", "<0xE3>", "␣4", "↵", "id:0"])
def test_routes_start_at_every_name_of_a_token(name: str, graph: str, run: Run) -> None:
    done = run("paths", graph, "--from", name, "--to", "␣yes", "--json")
    assert done.code == 0, done.err
    assert [one["target"] for one in json.loads(done.out)["all_routes"]] == [f"logit:␣yes@{LAST}"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("paths", "--from", "2"), '--from "2" is no token of the prompt; for the position write'),
        (("qk", "--head", "0.0", "--query", "2", "--key", "@1"), '--query "2" is no token of the'),
        (("qk", "--head", "0.0", "--query", "@9", "--key", "ご"), "stands at positions @5, @6, @7"),
        (("heads", "--edge", "2", "yes"), '--edge "2" is no token of the prompt; for'),
        (("ablate", "--top", "1", "--target", "purple"), "choose from yes, ␣yes, ↵"),
        (("paths", "--to", "no"), "choose from yes, ␣yes, ↵"),
    ],
)
def test_numbers_and_characters_mean_the_same_everywhere(
    arguments: tuple[str, ...], says: str, graph: str, run: Run
) -> None:
    command, *rest = arguments
    done = run(command, graph, *rest)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_digit_is_the_token_for_paths_and_for_heads_alike(
    graph: str, in_bytes: str, run: Run
) -> None:
    tokens = json.loads(run("show", graph, "--json").out)["tokens"]
    at = tokens.index("4")
    done = run("heads", graph, "--edge", "4", "yes", "-m", in_bytes, "--json")
    assert json.loads(done.out)[0]["source"] == f"embedding@{at}"


@pytest.mark.parametrize("target", ["\n", " yes", "yes", "id:300"])
def test_targets_of_a_prompt_file_are_the_tokens_that_were_written(
    target: str, in_bytes: str, run: Run
) -> None:
    Path("x.jsonl").write_text(json.dumps({"prompt": "Answer:", "targets": [target]}))
    assert run("batch", "x.jsonl", "-m", in_bytes, "--name", "x").code == 0
    expected = traced(run, in_bytes, "--target", target)
    assert open_run(Path("outputs/x")).graphs.column("targets").to_pylist() == [expected]


def test_an_index_shows_answers_with_their_blanks_and_contrasts_as_they_are(
    in_bytes: str, run: Run
) -> None:
    lines = [{"targets": [" yes"]}, {"targets": ["a - b"]}, {"contrast": " yes,no"}]
    Path("x.jsonl").write_text("\n".join(json.dumps({"prompt": "Answer:"} | one) for one in lines))
    assert run("batch", "x.jsonl", "-m", in_bytes, "--name", "x").code == 0
    index = run_pages(open_run(Path("outputs/x"))).index
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', index, re.DOTALL)
    assert data is not None
    answers = [row["answer"] for row in json.loads(data[1])["rows"]]
    assert answers == ["␣yes", "a␣-␣b", "␣yes - no"]


def test_a_vocabulary_is_listed_one_token_a_line(in_bytes: str, run: Run) -> None:
    lines = run("models", "inspect", in_bytes, "--vocabulary").out.split("\n")[:-1]
    assert len(lines) == len(set(lines)) == len(byte_level())
