"""What one edit does to a whole family of prompts: mean changes, intervals, a permutation test.

Items whose own prompt the model answers otherwise are left out and counted, unless all are kept.
The intervals are a bootstrap over items; p is that of the mean change when, item by item, the
prompt and the edited one are swapped at random.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from string import Formatter
from typing import TypedDict

import numpy as np

from circuit_tracer.attribution.resources import memory_remedy, products
from circuit_tracer.attribution.tracing import check_together
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.edits.passes import Target
from circuit_tracer.experiments.edits.results import FamiliesReport, Family, Role
from circuit_tracer.experiments.edits.routes import shares_of
from circuit_tracer.experiments.edits.run import Engine
from circuit_tracer.experiments.edits.spec import FamilySpec, Spec
from circuit_tracer.experiments.kit.passes import answer_ids, text_ends
from circuit_tracer.experiments.kit.places import token_places
from circuit_tracer.experiments.kit.results import Finding, Holds
from circuit_tracer.graphs.bootstrap import Bootstrap
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.render.numbers import with_interval

RESAMPLES = 2000
PERMUTATIONS = 9999
MOST_P = 0.05
OTHER = "other words"
"""What stands in no slot."""


class Turn(TypedDict):
    """How every prompt of a spec is read."""

    chat: bool
    system: str | None


def explain_families(
    engine: Engine, spec: Spec, *, graphs: int = 1, max_feature_nodes: int | None = None
) -> FamiliesReport:
    """What a spec asks. `graphs` items of each family are traced, for the influence by slot.

    Raises UsageError and PromptError for what cannot be asked, and what `trace` raises.
    """
    begun = time.process_time()
    check_together(engine.dictionary, engine.model)
    families = []
    for number, one in enumerate(spec.families):
        engine.on_progress(f"running edits: {one.name}", number, len(spec.families))
        families.append(_family(engine, spec, one, graphs, max_feature_nodes))
    return FamiliesReport(
        name=spec.name,
        question=spec.question,
        families=tuple(families),
        findings=tuple(map(_finding, spec.families, families)),
        model=engine.model.identity,
        dictionary=engine.dictionary.identity,
        seed=spec.seed,
        resamples=RESAMPLES,
        seconds=time.process_time() - begun,
        chat=spec.chat,
        system=spec.system,
    )


def _family(
    engine: Engine, spec: Spec, family: FamilySpec, graphs: int, most: int | None
) -> Family:
    model, templates = engine.model, (family.template, family.edited)
    prompts = [tuple(one.format(**item) for one in templates) for item in spec.items]
    turn: Turn = {"chat": spec.chat, "system": spec.system}
    ids = [model.tokenize(text, **turn) for pair in prompts for text in pair]
    targets = [
        Target(*answer_ids(model, pair[0], *_filled(family.words, item), continues=not spec.chat))
        for pair, item in zip(prompts, spec.items, strict=True)
    ]
    with memory_remedy(), products():
        logits = text_ends(model, ids).reshape(len(prompts), 2, -1)
    leads = np.array([
        (one[:, target.answer] - one[:, target.against]).tolist()
        for one, target in zip(logits, targets, strict=True)
    ])  # fmt: skip
    kept = np.flatnonzero((leads[:, 0] > 0) | (family.keep == "all"))
    if not len(kept):
        raise UsageError(
            f'the model answers no prompt of "{family.name}" with the first of its `words`; turn '
            "the two round, or give other prompts"
        )
    before, after = leads[kept].T
    draws = Bootstrap(len(kept), resamples=RESAMPLES, seed=spec.seed)
    return Family(
        name=family.name,
        example=(prompts[kept[0]][0], prompts[kept[0]][1]),
        n=len(kept),
        left_out=len(prompts) - len(kept),
        before=draws.mean(before),
        after=draws.mean(after),
        change=draws.mean(after - before),
        flips=draws.mean(((after > 0) != (before > 0)).astype(float)),
        p=permutation_p(after - before, seed=spec.seed),
        roles=_roles(engine, spec, family, [(at, targets[at]) for at in kept[:graphs]], most),
    )


def permutation_p(changes: Floats, *, seed: int) -> float:
    """Share of random swaps, the given order counted in, whose mean change is at least as large."""
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (PERMUTATIONS, len(changes)))
    mean = abs(changes.mean())
    larger = np.abs(signs @ changes / len(changes)) >= mean - 1e-12
    return float((1 + larger.sum()) / (1 + PERMUTATIONS))


def _filled(texts: Sequence[str], item: Mapping[str, str]) -> tuple[str, str]:
    first, second = (one.format(**item) for one in texts)
    return first, second


def _roles(
    engine: Engine,
    spec: Spec,
    family: FamilySpec,
    items: Sequence[tuple[int, Target]],
    most: int | None,
) -> tuple[Role, ...]:
    """Mean shares of the influence by slot, over some items, and of what stands in no slot."""
    model, sides, count = engine.model, [], 2 * len(items) * len(spec.families)
    turn: Turn = {"chat": spec.chat, "system": spec.system}
    for template in (family.template, family.edited):
        found = defaultdict[str, list[Floats]](list)
        for at, target in items:
            text = template.format(**spec.items[at])
            shares = shares_of(engine.graphs_of(target, most, count, **turn)(text))
            ids = model.tokenize(text, **turn)
            places = token_places(model, text, ids, asker="edits", **turn)
            named = [slot_at(template, spec.items[at], place) for place in places]
            for name in dict.fromkeys(named):
                found[name].append(shares[:, [one == name for one in named]].sum(1))
        sides.append({name: np.mean(one, axis=0).tolist() for name, one in found.items()})
    roles = []
    for name in dict.fromkeys(chain(*sides)):
        tokens, features = zip(*(side.get(name, (None, None)) for side in sides), strict=True)
        roles.append(Role(name, *tokens, *features))
    return tuple(roles)


def slot_at(template: str, item: Mapping[str, str], place: int) -> str:
    """The slot whose words are at a character of the filled template; "other words" for none."""
    at = 0
    for literal, name, _, _ in Formatter().parse(template):
        at += len(literal)
        if name:
            if at <= place < at + len(item[name]):
                return name
            at += len(item[name])
    return OTHER


def _finding(spec: FamilySpec, family: Family) -> Finding:
    """Whether the edit flips most items, or turns an answer that was open into one."""
    before, after, significant = family.before, family.after, family.p <= MOST_P
    holds: Holds
    if before.low <= 0 <= before.high and significant and (after.low > 0 or after.high < 0):
        holds, verb = "yes", "resolves a conflict"
    elif family.flips.low > 0.5 and significant:
        holds, verb = "yes", "decides"
    elif family.flips.high < 0.5:
        holds, verb = "no", "does not decide"
    else:
        holds, verb = "unclear", "leaves it open"
    sentence = (
        f'{family.name}: "{spec.edit}" {verb}: {" - ".join(spec.words)} goes from '
        f"{with_interval(before, sign=True)} to {with_interval(after, sign=True)} "
        f"(p {family.p:.4f}), {with_interval(family.flips, percent=True)} of {family.n} flip"
    )
    return Finding(family.name, holds, sentence)
