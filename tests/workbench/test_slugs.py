"""Names of folders and exchanged graphs: readable, safe, and never shared by two prompts."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.graphs import load_graph, prune
from circuit_tracer.workbench.folders import write_trace
from circuit_tracer.workbench.slugs import (
    MOST_BYTES,
    ascii_name,
    check_slug,
    folder_for,
    slug_of,
)
from tests.graphs.builders import random_graph
from tests.graphs.compare import assert_same_pruned

SLUGS = {
    "a banana is": "a-banana-is",
    "Is a banana yellow?": "is-a-banana-yellow",
    "x" * 70: "x" * 60,
    "バナナは黄色い": "バナナは黄色い",
    "香蕉是黄色的。": "香蕉是黄色的",
    "바나나는 노랗다": "바나나는-노랗다",
    "กล้วยมีสีเหลือง": "กล้วยมีสีเหลือง",
    "केला पीला है": "केला-पीला-है",
    "البنانا صفراء؟": "البنانا-صفراء",
    "Café!": "café",
    "Cafe\u0301": "café",
    "Caf!": "caf",
    "STRASSE und Straße": "strasse-und-straße",
    "soft\u00adhyphen": "softhyphen",
    "../../etc/passwd": "etc-passwd",
}
NAMELESS = ("🍌", "🍎", "❤️", "?!", "\u0301", "...", "/", "con", "NUL", "com1")
"""Without a word, or a word that cannot name a file everywhere: told apart by a hash."""


@pytest.mark.parametrize(("prompt", "slug"), SLUGS.items())
def test_slugs_keep_the_words_of_every_script(prompt: str, slug: str) -> None:
    assert slug_of(prompt) == slug


def test_prompts_without_words_are_told_apart() -> None:
    slugs = [slug_of(prompt) for prompt in NAMELESS]
    assert len({slug.casefold() for slug in slugs}) == len(NAMELESS)
    assert all("-" in slug and slug.isascii() for slug in slugs)


@pytest.mark.parametrize("prompt", [*SLUGS, *NAMELESS, "漢" * 99, "é" * 99, "\ud800"])
def test_slugs_are_safe_names(prompt: str) -> None:
    slug = slug_of(prompt)
    assert slug == check_slug(slug) == unicodedata.normalize("NFC", slug)
    assert len(slug.encode()) <= MOST_BYTES + 9
    assert slug == slug.lower()
    assert Path(slug).name == slug


def test_where_file_names_are_ascii_so_are_slugs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    slugs = {slug_of(prompt) for prompt in ("香蕉", "蕉香", "café")}
    assert len(slugs) == 3
    assert all(slug.isascii() for slug in slugs)


def test_exchanged_names_are_those_that_neuronpedia_takes() -> None:
    assert ascii_name("a-banana-is") == "a-banana-is"
    assert ascii_name("sprout/plt v2") == "sprout-plt-v2"
    names = [ascii_name(name) for name in ("バナナ", "香蕉", "café", "cafe", "-")]
    assert len(set(names)) == len(names)
    assert names[2].startswith("cafe-")
    assert all(check_slug(name) == name and name.isascii() for name in names)


@pytest.mark.parametrize("slug", ["", "a/b", "..", "-x", ".hidden", "a b", "x" * 101, "a\n", "́a"])
def test_what_is_no_plain_name_is_refused(slug: str) -> None:
    with pytest.raises(UsageError, match="names a folder"):
        check_slug(slug)


def test_another_prompts_graph_is_never_replaced(tmp_path: Path) -> None:
    first, second = prune(random_graph(n_tokens=3)), prune(random_graph(n_tokens=5))
    prompts = [one.graph.info.prompt for one in (first, second)]
    folder = folder_for(tmp_path, "fruit", prompts[0])
    assert folder.name == "fruit"
    write_trace(first, folder, [])
    assert folder_for(tmp_path, "fruit", prompts[0]) == folder
    other = folder_for(tmp_path, "fruit", prompts[1])
    assert other.name.startswith("fruit-")
    assert folder_for(tmp_path, "fruit", prompts[1]) == other
    with pytest.raises(OutputError, match="another prompt"):
        write_trace(second, folder, [], overwrite=True)
    assert_same_pruned(load_graph(folder), first)
