"""The script that fetches text for SmolLM2: pages to paragraphs, paragraphs to documents."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

from transcoders.smollm2 import fetch_text

ROOT = Path(__file__).parents[2]
PROSE = "A sentence that is long enough to count as running text, because it goes on and on. "


def test_keeps_paragraphs_and_leaves_out_code_headings_and_fragments(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        f"<title>{PROSE}</title><h1>{PROSE}</h1><p>First <i>one</i>:\n {PROSE}<pre>{PROSE}</pre>"
        f"<table><tr><td>{PROSE}Second &amp; last.</table><p>short.<li>{PROSE}no full stop"
    )
    assert fetch_text.paragraphs(page) == [f"First one: {PROSE}".strip(), f"{PROSE}Second & last."]


def test_reads_old_code_pages_and_compressed_text(tmp_path):
    page, text = tmp_path / "old.htm", tmp_path / "book.txt.gz"
    page.write_bytes(f"<p>Caf\xe9. {PROSE}".encode("cp1252"))
    text.write_bytes(gzip.compress(f"TITLE\n\n  {PROSE}\n  {PROSE}\n\n- 7 -\n".encode()))
    assert fetch_text.paragraphs(page) == [f"Café. {PROSE}".strip()]
    assert fetch_text.paragraphs(text) == [f"{PROSE}{PROSE}".strip()]


def test_what_a_dictionary_says_of_words_becomes_sentences(tmp_path: Path) -> None:
    page = tmp_path / "data.noun"
    notice = "  1 This software and database is being provided to you | as is"
    entry = (
        '00402535 04 n 02 fill_up 0 topping(a) 0 004 @ 00376063 n 0000 | making full; "a fill"  '
    )
    page.write_text(f"{notice}\n{entry}\n", encoding="utf-8")
    assert fetch_text.paragraphs(page) == ['fill up, topping: making full; "a fill".']


def test_joins_neighbouring_paragraphs_to_documents_and_loses_none():
    parts = [f"{i} {PROSE * 4}".strip() for i in range(12)]
    found = fetch_text.documents(parts)
    assert " ".join(found) == " ".join(parts)
    assert all(len(text.split()) >= fetch_text.DOCUMENT_WORDS for text in found[:-1])
    assert fetch_text.documents([]) == []


def test_writes_into_a_folder_that_is_given_from_here(tmp_path, monkeypatch):
    """The default folder is such a one, and the programs run inside it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {
        "apt-get": 'touch "$3_1_all.deb"',
        "dpkg-deb": f'[ -f "$2" ] && mkdir -p "$3/usr/share/doc" && '
        f'for i in 1 2; do echo "<p>{PROSE * 30}</p>" > "$3/usr/share/doc/$i.html"; done',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    sources = [fetch_text.Source(name, "doc/*.html", 9_999) for name in ("one", "two")]
    monkeypatch.setattr(fetch_text, "SOURCES", sources)
    monkeypatch.chdir(tmp_path)
    fetch_text.write(Path("out"))
    written = {path.name: path.read_text().splitlines() for path in Path("out").iterdir()}
    assert {name: len(lines) for name, lines in written.items()} == {
        "held-out.txt": 2,
        "text.txt": 2,
    }
    assert {line for lines in written.values() for line in lines} == {(PROSE * 30).strip()}


def test_says_in_one_sentence_that_apt_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", fetch_text.__name__, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "there is no apt-get here; run this on Debian or one of its kin\n"
    assert not (tmp_path / "out").exists()
