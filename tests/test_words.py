"""The field's words: those the tool once had of its own stay out of code, help, docs, pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = (".py", ".js", ".css", ".html", ".md", ".toml", ".svg")
PLACES = ("circuit_tracer", "docs", "transcoders", "prompts", "benchmarks")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
OLD = {
    r"fore(told|tell\w*)": "predicted, predict",
    r"knock[- ]?ons?": "indirect effect",
    r"evened": "mean-ablated",
    r"deals?|dealt": "permutations, shuffled labels",
    r"anew|once more": "again, rerun, reopen",
    r"mend(s|ed|ing)?": "fix",
    r"passed over": "ignored",
    r"told": "given, specified, reported",
    r"held(?![- ]?out)": "frozen, kept, stored, compared",
    r"behind|in front of": "after, before, downstream, upstream",
}
"""Old word -> what to say instead (the table is in CONTRIBUTING.md)."""
STORED = {
    "circuit_tracer/cli/ablate.py": {"held"},
    "circuit_tracer/experiments/dissociation/step_results.py": {"deals"},
    "circuit_tracer/experiments/dissociation/steps/ablation.py": {"deal"},
    "circuit_tracer/experiments/dissociation/study.py": {"deals"},
    "circuit_tracer/experiments/trust/report/page_record.py": {"held", "knock on"},
    "circuit_tracer/experiments/trust/results.py": {"held", "knock on"},
    "circuit_tracer/experiments/trust/results_file.py": {"knock-on"},
    "CHANGELOG.md": {"held"},
    "CONTRIBUTING.md": {"foretold", "knock-on", "held", "in front of", "behind", "told"}
    | {"passed over"},
    "benchmarks/steering.py": {"told"},
    "benchmarks/steering.md": {"told"},
}
"""Files that read or write what earlier versions stored, or quote a text, and its words."""
_WORDS = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in OLD), re.IGNORECASE)


def old_words(text: str) -> list[str]:
    """Old words of a text, also as parts of names: `knock_on`, `KnockOn`."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", text)
    return [found.group().lower() for found in _WORDS.finditer(parts)]


def files() -> list[Path]:
    inside = [path for place in PLACES for path in (ROOT / place).rglob("*")]
    return [
        *(path for path in inside if path.suffix in SUFFIXES and "__pycache__" not in path.parts),
        *(ROOT / page for page in PAGES),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("effects foretold by the graph", ["foretold"]),
        ("class KnockOn: knock_on_effects = 1", ["knock on", "knock on"]),
        ("held_out, held-out and held out text", []),
        ("what is behind_it is told", ["behind", "told"]),
        ("an amendment of a model deal", ["deal"]),
    ],
)
def test_old_words_are_found(text: str, words: list[str]) -> None:
    assert old_words(text) == words


def test_no_old_word_is_left() -> None:
    left = [
        f"{path.relative_to(ROOT)}:{number}: {word}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for word in old_words(line)
        if word not in STORED.get(path.relative_to(ROOT).as_posix(), ())
    ]
    assert left == []


def test_every_exception_is_needed() -> None:
    for name, words in STORED.items():
        assert words <= set(old_words((ROOT / name).read_text(encoding="utf-8"))), name
