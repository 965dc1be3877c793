"""What a reference to the Hugging Face hub names, for models and dictionaries alike.

org/repo    org/repo/sub/folder    org/repo@revision    org/repo/layer_*/width_16k/average_l0_7?
hf://org/repo/sub/folder?revision=...    hf://org/repo@revision/sub/folder

A revision is a commit, a tag or a branch, also with slashes (`refs/pr/3`, `feature/x`). In the
hf:// form with @ a slash in it is written %2F, except in refs/pr/3 and refs/convert/parquet.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_PART = re.compile(r"[A-Za-z0-9][\w.-]*")
_WITH_REVISION = re.compile(r"([^/@]+/[^/@]+)@(refs/(?:convert|pr)/[^/]+|[^/]+)(/.*)?")


class HubReference(NamedTuple):
    """A place in a hub repository."""

    repository: str
    """org/name"""
    path: str
    """Folder, file or pattern inside; empty for the whole."""
    revision: str | None

    @property
    def name(self) -> str:
        """Repository and path."""
        return f"{self.repository}/{self.path}" if self.path else self.repository


def parse_reference(text: str, *, without_owner: bool = False) -> HubReference | None:
    """What a hub reference names; None for a text that cannot be one.

    With `without_owner`, the few old models that belong to nobody (gpt2) are taken, too.
    """
    if text.startswith("hf://"):
        return _from_address(text)
    path, at, revision = text.partition("@")
    if path.startswith(("/", ".", "~")) or (at and not revision):
        return None
    if without_owner and _PART.fullmatch(path):
        return HubReference(path, "", revision or None)
    return _from_parts(path, revision or None)


def _from_address(text: str) -> HubReference | None:
    """Of an hf:// address; None for one with parameters that are not known."""
    parsed = urlsplit(text)
    path, query = f"{parsed.netloc}{parsed.path}", parse_qs(parsed.query, keep_blank_values=True)
    revisions = query.pop("revision", [])
    if match := _WITH_REVISION.fullmatch(path):
        path = f"{match[1]}{match[3] or ''}"
        revisions.append(unquote(match[2]))
    if query or parsed.fragment or len(revisions) > 1 or "" in revisions:
        return None
    return _from_parts(unquote(path), revisions[0] if revisions else None)


def _from_parts(path: str, revision: str | None) -> HubReference | None:
    parts = path.strip("/").split("/")
    if len(parts) < 2 or not all(_PART.fullmatch(part) for part in parts[:2]):
        return None
    if any(part in ("", ".", "..") for part in parts):
        return None
    return HubReference("/".join(parts[:2]), "/".join(parts[2:]), revision)
