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

Whether a persona carries the change (steps 5 and 7) is judged in `persona.py`.
"""

from __future__ import annotations

import math

from circuit_tracer.experiments.diff.behaviour import BehaviourResult
from circuit_tracer.experiments.diff.persona import judge_persona
from circuit_tracer.experiments.diff.report import DiffReport, Verdict
from circuit_tracer.experiments.diff.where import WEIGHTS, WhereResult
from circuit_tracer.experiments.kit.results import Finding
from circuit_tracer.render.numbers import with_interval

UNCHANGED, SAME_LOSS = 0.02, 0.02
COHERENT, LOST_TEXT = 0.75, 0.5
LOST = 0.1


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
