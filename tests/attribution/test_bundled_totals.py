"""Bundled prompts of every file: tokens, errors and constant sum to what the model itself gives."""

from __future__ import annotations

import json

import pytest
import torch

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.totals_tracing import trace_totals
from circuit_tracer.bundled import shipped_folder
from circuit_tracer.workbench.opening import open_pair

FILES = sorted(path.name for path in shipped_folder("prompts").glob("*.jsonl"))


@pytest.mark.parametrize("dictionary", ["plt", "clt"])
def test_totals_sum_to_the_logits(dictionary: str) -> None:
    """The value of a logit target is its distance from the mean logit, taken from a plain pass."""
    pair = open_pair("sprout", dictionary, device="cpu")
    check(pair, [name for name in FILES if name != "cheat.jsonl"], every=9)


def test_totals_of_transcripts_sum_to_the_logits() -> None:
    check(open_pair("sprout-cheat", device="cpu"), ["cheat.jsonl"], every=3)


def check(pair: object, names: list[str], *, every: int) -> None:
    model, dictionary = pair.model, pair.dictionary  # type: ignore[attr-defined]
    count = 0
    for name in names:
        for line in (shipped_folder("prompts") / name).read_text("utf-8").splitlines()[::every]:
            entry = json.loads(line)
            text = f"{entry['prompt']} {entry.get('reasoning', '')}".strip()
            info = trace_totals(model, dictionary, text, TraceSettings(max_n_logits=2)).info
            with torch.no_grad():
                logits = model.module(torch.tensor([info.token_ids])).logits[0, -1].double()
            for target, totals in zip(info.targets, info.totals, strict=True):
                (said,) = target.vocabulary_ids
                value = float(logits[said] - logits.mean())
                assert totals.value == pytest.approx(value, rel=1e-4, abs=1e-4), text
                count += 1
    assert count > 10
