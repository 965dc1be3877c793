"""Which versions are installed of what the tool stands on. Imports none of it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "circuit-tracer-cli"
NUMERICAL = (DISTRIBUTION, "torch", "transformers", "nnsight")
"""What numbers depend on: every output carries these."""
MISSING = "not installed"


@cache
def versions(*names: str) -> dict[str, str]:
    """Versions by distribution, "not installed" for those that are not; by default `NUMERICAL`."""
    return {name: _version(name) for name in names or NUMERICAL}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING
