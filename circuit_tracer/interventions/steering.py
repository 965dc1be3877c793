"""Clamp features to multiples of their maxima and read what the model writes (method.md 7).

"Golden Gate Claude" had one feature clamped to ten times its maximum, the error term kept. A dose
curve says how much is enough and what it costs: with the strength, the probability of what the
feature stands for rises and, sooner or later, the text's perplexity under the unchanged model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from circuit_tracer.bundled import bundled_folder
from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.interventions.generation import Continuation, write_on
from circuit_tracer.interventions.original import run_original
from circuit_tracer.interventions.spec import (
    Intervention,
    Strength,
    Unit,
    change_feature,
)
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary

SHARES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Doses of a curve by default, as shares of the strength asked for."""


@dataclass(frozen=True)
class Feature:
    """A feature to be clamped."""

    layer: int
    index: int
    label: str = ""
    maximum: float | None = None
    """Its largest activation on text (signed, for neurons); None where it is not known."""

    @property
    def name(self) -> str:
        """ "L3/117"."""
        return f"L{self.layer}/{self.index}"


@dataclass(frozen=True)
class Dose:
    """One point of a dose curve."""

    strength: float
    """In the unit that was asked for: times the maximum, an activation, or times the natural."""
    text: Continuation

    @property
    def first(self) -> float:
        """Probability of the target as the first new token; NaN without a target."""
        return self.text.target[0] if self.text.target else float("nan")

    @property
    def mean(self) -> float:
        """Mean probability of the target over the new tokens; NaN without a target."""
        found = self.text.target
        return sum(found) / len(found) if found else float("nan")


@dataclass(frozen=True)
class Steering:
    """What one prompt became."""

    before: Continuation
    """With nothing changed."""
    doses: tuple[Dose, ...]
    """By rising strength."""

    @property
    def curve(self) -> tuple[Dose, ...]:
        """The doses after one of 0, which is the model with nothing changed."""
        return Dose(0.0, self.before), *self.doses

    def at(self, strength: float) -> Dose:
        """The dose of a strength that was asked for; raises UsageError for another."""
        for dose in self.doses:
            if dose.strength == strength:
                return dose
        there = ", ".join(f"{dose.strength:g}" for dose in self.doses)
        raise UsageError(f"no dose of {strength} was asked for; choose one of {there}")


@dataclass(frozen=True)
class Steered:
    """What prompts became with features clamped at some strength."""

    features: tuple[Feature, ...]
    unit: Unit
    amount: float
    target: str
    """The token whose probability is followed; "" for none."""
    prompts: tuple[tuple[str, Steering], ...]
    """Each with its text."""
    shares: tuple[float, ...] = ()
    """What part of the strength each feature gets; empty where each gets all of it."""

    def record(self) -> dict[str, Any]:
        """The texts and dose curves as JSON values."""
        return {
            "features": [{"name": one.name, **asdict(one)} for one in self.features],
            "strength": {"unit": self.unit, "amount": self.amount}
            | ({"shares": self.shares} if self.shares else {}),
            "target": self.target or None,
            "prompts": [{"prompt": text, **asdict(steering)} for text, steering in self.prompts],
        }


def steer(
    model: Model,
    dictionary: AnyDictionary,
    token_ids: list[int],
    features: Sequence[Feature],
    strengths: Sequence[float],
    *,
    unit: Unit = "of-max",
    positions: Sequence[int] | None = None,
    max_new_tokens: int = 20,
    target: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    n_zeroed: int | None = None,
    shares: Sequence[float] = (),
) -> Steering:
    """Continue a prompt with features clamped to each strength, and with nothing changed.

    `unit` is "of-max" (times each feature's maximum), "value" (an activation) or "times" (of the
    activation in that very text). `positions` limits where, those of new tokens included; None is
    everywhere but zeroed positions. `shares` is what part of the strength each feature gets, all of
    it by default. `target` is the vocabulary id whose probability is followed.
    Raises UsageError for a feature without a known maximum, and as `write_on`.
    """
    doses = sorted(set(strengths))
    arms: list[Intervention] = [()]
    arms += [
        clamped(features, dose, unit=unit, positions=positions, shares=shares) for dose in doses
    ]
    before, *after = write_on(
        model,
        dictionary,
        token_ids,
        arms,
        max_new_tokens=max_new_tokens,
        target=target,
        temperature=temperature,
        seed=seed,
        n_zeroed=n_zeroed,
    )
    return Steering(before, tuple(Dose(s, text) for s, text in zip(doses, after, strict=True)))


