"""A Hugging Face cache as the library writes it: blobs, and snapshots that only link to them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def publish(cache: Path, repository: str, folder: Path, *, revision: str = "main") -> Path:
    """Put a folder's files into the cache as a repository; its snapshot."""
    commit = COMMIT if revision == "main" else hashlib.sha1(revision.encode()).hexdigest()
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "blobs").mkdir(exist_ok=True)
    (home / "refs" / revision).write_text(commit)
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        content = file.read_bytes()
        blob = home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot
