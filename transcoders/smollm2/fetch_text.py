"""Fetch English prose for a SmolLM2 dictionary: about two million tokens out of Debian packages.

    apt-get download -> dpkg-deb -x -> pages -> paragraphs -> documents of about 300 words
    -> runs of neighbouring documents, every twentieth held out -> text.txt, held-out.txt

One document a line, sources mixed, the order seeded. The packages' licences are in README.md; text
and packages stay out of git. Needs apt-get and dpkg-deb, and `apt-get update` once before.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

DEFAULT_OUT = Path("outputs", "smollm2")
DOCUMENT_WORDS = 300
RUN_DOCUMENTS = 8
"""Neighbouring documents share a subject, so whole runs of them are held out."""
HELD_OUT_EVERY = 20
SEED = 0
ENDING = re.compile(r"[.!?:;][\"'”’)\]]*$")


class Source(NamedTuple):
    """A Debian package and the pages to take from it."""

    package: str
    pages: str
    """Glob of the English pages, below /usr/share."""
    words: int
    """Take about so many words at most, spread over the whole package."""


SOURCES = (
    Source("anarchism", "doc/anarchism/html/sec*.html", 600_000),
    Source("wordnet-base", "wordnet/data.*", 500_000),
    Source("jargon-text", "doc/jargon-text/jargon.txt.gz", 210_000),
    Source("debian-handbook", "doc/debian-handbook/html/en-US/*.html", 150_000),
    Source("python3.11-doc", "doc/python3.11/html/*/*.html", 150_000),
    Source("postgresql-doc-15", "doc/postgresql-doc-15/html/*.html", 100_000),
    Source("cfi-en", "doc/cfi-en/html/ch*web.htm", 150_000),
    Source("debian-history", "doc/debian-history/docs/*.en.html", 50_000),
)


class FetchError(Exception):
    """Text could not be fetched; the message says what to do."""


class Paragraphs(HTMLParser):
    """Splits an HTML page into blocks of text; code, headings and scripts are left out."""

    BREAKS = frozenset("p li dd dt div blockquote br hr ul ol dl table tr td th".split())
    LEFT_OUT = frozenset("pre script style title h1 h2 h3 h4 h5 h6".split())

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks = [""]
        self.inside: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or a part that is left out."""
        if tag in self.LEFT_OUT:
            self.inside.append(tag)
        if tag in self.LEFT_OUT | self.BREAKS:
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        """End a block, or a part that is left out."""
        if tag in self.inside:
            del self.inside[self.inside.index(tag) :]
        if tag in self.LEFT_OUT | self.BREAKS:
            self.blocks.append("")

    def handle_data(self, data: str) -> None:
        """Text of the current block."""
        if not self.inside:
            self.blocks[-1] += data


def glosses(page: Path) -> list[str]:
    """What a file of WordNet says of its words, as sentences: "filling: the act of ..."."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = []
    for entry, bar, gloss in (line.partition(" | ") for line in lines if line[:1].isdecimal()):
        assert bar
        _, _, _, count, *words = entry.split()
        names = [word.partition("(")[0].replace("_", " ") for word in words[::2][: int(count, 16)]]
        found.append(f"{', '.join(names)}: {gloss.strip()}.")
    return found


def paragraphs(page: Path) -> list[str]:
    """Running text of an HTML page or a compressed text file: what has a paragraph's length and
    ends like one. Pages that are not UTF-8 are in the Windows code page."""
    if page.name.startswith("data."):
        return glosses(page)
    compressed = page.suffix == ".gz"
    content = gzip.decompress(page.read_bytes()) if compressed else page.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    blocks = re.split(r"\n\s*\n", text) if compressed else Paragraphs(text).blocks
    found = [" ".join(block.split()) for block in blocks]
    return [text for text in found if len(text) >= 80 and ENDING.search(text)]


def documents(found: list[str]) -> list[str]:
    """Neighbouring paragraphs joined to documents of at least DOCUMENT_WORDS words."""
    result: list[str] = []
    current: list[str] = []
    for paragraph in found:
        current.append(paragraph)
        if sum(len(part.split()) for part in current) >= DOCUMENT_WORDS:
            result.append(" ".join(current))
            current = []
    return [*result, " ".join(current)] if current else result


def run(*command: str, cwd: Path) -> None:
    """Run a program, or say in one sentence that it did not work."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FetchError(f"{' '.join(command[:2])} failed ({why}); run apt-get update, then again")


def fetch(source: Source, work: Path) -> list[list[str]]:
    """Download and unpack a package; its documents in runs, a random choice of `words` words."""
    run("apt-get", "download", "--quiet", source.package, cwd=work)
    (package,) = work.glob(f"{source.package}_*.deb")
    run("dpkg-deb", "-x", package.name, source.package, cwd=work)
    pages = sorted((work / source.package / "usr" / "share").glob(source.pages))
    if not pages:
        raise FetchError(f"the package {source.package} has no pages {source.pages} any more")
    found = [text for page in pages for text in documents(paragraphs(page))]
    runs = [found[i : i + RUN_DOCUMENTS] for i in range(0, len(found), RUN_DOCUMENTS)]
    random.Random(SEED).shuffle(runs)
    taken, words = [], 0
    for documents_of_run in runs:
        if words < source.words:
            taken.append(documents_of_run)
            words += sum(len(text.split()) for text in documents_of_run)
    print(f"{source.package:16} {sum(map(len, taken)):5} documents, {words:8,} words")
    return taken


def write(out: Path) -> None:
    """Fetch all sources and write both files."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise FetchError(f"there is no {program} here; run this on Debian or one of its kin")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        runs = [texts for source in SOURCES for texts in fetch(source, Path(work))]
    random.Random(SEED).shuffle(runs)
    parts = {
        "held-out.txt": [text for texts in runs[::HELD_OUT_EVERY] for text in texts],
        "text.txt": [t for i, texts in enumerate(runs) if i % HELD_OUT_EVERY for t in texts],
    }
    for name, texts in parts.items():
        random.Random(SEED).shuffle(texts)
        (out / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        print(f"{out / name}: {len(texts)} documents, {sum(len(t.split()) for t in texts):,} words")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the two files")
    try:
        write(parser.parse_args().out)
    except (FetchError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