def clamped(
    features: Sequence[Feature],
    amount: float,
    *,
    unit: Unit = "of-max",
    positions: Sequence[int] | None = None,
    shares: Sequence[float] = (),
) -> Intervention:
    """Features clamped to one strength, or to `shares` of it, everywhere or at some positions."""
    return tuple(
        change_feature(one.layer, one.index, position, strength_of(one, amount * share, unit))
        for one, share in zip(features, shares or [1.0] * len(features), strict=True)
        for position in ([None] if positions is None else positions)
    )


def dose_curve(asked: float, listed: str | None = None) -> list[float]:
    """Every strength of a dose curve: those listed ("1,2,5") or `SHARES`, and the one asked for.

    Raises UsageError for what is no number, or overflows.
    """
    if listed is None:
        strengths = {float(f"{share * asked:.6g}") for share in SHARES}
    else:
        try:
            strengths = {float(part) for part in listed.split(",")}
        except ValueError as error:
            raise UsageError(f'`doses` "{listed}" must be numbers with commas: "1,2,5"') from error
    for strength in strengths:
        Strength(strength)
    return sorted(strengths | {asked})


def positions_at(where: str, prompt: range, max_new_tokens: int) -> list[int] | None:
    """The positions "all" (None), "prompt", "generated" or "3,4" mean; UsageError for others.

    `prompt` are the prompt's own positions, without zeroed ones.
    """
    if where == "all":
        return None
    if where == "prompt":
        return list(prompt)
    if where == "generated":
        return list(range(prompt.stop, prompt.stop + max_new_tokens))
    try:
        return [int(part) for part in where.split(",")]
    except ValueError as error:
        raise UsageError(
            f'`at` "{where}" must be all, prompt, generated, or positions with commas: "3,4"'
        ) from error


def strength_of(feature: Feature, amount: float, unit: Unit) -> Strength:
    """An amount in one of the three units as a strength; UsageError without a known maximum."""
    if unit != "of-max":
        return Strength(amount, is_multiple=unit == "times")
    if feature.maximum is None:
        raise UsageError(
            f"the maximum of {feature.name} is not known (it has no card, or never fired); give "
            "an activation with `value`"
        )
    return Strength(amount * feature.maximum, is_multiple=False)


@torch.no_grad()
def measured_maxima(
    model: Model,
    dictionary: AnyDictionary,
    features: Sequence[tuple[int, int]],
    texts: Sequence[list[int]],
) -> list[float]:
    """The activation largest in size of each (layer, feature) over some texts, with its sign."""
    largest = [0.0] * len(features)
    for ids in texts:
        activations = run_original(model, dictionary, ids).activations
        for i, (layer, index) in enumerate(features):
            column = activations[layer][:, index]
            found = float(column[column.abs().argmax()])
            if abs(found) > abs(largest[i]):
                largest[i] = found
    return largest


def shipped_texts(model: Model) -> list[list[int]]:
    """The prompts that ship with the tool, with their answers, that the model's tokenizer knows."""
    found = []
    for file in sorted((bundled_folder().parent / "prompts").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            try:
                found.append(model.tokenize(f"{record['prompt']} {record.get('answer', '')}"))
            except PromptError:  # a word it does not know
                continue
    return found
