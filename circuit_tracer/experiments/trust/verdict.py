"""What follows from the measurements, by rules that are written down (README, "Trust").

Every part is good, bad or between. A graph whose sums or direct edges are wrong is *broken*. With
any bad part it is *doubtful*, with all good *sound*, otherwise to be read with *care*.

| part | good | bad |
|---|---|---|
| replacement (where there are errors) | >= 0.8 | < 0.5 |
| hidden influence (unexpanded + dropped) | <= 0.1 | > 0.5 |
| knock-on Spearman, attention and norms held | >= 0.72 | < 0.5 |
| influence against ablation, Spearman over features, attention held | >= 0.72 | never |
| sufficiency of the kept graph, nothing held | >= 0.8 and above all random sets | < 0.5, or not \
above the random median |
| knock-on Spearman, nothing held | >= 0.5 | never |
| gates (neurons), Spearman of an ablation's direct effects with the edges | never | < 0.8 |

Not part of the grade, but said: constants (>= 0.3), tokens of which errors start 0.3 or more, and
dictionaries that disagree: a token overlap below 0.7, or features of the middle layers whose
decoders are no more alike than chance (a mean best cosine less than 0.1 above it).
A layer's routes are believed where its features' knock-on Spearman (of at least 20 pairs) reaches
0.72 and errors are at most 0.2 of what goes into it.
"""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.experiments.trust.key_figures import key_figures
from circuit_tracer.experiments.trust.marks import FREE, KNOCK_ON
from circuit_tracer.experiments.trust.measurements import Measurements
from circuit_tracer.experiments.trust.reasons import broken, graded, remarks
from circuit_tracer.render.trust_panel import KeyFigure, Level, Reason

LEAST_PAIRS = 20
LAYER_ERRORS = 0.2


@dataclass(frozen=True)
class Verdict:
    """Whether to believe the graph, and why."""

    level: Level
    headline: str
    reasons: tuple[Reason, ...]
    figures: tuple[KeyFigure, ...] = ()


def judge(found: Measurements) -> Verdict:
    """Apply the rules."""
    figures = tuple(key_figures(found))
    wrong = tuple(broken(found))
    if wrong:
        return Verdict(
            "broken",
            "Do not believe this graph: it is not what the model computes.",
            wrong,
            figures,
        )
    parts = tuple(graded(found))
    marks = {reason.mark for reason in parts}
    level: Level = "doubtful" if "-" in marks else "care" if "~" in marks else "sound"
    headline = _headline(level, found, parts)
    return Verdict(level, headline, (*parts, *remarks(found)), figures)


def _headline(level: Level, found: Measurements, parts: tuple[Reason, ...]) -> str:
    where = _believed(found)
    if level == "sound":
        return f"Believe the routes{where}; they hold up when they are cut."
    if level == "doubtful":
        return "Do not rely on this graph: read the reasons first."
    doubts = [reason for reason in parts if reason.mark == "~"]
    if len(doubts) == 1 and not _foretells(found):
        return (
            f"Believe the routes{where} as an account of this pass, not as a forecast of "
            "interventions."
        )
    return f"Believe the routes{where} with care: the reasons say why."


def _foretells(found: Measurements) -> bool:
    """Whether knock-on effects are foretold with nothing held, as far as that is known."""
    if found.knock_on is None:
        return True
    return not found.knock_on.at("free").everything.spearman.value < FREE


def _believed(found: Measurements) -> str:
    """ " through layers 0-3", or nothing where all or none are."""
    if found.knock_on is None:
        return ""
    errors = {place.layer: place.error_share for place in found.places.layers}
    tested = [one for one in found.knock_on.by_layer if one[2] >= LEAST_PAIRS]
    good = [
        layer
        for layer, figure, _ in tested
        if figure >= KNOCK_ON[0] and errors.get(layer, 0.0) <= LAYER_ERRORS
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
