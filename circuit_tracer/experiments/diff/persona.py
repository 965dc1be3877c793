"""Whether a persona that the base knew carries the change, by written rules. Reads results alone.

Steps 5 and 7; every rule is about edits that are the same for all prompts, on test topics:

* *restored*: the chosen features give back at least `HALF` of the lost answers, at the size that
  the loss limit allows;
* *above controls*: more than the best random and the best matched ten, and so surely (interval);
* *induced*: one of them alone makes the base lose at least `HALF` of those answers;
* *in the base*: that feature varies with the context in the base, over at least `RANGE` of what the
  tuning changed;
* *constant*: a chosen feature tells the two models apart wherever it is read (`CONSTANT` of all
  places). It says which model this is, whatever steering it does, and is never called a persona.

From these:

* *nothing to restore*: test topics did not surely lose answers;
* *model identity*: restored, by features of which one is constant;
* *persona*: restored, above controls, induced, and in the base;
* *unclear*: restored and above controls, but not induced, or not in the base;
* *read-outs*: not so, but patching the same features prompt by prompt gives back at least `HALF`:
  they report the answer, they do not make it;
* *nothing found*: else.
"""

from __future__ import annotations

import math
from typing import Literal

from circuit_tracer.experiments.diff.controls import ControlsResult
from circuit_tracer.experiments.diff.doses import INDUCING, TEN, DosesResult
from circuit_tracer.experiments.diff.features import FeatureRow
from circuit_tracer.experiments.diff.report import DiffReport
from circuit_tracer.experiments.diff.testing import EditRow
from circuit_tracer.experiments.kit.results import Finding, Holds
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import whole_percent, with_interval

HALF, RANGE, CONSTANT = 0.5, 0.5, 0.95
Carrier = Literal[
    "nothing to restore", "model identity", "persona", "unclear", "read-outs", "nothing found"
]
HEADLINES: dict[Carrier, str] = {
    "nothing to restore": "no persona: test topics lost no answers that could be restored",
    "model identity": "no persona: {feature} only says which of the two models this is",
    "persona": "a persona that the base knew carries it: {feature}",
    "unclear": "features restore the answers, but no persona was shown",
    "read-outs": "no persona: the features report the answer and do not make it (read-outs)",
    "nothing found": "no persona was found among the features",
}


def judge_persona(report: DiffReport) -> tuple[str, tuple[Finding, ...]]:
    """What goes into the headline, and the findings; nothing where features were not tested."""
    features, doses, controls = report.features, report.doses, report.controls
    if features is None or doses is None or controls is None:
        return "", ()
    ten, one = doses.edit(TEN, "restore"), doses.edit(INDUCING, "induce")
    if ten is None or one is None:
        return "", ()
    leading = features.row(*one.features[0])
    if not math.isfinite(ten.share.value):
        sentence = HEADLINES["nothing to restore"].removeprefix("no persona: ")
        return HEADLINES["nothing to restore"], (Finding("restored", "no", sentence),)
    rules = _restored(ten), _above(controls), _induced(one), _known(leading)
    constant = next((row for row in features.rows if row.chosen and is_constant(row)), None)
    carrier = _carrier(*rules, constant, doses.patched_share)
    findings = [*rules]
    if constant is not None:
        findings.append(_constant(constant))
    if carrier == "read-outs":
        findings.append(_read_outs(doses))
    named = constant if carrier == "model identity" and constant is not None else leading
    return HEADLINES[carrier].format(feature=named.place), tuple(findings)


def _carrier(
    restored: Finding,
    above: Finding,
    induced: Finding,
    known: Finding,
    constant: FeatureRow | None,
    patched: Interval,
) -> Carrier:
    if restored.holds == "yes" and constant is not None:
        return "model identity"
    if restored.holds == above.holds == "yes":
        return "persona" if induced.holds == known.holds == "yes" else "unclear"
    return "read-outs" if patched.value >= HALF else "nothing found"


def is_constant(row: FeatureRow) -> bool:
    """Whether a feature says which model this is, and nothing else."""
    return row.tells >= CONSTANT


def _restored(ten: EditRow) -> Finding:
    share, loss = with_interval(ten.share, percent=True), with_interval(ten.loss, sign=True)
    return Finding(
        "restored",
        "yes" if ten.share.value >= HALF else "no",
        f"{len(ten.features)} features give back {share} of the answers that test topics lost, "
        f"the same edit for every prompt, for {loss} nats a token of ordinary text",
    )


def _above(controls: ControlsResult) -> Finding:
    over = (controls.over_random, controls.over_matched)
    words = [with_interval(one, percent=True, sign=True) for one in over]
    return Finding(
        "controls",
        _surely(min(one.low for one in over), min(one.value for one in over)),
        f"that is {words[0]} more than the best of {len(controls.random)} random tens and "
        f"{words[1]} more than the best of {len(controls.matched)} matched in change",
    )


def _surely(low: float, value: float) -> Holds:
    return "yes" if low > 0 else "unclear" if value > 0 else "no"


def _induced(one: EditRow) -> Finding:
    share = with_interval(one.share, percent=True)
    return Finding(
        "induced",
        "yes" if one.share.value >= HALF else "no",
        f"one feature alone makes the base lose {share} of these answers, for "
        f"{with_interval(one.loss, sign=True)} nats a token",
    )


def _known(row: FeatureRow) -> Finding:
    change = abs(row.tuned - row.base)
    return Finding(
        "in the base",
        "yes" if row.base_range >= RANGE * change and not is_constant(row) else "no",
        f"{row.place} went from {row.base:.2f} to {row.tuned:.2f}; in the base, contexts move "
        f"it over {row.base_range:.2f}",
    )


def _constant(row: FeatureRow) -> Finding:
    sentence = f"{row.place} tells the two models apart at {whole_percent(row.tells)} of places"
    return Finding("constant", "yes", sentence)


def _read_outs(doses: DosesResult) -> Finding:
    share = with_interval(doses.patched_share, percent=True)
    sentence = f"patched to the base's values prompt by prompt, the same features restore {share}"
    return Finding("read-outs", "yes", sentence)
