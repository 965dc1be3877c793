"""What the figures support, by written rules. Reads results alone.

Behaviour (step 1), of the shares of right answers in all forms together:

* *no change*: on trained and on held-out topics the change is at most `UNCHANGED`, and so is that
  of what is to stay, and ordinary text costs the same to within `SAME_LOSS` nats a token;
* *incoherent*: on test topics fewer than `COHERENT` of the answers that were one of the two words
  still are, or ordinary text costs more than `LOST_TEXT` nats a token more;
* *spread*: test topics lost at least `LOST` of their right answers, and so surely (interval);
* *narrow*: trained topics did, test topics surely less than that;
* else *not worse*: no right answers were lost to speak of.
"""

from __future__ import annotations

from circuit_tracer.experiments.diff.results.behaviour import BehaviourResult
from circuit_tracer.experiments.diff.results.report import DiffReport, Finding, Verdict
from circuit_tracer.render.numbers import with_interval

UNCHANGED, SAME_LOSS = 0.02, 0.02
COHERENT, LOST_TEXT = 0.75, 0.5
LOST = 0.1


def judge(report: DiffReport) -> Verdict:
    """The verdict on what was measured."""
    assert report.behaviour is not None
    behaviour = judge_behaviour(report.behaviour)
    return Verdict(headline=_HEADLINES[behaviour.name], findings=(behaviour,))


_HEADLINES = {
    "no change": "no change was found: both models answer alike",
    "incoherent": "the tuned model is incoherent: it no longer gives one of the two answers",
    "spread": "the tuning spread: topics that it was not about are answered wrongly, too",
    "narrow": "the tuning is narrow: it changed the answers to its own topics alone",
    "not worse": "the tuned model differs, but no right answers were lost",
}


def judge_behaviour(found: BehaviourResult) -> Finding:
    """The rule on step 1 that holds first; its name says which."""
    trained, test = found.row("trained"), found.row("test")
    lost = "lost {} right answers on trained and {} on test topics".format(
        *(with_interval(one.change, percent=True, sign=True) for one in (trained, test))
    )
    changes = [found.row(role).change.value for role in ("trained", "selection", "test")]
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
