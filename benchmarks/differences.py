"""How two folders of outputs differ: in files, keys, numbers, rounding, words, or drawing alone.

JSON and Parquet are compared value by value, text (Markdown, CSV, what was printed) by its numbers
in their order and by the words between them, a figure by its texts and hints and then by where
everything stands, a viewer page by the data that it carries. Times, versions and places are left
out (`VOLATILE`). Numbers as close as another order of summation makes them, and numbers printed
with more or fewer digits, are `rounding`. Changes
of one kind (the same file, the same place in it, the same change) are counted together.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pyarrow.parquet as pq

VOLATILE = {
    "create_time_ms",
    "seconds",
    "sweeping",
    "versions",
    "version",
    "generator",
    "source",
    "place",
    "path",
    "folder",
    "files",
}
TEXTS = {".md", ".txt", ".csv", ".tex", ".toml", ".dot", ".graphml", ".gexf", ".jsonl"}
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
DURATION = re.compile(
    r"\b\d[\d.,]* (?:s|min|h|ms|seconds|minutes|graphs a second)\b|\d{4}-\d\d-\d\dT[\d:.+]+"
)
DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)
HINT = re.compile(r"<title>([^<]*)</title>")
TAG = re.compile(r"<[^>]*>")
ROUNDING = 1e-4
"""Relative difference (or absolute, of numbers below 1) of two numbers that are the same figure."""
Kind = Literal["files", "keys", "numbers", "rounding", "words", "drawing"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WRONG = ("files", "keys", "numbers")
"""The kinds that a change of words must not bring."""


class Change(NamedTuple):
    """One place of one file in which two outputs differ."""

    kind: Kind
    place: str
    """A key of JSON, a column, or the line without its numbers."""
    before: str
    after: str


@dataclass
class Difference:
    """All changes of one kind."""

    kind: Kind
    file: str
    """The file's path with its numbers left out."""
    place: str
    example: str
    """One of them: what was before, what is now, and in which file."""
    count: int = 1


def differences(first: Path, second: Path) -> list[Difference]:
    """What differs between two folders, one entry a kind of change."""
    names = {
        p.relative_to(root) for root in (first, second) for p in root.rglob("*") if p.is_file()
    }
    found: dict[tuple[str, ...], Difference] = {}
    for name in sorted(names):
        for change in _changes(first / name, second / name):
            file = re.sub(r"\d+-[a-z]+|part-\w+", "*", str(name))
            shown = f"{change.before} → {change.after}" if change.before + change.after else ""
            key: tuple[str, ...] = (change.kind, file, change.place)
            if change.kind == "words":  # of words every new pair is news, of numbers the place
                key = (*key, NUMBER.sub("0", shown))
            if key in found:
                found[key].count += 1
            else:
                found[key] = Difference(change.kind, file, change.place, f"{shown} ({name})")
    return list(found.values())


def report(found: list[Difference], *, words: bool) -> str:
    """Differences of numbers and files, and, if asked for, of words, with a count of each."""
    lines = []
    for kind in KINDS:
        of_kind = [one for one in found if one.kind == kind]
        total = sum(one.count for one in of_kind)
        lines.append(f"{kind}: {total:,} differences of {len(of_kind):,} kinds")
        if kind in WRONG or words:
            lines += [
                f"  {one.count:6,} x {one.file}: {one.place}: {one.example}" for one in of_kind
            ]
    return "\n".join(lines)


def _changes(before: Path, after: Path) -> Iterator[Change]:
    if not (before.exists() and after.exists()):
        yield Change("files", "only " + ("before" if before.exists() else "after"), "", "")
    elif before.read_bytes() != after.read_bytes():
        if before.suffix == ".svg":
            yield from _in_figure(_text(before), _text(after))
        elif before.suffix in TEXTS:
            yield from _in_text(_text(before), _text(after))
        elif (values := _values(before)) is not None:
            yield from _in_values(values, _values(after), "")
        else:
            yield Change("files", "bytes differ", "", "")


