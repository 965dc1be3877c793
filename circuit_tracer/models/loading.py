"""What every way of loading weights shares: quiet libraries, and no missing weights."""

from __future__ import annotations

from typing import Any

from circuit_tracer.errors import ModelError


def check_complete(loading: dict[str, Any], name: str) -> None:
    """ModelError if weights were missing or of another shape: they would be random numbers."""
    for fault, words in (("missing_keys", "missing"), ("mismatched_keys", "of another shape")):
        if found := sorted(str(key) for key in loading.get(fault) or ()):
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise ModelError(
                f"the weights of {name} do not match its config.json: {found[0]}{more} "
                f"{'is' if not more else 'are'} {words}; get the model's files again"
            )


def quiet_libraries() -> None:
    """stderr is for our own progress and sentences, not for the loaders' bars and reports."""
    import logging

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
