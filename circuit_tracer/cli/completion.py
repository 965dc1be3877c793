"""Values that shells complete: names that ship and choices an option has.

Where nothing fits what has been typed, shells complete files, as they do for every path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from circuit_tracer import bundled

Values = Iterable[str] | Callable[[], Iterable[str]]
"""Values, or a call that finds them once a shell asks."""


def offered(values: Values) -> Callable[[str], list[str]]:
    """What typer asks for completions: those of the values that begin as has been typed."""

    def complete(incomplete: str) -> list[str]:
        known = values() if callable(values) else values
        return [one for one in known if one.startswith(incomplete)]

    return complete


def models() -> list[str]:
    """Models that are there without a hub."""
    return [*bundled.bundled_models(), "smollm2"]


def dictionaries() -> list[str]:
    """MODEL/NAME of the dictionaries that ship."""
    return [
        f"{model}/{name}"
        for model in bundled.bundled_models()
        for name in bundled.bundled_dictionaries(model)
    ]


def of_models(of_model: Callable[[str], list[str]]) -> list[str]:
    """What `--transcoders` takes beside a model: names of its own."""
    names = {name for model in bundled.bundled_models() for name in of_model(model)}
    return [*sorted(names), "neurons"]
