"""Models on the hub: find the commit, refuse early, and bring its files into the hub's own cache.

What is opened is always the folder of one commit in that cache, so nothing is asked of the network
twice, and the identity of a model names the commit. Without a network (or with HF_HUB_OFFLINE) the
cache alone answers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, ModelInfo, constants, snapshot_download
from huggingface_hub.utils.tqdm import disable_progress_bars

TIMEOUT = 10.0
"""Seconds the hub has to say which commit is meant, before the cache alone answers."""

_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]
_NEVER = ["*/*", "consolidated*"]
"""Folders within a repository hold other forms of the same weights (original/, onnx/)."""


def hub_folder(name: str, revision: str | None, check: Callable[[Path], None]) -> Path:
    """The folder of one commit, named after it, with config, tokenizer and safetensors.

    `check` is called with the folder when config.json is there and may raise: weights are large.
    Raises what huggingface_hub raises when neither the hub nor its cache has the model.
    """
    if not sys.stderr.isatty():
        disable_progress_bars()
    answer = ask(name, revision)
    trouble = answer if isinstance(answer, Exception) else None
    cached_only = answer is None or trouble is not None
    try:
        config = snapshot_download(
            name, revision=revision, local_files_only=cached_only, allow_patterns=["config.json"]
        )
    except Exception as error:
        raise trouble or error from None  # the hub's own answer says more than an empty cache
    check(Path(config))
    whole = snapshot_download(
        name,
        revision=Path(config).name,
        local_files_only=cached_only,
        allow_patterns=_FILES,
        ignore_patterns=_NEVER,
    )
    return Path(whole)


def ask(name: str, revision: str | None) -> ModelInfo | Exception | None:
    """What the hub says of a repository, or what keeps it from answering; None when offline.

    `snapshot_download` sets no limit to this first question, and a silent network would hold it.
    HF_HUB_OFFLINE counts also where it was set after the library was imported.
    """
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if offline or constants.HF_HUB_OFFLINE:
        return None
    try:
        return HfApi().model_info(name, revision=revision, timeout=TIMEOUT)
    except Exception as error:  # unknown, gated, no network, a server that is down
        return error
