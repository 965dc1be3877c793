"""A run as a whole: how far it is; scores, features, routes and heads over all its prompts.

* A feature's **frequency** is the share of prompts in whose kept graph it stands at least once; its
  **influence** is the mean over prompts of what passes through it (summed over positions, 0 where
  it is not kept). Both by tag, with the middle 95 % of a bootstrap over prompts, which are drawn
  again with replacement, seeded.
* A route **recurs** when it leads through the same features in the same order, wherever they are
  and from whichever token. Its share is the mean over all prompts of the shares of all paths that
  its occurrences have.
* A head's share is the mean over prompts of the kept influence that passes through it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from circuit_tracer.batch.stored_run import Run
from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval
from circuit_tracer.graphs.graph import Bools, Floats, Ints, NodeKind

RESAMPLES = 500
SCORES = (
    "replacement",
    "completeness",
    "error_share",
    "constant_share",
    "embedding_share",
    "probability",
    "residual",
    "n_nodes_kept",
)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
EVERYTHING = ""
"""The tag of all prompts, tagged or not."""


class Progress(NamedTuple):
    """How far a run is, over all lines of its prompt file."""

    total: int
    """Prompts (each once) and bad lines."""
    done: int
    failed: int
    repeats: int
    """Lines that repeat an earlier one."""
    seconds: float
    """Time that processes spent on it, summed over processes."""
    writers: int
    """Processes that have written a part."""
    last: str
    """When the last part was written; "" without one."""

    @property
    def left(self) -> int:
        """Prompts that have neither a graph nor failed."""
        return self.total - self.done - self.failed

    @property
    def rate(self) -> float:
        """Graphs a second of one process; NaN before the first."""
        return self.done / self.seconds if self.seconds > 0 else float("nan")


@dataclass(frozen=True)
class FeatureLine:
    """One feature among prompts of one tag."""

    tag: str
    """`EVERYTHING` for all prompts."""
    layer: int
    feature: int
    label: str
    prompts: int
    """In how many it is kept."""
    frequency: Interval
    influence: Interval

    @property
    def name(self) -> str:
        """ "L3/117"."""
        return f"L{self.layer}/{self.feature}"


@dataclass(frozen=True)
class RouteLine:
    """A route through the same features in several prompts."""

    route: str
    """ "L0/12 → L3/40"."""
    labels: tuple[str, ...]
    """Of its features."""
    prompts: int
    share: float
    """Mean over all prompts of the run."""
    sign: float
    """Mean sign: 1 if it always pushes its target up."""
    example: str
    """A prompt in which it is strong."""


@dataclass(frozen=True)
class HeadLine:
    """An attention head over the run."""

    layer: int
    head: int
    prompts: int
    """In how many it carries anything."""
    share: Interval

    @property
    def name(self) -> str:
        """ "L3.H2"."""
        return f"L{self.layer}.H{self.head}"


@dataclass(frozen=True)
class Overview:
    """A run as a whole."""

    run: Run
    progress: Progress
    tags: dict[str, int]
    """How many traced prompts have each tag."""
    scores: dict[str, list[float]]
    """The quantiles of each score."""
    features: list[FeatureLine]
    routes: list[RouteLine]
    heads: list[HeadLine]
    quantiles: tuple[float, ...] = QUANTILES

    def record(self, failures: int) -> dict[str, Any]:
        """Everything, and so many failures, as JSON values."""
        stand = self.progress
        return {
            "run": self.run.name,
            "progress": {**stand._asdict(), "rate": stand.rate, "left": stand.left},
            "failures": self.run.failures.to_pylist()[:failures],
            "tags": self.tags,
            "quantiles": self.quantiles,
            "scores": self.scores,
            "features": [{"name": line.name, **vars(line)} for line in self.features],
            "routes": self.routes,
            "heads": [{"name": line.name, **vars(line)} for line in self.heads],
        }


def overview(run: Run, tags: Sequence[str] = (), *, top: int = 10, seed: int = 0) -> Overview:
    """All that is said of a run; features by tag, by default of all prompts and of three tags.

    Raises UsageError for a tag that no prompt has.
    """
    known = tag_counts(run)
    if tags and not known:
        raise UsageError("the prompts of this run have no tags; leave out `tag`")
    chosen = [one_of("`tag`", tag, list(known)) for tag in tags] or [EVERYTHING, *list(known)[:3]]
    return Overview(
        run,
        progress(run),
        known,
        score_quantiles(run),
        [line for tag in chosen for line in features(run, tag, top=top, seed=seed)],
        routes(run, top=top),
        heads(run, top=top, seed=seed),
    )


def progress(run: Run) -> Progress:
    """How far a run is."""
    listed = {entry.key: entry for entry in run.entries}
    parts = [part for part in run.made() if "began" in part]
    times = [[datetime.fromisoformat(part[n]) for n in ("began", "written")] for part in parts]
    return Progress(
        total=len(listed),
        done=sum(key in listed for key in run.graphs.column("id").to_pylist()),
        failed=len(run.failures),
        repeats=sum(entry.repeats for entry in listed.values()),
        seconds=sum((written - began).total_seconds() for began, written in times),
        writers=len({part["writer"] for part in parts}),
        last=max((part["written"] for part in parts), default=""),
    )


def score_quantiles(run: Run) -> dict[str, list[float]]:
    """The quantiles `QUANTILES` of each score; {} without a graph."""
    if not len(run.graphs):
        return {}
    columns = {name: run.graphs.column(name).to_numpy().astype(np.float64) for name in SCORES}
    return {name: np.quantile(column, QUANTILES).tolist() for name, column in columns.items()}


def tag_counts(run: Run) -> dict[str, int]:
    """How many traced prompts have each tag, most first."""
    counts = Counter(tag for tags in run.graphs.column("tags").to_pylist() for tag in tags)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def features(run: Run, tag: str = EVERYTHING, *, top: int = 10, seed: int = 0) -> list[FeatureLine]:
    """The features of most influence among prompts with a tag, most first."""
    chosen = _with_tag(run, tag)
    if not chosen.any():
        return []
    table = run.rows("nodes", ["id", "kind", "layer", "feature", "influence", "kept", "label"])
    kind, kept = table.column("kind").to_numpy(), table.column("kept").to_numpy()
    prompt = _prompt_of(run, table)
    rows = np.flatnonzero((kind == NodeKind.FEATURE) & kept & chosen[prompt])
    if not len(rows):
        return []
    layer, feature = (table.column(name).to_numpy()[rows] for name in ("layer", "feature"))
    strongest = _strongest(
        np.stack([layer.astype(np.int64), feature]),
        np.cumsum(chosen)[prompt[rows]] - 1,  # numbered among the chosen
        table.column("influence").to_numpy()[rows],
        int(chosen.sum()),
        top,
    )
    labels = table.column("label").take(rows[strongest.first]).to_pylist()
    frequencies = _intervals(strongest.there, seed)
    influences = _intervals(strongest.value, seed)
    return [
        FeatureLine(
            tag=tag,
            layer=int(strongest.names[0, i]),
            feature=int(strongest.names[1, i]),
            label=labels[i],
            prompts=int(strongest.there[i].sum()),
            frequency=frequencies[i],
            influence=influences[i],
        )
        for i in range(len(labels))
    ]


def routes(run: Run, *, top: int = 10) -> list[RouteLine]:
    """The routes that recur in most prompts, and of those the strongest first."""
    table = run.rows("paths", ["id", "route", "labels", "sign", "share", "rank"])
    if not len(table):
        return []
    prompt, share = _prompt_of(run, table), table.column("share").to_numpy()
    names, which = np.unique(table.column("route").to_pylist(), return_inverse=True)
    n = len(names)
    prompts = np.bincount(np.unique(np.stack([which, prompt]), axis=1)[0], minlength=n)
    shares = np.bincount(which, weights=share, minlength=n) / len(run.graphs)
    summed_sign = np.bincount(which, weights=table.column("sign").to_numpy(), minlength=n)
    sign = summed_sign / np.bincount(which, minlength=n)
    lines = []
    for i in np.lexsort((-shares, -prompts))[:top].tolist():
        here = np.flatnonzero(which == i)
        best = int(here[np.argmax(share[here])])
        lines.append(
            RouteLine(
                route=str(names[i]),
                labels=tuple(table.column("labels")[best].as_py()[1:-1]),
                prompts=int(prompts[i]),
                share=float(shares[i]),
                sign=float(sign[i]),
                example=run.graphs.column("prompt")[int(prompt[best])].as_py(),
            )
        )
    return lines


def heads(run: Run, *, top: int = 10, seed: int = 0) -> list[HeadLine]:
    """The attention heads that carry most, where they were stored; most first."""
    table = run.rows("heads") if run.info.heads else None
    if table is None or not len(table):
        return []
    places = np.stack([table.column(n).to_numpy().astype(np.int64) for n in ("layer", "head")])
    share = table.column("share").to_numpy()
    strongest = _strongest(places, _prompt_of(run, table), share, len(run.graphs), top)
    return [
        HeadLine(layer, head, int(there.sum()), mean)
        for (layer, head), there, mean in zip(
            strongest.names.T.tolist(),
            strongest.there,
            _intervals(strongest.value, seed),
            strict=True,
        )
    ]


class _Strongest(NamedTuple):
    """The f things with the largest sums, by prompts: p of them."""

    names: Ints
    """(2, f)"""
    first: Ints
    """(f,) a row of each."""
    there: Floats
    """(f, p) 1 where a thing has a row in a prompt."""
    value: Floats
    """(f, p) sums over a prompt's rows."""


