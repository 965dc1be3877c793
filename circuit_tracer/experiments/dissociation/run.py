"""The experiment from its spec to its report, stage by stage; finished stages are not rerun.

Order: answers -> graphs (a stage an item) -> route sets -> ablations -> head terms -> swaps ->
verdict. What takes seconds (route sets, truth direction, tables, the flips of verdicts) is redone
from the stored stages.

Every measurement is a row of a Parquet table. The step says what its value is: "answer" logits
(true minus other), "ablation" and "store" logits (own minus other), "share" a feature's signed
share of influence, "overlap" a Jaccard index, "term" a part of a head's score, "swap" logits under
a patch (claims: of the verdict for true; what was asked about is in `claim`). `half` is the one the
item is in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import chain
from pathlib import Path

from circuit_tracer.experiments.dissociation.results import Family, Report, TracedItem, Verdict
from circuit_tracer.experiments.dissociation.spec import Form
from circuit_tracer.experiments.dissociation.step_results import FeatureSet, TruthResult
from circuit_tracer.experiments.dissociation.steps import (
    ablation,
    behaviour,
    drawn_item,
    heads,
    stores,
    swap,
    tracing,
    truth,
)
from circuit_tracer.experiments.dissociation.steps.inconsistent import inconsistent_items
from circuit_tracer.experiments.dissociation.steps.sets import HalfSets, choose_half, described
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.dissociation.verdict import judge
from circuit_tracer.experiments.kit.spec_reader import fingerprint
from circuit_tracer.experiments.kit.stages import Row, StageStore, stage_key, write_rows
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.weights import weights_hash
from circuit_tracer.interventions.engine import few_threads
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.versions import versions

FEWEST = 4
"""Kept items below which nothing beyond behaviour is measured."""

COLUMNS = ("step", "item", "family", "claim", "set", "layer", "head", "role", "half", "value")


def dissociate(
    study: Study,
    folder: Path,
    *,
    on_progress: OnStage = silent,
) -> Report:
    """Run or finish an experiment in its report folder; writes everything but the figures.

    Raises OutputError where the folder holds another experiment, PromptError and UsageError for
    items that the tokenizer cannot write.
    """
    store = StageStore(folder, experiment_key(study), "dissociate")
    store.check()
    study.check()
    with few_threads(study.model):
        report, found = _Run(study, folder, store, on_progress).measure()
    write_rows(found.rows(study), COLUMNS, folder)
    return report


def experiment_key(study: Study) -> str:
    """Of everything that a stage depends on."""
    return stage_key(
        spec=fingerprint(study.spec),
        model=weights_hash(study.model),
        dictionary=weights_hash(study.dictionary),
        dtype=str(study.model.torch_dtype),
        settings=study.settings,
    )


@dataclass(frozen=True)
class _Found:
    """What the stages measured."""

    answers: behaviour.Answers
    graphs: tuple[tracing.ItemGraphs, ...] = ()
    sets: tuple[HalfSets, HalfSets] | None = None
    """Chosen on half 0 and on half 1."""
    ablations: ablation.Ablations | None = None
    means: stores.MeanAblations | None = None
    terms: heads.Terms | None = None
    swaps: swap.SwapMeasurements | None = None

    def rows(self, study: Study) -> Iterator[Row]:
        """Every single measurement."""
        stages = (self.answers, *self.graphs, self.ablations, self.means, self.terms, self.swaps)
        for number, row in chain(*(one.rows() for one in stages if one is not None)):
            item = study.items[number]
            yield {"item": item.name, "half": item.half, "claim": "", **row}


class _Run:
    """One experiment in the making."""

    def __init__(self, study: Study, folder: Path, store: StageStore, on_progress: OnStage) -> None:
        self.study, self.folder, self.store, self.report = study, folder, store, on_progress
        self.notes: list[str] = []

    def measure(self) -> tuple[Report, _Found]:
        """All stages."""
        study, store = self.study, self.store
        self.report("behaviour", 0, 0)
        given = store.stage("behaviour", behaviour.Answers, lambda: behaviour.answers(study))
        found = _Found(given)
        item = None
        by_half = [[i for i in given.kept if study.half[i] == half] for half in (0, 1)]
        if min(map(len, by_half)) * 2 < FEWEST:
            self.notes.append(
                f"only {len(given.kept)} of {len(study.items)} items were kept, too few to choose "
                "features on one half of them and test on the other: only behaviour was measured"
            )
        else:
            found = self._steps(given)
            item = drawn_item.representative(study, given)
            if study.spec.representative not in (None, item.item):
                self.notes.append(f"{study.spec.representative} was not kept; {item.item} is drawn")
            drawn_item.draw(study, given, item, self.folder, self._progress("graphs to draw"))
        return self._report(found, item), found

    def _steps(self, given: behaviour.Answers) -> _Found:
        study, stage, progress = self.study, self.store.stage, self._progress
        graphs = self._graphs(given)
        sets = self._sets(graphs)
        on = progress("ablation")
        ablations = stage(
            "ablation", ablation.Ablations, lambda: ablation.ablate(study, given, sets, on)
        )
        on_stores = progress("early stores")
        means = stage(
            "stores", stores.MeanAblations, lambda: stores.ablate_means(study, given, on_stores)
        )
        read, on_terms = None, progress("object x value terms")
        if study.claims:
            read = stage("heads", heads.Terms, lambda: heads.terms(study, given, on_terms))
        else:
            self.notes.append(
                "no judgement family makes claims: heads and a truth direction were not measured"
            )
        swapped = stage(
            "swap", swap.SwapMeasurements, lambda: swap.swaps(study, given, progress("swap"))
        )
        return _Found(given, tuple(graphs), sets, ablations, means, read, swapped)

    def _graphs(self, given: behaviour.Answers) -> list[tracing.ItemGraphs]:
        """Every kept item's, an item a stage; some of them are compared as well."""
        study, found = self.study, []
        compared = set(_spread(given.kept, study.settings.compared))
        floor = cache(lambda: tracing.unrelated_graphs(study))
        for done, index in enumerate(given.kept):
            self.report("graphs", done, len(given.kept))

            def measure(index: int = index) -> tracing.ItemGraphs:
                against = floor() if index in compared else None
                return tracing.item_graphs(study, given, study.items[index], against)

            found.append(self.store.stage(f"graphs/{index:04}", tracing.ItemGraphs, measure))
        return found

    def _half(self, graphs: Sequence[tracing.ItemGraphs], half: int) -> list[tracing.ItemGraphs]:
        return [one for one in graphs if self.study.half[one.item] == half]

    def _sets(self, graphs: Sequence[tracing.ItemGraphs]) -> tuple[HalfSets, HalfSets]:
        settings = self.study.settings
        first, second = (
            choose_half(
                self._half(graphs, half),
                n_random=settings.random_sets,
                n_permutations=settings.permutations,
                seed=settings.seed + 10 + half,
            )
            for half in (0, 1)
        )
        return first, second

    def _described(self, found: _Found) -> tuple[FeatureSet, ...]:
        sets: list[FeatureSet] = []
        for half, chosen in enumerate(found.sets or ()):
            own, other = (self._half(found.graphs, of) for of in (half, 1 - half))
            sets += described(chosen, half, own, other, self.study.labels)
        return tuple(sets)

    def _report(self, found: _Found, item: TracedItem | None) -> Report:
        study, given = self.study, found.answers
        sets = self._described(found)
        whole = behaviour.behaviour(study, given)
        report = Report(
            name=study.spec.name,
            question=study.spec.question,
            model=study.model.identity,
            dictionary=study.dictionary.identity,
            n_layers=study.model.n_layers,
            early_layers=study.early_layers,
            seed=study.settings.seed,
            quick=study.settings.quick,
            resamples=study.settings.resamples,
            families=_families(study, item),
            behaviour=replace(whole, inconsistent=inconsistent_items(study, given, sets)),
            item=item,
            overlap=tracing.overlaps(found.graphs, study),
            sets=sets,
            ablation=ablation.table(study, found.ablations) if found.ablations else None,
            stores=stores.store_result(study, found.means) if found.means else None,
            heads=heads.heads(study, given, found.terms, self._progress("flips of verdicts"))
            if found.terms
            else None,
            swap=swap.swap_result(found.swaps, study) if found.swaps else None,
            truth=self._truth(given) if found.graphs and study.read_for_truth else None,
            verdict=Verdict("", (), ""),
            notes=tuple(self.notes),
            versions=versions(),
        )
        same_word = len({family.object for family in study.spec.measured}) == 1
        verdict = judge(report, same_word=same_word)
        return replace(report, verdict=verdict, seconds=dict(self.store.seconds))

    def _truth(self, given: behaviour.Answers) -> TruthResult:
        start = time.perf_counter()
        found = truth.truth(self.study, given)
        self.store.seconds["truth"] = time.perf_counter() - start
        return found

    def _progress(self, stage: str) -> Progress:
        return lambda done, total: self.report(stage, done, total)


def _families(study: Study, item: TracedItem | None) -> tuple[Family, ...]:
    shown = next((one for one in study.items if item and one.name == item.item), study.items[0])
    return tuple(
        Family(
            **{field.name: getattr(family, field.name) for field in fields(Form)},
            is_claim=family.is_claim,
            example=study.ask(family, shown).text,
        )
        for family in study.spec.families
    )


def _spread(kept: Sequence[int], count: int) -> list[int]:
    """Some of the kept items, evenly spread over all."""
    count = min(count, len(kept))
    return [kept[i * len(kept) // count] for i in range(count)]
