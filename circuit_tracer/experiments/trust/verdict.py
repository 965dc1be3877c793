"""What follows from the measurements, by rules that are written down (docs/trust.md).

Every part is good, bad or between. A graph whose sums or direct edges are wrong is *broken*. With
any bad part it is *doubtful*, with all good *sound*, otherwise to be read with *care*.

| part | good | bad |
|---|---|---|
| replacement (where there are errors) | >= 0.8 | < 0.5 |
| hidden influence (unexpanded + dropped) | <= 0.1 | > 0.5 |
| indirect effects, attention and norms frozen: Spearman | >= 0.72 | < 0.5 |
| influence against ablation over features, attention frozen: Spearman | >= 0.72 | never |
| sufficiency of the kept graph, nothing frozen | >= 0.8 and above all random sets | < 0.5, or not \
above the random median |
| indirect effects, nothing frozen: Spearman | >= 0.5 | never |
| gates (neurons), Spearman of an ablation's direct effects with the edges | never | < 0.8 |

Reported but not graded: constants (>= 0.3), tokens of which errors start 0.3 or more, and
dictionaries that disagree: a token overlap below 0.7, or features of the middle layers whose
decoders are no more alike than chance (a mean best cosine less than 0.1 above it).
A layer's routes are believed where its features' indirect Spearman (of at least 20 pairs) reaches
0.72 and errors are at most 0.2 of what goes into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from circuit_tracer.experiments.trust.findings import (
    INDIRECT,
    UNFROZEN,
    Finding,
    graded,
    remarks,
    sums_and_edges,
)
from circuit_tracer.experiments.trust.results import Measurements
from circuit_tracer.render.trust_panel import Level, Reason, Verdict

LEAST_PAIRS = 20
LAYER_ERRORS = 0.2


def judge(found: Measurements) -> Verdict:
    """Apply the rules."""
    exact, parts = list(sums_and_edges(found)), list(graded(found))
    figures = tuple(part.figure for part in (*exact, *parts) if part.figure is not None)
    if wrong := _reasons(exact):
        headline = "Do not believe this graph: it is not what the model computes."
        return Verdict("broken", headline, tuple(wrong), figures)
    reasons = _reasons(parts)
    marks = [reason.mark for reason in reasons]
    level: Level = "doubtful" if "-" in marks else "care" if "~" in marks else "sound"
    if level == "doubtful":
        headline = "Do not rely on this graph: read the reasons first."
    elif level == "sound":
        headline = f"Believe the routes{_believed(found)}; they hold up when they are cut."
    elif marks.count("~") == 1 and not _predicts_interventions(found):
        headline = (
            f"Believe the routes{_believed(found)} as an account of this pass, not as a "
            "prediction of interventions."
        )
    else:
        headline = f"Believe the routes{_believed(found)} with care: the reasons say why."
    return Verdict(level, headline, (*reasons, *remarks(found)), figures)


def _reasons(parts: Sequence[Finding]) -> list[Reason]:
    return [part.reason for part in parts if part.reason is not None]


def _predicts_interventions(found: Measurements) -> bool:
    """Whether indirect effects are as predicted with nothing frozen, as far as that is known."""
    if found.indirect is None:
        return True
    return not found.indirect.at("nothing").everything.spearman.value < UNFROZEN


def _believed(found: Measurements) -> str:
    """ " through layers 0-3", or nothing where all or none are."""
    if found.indirect is None:
        return ""
    errors = {place.layer: place.error_share for place in found.places.layers}
    tested = [figure for figure in found.indirect.by_layer if figure.pairs >= LEAST_PAIRS]
    good = [
        layer
        for layer, spearman, _ in tested
        if spearman >= INDIRECT[0] and errors.get(layer, 0.0) <= LAYER_ERRORS
    ]
    if not good or len(good) == len(tested):
        return ""
    return f" through layer{'s' if len(good) > 1 else ''} {spans(good)}"


def spans(numbers: list[int]) -> str:
    """ "0-2 and 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