def _values(path: Path) -> Any:
    """What a file of data holds; None of a file of another sort."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        order = [(n, "ascending") for n in ("id", "line", "attempt") if n in table.column_names]
        return (table.sort_by(order) if order else table).to_pydict()
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".html" and (data := DATA.search(path.read_text(encoding="utf-8"))):
        return json.loads(data[1])
    return None


def _in_values(before: Any, after: Any, place: str) -> Iterator[Change]:
    """Differences of two values, one by one; lists by position."""
    if isinstance(before, str) and before[:1] == "{" and isinstance(after, str):
        with_json = [_parsed(before), _parsed(after)]
        if all(isinstance(value, dict) for value in with_json):
            before, after = with_json
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted((before.keys() | after.keys()) - VOLATILE):
            if key in before and key in after:
                yield from _in_values(before[key], after[key], f"{place}.{_generic(key)}")
            else:
                there = f"only {'before' if key in before else 'after'}"
                yield Change("keys", f"{place}.{_generic(key)}", there, "")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from _in_values(one, other, f"{place}[]")
    elif isinstance(before, str) and isinstance(after, str):
        yield from (change._replace(place=place) for change in _in_text(before, after))
    elif before != after and not (before != before and after != after):
        yield Change(_of_numbers(before, after), place, f"{before!r:.100}", f"{after!r:.100}")


def _of_numbers(before: Any, after: Any) -> Kind:
    """Whether two values that differ are one figure, rounded otherwise."""
    try:
        far = abs(before - after) > ROUNDING * max(1.0, abs(before), abs(after))
    except TypeError:
        return "numbers"
    return "numbers" if far else "rounding"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _generic(key: str) -> str:
    """A key without the number or the name that makes it one of many."""
    return NUMBER.sub("0", key)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _in_figure(before: str, after: str) -> Iterator[Change]:
    """Differences of two figures: of the numbers in their hints, of texts, of lines alone.

    The hints carry what was measured; texts may be ticks, which belong to the drawing.
    """
    hints = [Counter(HINT.findall(figure)) for figure in (before, after)]
    for one, other in _unlike(*hints):
        yield Change(_of_lines(one, other), "hint", *_shortened(one, other))
    texts = [
        Counter(TAG.sub("\n", HINT.sub("", figure)).splitlines()) for figure in (before, after)
    ]
    for one, other in _unlike(*texts):
        words = NUMBER.findall(one) == NUMBER.findall(other)
        yield Change("words" if words else "drawing", "text", *_shortened(one, other))
    if hints[0] == hints[1] and texts[0] == texts[1]:
        yield Change("drawing", "lines", "", "")


def _unlike(before: Counter[str], after: Counter[str]) -> Iterator[tuple[str, str]]:
    """What only one of two figures has: pairs with the same numbers, then all else at once."""
    by_numbers: dict[tuple[str, ...], list[str]] = {}
    for text in sorted((after - before).elements()):
        by_numbers.setdefault(tuple(NUMBER.findall(text)), []).append(text)
    gone = []
    for text in sorted((before - after).elements()):
        twins = by_numbers.get(tuple(NUMBER.findall(text)))
        if twins:
            yield text, twins.pop(0)
        else:
            gone.append(text)
    new = [text for texts in by_numbers.values() for text in texts]
    if gone or new:
        yield " | ".join(gone), " | ".join(new)


def _in_text(before: str, after: str) -> Iterator[Change]:
    """Differences of two texts, by line: of numbers where the numbers differ, else of words."""
    old, new = (DURATION.sub("(time)", text.replace("−", "-")) for text in (before, after))
    old_lines, new_lines = old.splitlines(), new.splitlines()
    matcher = difflib.SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    same_numbers = NUMBER.findall(old) == NUMBER.findall(new)  # then lines are broken otherwise
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag != "equal":
            one, other = " ".join(old_lines[i:j]), " ".join(new_lines[k:m])
            kind = "words" if same_numbers else _of_lines(one, other)
            place = "" if kind == "words" else NUMBER.sub("0", one)[:80]
            yield Change(kind, place, *_shortened(one, other))


def _of_lines(one: str, other: str) -> Kind:
    """Whether two texts differ in their numbers, in how these are rounded, or in words alone."""
    numbers, others = NUMBER.findall(one), NUMBER.findall(other)
    if numbers == others:
        return "words"
    same = len(numbers) == len(others) and all(map(_prints_the_same, numbers, others))
    return "rounding" if same else "numbers"


def _prints_the_same(one: str, other: str) -> bool:
    """Whether two printed numbers may be one figure, given with the same or with fewer digits."""
    before, after = (float(text.replace(",", "")) for text in (one, other))
    coarser = max(_last_digit(one), _last_digit(other))
    return abs(before - after) <= 0.501 * coarser or _of_numbers(before, after) == "rounding"


def _last_digit(number: str) -> float:
    """What its last printed digit counts: 0.01 of 0.25, 1e-7 of 3.1e-6."""
    mantissa, _, exponent = number.partition("e")
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def _shortened(one: str, other: str, around: int = 25, longest: int = 160) -> tuple[str, str]:
    """The part in which two lines differ, with some letters around it."""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    cut = [text[max(0, start - around) : len(text) - max(0, end - around)] for text in (one, other)]
    return cut[0][:longest], cut[1][:longest]
