"""A circuit in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from circuit_tracer.experiments.circuit.results import CircuitReport, Component, PromptKept
from circuit_tracer.experiments.circuit.terminal import headline, sizes
from circuit_tracer.graphs.graph import Identity

KEPT = PromptKept("a b", "c", "d", 1.0, True, 0.9, 0.1, True, 0.0, (0.1,))
MODEL = Identity(name="m", source="memory", sha256="", kind="")


def report(basis: str, *kinds: str) -> CircuitReport:
    parts = tuple(Component(kind, 0, i, None, 0.1) for i, kind in enumerate(kinds))
    level = "80% of the logit difference"
    return CircuitReport(
        basis, "mean", "gradient", level, (KEPT,), parts, 9, True, 4, 80, MODEL, MODEL, 1.0
    )


@pytest.mark.parametrize(
    ("basis", "kinds", "first", "second"),
    [
        ("neurons", ("feature",), "1 of 9 components is enough", "1 neuron, attention whole, "),
        ("features", ("feature",) * 2, "2 of 9 components are enough", "2 features, attention who"),
        ("neurons+attention", ("channel",), "1 of 9 components is", "0 neurons and 1 channel of a"),
        ("features+attention", ("feature",) * 2, "2 of 9", "2 features and 0 channels of attent"),
    ],
)
def test_numbers_and_attention_are_said_as_they_are(
    basis: str, kinds: tuple[str, ...], first: str, second: str
) -> None:
    found = report(basis, *kinds)
    assert headline(found).startswith(first)
    assert sizes(found).startswith(second)


def test_an_answer_that_needs_nothing_is_said_to() -> None:
    found = report("neurons")
    assert headline(found) == (
        "none of 9 components has to be kept: with all of them mean-ablated the answer stands"
    )
    silent = replace(found, ablation="zero")
    assert "with all of them set to zero" in headline(silent)


def test_what_a_circuit_keeps_of_prompts_that_were_not_used_is_said() -> None:
    others = (replace(KEPT, used=False, share=0.4), replace(KEPT, used=False, share=0.6))
    found = replace(report("neurons", "feature"), prompts=(KEPT, *others))
    assert headline(found).endswith("for the answer and 2 others, of which it keeps 50 %")
    little = tuple(replace(one, share=one.share - 0.2) for one in others)
    assert headline(replace(found, prompts=(KEPT, *little))).endswith(
        "is enough for the answer; of 2 others only the likeliest tokens stay, with 30 % of their "
        "differences"
    )
    overdone = replace(KEPT, share=5.0)  # keeps the whole of the others'
    assert "2 others, of which it keeps" in headline(replace(found, prompts=(overdone, *others)))