def _strongest(things: Ints, prompt: Ints, value: Floats, n_prompts: int, top: int) -> _Strongest:
    """From (2, r) things, (r,) prompts and values of rows."""
    names, first, which = np.unique(things, axis=1, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    chosen = np.argsort(-np.bincount(which, weights=value), kind="stable")[:top]
    place = np.full(names.shape[1], -1)
    place[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(place[which] >= 0)
    cells = (place[which[rows]], prompt[rows])
    there, sums = np.zeros((2, len(chosen), n_prompts))  # not of all: there may be thousands
    there[cells] = 1
    np.add.at(sums, cells, value[rows])
    return _Strongest(names[:, chosen], first[chosen], there, sums)


def _intervals(values: Floats, seed: int) -> list[Interval]:
    """Mean of each row (f, p) over prompts with its bootstrap interval."""
    means = values.mean(1)
    if values.shape[1] < 2:
        return [Interval(mean, float("nan"), float("nan")) for mean in means.tolist()]
    draws = Bootstrap(values.shape[1], resamples=RESAMPLES, seed=seed).draws()
    drawn = np.stack([values @ counts / len(counts) for counts in draws])
    return [interval(np.append(mean, of)) for mean, of in zip(means, drawn.T, strict=True)]


def _with_tag(run: Run, tag: str) -> Bools:
    """(prompts,) those that have the tag, in the order of `run.graphs`."""
    tags_of = run.graphs.column("tags").to_pylist()
    return np.array([tag == EVERYTHING or tag in tags for tags in tags_of], dtype=np.bool_)


def _prompt_of(run: Run, table: pa.Table) -> Ints:
    """(rows,) which row of `run.graphs` each row of another table belongs to."""
    numbers = pc.index_in(table.column("id"), run.graphs.column("id").combine_chunks())
    rows: Ints = numbers.to_numpy().astype(np.int64)
    return rows
