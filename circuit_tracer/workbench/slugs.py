"""What folders and exchanged graphs are called: readable names that no two prompts share.

A slug keeps the letters, accents and digits of every script; all else becomes "-". Where two
prompts have the same words ("A banana is?", "a banana is"), the one that comes second gets a hash
of its text after the slug, because a folder with another prompt's graph is never replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from pathlib import Path

from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.graphs.files.json_values import whole_text
from circuit_tracer.graphs.files.storage import TRACE_FILE
from circuit_tracer.reading import UNREADABLE

MOST_CHARACTERS = 60
MOST_BYTES = 71
"""Of a slug in UTF-8; with a hash there are 80. File systems take 255, some of them 143."""
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")
"""Names that Windows keeps for devices."""


def slug_of(text: str, *, empty: str = "prompt") -> str:
    """A folder name made of a text's words; with a hash where it has none, or they cannot be one.

    File systems that know no case, or store accents apart from letters, tell two slugs apart all
    the same: all are lower case and composed (NFC).
    """
    lower = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    seen = (one for one in lower if not _is_unseen(one))
    words = "".join(one if _is_of_word(one) else "-" for one in seen)
    words = re.sub(r"(?<![^-])[^\w-]+", "", words)  # accents without a letter
    slug = _cut(re.sub("-+", "-", words).strip("-"))
    if not slug:
        return with_hash(empty, text)
    if not _can_be_written(slug):
        return ascii_name(slug)
    return with_hash(slug, text) if _RESERVED.fullmatch(slug) else slug


def with_hash(name: str, text: str) -> str:
    """The name with eight digits that belong to the text alone."""
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def ascii_name(name: str) -> str:
    """The name in letters, digits, ".", "_" and "-", as Neuronpedia takes it; with a hash of the
    name where letters of other scripts were left out."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", folded if not name.isascii() else name).strip("-.")
    return plain if plain and name.isascii() else with_hash(plain or "graph", name)


def check_slug(slug: str, *, where: str = "`slug`") -> str:
    """A slug that is one plain folder name; raises UsageError, with the parameter that gave it."""
    composed = unicodedata.normalize("NFC", slug)
    is_plain = all(_is_of_word(one) or one in "._-" for one in composed)
    if not (is_plain and composed[:1].isalnum() and len(composed) <= 100):
        raise UsageError(
            f'{where} "{slug}" must be letters, digits, ".", "_" and "-" (at most 100), '
            "because it names a folder"
        )
    return composed


def folder_for(parent: Path, name: str, prompt: str) -> Path:
    """The folder of a prompt's graph: of this name, with the prompt's hash where another has it."""
    folder = parent / name
    is_free = _stored_prompt(folder) in (None, whole_text(prompt))
    return folder if is_free else parent / with_hash(name, prompt)


def check_prompt(folder: Path, prompt: str) -> None:
    """Refuse a folder that holds another prompt's graph; raises OutputError."""
    other = _stored_prompt(folder)
    if other not in (None, whole_text(prompt)):
        raise OutputError(
            f'{folder} holds the graph of another prompt, "{_short(str(other))}", which is never '
            "replaced; choose another name, or remove that folder"
        )


def _stored_prompt(folder: Path) -> str | None:
    """The prompt of the trace in a folder; None where there is none that could be read."""
    try:
        prompt = json.loads((folder / TRACE_FILE).read_text(encoding="utf-8"))["info"]["prompt"]
    except UNREADABLE:
        return None
    return prompt if isinstance(prompt, str) else None


def _is_unseen(character: str) -> bool:
    """Joiners, soft hyphens, and what chooses between an emoji and its plain form."""
    code = ord(character)
    return unicodedata.category(character) in ("Cf", "Me") or 0xFE00 <= code <= 0xFE0F


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _cut(words: str) -> str:
    """The beginning, no character cut through."""
    short = words[:MOST_CHARACTERS].encode()[:MOST_BYTES].decode(errors="ignore")
    return short.rstrip("-")


def _can_be_written(name: str) -> bool:
    """Whether this system's file names can hold it: in an ASCII locale they cannot."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
