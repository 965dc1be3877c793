"""A wrong command line is answered with one sentence on stderr and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trace",), "PROMPT is missing; write circuit-tracer trace PROMPT"),
        (("runs", "show"), "RUN is missing; write circuit-tracer runs show RUN"),
        (("transcoders", "train", "x"), "write circuit-tracer transcoders train TEXT --out OUT"),
        (("trace", "x", "--node-treshold", "1"), "did you mean --node-threshold?"),
        (("trace", "x", "--node_threshold=1"), "did you mean --node-threshold?"),
        (("trace", "x", "--desired"), "did you mean --desired-logit-prob?"),
        (("show", "x", "-json"), "has no option -json; did you mean --json?"),
        (("runs", "show", "x", "--tagg"), "circuit-tracer runs show has no option --tagg; did you"),
        (("trace", "x", "-Z"), "circuit-tracer trace --help lists those it has"),
        (
            ("trace", "x", "--install-completion"),
            "write circuit-tracer --install-completion trace ...",
        ),
        (
            ("runs", "show", "x", "--install-completion"),
            "write circuit-tracer --install-completion runs show ...",
        ),
        (("-q", "-v", "doctor"), "--quiet and --verbose exclude each other"),
        (("models", "list", "-v", "-q"), "--quiet and --verbose exclude each other"),
        (("--model", "x", "trace", "y"), "write circuit-tracer COMMAND --model ..."),
        (("trace", "-5 is less than"), "write -- before"),
        (("trcae", "x"), 'no command "trcae"; did you mean circuit-tracer trace?'),
        (("transcoders", "inspekt"), "did you mean circuit-tracer transcoders inspect?"),
        (("validate", "x"), "did you mean circuit-tracer transcoders validate?"),
        (("models", "xyz"), "choose one of list, inspect"),
        (("a banana is",), "write circuit-tracer trace 'a banana is'"),
        (("--debug",), "circuit-tracer --help lists them"),
        (("trace", "a", "banana"), "takes only PROMPT; put quotes round"),
        (("doctor", "x"), "takes no arguments"),
        (("trace", "x", "--slug"), "--slug needs a value after it (Name of that folder"),
        (("trace", "x", "--json=1"), "--json takes no value"),
        (("trace", "x", "--no-trust=1"), "--no-trust takes no value"),
        (("trace", "x", "--threads", "y"), 'whole number of at least 1, not "y"'),
        (("render", "x", "--top-n", "0"), "--max-nodes/--top-n must be a whole number of at least"),
        (("view", "x", "--port", "99999"), "of at least 0 and at most 65535"),
        (("paths", "x", "-k", "0"), "--top must be a whole number of at least 1"),
        (("heads", "x", "--route", "0"), "--route must be a whole number of at least 1"),
        (("compare", "x", "y", "--seed", "-1"), "--seed must be a whole number of at least 0"),
        (("runs", "show", "x", "--seed", "-1"), "--seed must be a whole number of at least 0"),
        (("transcoders", "evaluate", "x", "y", "--row-length", "0"), "of at least 2"),
        (("trace", "x", "--edge-threshold", "much"), '--edge-threshold must be a number, not "m'),
    ],
)
def test_the_sentence_says_what_is_wrong_and_what_to_do(
    arguments: tuple[str, ...], said: str, run: Run
) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_wrong_value_is_told_by_where_it_was_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("circuit-tracer.toml").write_text('[trace]\nmax-nodes = "many"')
    assert '"max_nodes" in circuit-tracer.toml must be a whole number' in run("trace", "x").err
    monkeypatch.setenv("CIRCUIT_TRACER_MAX_NODES", "few")
    assert "variable CIRCUIT_TRACER_MAX_NODES must be a whole number of" in run("trace", "x").err
    monkeypatch.setenv("CIRCUIT_TRACER_MAX_NODES", "5")
    monkeypatch.setenv("CIRCUIT_TRACER_OVERWRITE", "perhaps")
    assert "CIRCUIT_TRACER_OVERWRITE must be true or false" in run("trace", "x").err
    monkeypatch.setenv("CIRCUIT_TRACER_DEBUG", "perhaps")
    assert "CIRCUIT_TRACER_DEBUG must be true or false" in run("trace", "x").err


@pytest.mark.parametrize("group", [(), ("runs",), ("transcoders",)])
def test_no_command_at_all_is_answered_with_the_help(group: tuple[str, ...], run: Run) -> None:
    outcome = run(*group)
    assert outcome.code == 2
    assert "Usage: " + " ".join(("circuit-tracer", *group)) in outcome.out + outcome.err
    assert "error" not in outcome.err
