"""What the figures support, by written rules. Reads results alone.

Behaviour (step 1), of the shares of right answers in all forms together:

* *no change*: in no form, on trained or on held-out topics, did right answers change by more than
  `UNCHANGED`, nor what is to stay, and ordinary text costs the same to within `SAME_LOSS` nats;
* *incoherent*: on test topics fewer than `COHERENT` of the answers that were one of the two words
  still are, or ordinary text costs more than `LOST_TEXT` nats a token more;
* *spread*: test topics lost at least `LOST` of their right answers, and so surely (interval);
* *narrow*: trained topics did, test topics surely less than that;
* else *not worse*: few right answers were lost, or none.

Where (step 2): *where* holds if one kind of weights, put back, surely restores more than all others
(its interval lies above theirs); it fails where no weights changed or nothing was surely lost.

Whether a persona that the base knew carries the change (steps 5 and 7): docs/diff.md has the rules
as tables. Every one is about edits that are the same for all prompts, on test topics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from circuit_tracer.experiments.diff.behaviour import KEPT, LOST, BehaviourResult
from circuit_tracer.experiments.diff.controls import ControlsResult
from circuit_tracer.experiments.diff.doses import INDUCING, TEN
from circuit_tracer.experiments.diff.features import FeatureRow
from circuit_tracer.experiments.diff.report import DiffReport
from circuit_tracer.experiments.diff.testing import EditRow
from circuit_tracer.experiments.diff.where import WEIGHTS, WhereResult
from circuit_tracer.experiments.kit.results import Finding, Verdict
from circuit_tracer.experiments.kit.tables import shares, signed
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import whole_percent, with_interval

UNCHANGED, SAME_LOSS = 0.02, 0.02
COHERENT, LOST_TEXT = 0.75, 0.5


def judge(report: DiffReport) -> Verdict:
    """The verdict on what was measured."""
    assert report.behaviour is not None
    behaviour = judge_behaviour(report.behaviour)
    findings, headline = [behaviour], _HEADLINES[behaviour.name]
    if report.where is not None:
        findings.append(judge_where(report.where))
        if behaviour.name == "no change":
            headline += ", though weights changed" if report.where.rows else SAME_WEIGHTS
    carrier, of_features = judge_persona(report)
    headline = "; ".join(filter(None, (headline, carrier)))
    return Verdict(headline=headline, findings=(*findings, *of_features))


_HEADLINES = {
    "no change": "no change was found: both models answer alike",
    "incoherent": "the tuned model is incoherent: it no longer gives one of the two answers",
    "spread": "the tuning spread: topics that it was not about are answered wrongly, too",
    "narrow": "the tuning is narrow: it changed the answers to its own topics alone",
    "not worse": "the tuned model differs, but lost few right answers or none",
}
SAME_WEIGHTS = " and have the same weights"


def judge_behaviour(found: BehaviourResult) -> Finding:
    """The rule on step 1 that holds first; its name says which."""
    trained, test = found.row("trained"), found.row("test")
    lost = "lost {} right answers on trained and {} on test topics".format(
        *(with_interval(one.change, percent=True, sign=True) for one in (trained, test))
    )
    changes = [one.change.value for one in found.rows if one.part == "role"]
    changes += [one.tuned.value - one.base.value for one in found.collateral]
    loss = found.loss_change.value
    kept = test.coherent_tuned / test.coherent_base if test.coherent_base else 1.0
    text = f"ordinary text costs {loss:+.3f} nats a token"
    if max(map(abs, changes)) <= UNCHANGED and abs(loss) <= SAME_LOSS:
        return Finding("no change", "yes", f"right answers: {lost}; {text}")
    if kept < COHERENT or loss > LOST_TEXT:
        sentence = f"{kept:.0%} of the answers are still one of the two words; {text}"
        return Finding("incoherent", "yes", sentence)
    if test.change.value <= -LOST:
        return Finding("spread", "yes" if test.change.high < -LOST / 2 else "unclear", lost)
    if trained.change.value <= -LOST:
        return Finding("narrow", "yes" if test.change.low > -LOST else "unclear", lost)
    return Finding("not worse", "yes", lost)


def judge_where(found: WhereResult) -> Finding:
    """The rule on step 2."""
    kinds = found.kinds
    if not kinds:
        return Finding("where", "no", "no weights changed")
    changed = " and ".join(WEIGHTS[one.kind] for one in kinds)
    layers = ", ".join(map(str, found.layers))
    sentence = f"changed are {changed}" + (f", in layers {layers}" if layers else "")
    if found.low_rank:
        sentence += f"; no change has a rank above {max(one.rank or 0 for one in found.rows)}"
    known = [one for one in kinds if math.isfinite(one.restored.value)]
    if not known:
        return Finding("where", "no", f"{sentence}; nothing was surely lost to restore")
    ranked = sorted(known, key=lambda one: -one.restored.value)
    parts = (f"{WEIGHTS[one.kind]} {with_interval(one.restored, percent=True)}" for one in ranked)
    sentence += f"; put back they restore of the lost answers: {', '.join(parts)}"
    first, others = ranked[0].restored, [one.restored.high for one in ranked[1:]]
    return Finding("where", "yes" if first.low > max(others, default=0.0) else "unclear", sentence)


HALF, RANGE, CONSTANT = 0.5, 0.5, 0.95
Carrier = Literal[
    "nothing to restore", "model identity", "persona", "unclear", "read-outs", "nothing found"
]
HEADLINES: dict[Carrier, str] = {
    "nothing to restore": f"no persona: {KEPT}",
    "model identity": "no persona: {feature} only says which of the two models this is",
    "persona": "a persona that the base knew carries it: {feature}",
    "unclear": "features restore the answers, but no persona was shown",
    "read-outs": "no persona: the features report the answer and do not make it (read-outs)",
    "nothing found": "no persona was found among the features",
}


def judge_persona(report: DiffReport) -> tuple[str, tuple[Finding, ...]]:
    """What goes into the headline, and the findings; nothing where features were not tested."""
    features, doses, controls = report.features, report.doses, report.controls
    kept = HEADLINES["nothing to restore"], (Finding("restored", "no", KEPT),)
    if report.behaviour is not None and report.behaviour.kept(report.main):
        return kept
    if features is None or doses is None or controls is None:
        return "", ()
    ten, one = doses.edit(TEN, "restore"), doses.edit(INDUCING, "induce")
    if ten is None or one is None:
        return "", ()
    if not math.isfinite(ten.share.value):
        return kept
    leading = features.row(*one.features[0])
    rules = (*_on_edits(ten, one, controls), _known(leading))
    constant = next((row for row in features.rows if row.chosen and is_constant(row)), None)
    carrier, findings, named = _carrier(rules, constant, doses.patched_share), [*rules], leading
    if constant is not None:
        named = constant if carrier == "model identity" else leading
        places = f"at {whole_percent(constant.tells)} of places"
        sentence = f"{constant.place} tells the two models apart {places}"
        findings.append(Finding("constant", "yes", sentence))
    if carrier == "read-outs":
        restored = f"the same features restore {shares(doses.patched_share)[0]}"
        sentence = f"patched to the base's values prompt by prompt, {restored}"
        findings.append(Finding("read-outs", "yes", sentence))
    return HEADLINES[carrier].format(feature=named.place), tuple(findings)


def _carrier(rules: Iterable[Finding], constant: FeatureRow | None, patched: Interval) -> Carrier:
    shown = {one.name: one.holds == "yes" for one in rules}
    if shown["restored"] and constant is not None:
        return "model identity"
    if shown["restored"] and shown["controls"]:
        return "persona" if shown["induced"] and shown["in the base"] else "unclear"
    return "read-outs" if patched.value >= HALF else "nothing found"


def is_constant(row: FeatureRow) -> bool:
    """Whether a feature says which model this is, and nothing else."""
    return row.tells >= CONSTANT


def _on_edits(ten: EditRow, one: EditRow, controls: ControlsResult) -> tuple[Finding, ...]:
    """Restored by the ten, above controls, induced by the one."""
    over = [each.over for each in controls.decisive]
    surely = bool(over) and min(each.low for each in over) > 0
    likely = not over or min(each.value for each in over) > 0
    restored, induced = shares(ten.share, one.share)
    more = (
        f"{with_interval(each.over, percent=True, sign=True)} more than the {each.words}"
        for each in controls.decisive
    )
    losses = signed(ten.loss, one.loss)
    return (
        Finding(
            "restored",
            "yes" if ten.share.value >= HALF else "no",
            f"{len(ten.features)} features give back {restored} of the answers that test topics "
            f"lost, the same edit for every prompt, for {losses[0]} nats a token of ordinary text",
        ),
        Finding(
            "controls",
            "yes" if surely else "unclear" if likely else "no",
            f"that is {' and '.join(more)}"
            if over
            else "the dictionary has no other active features to compare them with",
        ),
        Finding(
            "induced",
            "yes" if one.share.value >= HALF else "no",
            f"one feature alone makes the base lose {induced} of these answers, for {losses[1]} "
            "nats a token",
        ),
    )


def _known(row: FeatureRow) -> Finding:
    change = abs(row.tuned - row.base)
    return Finding(
        "in the base",
        "yes" if row.base_range >= RANGE * change and not is_constant(row) else "no",
        f"{row.place} went from {row.base:.2f} to {row.tuned:.2f}; in the base, contexts move "
        f"it over {row.base_range:.2f}",
    )
